package io.github.repmgrjdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.Driver;
import java.sql.DriverManager;
import java.sql.DriverPropertyInfo;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.ServiceLoader;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;

@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class RepmgrDriverTest {

  private final RepmgrDriver driver = new RepmgrDriver();

  // ---- how it is found -----------------------------------------------------------------------

  @Test
  void theServiceLoaderFindsIt() {
    assertEquals(
        1,
        ServiceLoader.load(Driver.class).stream()
            .filter(provider -> provider.type().equals(RepmgrDriver.class))
            .count());
  }

  @Test
  void theDriverManagerFindsItOnceAndOnlyForItsOwnUrls() throws SQLException {
    assertInstanceOf(RepmgrDriver.class, DriverManager.getDriver("jdbc:repmgr://n1/app"));
    assertFalse(DriverManager.getDriver("jdbc:postgresql://n1/app") instanceof RepmgrDriver);
    assertEquals(1, DriverManager.drivers().filter(found -> found instanceof RepmgrDriver).count());
  }

  @ParameterizedTest
  @ValueSource(strings = {"jdbc:postgresql://n1/app", "jdbc:repmgrx://n1/app", "repmgr://n1", ""})
  void foreignUrlsAreNotItsBusiness(String url) throws SQLException {
    assertFalse(driver.acceptsURL(url));
    assertNull(driver.connect(url, new Properties()));
    assertNull(driver.connect(url, null));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "jdbc:repmgr:n1/app",
        "jdbc:repmgr://n1",
        "jdbc:repmgr://n1/app?steadyInterval=1",
        "jdbc:repmgr://n1/app?nonsense=1",
        "jdbc:repmgr://u:p@n1/app",
      })
  void aBadUrlOfItsOwnIsAnError(String url) throws SQLException {
    assertTrue(driver.acceptsURL(url));
    assertEquals(
        "22023", assertThrows(SQLException.class, () -> driver.connect(url, null)).getSQLState());
    assertEquals(
        "22023",
        assertThrows(SQLException.class, () -> DriverManager.getConnection(url)).getSQLState());
  }

  @Test
  @SuppressWarnings("NullAway") // what a caller from outside may do
  void noUrlIsAnError() {
    assertThrows(SQLException.class, () -> driver.acceptsURL(null));
    assertThrows(SQLException.class, () -> driver.connect(null, null));
  }

  // ---- what it says of itself ----------------------------------------------------------------

  @Test
  void propertyInfoHasEveryParameterOnceWithItsDefaultOrValue() {
    Properties defaults = new Properties();
    defaults.setProperty("huntInterval", "5ms");
    Properties given = new Properties(defaults);
    given.setProperty("ApplicationName", "shop");

    Map<String, DriverPropertyInfo> infos =
        Arrays.stream(driver.getPropertyInfo("jdbc:repmgr://n1/app", given))
            .collect(Collectors.toMap(info -> info.name, info -> info));

    assertTrue(infos.keySet().containsAll(RepmgrConfig.OWN_PARAMETERS.keySet()));
    assertTrue(infos.containsKey("user") && infos.containsKey("sslmode"));
    assertEquals("primary", valueOf(infos, "targetServerType"));
    assertEquals("60s", valueOf(infos, "failoverTimeout"));
    assertEquals("5ms", valueOf(infos, "huntInterval"));
    assertEquals("shop", valueOf(infos, "ApplicationName"));
    assertNull(valueOf(infos, "addressMap"));
    assertTrue(driver.getPropertyInfo("jdbc:repmgr://n1/app", null).length >= infos.size());
  }

  private static @org.jspecify.annotations.Nullable String valueOf(
      Map<String, DriverPropertyInfo> infos, String name) {
    DriverPropertyInfo info = infos.get(name);
    return info == null ? "no such property" : info.value;
  }

  @Test
  void itIsModest() {
    assertFalse(driver.jdbcCompliant());
    assertTrue(driver.getMajorVersion() >= 0 && driver.getMinorVersion() >= 0);
    assertEquals("io.github.repmgrjdbc", driver.getParentLogger().getName());
  }

  // ---- connections ---------------------------------------------------------------------------

  @Test
  void theDriverManagerGivesPgJdbcsOwnConnectionToThePrimary() throws SQLException {
    try (FakeServer primary = new FakeServer(1);
        FakeServer standby = new FakeServer(2).standby(1, 1)) {
      FakeServer.introduce(1, primary, standby);
      primary.password("app", "p&ss=word");
      String url = "jdbc:repmgr://" + standby.address() + "," + primary.address() + "/driver-test";
      Properties defaults = new Properties();
      defaults.setProperty("user", "app");
      defaults.setProperty("password", "p&ss=word");
      Properties nested = new Properties(defaults);
      nested.setProperty("ApplicationName", "shop");

      try (Connection byUser = DriverManager.getConnection(url, "app", "p&ss=word");
          Connection byUrl = DriverManager.getConnection(url + "?user=app&password=p%26ss%3Dword");
          Connection byProperties = new RepmgrDriver().connect(url, nested)) {
        assertEquals(3, primary.sessions("driver-test"));
        assertEquals(0, standby.sessions("driver-test"));
        assertEquals("org.postgresql.jdbc.PgConnection", byUser.getClass().getName());
        assertTrue(byUrl.isWrapperFor(PGConnection.class));
        assertTrue(byProperties != null && byProperties.isValid(1));
      }
    }
  }

  @Test
  void connectionsOfOneConfigurationShareOneMonitor() throws SQLException {
    try (FakeServer primary = new FakeServer(1)) {
      FakeServer.introduce(1, primary);
      String url = "jdbc:repmgr://" + primary.address() + "/driver-test?user=app&repmgrUser=m";

      for (int i = 0; i < 10; i++) {
        Connection connection = new RepmgrDriver().connect(url, null);
        assertTrue(connection != null && connection.isValid(1));
        connection.close();
      }

      assertEquals(1, primary.sessions("repmgr"));
    }
  }

  @Test
  void theUrlsLoginTimeoutIsADeadlineForAll() {
    try (FakeServer silent = new FakeServer(1)) {
      silent.mode(FakeServer.Mode.SILENT);
      String url = "jdbc:repmgr://" + silent.address() + "/driver-test?user=app&loginTimeout=0.3";

      long start = System.nanoTime();
      SQLException e =
          assertThrows(NoSuitableNodeException.class, () -> driver.connect(url, new Properties()));

      long millis = (System.nanoTime() - start) / 1_000_000;
      assertEquals("08001", e.getSQLState());
      assertTrue(millis >= 300 && millis < 2000, "it took " + millis + " ms");
    }
  }
}
