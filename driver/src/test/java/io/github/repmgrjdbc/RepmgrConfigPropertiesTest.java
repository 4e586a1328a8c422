package io.github.repmgrjdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.Properties;
import java.util.function.Supplier;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.EdgeCasesMode;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tuple;

/**
 * What holds for whatever somebody writes into a URL, a property or an address. The seeds are
 * fixed, so that a build does not depend on luck; to look further, take them away and raise the
 * tries.
 */
class RepmgrConfigPropertiesTest {

  private static final String SEED = "1703";
  private static final String SECRET = "s3cr3tPhrase";

  @Property(seed = SEED)
  void anAddressIsReadOrRefused(@ForAll("texts") String text) {
    try {
      HostAndPort address = HostAndPort.parse(text);
      assertEquals(address, HostAndPort.parse(address.toString()));
    } catch (IllegalArgumentException e) {
      boolean printable = String.valueOf(e.getMessage()).chars().noneMatch(Character::isISOControl);
      assertEquals(true, printable, e.getMessage());
    }
  }

  @Property(seed = SEED, edgeCases = EdgeCasesMode.NONE)
  void aUrlIsReadOrRefusedWithoutItsPassword(
      @ForAll("texts") String path,
      @ForAll("names") String name,
      @ForAll("texts") String value,
      @ForAll("texts") String before,
      @ForAll("texts") String after) {
    String password = "password=" + before + SECRET + after;
    String parameter = name + "=" + value;

    readOrRefused("jdbc:repmgr://" + path + "?" + password + "&" + parameter);
    readOrRefused("jdbc:repmgr://n1/app?" + parameter + "&" + password);
    readOrRefused("jdbc:repmgr://" + path + "/app?repmgrP" + password.substring(1));
  }

  @Property(seed = SEED)
  void aUrlWithAUserBeforeTheHostIsRefusedWithoutThePassword(
      @ForAll("texts") String before, @ForAll("texts") String after, @ForAll("texts") String path) {
    // Not encoded, a ',' ends a host and a '?' all of them: nobody can tell what they belong to.
    String password = (before + SECRET + after).replaceAll("[,?]", "");
    readOrRefused("jdbc:repmgr://user:" + password + "@" + path);
  }

  @Property(seed = SEED)
  void aPropertyIsReadOrRefusedWithoutThePassword(
      @ForAll("names") String name, @ForAll("texts") String value, @ForAll("texts") String around) {
    String password = around + SECRET + around;
    Properties properties = new Properties();
    properties.setProperty("password", password);
    properties.setProperty(name, value);

    readOrRefused(() -> RepmgrConfig.parse("jdbc:repmgr://n1/app", properties));
    readOrRefused(
        () ->
            RepmgrConfig.builder()
                .property("repmgrPassword", password)
                .property(name, value)
                .hosts(value)
                .database(value)
                .build());
  }

  @Provide
  Arbitrary<String> names() {
    return Arbitraries.oneOf(
        Arbitraries.of(RepmgrConfig.OWN_PARAMETERS.keySet()),
        Arbitraries.of("user", "loginTimeout", "sslmode", "service", "pasword", "passwort"),
        texts());
  }

  @Provide
  Arbitrary<String> texts() {
    Arbitrary<String> tokens =
        Arbitraries.of(
            "n1", "n2:5432", "[::1]", "[", "]", ":", ",", "/", "?", "&", "=", "@", "%", "%41", "%0",
            "#", "+", " ", "1", "20ms", "s", "primary", "latest", "a=b:1", "\n", "\u0000", "\u0085",
            "ü", "65536");
    return Arbitraries.frequencyOf(
        Tuple.of(4, tokens.list().ofMaxSize(8).map(list -> String.join("", list))),
        Tuple.of(1, Arbitraries.strings().ofMaxLength(20)));
  }

  private static void readOrRefused(String url) {
    readOrRefused(() -> RepmgrConfig.parse(url, new Properties()));
  }

  private static void readOrRefused(Supplier<RepmgrConfig> read) {
    try {
      RepmgrConfig config = read.get();
      assertFalse(config.toString().contains(SECRET), config.toString());
    } catch (IllegalArgumentException e) {
      for (Throwable cause = e; cause != null; cause = cause.getCause()) {
        assertFalse(String.valueOf(cause).contains(SECRET), cause.toString());
      }
    }
  }
}
