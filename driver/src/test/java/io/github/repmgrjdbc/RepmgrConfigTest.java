package io.github.repmgrjdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class RepmgrConfigTest {

  private static final String URL = "jdbc:repmgr://n1,n2:6000/app";
  private static final String SECRET = "s3cr3tPhrase";

  // ---- what is read --------------------------------------------------------------------------

  @Test
  void theDefaults() {
    RepmgrConfig config = parse(URL);

    assertEquals(List.of(new HostAndPort("n1", 5432), new HostAndPort("n2", 6000)), config.hosts());
    assertEquals("app", config.database());
    assertNull(config.user());
    assertNull(config.password());
    assertEquals(TargetServerType.PRIMARY, config.targetServerType());
    assertEquals("repmgr", config.repmgrDatabase());
    assertNull(config.repmgrUser());
    assertNull(config.repmgrPassword());
    assertEquals(Map.of(), config.addressMap());
    assertEquals(Duration.ofSeconds(60), config.failoverTimeout());
    assertEquals(Duration.ofSeconds(1), config.steadyInterval());
    assertEquals(Duration.ofMillis(20), config.huntInterval());
    assertEquals(Duration.ofSeconds(2), config.probeTimeout());
    assertEquals(Duration.ZERO, config.loginTimeout());
    assertEquals(Map.of(), config.driverProperties());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "jdbc:repmgr://n1/app                     | n1:5432                  | app",
        "jdbc:repmgr://n1:1/app                   | n1:1                     | app",
        "jdbc:repmgr://n1/app?                    | n1:5432                  | app",
        "jdbc:repmgr://n1/app?&user=u&            | n1:5432                  | app",
        "jdbc:repmgr://n1,n2:2,n3/app             | n1:5432,n2:2,n3:5432     | app",
        "jdbc:repmgr://n1,n2,n1:5432/app          | n1:5432,n2:5432          | app",
        "jdbc:repmgr://[::1],[fe80::2]:3/app      | [::1]:5432,[fe80::2]:3   | app",
        "jdbc:repmgr://n1/my%20app                | n1:5432                  | my app",
        "jdbc:repmgr://n1/a%2Fb%3Fc%C3%A4         | n1:5432                  | a/b?cä",
      })
  void readsHostsAndDatabase(String url, String hosts, String database) {
    RepmgrConfig config = parse(url);

    assertEquals(
        hosts, String.join(",", config.hosts().stream().map(HostAndPort::toString).toList()));
    assertEquals(database, config.database());
  }

  @Test
  void readsEveryParameterOfItsOwn() {
    RepmgrConfig config =
        parse(
            URL
                + "?user=u&password=p%26q%3Dr%25&targetServerType=PRIMARY&repmgrDatabase=meta"
                + "&repmgrUser=ru&repmgrPassword=rp&addressMap=n1=h1:1,n2=[::1]"
                + "&failoverTimeout=5min&steadyInterval=2s&huntInterval=1ms&probeTimeout=1h"
                + "&primaryPolicy=Quorum&loginTimeout=1.5&allowedHosts=10.0.0.0/8,%20pg1");

    assertEquals("u", config.user());
    assertEquals("p&q=r%", config.password());
    assertEquals("meta", config.repmgrDatabase());
    assertEquals("ru", config.repmgrUser());
    assertEquals("rp", config.repmgrPassword());
    assertEquals(
        Map.of("n1", new HostAndPort("h1", 1), "n2", new HostAndPort("::1", 5432)),
        config.addressMap());
    assertEquals(Duration.ofMinutes(5), config.failoverTimeout());
    assertEquals(Duration.ofSeconds(2), config.steadyInterval());
    assertEquals(Duration.ofMillis(1), config.huntInterval());
    assertEquals(Duration.ofHours(1), config.probeTimeout());
    assertEquals(PrimaryPolicy.QUORUM, config.primaryPolicy());
    assertEquals("10.0.0.0/8, pg1", config.allowedHosts());
    assertEquals(Duration.ofMillis(1500), config.loginTimeout());
  }

  @Test
  void theBuilderHasASetterForWhatAUrlSays() {
    RepmgrConfig built =
        RepmgrConfig.builder()
            .failoverTimeout(Duration.ofDays(30))
            .steadyInterval(Duration.ofSeconds(2))
            .huntInterval(Duration.ofMillis(30))
            .probeTimeout(Duration.ofMillis(400))
            .user("u")
            .password("p")
            .hosts("n1,n2:6000")
            .database("app")
            .build();

    assertEquals(
        parse(
            URL
                + "?failoverTimeout=720h&steadyInterval=2s&huntInterval=30ms&probeTimeout=400ms"
                + "&user=u&password=p"),
        built);
  }

  @Test
  void theTranslatorIsTheOneThatWasSet() {
    AddressTranslator translator = (name, address) -> address;

    RepmgrConfig config = RepmgrConfig.builder().addressTranslator(translator).url(URL).build();

    assertSame(translator, config.addressTranslator());
  }

  @Test
  void nestedDefaultsOfPropertiesAreRead() {
    Properties defaults = new Properties();
    defaults.setProperty("user", "below");
    defaults.setProperty("huntInterval", "5ms");
    Properties properties = new Properties(defaults);
    properties.setProperty("user", "above");

    RepmgrConfig config = RepmgrConfig.parse(URL, properties);

    assertEquals("above", config.user());
    assertEquals(Duration.ofMillis(5), config.huntInterval());
  }

  @Test
  void theUrlWinsOverTheProperties() {
    RepmgrConfig config =
        RepmgrConfig.parse(
            URL + "?user=url&ApplicationName=url", properties("user", "p", "ApplicationName", "p"));

    assertEquals("url", config.user());
    assertEquals(Map.of("ApplicationName", "url"), config.driverProperties());
  }

  @Test
  void pgJdbcsParametersPassThroughUnchanged() {
    RepmgrConfig config =
        RepmgrConfig.parse(
            URL + "?sslmode=verify-full&socketTimeout=30&socketFactory=a.B&socketFactoryArg=c",
            properties("ApplicationName", "shop", "prepareThreshold", "0"));

    assertEquals(
        Map.of(
            "sslmode", "verify-full",
            "socketTimeout", "30",
            "socketFactory", "a.B",
            "socketFactoryArg", "c",
            "ApplicationName", "shop",
            "prepareThreshold", "0"),
        config.driverProperties());
  }

  // ---- what is refused -----------------------------------------------------------------------

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "jdbc:postgresql://n1/app        | does not start with jdbc:repmgr://",
        "jdbc:repmgr:n1/app              | does not start with jdbc:repmgr://",
        "jdbc:repmgr:/n1/app             | does not start with jdbc:repmgr://",
        "jdbc:repmgr://                  | names no host",
        "jdbc:repmgr:///app              | names no host",
        "jdbc:repmgr://n1                | names no database",
        "jdbc:repmgr://n1/               | names no database",
        "jdbc:repmgr://n1/?user=u        | names no database",
        "jdbc:repmgr://n1?user=u         | names no database",
        "jdbc:repmgr://n1/%20            | No database is set",
        "jdbc:repmgr://n1,/app           | Among the hosts: the host is empty",
        "jdbc:repmgr://n1,,n2/app        | Among the hosts: the host is empty",
        "jdbc:repmgr://n1:0/app          | 'n1' is 0, allowed is 1 to 65535",
        "jdbc:repmgr://::1/app           | [address]:port",
        "jdbc:repmgr://u:p@n1/app        | give the user as ?user=...&password=...",
        "jdbc:repmgr://@n1/app           | give the user as ?user=...&password=...",
        "jdbc:repmgr://n1/a%zz           | The URL's database has a '%' that is not followed by",
        "jdbc:repmgr://n1/app?user=%     | The URL's parameter number 1 has a '%'",
        "jdbc:repmgr://n1/app?user       | is not name=value",
        "jdbc:repmgr://n1/app?=user      | is not name=value",
      })
  void refusesUrls(String url, String why) {
    refused(url, why);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "failoverTimeout=60           | '60' is no duration; allowed is a number with ms, s, min or h",
        "failoverTimeout=             | '' is no duration",
        "failoverTimeout=-1s          | '-1s' is no duration",
        "failoverTimeout=1.5s         | '1.5s' is no duration",
        "failoverTimeout=1S           | '1S' is no duration",
        "failoverTimeout=1d           | '1d' is no duration",
        "failoverTimeout=99999999999s | is no duration",
        "failoverTimeout=9999999999h  | is too long; allowed is up to 30 days",
        "failoverTimeout=721h         | is too long; allowed is up to 30 days",
        "huntInterval=0ms             | '0ms' is too short; allowed is 1ms",
        "probeTimeout=0s              | '0s' is too short",
        "steadyInterval=0s            | '0s' is too short",
        "failoverTimeout=0s           | '0s' is too short; allowed is 1ms",
        "steadyInterval=10ms          | 10ms is less than huntInterval, 20ms",
        "allowedHosts=                | is empty",
        "allowedHosts=pg1:5432        | 'pg1:5432'; allowed is a name (pg1, *.db.example), an address",
        "primaryPolicy=newest         | 'newest'; allowed is latest or quorum",
        "targetServerType=secondary   | 'secondary' (a read target: not supported yet); allowed is primary",
        "targetServerType=preferSecondary | (a read target: not supported yet)",
        "targetServerType=any         | (a read target: not supported yet)",
        "targetServerType=master      | 'master'; allowed is primary",
        "repmgrDatabase=              | is empty",
        "addressMap=n1                | 'n1' is not name=host:port",
        "addressMap==h:1              | '=h:1' is not name=host:port",
        "addressMap=n1=h:1,           | '' is not name=host:port",
        "addressMap=n1=h:0            | allowed is 1 to 65535",
        "addressMap=n1=               | the host is empty",
        "addressMap=n1=h,n1=i         | 'n1' stands there twice",
        "loginTimeout=5s              | '5s' is no number of seconds",
        "loginTimeout=-1              | '-1' is no number of seconds",
        "hostRecheckSeconds=1         | this driver chooses the node; remove it",
        "loadBalanceHosts=true        | this driver chooses the node; remove it",
        "PGHOST=n3                    | this driver chooses the node; remove it",
        "service=x                    | this driver chooses the node; remove it",
        "steadyinterval=1s            | did you mean steadyInterval?",
        "failOverTimeOut=1s           | did you mean failoverTimeout?",
        "addresMap=a=b                | did you mean addressMap?",
        "sslMod=require               | did you mean sslmode?",
        "qwertzuiop=1                 | ours are targetServerType, repmgrDatabase",
        "interval=1s                  | ours are targetServerType, repmgrDatabase",
        "huntInteX=1s                 | ours are targetServerType, repmgrDatabase",
        "x=1                          | ours are targetServerType, repmgrDatabase",
      })
  void refusesParameters(String parameter, String why) {
    String name = parameter.substring(0, parameter.indexOf('='));
    String value = parameter.substring(name.length() + 1);

    String inUrl = refused(URL + "?" + parameter, why);
    String inProperties = refused(URL, properties(name, value), why);
    String asSet =
        message(
            assertThrows(
                IllegalArgumentException.class,
                () -> RepmgrConfig.builder().url(URL).property(name, value).build()));

    // What resembles no parameter may be the rest of a password that had an '&' in it.
    String named = why.startsWith("ours are") ? "A parameter" : name;
    assertTrue(inUrl.startsWith(named + " in the URL: "), inUrl);
    assertTrue(inProperties.startsWith(name + " in the properties: "), inProperties);
    assertTrue(asSet.startsWith(name + " as set: ") && asSet.contains(why), asSet);
  }

  @Test
  void refusesPropertiesThatAreNoText() {
    Properties properties = new Properties();
    properties.put("loginTimeout", 5);

    refused(
        URL, properties, "loginTimeout in the properties: is a java.lang.Integer, not a String");
  }

  @Test
  void refusesToBuildFromNothing() {
    assertTrue(
        message(assertThrows(IllegalArgumentException.class, () -> RepmgrConfig.builder().build()))
            .contains("No host is set"));
    assertTrue(
        message(
                assertThrows(
                    IllegalArgumentException.class,
                    () -> RepmgrConfig.builder().hosts("n1").build()))
            .contains("No database is set"));
  }

  // ---- secrets -------------------------------------------------------------------------------

  @ParameterizedTest
  @ValueSource(
      strings = {
        "jdbc:postgresql://u:" + SECRET + "@n1/app",
        "jdbc:repmgr:u:" + SECRET + "@n1/app",
        "jdbc:repmgr://u:" + SECRET + "@n1/app",
        "jdbc:repmgr://u:" + SECRET + "@n1",
        "jdbc:repmgr://n1,u:" + SECRET + "@n2/app",
        "jdbc:repmgr://u:" + SECRET + "/x@n1/app",
        "jdbc:repmgr://u:x/" + SECRET + "@n1/app",
        "jdbc:repmgr://u:" + SECRET + "?x@n1/app",
        "jdbc:repmgr://u:x/y?" + SECRET + "@n1/app",
        "jdbc:repmgr://n1/app?password=" + SECRET + "%zz",
        "jdbc:repmgr://n1/app?password=x&" + SECRET,
        "jdbc:repmgr://n1/app?password=x&" + SECRET + "=1",
        "jdbc:repmgr://app:1/" + SECRET + "@n1/app",
        "jdbc:repmgr://n1/app?password=" + SECRET + "&steadyInterval=1",
        "jdbc:repmgr://n1/app?repmgrPassword=" + SECRET + "&nonsense=1",
        "jdbc:repmgr://n1/?password=" + SECRET,
        "jdbc:repmgr://n1:x/app?password=" + SECRET,
      })
  void noRefusalRepeatsAPassword(String url) {
    Throwable e =
        assertThrows(
            IllegalArgumentException.class, () -> RepmgrConfig.parse(url, new Properties()));

    for (Throwable cause = e; cause != null; cause = cause.getCause()) {
      assertFalse(String.valueOf(cause).contains(SECRET), cause.toString());
    }
  }

  @Test
  void toStringNamesTheClusterAndNoSecret() {
    RepmgrConfig config =
        parse(URL + "?user=u&password=" + SECRET + "&repmgrPassword=" + SECRET + "2&sslpassword=x");

    assertEquals("jdbc:repmgr://n1:5432,n2:6000/app", config.toString());
  }

  // ---- equality ------------------------------------------------------------------------------

  @Test
  void configurationsThatSayTheSameAreEqualHoweverTheyWereGiven() {
    RepmgrConfig fromUrl =
        parse(URL + "?user=u&password=p&huntInterval=1000ms&sslmode=require&addressMap=a=b:1");
    RepmgrConfig fromProperties =
        RepmgrConfig.parse(
            "jdbc:repmgr://n1:5432,n2:6000/app",
            properties(
                "user",
                "u",
                "password",
                "p",
                "huntInterval",
                "1s",
                "sslmode",
                "require",
                "addressMap",
                "a=b:1"));
    RepmgrConfig built =
        RepmgrConfig.builder()
            .hosts("n1,n2:6000")
            .database("app")
            .user("u")
            .password("p")
            .huntInterval(Duration.ofSeconds(1))
            .property("sslmode", "require")
            .property("addressMap", "a=b:1")
            .build();

    assertEquals(fromUrl, fromProperties);
    assertEquals(fromUrl, built);
    assertEquals(fromUrl.hashCode(), built.hashCode());
    assertEquals(built, built.withCredentials("u", "p"));
  }

  @Test
  void everyDifferenceCounts() {
    List<RepmgrConfig> different =
        Stream.of(
                "jdbc:repmgr://n1/app",
                "jdbc:repmgr://n2/app",
                "jdbc:repmgr://n1/app2",
                "jdbc:repmgr://n1/app?user=u",
                "jdbc:repmgr://n1/app?password=p",
                "jdbc:repmgr://n1/app?repmgrUser=u",
                "jdbc:repmgr://n1/app?repmgrPassword=p",
                "jdbc:repmgr://n1/app?probeTimeout=1s",
                "jdbc:repmgr://n1/app?loginTimeout=1",
                "jdbc:repmgr://n1/app?sslmode=require")
            .map(RepmgrConfigTest::parse)
            .toList();

    assertEquals(different.size(), different.stream().distinct().count());
    assertNotEquals(different.get(0), different.get(0).withCredentials("u", null));
    assertEquals(different.get(5), different.get(0).withRepmgrCredentials("u", null));
  }

  // ---- helpers -------------------------------------------------------------------------------

  private static RepmgrConfig parse(String url) {
    return RepmgrConfig.parse(url, new Properties());
  }

  private static Properties properties(String... namesAndValues) {
    Properties properties = new Properties();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      properties.setProperty(namesAndValues[i], namesAndValues[i + 1]);
    }
    return properties;
  }

  private static String refused(String url, String why) {
    return refused(url, new Properties(), why);
  }

  private static String refused(String url, Properties properties, String why) {
    String message =
        message(
            assertThrows(
                IllegalArgumentException.class, () -> RepmgrConfig.parse(url, properties)));
    assertTrue(message.contains(why), message);
    return message;
  }

  private static String message(Exception e) {
    return String.valueOf(e.getMessage());
  }

  @Test
  void nullTakesAParameterBack() {
    RepmgrConfig config =
        RepmgrConfig.builder()
            .url("jdbc:repmgr://a/b?failoverTimeout=nonsense")
            .property("failoverTimeout", null)
            .build();

    assertEquals(Duration.ofSeconds(60), config.failoverTimeout());
  }
}
