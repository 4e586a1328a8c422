package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.FakeServer.Mode;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.FutureTask;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What waiting cannot cure fails at once; everything else waits. A table by SQLSTATE. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class IncurableErrorsTest {

  private static final Duration SOON = Duration.ofSeconds(4);

  /** So short that waiting for it costs little. */
  private static final Duration SHORT = Duration.ofMillis(400);

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final FakeServer n3 = new FakeServer(3).standby(1, 1);
  private final List<FakeServer> nodes = List.of(n1, n2, n3);
  private final RepmgrDataSource dataSource = new RepmgrDataSource();

  @BeforeEach
  void introduce() {
    FakeServer.introduce(1, n1, n2, n3);
    dataSource.setHosts(n1.address() + "," + n2.address() + "," + n3.address());
    dataSource.setDatabaseName("app");
    dataSource.setUser("app");
    dataSource.setRepmgrUser("monitor");
    dataSource.setHuntInterval("10ms");
    dataSource.setSteadyInterval("100ms");
    dataSource.setProbeTimeout("200ms");
    dataSource.setFailoverTimeout("5s");
  }

  @AfterEach
  void closeAll() {
    dataSource.close();
    nodes.forEach(FakeServer::close);
  }

  // ---- at once -------------------------------------------------------------------------------

  @ParameterizedTest
  @ValueSource(strings = {"28P01", "28000", "3D000", "42501"})
  void whatEveryLoginIsRefusedForAndWaitingCannotCureFailsAtOnce(String sqlState) {
    nodes.forEach(node -> node.failLogins(sqlState));

    assertFailsAtOnce(sqlState, "refused by the script with " + sqlState);
  }

  /** 42P01, 3F000 and 42883: the database is there, but repmgr is not, or is another version. */
  @ParameterizedTest
  @ValueSource(strings = {"42501", "42P01", "3F000", "42883"})
  void whatEveryQueryIsRefusedForAndWaitingCannotCureFailsAtOnce(String sqlState) {
    nodes.forEach(node -> node.failQueries(sqlState));

    assertFailsAtOnce(sqlState, "refused by the script with " + sqlState);
  }

  @Test
  void tlsThatNoServerHasFailsAtOnce() {
    dataSource.setProperty("sslmode", "require");

    assertFailsAtOnce("08004", "does not support SSL");
  }

  @Test
  void onAColdStartNodesThatDoNotAnswerAreNoReasonToWait() {
    n1.kill();
    n2.mode(Mode.SILENT);
    n3.failLogins("28P01");

    assertFailsAtOnce("28P01", "no answer within 200 ms");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          28P01 | . See the connection's user and password; both may be set anew at any time
          28000 | . pg_hba.conf of each node must let this user into this database, from here
          3D000 | . See the database in the URL; it is not repmgrDatabase
          42501 | . The user needs the right CONNECT on this database
          """)
  void whatTheApplicationsLoginIsRefusedForFailsAtOnceTooWithItsCure(String sqlState, String cure)
      throws Exception {
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    n1.failLogins(sqlState);

    assertFailsAtOnce(sqlState, "refused by the script with " + sqlState + cure);
  }

  /** Nodes that refuse us are asked once a second only. */
  @Test
  void whatHasBeenMendedSinceItWasSaidIsNotReported() throws Exception {
    dataSource.setSteadyInterval("1s");
    nodes.forEach(node -> node.failLogins("28P01"));
    assertThrows(SQLException.class, dataSource::getConnection);

    nodes.forEach(node -> node.failLogins(null));

    dataSource.getConnection().close();
  }

  // ---- with what cures it --------------------------------------------------------------------

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          28P01 | . See repmgrUser and repmgrPassword; by default they are the connection's user
          28000 | . pg_hba.conf of each node must let this user into this database, from here
          3D000 | . repmgrDatabase must name the database that has repmgr.nodes
          42501 | ; the cure: GRANT CONNECT ON DATABASE repmgr TO monitor
          """)
  void whatEveryLoginIsRefusedForIsToldWithItsCure(String sqlState, String cure) {
    nodes.forEach(node -> node.failLogins(sqlState));

    assertFailsAtOnce(sqlState, cure);
  }

  @ParameterizedTest
  @ValueSource(strings = {"42P01", "3F000", "42883"})
  void aDatabaseWithoutRepmgrIsSaidToBeThat(String sqlState) {
    nodes.forEach(node -> node.failQueriesOf("repmgr.", sqlState));

    assertFailsAtOnce(
        sqlState, ". repmgrDatabase must name the database that has the extension repmgr");
  }

  @Test
  void aPasswordThatIsWantedAndNotGivenIsToldWithItsCure() {
    nodes.forEach(node -> node.password("monitor", "secret"));

    assertFailsAtOnce("08004", ". See repmgrUser and repmgrPassword");
  }

  @Test
  void rightsThatAreMissingAreToldWithTheirGrants() {
    nodes.forEach(
        node ->
            node.failQueriesOf("repmgr.nodes", "42501")
                .missingRights("GRANT USAGE ON SCHEMA repmgr TO m", "GRANT SELECT ON t TO m"));

    assertFailsAtOnce(
        "42501",
        "the script refuses repmgr.nodes; the cure: GRANT USAGE ON SCHEMA repmgr TO m;"
            + " GRANT SELECT ON t TO m");
  }

  @Test
  void aRightThatNoGrantGivesIsToldWithoutACure() {
    nodes.forEach(node -> node.failQueriesOf("repmgr.nodes", "42501"));

    SQLException e = assertFailsAtOnce("42501", "the script refuses repmgr.nodes");

    assertFalse(String.valueOf(e.getMessage()).contains("the cure"), e.getMessage());
  }

  @Test
  void whoeverPgJdbcLogsInByDefaultIsNamed() {
    nodes.forEach(node -> node.failLogins("28000"));
    try (RepmgrDataSource nobodys = new RepmgrDataSource()) {
      nobodys.setHosts(n1.address().toString());
      nobodys.setDatabaseName("app");

      SQLException e = assertThrows(SQLException.class, nobodys::getConnection);

      String who = "in database repmgr as the operating system's user. ";
      assertTrue(String.valueOf(e.getMessage()).contains(who), e.getMessage());
    }
  }

  private SQLException assertFailsAtOnce(String sqlState, String part) {
    long start = System.nanoTime();
    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
    Duration took = Duration.ofNanos(System.nanoTime() - start);

    assertEquals(sqlState, e.getSQLState(), e.getMessage());
    assertTrue(String.valueOf(e.getMessage()).contains(part), e.getMessage());
    // The failover timeout is longer.
    assertTrue(took.compareTo(SOON) < 0, "it took " + took);
    return e;
  }

  // ---- waited out ----------------------------------------------------------------------------

  @ParameterizedTest
  @ValueSource(strings = {"53300", "57P03", "57P01", "57P02", "53200", "XX000", "40001"})
  void whatEveryLoginIsRefusedForAndWaitingMayCureIsWaitedOut(String sqlState) {
    nodes.forEach(node -> node.failLogins(sqlState));

    assertIsWaitedOut("refused by the script with " + sqlState);
  }

  @ParameterizedTest
  @ValueSource(strings = {"53300", "57P03", "57P01", "57P02", "53200", "XX000", "40001"})
  void whatEveryQueryIsRefusedForAndWaitingMayCureIsWaitedOut(String sqlState) {
    nodes.forEach(node -> node.failQueries(sqlState));

    assertIsWaitedOut("refused by the script with " + sqlState);
  }

  @Test
  void silenceIsWaitedOut() {
    nodes.forEach(node -> node.mode(Mode.SILENT));

    assertIsWaitedOut("no answer within 200 ms");
  }

  @Test
  void refusedConnectionsAreWaitedOut() {
    nodes.forEach(FakeServer::kill);

    assertIsWaitedOut("Connection refused");
  }

  @Test
  void aNameThatNobodyKnowsIsWaitedOut() {
    dataSource.setHosts("nowhere.invalid");

    assertIsWaitedOut("nowhere.invalid:5432: unknown host");
  }

  @Test
  void recoveryOnAllNodesIsWaitedOut() {
    n1.standby(0, 1);

    assertIsWaitedOut("n1 at " + n1.address() + ": standby, up, in recovery");
  }

  @ParameterizedTest
  @CsvSource({"28P01, 57P03", "3D000, 53300", "42501, 57P01"})
  void oneNodeThatMayRecoverIsReasonToWait(String incurable, String curable) {
    n1.failLogins(curable);
    Stream.of(n2, n3).forEach(node -> node.failLogins(incurable));

    assertIsWaitedOut("refused by the script with " + curable);
    assertIsWaitedOut("refused by the script with " + incurable);
  }

  /** A standby that never lets us in is all that answers while the primary restarts. */
  @Test
  void aPrimaryThatRestartsIsReasonToWait() throws Exception {
    n2.failLogins("28000");
    n3.kill();
    dataSource.getConnection().close();

    n1.kill();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());

    FutureTask<Connection> waiting = Waiting.startCall(dataSource::getConnection);
    n1.restart();
    waiting.get(SOON.toSeconds(), SECONDS).close();
  }

  /** To another user's monitor, it is known from the first one's, and is no seed. */
  @Test
  void aPrimaryThatHasNotBeenAskedYetIsReasonToWait() throws Exception {
    dataSource.setHosts(n1.address().toString());
    dataSource.getConnection().close();
    await()
        .atMost(SOON)
        .until(() -> dataSource.view().nodes().stream().allMatch(node -> node.state() == State.UP));
    n1.failLogins("28000");
    n2.primary(2).mode(Mode.SILENT);
    dataSource.setUser("another");
    dataSource.setRepmgrUser("another monitor");
    FutureTask<Connection> waiting = Waiting.startCall(dataSource::getConnection);

    n2.mode(Mode.NORMAL);

    waiting.get(SOON.toSeconds(), SECONDS).close();
  }

  /** Another server has got the address of the primary that died, and refuses us there. */
  @Test
  void whoeverHasThePrimarysAddressNowIsReasonToWait() throws Exception {
    dataSource.getConnection().close();
    n1.failLogins("28P01");
    n1.endSessions();

    FutureTask<Connection> waiting = Waiting.startCall(dataSource::getConnection);
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    n2.primary(2);

    waiting.get(SOON.toSeconds(), SECONDS).close();
  }

  @Test
  void oneNodeThatAnswersIsReasonToWait() {
    n1.failLogins("28P01");
    n2.failLogins("28P01");

    assertIsWaitedOut("n3 at " + n3.address() + ": standby, up, follows n1");
  }

  private void assertIsWaitedOut(String part) {
    if (dataSource.toString().contains("not started")) {
      dataSource.setFailoverTimeout(SHORT.toMillis() + "ms");
    }
    long start = System.nanoTime();
    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
    Duration took = Duration.ofNanos(System.nanoTime() - start);

    assertInstanceOf(NoSuitableNodeException.class, e);
    assertEquals("08001", e.getSQLState());
    assertTrue(String.valueOf(e.getMessage()).contains(part), e.getMessage());
    assertTrue(took.compareTo(SHORT) >= 0 && took.compareTo(SOON) < 0, "it took " + took);
  }
}
