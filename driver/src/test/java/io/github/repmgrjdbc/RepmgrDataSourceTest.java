package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.FakeServer.Mode;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.ServerSocket;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.sql.DataSource;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class RepmgrDataSourceTest {

  private static final Duration SOON = Duration.ofSeconds(5);

  private final FakeServer server = new FakeServer(1);
  private final RepmgrDataSource dataSource = new RepmgrDataSource();

  RepmgrDataSourceTest() {
    FakeServer.introduce(1, server);
  }

  @AfterEach
  void closeAll() {
    dataSource.close();
    server.close();
  }

  private String url() {
    return "jdbc:repmgr://" + server.address() + "/app?huntInterval=10ms&probeTimeout=200ms";
  }

  // ---- set-up --------------------------------------------------------------------------------

  static List<String> ownParameters() {
    return List.copyOf(RepmgrConfig.OWN_PARAMETERS.keySet());
  }

  @ParameterizedTest
  @MethodSource("ownParameters")
  void everyParameterHasABeanSetterOfItsName(String name) throws Exception {
    String setter = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
    dataSource.setUrl(url());

    RepmgrDataSource.class.getMethod(setter, String.class).invoke(dataSource, "no: thanks");

    // What is not as it must be proves that the setter sets this one.
    if (List.of("repmgrDatabase", "repmgrUser", "repmgrPassword").contains(name)) {
      assertDoesNotThrow(dataSource::view);
    } else {
      SQLException e = assertThrows(SQLException.class, dataSource::view);
      assertTrue(String.valueOf(e.getMessage()).startsWith(name + " as set: "), e.getMessage());
    }
  }

  @Test
  void aPoolCanSetItUpBySettersAlone() throws SQLException {
    server.password("app", "secret").password("monitor", "secret2");
    dataSource.setHosts("" + server.address());
    dataSource.setDatabaseName("shop");
    dataSource.setUser("app");
    dataSource.setPassword("secret");
    dataSource.setRepmgrDatabase("meta");
    dataSource.setRepmgrUser("monitor");
    dataSource.setRepmgrPassword("secret2");
    dataSource.setTargetServerType("primary");
    dataSource.setPrimaryPolicy("latest");
    dataSource.setAddressMap("n1=" + server.address());
    dataSource.setAllowedHosts("10.0.0.0/8");
    dataSource.setFailoverTimeout("5s");
    dataSource.setSteadyInterval("1s");
    dataSource.setHuntInterval("10ms");
    dataSource.setProbeTimeout("1s");
    dataSource.setProperty("ApplicationName", "shop");

    try (Connection connection = dataSource.getConnection()) {
      assertTrue(connection.isValid(1));
      assertEquals(List.of("app", "monitor"), server.users());
      assertEquals(1, server.sessions("shop"));
      assertEquals(1, server.sessions("meta"));
    }
  }

  @Test
  void whatIsNotAsItMustBeIsToldByTheFirstCall() {
    dataSource.setUrl(url());
    dataSource.setSteadyInterval("soon");

    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);

    assertEquals("22023", e.getSQLState());
    assertTrue(String.valueOf(e.getMessage()).contains("'soon' is no duration"), e.getMessage());
  }

  @Test
  void aDataSourceWithNothingSetSaysWhatIsMissing() {
    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);

    assertEquals("22023", e.getSQLState());
    assertTrue(String.valueOf(e.getMessage()).contains("No host is set"), e.getMessage());
  }

  @Test
  void onceUsedItCannotBeChangedButForUsersAndPasswords() throws SQLException {
    dataSource.setUrl(url());
    assertEquals("RepmgrDataSource[not started]", dataSource.toString());
    ClusterView unused = dataSource.view();
    assertTrue(unused.epoch() >= 0);

    assertThrows(IllegalStateException.class, () -> dataSource.setUrl(url()));
    assertThrows(IllegalStateException.class, () -> dataSource.setHosts("n2"));
    assertThrows(IllegalStateException.class, () -> dataSource.setDatabaseName("other"));
    assertThrows(IllegalStateException.class, () -> dataSource.setProbeTimeout("1s"));
    assertTrue(dataSource.toString().contains("jdbc:repmgr://" + server.address() + "/app"));
  }

  @Test
  void aConfigurationIsTakenAsItIs() throws SQLException {
    RepmgrConfig config =
        RepmgrConfig.builder().url(url()).user("app").failoverTimeout(SOON).build();
    try (RepmgrDataSource fromConfig = new RepmgrDataSource(config)) {
      assertTrue(fromConfig.getConnection().isValid(1));
      assertThrows(IllegalStateException.class, () -> fromConfig.setHosts("other"));
    }
  }

  // ---- JDBC's manners ------------------------------------------------------------------------

  @Test
  void unwrap() throws SQLException {
    assertTrue(dataSource.isWrapperFor(DataSource.class));
    assertTrue(dataSource.isWrapperFor(RepmgrDataSource.class));
    assertFalse(dataSource.isWrapperFor(Connection.class));
    assertSame(dataSource, dataSource.unwrap(DataSource.class));
    assertSame(dataSource, dataSource.unwrap(RepmgrDataSource.class));
    assertThrows(SQLException.class, () -> dataSource.unwrap(Connection.class));
  }

  @Test
  void loggers() {
    assertNull(dataSource.getLogWriter());
    PrintWriter writer = new PrintWriter(new StringWriter());
    dataSource.setLogWriter(writer);
    assertSame(writer, dataSource.getLogWriter());
    dataSource.setLogWriter(null);
    assertNull(dataSource.getLogWriter());
    assertEquals("io.github.repmgrjdbc", dataSource.getParentLogger().getName());
  }

  @Test
  void bothFormsOfGetConnection() throws SQLException {
    server.password("app", "secret").password("other", "secret2");
    dataSource.setUrl(url());
    dataSource.setUser("app");
    dataSource.setPassword("secret");

    try (Connection own = dataSource.getConnection();
        Connection other = dataSource.getConnection("other", "secret2")) {
      assertEquals("app", own.getMetaData().getUserName());
      assertEquals("other", other.getMetaData().getUserName());
      assertEquals(List.of("app", "app", "other"), server.users());
      assertEquals(
          "28P01",
          assertThrows(SQLException.class, () -> dataSource.getConnection("other", "wrong"))
              .getSQLState());
    }
  }

  @Test
  void aPasswordMayHaveAnyCharacter() throws SQLException {
    String password = " p:a/s@s?w&o=r%d+#'\"\\,;{}[]$`~|<>\t\u00e4\u20ac\ud83d\ude00 ";
    server.password("app", password);
    String encoded = URLEncoder.encode(password, StandardCharsets.UTF_8);

    dataSource.setUrl(url() + "&user=app&password=" + encoded);
    dataSource.getConnection().close();
    try (RepmgrDataSource bySetters = new RepmgrDataSource()) {
      bySetters.setUrl(url());
      bySetters.setUser("app");
      bySetters.setPassword(password);
      bySetters.getConnection().close();
      bySetters.getConnection("app", password).close();
    }
  }

  @Test
  void loginsThatHangCostNoThreadEach() throws SQLException {
    dataSource.setUrl(url() + "&probeTimeout=20s");
    dataSource.setUser("app");
    dataSource.getConnection().close();
    server.mode(Mode.HANG_IN_LOGIN);
    List<Waiting> waiting = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      waiting.add(new Waiting());
    }
    await().atMost(SOON).until(() -> server.pendingLogins() >= 20);

    List<String> others =
        Thread.getAllStackTraces().keySet().stream()
            .map(Thread::getName)
            .filter(name -> name.startsWith("repmgr-jdbc") || name.contains("PostgreSQL JDBC"))
            .toList();

    assertTrue(others.size() < 10, others::toString);
    assertEquals(20, waiting.stream().filter(w -> w.thread.isAlive()).count());
  }

  @Test
  void whoConnectsAlsoProbesWhereNobodyIsConfigured() throws SQLException {
    server.password("one", "1").password("two", "2");
    dataSource.setUrl(url());

    try (Connection one = dataSource.getConnection("one", "1");
        Connection two = dataSource.getConnection("two", "2")) {
      assertTrue(one.isValid(1) && two.isValid(1));
      assertEquals(List.of("one", "one", "two", "two"), server.users());
    }
  }

  @Test
  void theLoginTimeoutIsMirroredAndChecked() throws SQLException {
    assertEquals(0, dataSource.getLoginTimeout());
    dataSource.setLoginTimeout(7);
    assertEquals(7, dataSource.getLoginTimeout());
    assertEquals(
        "22023",
        assertThrows(SQLException.class, () -> dataSource.setLoginTimeout(-1)).getSQLState());
    assertEquals(7, dataSource.getLoginTimeout());
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void theLoginTimeoutIsADeadlineForAll(boolean primaryIsKnown) throws SQLException {
    dataSource.setUrl(url() + "&probeTimeout=20s");
    dataSource.setUser("app");
    if (primaryIsKnown) {
      dataSource.getConnection().close();
      server.mode(Mode.HANG_IN_LOGIN);
    } else {
      server.mode(Mode.SILENT);
    }
    dataSource.setLoginTimeout(1);

    long start = System.nanoTime();
    assertThrows(NoSuitableNodeException.class, dataSource::getConnection);

    long millis = (System.nanoTime() - start) / 1_000_000;
    assertTrue(millis >= 1000 && millis < 3000, "it took " + millis + " ms");
    await().atMost(SOON).until(() -> server.pendingLogins() == 0);
  }

  @Test
  void anErrorNamesEachNodeItsAddressAndWhatItAnswered() throws Exception {
    try (FakeServer full = new FakeServer(2);
        FakeServer silent = new FakeServer(3);
        FakeServer standby = new FakeServer(4).standby(1, 1)) {
      full.failLogins("53300");
      silent.mode(Mode.SILENT);
      FakeServer.introduce(1, server, standby);
      server.kill();
      String refusing = "127.0.0.1:" + closedPort();
      dataSource.setHosts(
          refusing + "," + full.address() + "," + silent.address() + "," + standby.address());
      dataSource.setDatabaseName("app");
      dataSource.setProbeTimeout("200ms");
      dataSource.setLoginTimeout(1);

      NoSuitableNodeException e =
          assertThrows(NoSuitableNodeException.class, dataSource::getConnection);

      assertEquals("08001", e.getSQLState());
      String message = String.valueOf(e.getMessage());
      for (String part :
          List.of(
              refusing + ": Connection refused",
              full.address() + ": ",
              "refused by the script with 53300",
              silent.address() + ": no answer within 200 ms",
              "n4 at " + standby.address() + ": standby, up, follows n1",
              "n1 at " + server.address() + ": Connection refused",
              "no node answers as the primary")) {
        assertTrue(message.contains(part), "no '" + part + "' in: " + message);
      }
      ClusterView view = e.view();
      assertTrue(view != null && view.primary().isEmpty());
    }
  }

  private static int closedPort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  // ---- the end -------------------------------------------------------------------------------

  /** The race of close against wait. */
  @ParameterizedTest
  @ValueSource(strings = {"SILENT", "HANG_IN_LOGIN"})
  void closeFreesWhoWaits(Mode mode) throws Exception {
    Waiting waiting = waiting(mode);

    dataSource.close();

    assertEquals("08003", waiting.fails().getSQLState());
  }

  @Test
  void onceClosedItGivesNothing() throws SQLException {
    dataSource.setUrl(url());
    Connection connection = dataSource.getConnection("app", "");

    dataSource.close();
    dataSource.close();

    assertEquals(
        "08003", assertThrows(SQLException.class, dataSource::getConnection).getSQLState());
    assertEquals("08003", assertThrows(SQLException.class, dataSource::view).getSQLState());
    assertFalse(connection.isValid(1));
    await().atMost(SOON).until(() -> server.connections() == 0);
  }

  @Test
  void closingWhatWasNeverUsedDoesNothing() {
    dataSource.setUrl(url());

    dataSource.close();

    assertEquals(
        "08003", assertThrows(SQLException.class, dataSource::getConnection).getSQLState());
  }

  @ParameterizedTest
  @ValueSource(strings = {"SILENT", "HANG_IN_LOGIN"})
  void anInterruptFreesWhoWaitsAndIsKept(Mode mode) throws Exception {
    Waiting waiting = waiting(mode);

    waiting.thread.interrupt();

    SQLException e = waiting.fails();
    assertEquals("08001", e.getSQLState());
    assertTrue(String.valueOf(e.getMessage()).startsWith("Interrupted"), e.getMessage());
    assertTrue(waiting.interruptKept.get());
    await().atMost(SOON).until(() -> server.pendingLogins() == 0);
  }

  /** Somebody who waits for a primary that is silent, or for a login that does not end. */
  private Waiting waiting(Mode mode) {
    dataSource.setUrl(url() + "&probeTimeout=20s");
    if (mode == Mode.HANG_IN_LOGIN) {
      await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    }
    server.mode(mode);
    Waiting waiting = new Waiting();
    await()
        .atMost(SOON)
        .until(
            () ->
                mode == Mode.HANG_IN_LOGIN
                    ? server.pendingLogins() == 1
                    : waiting.thread.getState() == Thread.State.TIMED_WAITING);
    return waiting;
  }

  /** A call of getConnection in a thread of its own. */
  private final class Waiting {
    final AtomicBoolean interruptKept = new AtomicBoolean();
    final FutureTask<Connection> result =
        new FutureTask<>(
            () -> {
              try {
                return dataSource.getConnection();
              } finally {
                interruptKept.set(Thread.currentThread().isInterrupted());
              }
            });
    final Thread thread = new Thread(result, "waiting");

    Waiting() {
      thread.setDaemon(true);
      thread.start();
    }

    SQLException fails() throws Exception {
      ExecutionException e =
          assertThrows(ExecutionException.class, () -> result.get(SOON.toSeconds(), SECONDS));
      if (e.getCause() instanceof SQLException cause) {
        return cause;
      }
      throw e;
    }
  }

  @Test
  void nullTakesAParameterBack() throws SQLException {
    try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
      dataSource.setUrl("jdbc:repmgr://127.0.0.1:1/app?failoverTimeout=nonsense");
      dataSource.setFailoverTimeout(null);
      dataSource.setProperty("sslmode", null);
      dataSource.setUser(null);

      dataSource.view();
    }
  }

  @Test
  void aUrlThatIsNullIsSaidToBeThat() {
    try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
      Exception e = assertThrows(IllegalArgumentException.class, () -> dataSource.setUrl(null));
      assertTrue(
          String.valueOf(e.getMessage()).startsWith("The URL is null; the form is"), e.toString());
    }
  }
}
