package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.ThrowableProxyUtil;
import ch.qos.logback.core.read.ListAppender;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.FakeServer.Calls;
import io.github.repmgrjdbc.FakeServer.End;
import io.github.repmgrjdbc.FakeServer.Mode;
import io.github.repmgrjdbc.FakeServer.Row;
import io.github.repmgrjdbc.internal.connect.Connector;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.ref.WeakReference;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;

/** The whole driver against three fake nodes: n1 the primary, n2 and n3 its standbys. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ClusterTest {

  /** Longer than anything here may take, shorter than what it would take by waiting. */
  private static final Duration SOON = Duration.ofSeconds(4);

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final FakeServer n3 = new FakeServer(3).standby(1, 1);
  private final List<AutoCloseable> toClose = new ArrayList<>(List.of(n1, n2, n3));
  private final ExecutorService threads =
      Executors.newCachedThreadPool(
          task -> {
            Thread thread = new Thread(task, "test");
            thread.setDaemon(true);
            return thread;
          });
  private Set<Thread> threadsBefore = Set.of();

  @BeforeEach
  void introduce() {
    threadsBefore = driverThreads();
    FakeServer.introduce(1, n1, n2, n3);
  }

  @AfterEach
  void closeAll() throws Exception {
    for (int i = toClose.size() - 1; i >= 0; i--) {
      toClose.get(i).close();
    }
    threads.shutdownNow();
    awaitEndOfDriverThreads();
  }

  // ---- finding the primary -------------------------------------------------------------------

  @Test
  void aConnectionGoesToThePrimary() throws SQLException {
    assertEquals(n1.port(), portOf(dataSource(n3, n2, n1).getConnection()));
  }

  @Test
  void oneStandbysAddressIsEnough() throws SQLException {
    assertEquals(n1.port(), portOf(dataSource(n3).getConnection()));
  }

  @Test
  void aNodeThatHangsAfterAcceptingDelaysNobody() throws SQLException {
    n3.mode(Mode.SILENT);
    RepmgrDataSource dataSource = dataSource(set("probeTimeout", "20s"), n3, n2, n1);

    Connection connection = assertTimeoutPreemptively(SOON, () -> dataSource.getConnection());

    assertEquals(n1.port(), portOf(connection));
  }

  @ParameterizedTest
  @ValueSource(strings = {"RUBBISH", "CLOSE_IN_ANSWER", "HANG_IN_LOGIN"})
  void nodesThatMisbehaveDoNotHideThePrimary(Mode mode) throws SQLException {
    n2.mode(mode);
    n3.mode(mode);
    FakeServer.introduce(1, n1);
    RepmgrDataSource dataSource = dataSource(set("probeTimeout", "20s"), n3, n2, n1);

    Connection connection = assertTimeoutPreemptively(SOON, () -> dataSource.getConnection());

    assertEquals(n1.port(), portOf(connection));
  }

  @Test
  void aNodeTableMayNameAddressesThatDoNotExist() throws Exception {
    List<Row> table = new ArrayList<>();
    table.add(new Row(1, "n1", "primary", true, 0, "host=nowhere.invalid"));
    table.add(new Row(2, "n2", "standby", true, 1, "host=127.0.0.1 port=" + closedPort()));
    table.add(new Row(3, "n3", "standby", true, 1, "host='no end"));
    table.add(new Row(4, "n4", "standby", true, 1, "host=127.0.0.1 port=" + closedPort()));
    Stream.of(n1, n2, n3).forEach(node -> node.table(table));
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    await()
        .atMost(SOON)
        .untilAsserted(
            () -> {
              assertEquals(State.UP, node(dataSource, 2).state());
              assertEquals(n2.address(), node(dataSource, 2).address());
              assertEquals(State.SILENT, node(dataSource, 4).state());
            });
  }

  @Test
  void theAddressMapIsHonouredByNameAndByHost() throws Exception {
    List<Row> table =
        List.of(
            new Row(1, "n1", "primary", true, 0, "host=10.255.255.1 port=1"),
            new Row(2, "n2", "standby", true, 1, "host=10.255.255.2 port=1"),
            new Row(3, "n3", "standby", true, 1, "host=10.255.255.3 port=1"));
    Stream.of(n1, n2, n3).forEach(node -> node.table(table));
    RepmgrDataSource dataSource =
        dataSource(set("addressMap", "n1=" + n1.address() + ",10.255.255.2=" + n2.address()), n3);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    await().atMost(SOON).until(() -> n2.users().contains("monitor"));
  }

  @Test
  void whereConnectionsMayNotGoNothingIsDialled() throws Exception {
    try (ServerSocket elsewhere = new ServerSocket(0, 5, InetAddress.getByName("127.0.0.9"))) {
      List<Row> table = new ArrayList<>();
      table.add(new Row(1, "n1", "primary", true, 0, "host=127.0.0.1 port=" + n1.port()));
      table.add(
          new Row(4, "n4", "standby", true, 1, "host=127.0.0.9 port=" + elsewhere.getLocalPort()));
      n1.table(table);
      RepmgrDataSource dataSource = dataSource(set("allowedHosts", "10.0.0.0/8, pg4"), n1);

      assertEquals(n1.port(), portOf(dataSource.getConnection()));
      await()
          .atMost(SOON)
          .untilAsserted(
              () -> {
                assertEquals(State.SILENT, node(dataSource, 4).state());
                assertEquals(
                    "127.0.0.9 is not among allowedHosts: 10.0.0.0/8, pg4",
                    node(dataSource, 4).detail());
              });
      elsewhere.setSoTimeout(10);
      assertThrows(SocketTimeoutException.class, elsewhere::accept);
    }
  }

  @Test
  void aNodeOfAnotherClusterIsIgnored() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));

    n3.systemIdentifier(4242).primary(9);

    await().atMost(SOON).until(() -> node(dataSource, 3).state() == State.FOREIGN);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(0, n3.sessions("app"));
  }

  @Test
  void whoBelongsToAnotherClusterIsNamedInTheLogAndSoIsARebuiltOne() throws Exception {
    FakeServer n4 = new FakeServer(1).systemIdentifier(4242);
    FakeServer n5 = new FakeServer(2).systemIdentifier(4242);
    toClose.addAll(List.of(n4, n5));
    n4.kill();
    Logger logger = (Logger) LoggerFactory.getLogger("io.github.repmgrjdbc");
    ListAppender<ILoggingEvent> log = new ListAppender<>();
    log.list = new CopyOnWriteArrayList<>();
    Level before = logger.getLevel();
    log.start();
    logger.addAppender(log);
    logger.setLevel(Level.INFO);
    logger.setAdditive(false);
    try {
      RepmgrDataSource dataSource = dataSource(n1, n2, n3, n4, n5);
      assertEquals(n1.port(), portOf(dataSource.getConnection()));
      awaitLine(log, n5.address() + ": unknown, foreign, belongs to another database cluster");

      n4.restart();
      awaitLine(log, n4.address() + ": unknown, foreign, belongs to another database cluster");

      Stream.of(n1, n2, n3).forEach(node -> node.systemIdentifier(43));
      awaitLine(log, "it has been rebuilt: its system identifier is 43, and was 42");
    } finally {
      logger.detachAppender(log);
      logger.setLevel(before);
      logger.setAdditive(true);
    }
  }

  private static void awaitLine(ListAppender<ILoggingEvent> log, String part) {
    await(part)
        .atMost(SOON)
        .until(
            () ->
                log.list.stream()
                    .map(ILoggingEvent::getFormattedMessage)
                    .anyMatch(line -> line.contains(part)));
  }

  // ---- failover ------------------------------------------------------------------------------

  @Test
  void whoWaitsGetsTheNewPrimaryAtOnce() throws Exception {
    // Nothing here can come from the steady pace.
    RepmgrDataSource dataSource = dataSource(set("steadyInterval", "60s"), n1, n2, n3);
    Connection old = dataSource.getConnection();
    n1.kill();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());

    long promoted = System.nanoTime();
    n2.primary(2);
    Connection connection = waiting.get(SOON.toSeconds(), SECONDS);
    Duration lag = Duration.ofNanos(System.nanoTime() - promoted);

    assertEquals(n2.port(), portOf(connection));
    assertTrue(lag.compareTo(Duration.ofSeconds(1)) < 0, "it took " + lag);
    assertThrows(SQLException.class, () -> portOf(old));
    assertEquals(new ClusterView.Term(42, 2, 2), dataSource.view().term());
  }

  @Test
  void aSupersededPrimaryLosesItsConnectionsAndGetsNoMore() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    Connection reading = dataSource.getConnection();
    Connection idle = dataSource.getConnection();
    Future<?> blocked = threads.submit(() -> sleepOn(reading));
    await().atMost(SOON).until(() -> n1.sleepers() == 1);

    n2.primary(2);
    n3.standby(2, 2);

    ExecutionException e =
        assertThrows(ExecutionException.class, () -> blocked.get(SOON.toSeconds(), SECONDS));
    assertInstanceOf(SQLException.class, e.getCause());
    await().atMost(SOON).until(() -> n1.sessions("app") == 0);
    assertEquals(2, n1.ends().stream().filter(End.RESET::equals).count());
    assertThrows(SQLException.class, () -> portOf(idle));
    assertEquals(State.SUPERSEDED, node(dataSource, 1).state());
    for (int i = 0; i < 20; i++) {
      assertEquals(n2.port(), portOf(dataSource.getConnection()));
    }
  }

  @Test
  void anOldPrimaryThatReturnsIsNotServed() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    n1.kill();
    n2.primary(2);
    n3.standby(2, 2);
    assertEquals(n2.port(), portOf(dataSource.getConnection()));

    n1.restart();

    await().atMost(SOON).until(() -> node(dataSource, 1).state() == State.SUPERSEDED);
    n2.kill();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    dataSource.setLoginTimeout(1);
    assertThrows(NoSuitableNodeException.class, dataSource::getConnection);
    assertEquals(0, n1.sessions("app"));
  }

  @Test
  void aConnectThatHangsAtTheOldPrimaryIsCutWhenTheTermChanges() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("probeTimeout", "20s"), n1, n2, n3);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    n1.mode(Mode.HANG_IN_LOGIN);
    Future<Connection> hanging = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n1.pendingLogins() == 1);

    n2.primary(2);
    n3.standby(2, 2);

    assertEquals(n2.port(), portOf(hanging.get(SOON.toSeconds(), SECONDS)));
    await().atMost(SOON).until(() -> n1.pendingLogins() == 0);
  }

  @Test
  void aThreadOnAFrozenPrimaryIsFreedWhenItsSuccessorIsKnown() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("probeTimeout", "300ms"), n1, n2, n3);
    Connection connection = dataSource.getConnection();
    n1.mode(Mode.SILENT);
    Future<Integer> blocked = threads.submit(() -> portOf(connection));
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    assertFalse(blocked.isDone(), "a silent primary may come back: nothing is cut yet");

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
    assertThrows(ExecutionException.class, () -> blocked.get(SOON.toSeconds(), SECONDS));
  }

  // ---- verifying -----------------------------------------------------------------------------

  @Test
  void whoIsTheServerThatWasSeenNeedNotSayMore() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(n1.port(), portOf(dataSource.getConnection()));

    assertEquals(0, n1.questions());
  }

  @Test
  void aPrimaryThatHasBeenStartedSinceItWasSeenSaysWhereItIs() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("steadyInterval", "60s"), n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    FakeServer started = new FakeServer(1);
    toClose.add(started);
    n1.leadApplicationsTo(started);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));

    assertEquals(1, n1.questions());
  }

  /** A pooler, say. Who ends the session, or says nothing, costs one connection. */
  @ParameterizedTest
  @EnumSource(names = {"REFUSED", "UNKNOWN", "IGNORED"})
  void whereNoFunctionCanBeCalledAQueryAsks(Calls calls) throws Exception {
    n1.calls(calls);
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    int accepted = n1.accepted();

    assertEquals(n1.port(), portOf(dataSource.getConnection()));

    assertEquals(2, n1.questions());
    assertEquals(1, n1.called());
    assertEquals(accepted + 1, n1.accepted());
  }

  @Test
  void whatIsCutWhileItCallsAFunctionSaysNothingOfFunctions() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    n1.calls(Calls.IGNORED);
    dataSource.setLoginTimeout(1);
    assertThrows(SQLException.class, dataSource::getConnection);

    n1.calls(Calls.ANSWERED);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(0, n1.questions());
  }

  @Test
  void whatIsNotThePrimaryWhenVerifiedIsNotReturned() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    n1.tellApplicationsInRecovery(true);
    dataSource.setLoginTimeout(1);

    SQLException e = assertThrows(NoSuitableNodeException.class, dataSource::getConnection);

    assertContains(e, n1.address() + " is a standby, not the primary on timeline 1");
    await().atMost(SOON).until(() -> n1.sessions("app") == 0);
    n1.tellApplicationsInRecovery(null);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void whatBelongsToAnotherClusterOrTimelineWhenVerifiedIsNotReturned() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("failoverTimeout", "1ms"), n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    FakeServer other = new FakeServer(1).systemIdentifier(43);
    toClose.add(other);
    n1.leadApplicationsTo(other);

    assertContains(
        assertThrows(SQLException.class, dataSource::getConnection),
        n1.address() + " is another database cluster, not the primary on timeline 1");
    other.systemIdentifier(42).primary(2);
    assertContains(
        assertThrows(SQLException.class, dataSource::getConnection),
        n1.address() + " is timeline 2, not the primary on timeline 1");
    other.primary(1);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void aPrimaryWhoseSessionsAreReadOnlyIsServedWithOneWarning() throws Exception {
    n1.readOnly();
    Logger logger = (Logger) LoggerFactory.getLogger(Connector.class);
    ListAppender<ILoggingEvent> log = new ListAppender<>();
    Level before = logger.getLevel();
    log.start();
    logger.addAppender(log);
    logger.setLevel(Level.WARN);
    logger.setAdditive(false);
    try {
      RepmgrDataSource dataSource = dataSource(n1, n2, n3);

      assertEquals(n1.port(), portOf(dataSource.getConnection()));
      assertEquals(n1.port(), portOf(dataSource.getConnection()));

      assertEquals(
          List.of(
              "The primary at "
                  + n1.address()
                  + " gives read-only sessions: see default_transaction_read_only"),
          log.list.stream().map(ILoggingEvent::getFormattedMessage).toList());
    } finally {
      logger.detachAppender(log);
      logger.setLevel(before);
      logger.setAdditive(true);
    }
  }

  @Test
  void aRepmgrThatDoesNotTellUpstreamsIsAskedWithoutThem() throws Exception {
    Stream.of(n1, n2, n3).forEach(n -> n.failQueriesOf("get_upstream_node_id", "42883"));
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals("in recovery", node(dataSource, 2).detail());
    // On the connection that it was refused on, again and again.
    int accepted = n2.accepted();
    await().during(Duration.ofMillis(300)).atMost(SOON).until(() -> n2.accepted() == accepted);
    assertEquals(1, n2.connections());
  }

  @Test
  void refreshingAsksEverybodyNow() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("steadyInterval", "60s"), n1, n2, n3);
    dataSource.getConnection().close();
    await().atMost(SOON).until(() -> node(dataSource, 3).state() == State.UP);
    n3.kill();

    dataSource.refresh();

    await().atMost(SOON).until(() -> node(dataSource, 3).state() == State.SILENT);
  }

  @ParameterizedTest
  @CsvSource({
    "ANSWERED, CLOSE_IN_ANSWER",
    "ANSWERED, RUBBISH_IN_ANSWER",
    "ANSWERED, NEGATIVE_LENGTH",
    "ANSWERED, ABSURD_LENGTH",
    "ANSWERED, WRONG_TYPES",
    "ANSWERED, NULLS",
    "REFUSED, CLOSE_IN_ANSWER",
    "REFUSED, RUBBISH_IN_ANSWER",
    "REFUSED, NEGATIVE_LENGTH",
    "REFUSED, WRONG_TYPES",
    "REFUSED, NO_ROWS"
  })
  void aConnectionThatBreaksWhileItIsVerifiedIsReplaced(Calls calls, Mode mode) throws Exception {
    n1.calls(calls);
    RepmgrDataSource dataSource = dataSource(set("steadyInterval", "60s"), n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    n1.mode(mode);
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    // An application's connection, not a probe's.
    await().atMost(SOON).until(() -> n1.called() + n1.questions() > 0);

    n1.mode(Mode.NORMAL);

    assertEquals(n1.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  // ---- what waiting cures, and what it does not ----------------------------------------------

  @Test
  void aWrongPasswordFailsAtOnce() {
    Stream.of(n1, n2, n3).forEach(node -> node.password("app", "right"));
    RepmgrDataSource dataSource =
        dataSource(set("repmgrUser", "app", "repmgrPassword", "wrong"), n1, n2, n3);

    SQLException e = failsSoon(dataSource);

    assertEquals("28P01", e.getSQLState());
    assertContains(e, "password authentication failed for user \"app\"");
  }

  @Test
  void aWrongPasswordOfTheApplicationAloneFailsAtOnce() {
    Stream.of(n1, n2, n3).forEach(node -> node.password("app", "right"));
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);

    assertEquals("28P01", failsSoon(dataSource).getSQLState());
  }

  @Test
  void aMissingPasswordFailsAtOnce() {
    Stream.of(n1, n2, n3).forEach(node -> node.password("monitor", "right"));
    RepmgrDataSource dataSource = new RepmgrDataSource();
    toClose.add(dataSource);
    dataSource.setUrl("jdbc:repmgr://" + n1.address() + "/app?user=monitor");

    assertContains(failsSoon(dataSource), "no password was provided");
  }

  @Test
  void theConnectionsPasswordIsTheDefaultForTheNodeTablesReader() throws Exception {
    Stream.of(n1, n2, n3).forEach(node -> node.password("monitor", "p").password("app", "p"));
    RepmgrDataSource dataSource = dataSource(set("password", "p"), n1, n2, n3);
    dataSource.setLoginTimeout(2);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void aMissingRightFailsAtOnceAndNamesTheNodes() {
    Stream.of(n1, n2, n3).forEach(node -> node.failQueries("42501"));
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);

    SQLException e = failsSoon(dataSource);

    assertEquals("42501", e.getSQLState());
    assertContains(e, "repmgr.nodes in database repmgr as user monitor");
    assertTrue(
        Stream.of(n1, n2, n3)
            .anyMatch(node -> String.valueOf(e.getMessage()).contains("" + node.address())),
        e.getMessage());
  }

  @Test
  void oneNodeThatRefusesTheLoginDoesNotFailAColdStart() throws Exception {
    n1.mode(Mode.SILENT);
    n2.mode(Mode.SILENT);
    n3.failLogins("28000");
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await()
        .atMost(SOON)
        .until(
            () ->
                dataSource.view().nodes().stream()
                    .anyMatch(node -> node.detail().contains("28000")));

    n1.mode(Mode.NORMAL);
    n2.mode(Mode.NORMAL);

    assertEquals(n1.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  @ParameterizedTest
  @ValueSource(strings = {"53300", "57P03"})
  void aServerThatIsFullOrStartingIsWaitedOut(String sqlState) throws Exception {
    Stream.of(n1, n2, n3).forEach(node -> node.failLogins(sqlState));
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> Stream.of(n1, n2, n3).allMatch(node -> node.accepted() >= 3));
    assertFalse(waiting.isDone());

    Stream.of(n1, n2, n3).forEach(node -> node.failLogins(null));

    assertEquals(n1.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  @ParameterizedTest
  @ValueSource(strings = {"53300", "57P03"})
  void aPrimaryThatHasNoRoomForTheApplicationIsTriedAgain(String sqlState) throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());
    n1.failLogins(sqlState);
    int before = n1.accepted();
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n1.accepted() >= before + 3);
    assertFalse(waiting.isDone());

    n1.failLogins(null);

    assertEquals(n1.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  @Test
  void theShortestFailoverTimeoutStillConnectsToAKnownPrimary() throws Exception {
    RepmgrDataSource dataSource = dataSource(set("failoverTimeout", "1ms"), n1, n2, n3);
    await().atMost(SOON).until(() -> dataSource.view().primary().isPresent());

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  // ---- the user's socket factory -------------------------------------------------------------

  @Test
  void theUsersSocketFactoryMakesEverySocket() throws Exception {
    CountingSocketFactory.created.clear();
    RepmgrDataSource dataSource =
        dataSource(set("socketFactory", CountingSocketFactory.class.getName()), n1, n2, n3);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));

    await().atMost(SOON).until(() -> n2.users().size() + n3.users().size() == 2);
    int accepted = n1.accepted() + n2.accepted() + n3.accepted();
    assertTrue(accepted >= 4, "three probes and a connection, but " + accepted);
    assertEquals(accepted, CountingSocketFactory.created.size());
  }

  @Test
  void socketsOfTheUsersFactoryAreNotKeptOnceTheyAreClosed() throws Exception {
    RepmgrDataSource dataSource =
        dataSource(set("socketFactory", CountingSocketFactory.class.getName()), n1, n2, n3);
    dataSource.getConnection().close();
    await().atMost(SOON).until(() -> n2.users().size() + n3.users().size() == 2);
    CountingSocketFactory.created.clear();
    for (int i = 0; i < 5; i++) {
      dataSource.getConnection().close();
    }
    assertEquals(5, CountingSocketFactory.created.size());

    await()
        .atMost(SOON)
        .until(
            () -> {
              System.gc();
              return CountingSocketFactory.created.stream().allMatch(ref -> ref.get() == null);
            });
  }

  /** Counts the sockets that it makes, and does not keep them. */
  public static final class CountingSocketFactory extends UnconnectedSockets {

    static final List<WeakReference<Socket>> created = new CopyOnWriteArrayList<>();

    @Override
    public Socket createSocket() {
      Socket socket = new Socket();
      created.add(new WeakReference<>(socket));
      return socket;
    }
  }

  // ---- listeners -----------------------------------------------------------------------------

  @Test
  void listenersAreToldEveryChangeInOrderWhateverAnotherOneThrows() throws Exception {
    record Change(ClusterView before, ClusterView after) {}
    List<Change> changes = new CopyOnWriteArrayList<>();
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    dataSource.addListener(
        (before, after) -> {
          throw new IllegalStateException("a listener fails, as this test has it");
        });
    dataSource.addListener((before, after) -> changes.add(new Change(before, after)));
    dataSource.getConnection().close();
    n1.kill();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    n2.primary(2);
    dataSource.getConnection().close();

    await()
        .atMost(SOON)
        .until(
            () ->
                !changes.isEmpty()
                    && changes.get(changes.size() - 1).after().epoch()
                        == dataSource.view().epoch());
    assertEquals(0, changes.get(0).before().epoch());
    for (int i = 0; i < changes.size(); i++) {
      Change change = changes.get(i);
      assertEquals(change.before().epoch() + 1, change.after().epoch());
      assertTrue(i == 0 || changes.get(i - 1).after().epoch() == change.before().epoch());
      assertFalse(change.after().reason().isBlank());
    }
    assertEquals(
        List.of(1, 2),
        changes.stream()
            .flatMap(change -> change.after().primary().stream())
            .map(ClusterView.Node::id)
            .distinct()
            .toList());
  }

  // ---- the end -------------------------------------------------------------------------------

  @Test
  void whoWaitsWhenItIsClosedIsToldAtOnce() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    dataSource.getConnection().close();
    n1.kill();
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    // It waits: a connection is opened ahead for it.
    await().atMost(SOON).until(() -> n2.sessions("app") == 1);

    dataSource.close();

    ExecutionException e =
        assertThrows(ExecutionException.class, () -> waiting.get(SOON.toSeconds(), SECONDS));
    assertTrue(String.valueOf(e.getCause()).contains("closed"), e.toString());
  }

  @Test
  void closeLeavesNoThreadAndNoSession() throws Exception {
    RepmgrDataSource dataSource = dataSource(n1, n2, n3);
    Connection connection = dataSource.getConnection();
    await().atMost(SOON).until(() -> n2.users().size() + n3.users().size() == 2);
    assertFalse(newDriverThreads().isEmpty());

    dataSource.close();

    awaitEndOfDriverThreads();
    await().atMost(SOON).until(() -> n1.connections() + n2.connections() + n3.connections() == 0);
    assertThrows(SQLException.class, () -> portOf(connection));
  }

  @Test
  void fiftyDataSourcesOpenedAndClosedLeaveNothing() throws Exception {
    for (int i = 0; i < 50; i++) {
      try (RepmgrDataSource dataSource = dataSource(n1, n2, n3)) {
        assertEquals(n1.port(), portOf(dataSource.getConnection()));
      }
    }

    awaitEndOfDriverThreads();
    await().atMost(SOON).until(() -> n1.connections() + n2.connections() + n3.connections() == 0);
  }

  // ---- secrets -------------------------------------------------------------------------------

  @Test
  void noPasswordIsInAnyLogLineOrMessage() throws Exception {
    String secret = "s3cr3tPhrase";
    Logger root = (Logger) LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME);
    Level level = root.getLevel();
    ListAppender<ILoggingEvent> log = new ListAppender<>();
    log.start();
    root.setLevel(Level.TRACE);
    root.addAppender(log);
    List<Throwable> thrown = new ArrayList<>();
    try {
      Stream.of(n1, n2, n3)
          .forEach(node -> node.password("app", secret).password("monitor", secret + "2"));
      RepmgrDataSource right =
          dataSource(set("password", secret, "repmgrPassword", secret + "2"), n1, n2, n3);
      right.getConnection().close();
      thrown.add(assertThrows(SQLException.class, () -> right.getConnection("app", secret + "3")));
      n1.kill();
      right.setLoginTimeout(1);
      thrown.add(assertThrows(SQLException.class, right::getConnection));
      right.close();
      thrown.add(assertThrows(SQLException.class, right::getConnection));
      RepmgrDataSource wrong =
          dataSource(set("password", secret + "4", "repmgrPassword", secret + "5"), n2, n3);
      thrown.add(assertThrows(SQLException.class, wrong::getConnection));
      assertFalse((right + " " + wrong).contains(secret));
    } finally {
      root.detachAppender(log);
      root.setLevel(level);
    }

    assertFalse(log.list.isEmpty());
    for (ILoggingEvent event : List.copyOf(log.list)) {
      String line =
          event.getFormattedMessage() + ThrowableProxyUtil.asString(event.getThrowableProxy());
      assertFalse(line.contains(secret), line);
    }
    for (Throwable e : thrown) {
      StringWriter text = new StringWriter();
      e.printStackTrace(new PrintWriter(text));
      assertFalse(text.toString().contains(secret), text.toString());
    }
  }

  // ---- helpers -------------------------------------------------------------------------------

  private static String[] set(String... namesAndValues) {
    return namesAndValues;
  }

  private RepmgrDataSource dataSource(FakeServer... seeds) {
    return dataSource(set(), seeds);
  }

  private RepmgrDataSource dataSource(String[] namesAndValues, FakeServer... seeds) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setHosts(
        Arrays.stream(seeds).map(seed -> "" + seed.address()).collect(Collectors.joining(",")));
    dataSource.setDatabaseName("app");
    dataSource.setUser("app");
    dataSource.setPassword("wrong, where it matters");
    dataSource.setRepmgrUser("monitor");
    dataSource.setHuntInterval("10ms");
    dataSource.setSteadyInterval("100ms");
    dataSource.setProbeTimeout("2s");
    dataSource.setFailoverTimeout("20s");
    for (int i = 0; i < namesAndValues.length; i += 2) {
      dataSource.setProperty(namesAndValues[i], namesAndValues[i + 1]);
    }
    toClose.add(dataSource);
    return dataSource;
  }

  private static int portOf(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("select inet_server_port()")) {
      row.next();
      return row.getInt(1);
    }
  }

  private static boolean sleepOn(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      return statement.execute("select pg_sleep(1000)");
    }
  }

  private static SQLException failsSoon(RepmgrDataSource dataSource) {
    Callable<Connection> call = dataSource::getConnection;
    return assertTimeoutPreemptively(
        SOON, () -> assertThrows(SQLException.class, () -> call.call()));
  }

  private static ClusterView.Node node(RepmgrDataSource dataSource, int id) throws SQLException {
    return dataSource.view().nodes().stream()
        .filter(node -> node.id() == id)
        .findFirst()
        .orElseThrow();
  }

  private static void assertContains(Throwable e, String part) {
    assertTrue(String.valueOf(e.getMessage()).contains(part), e.getMessage());
  }

  private static int closedPort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  private void awaitEndOfDriverThreads() {
    await()
        .atMost(SOON)
        .untilAsserted(
            () ->
                assertEquals(
                    List.of(),
                    newDriverThreads().stream()
                        .map(thread -> thread + " at " + Arrays.toString(thread.getStackTrace()))
                        .toList()));
  }

  private Set<Thread> newDriverThreads() {
    return driverThreads().stream()
        .filter(thread -> !threadsBefore.contains(thread))
        .collect(Collectors.toSet());
  }

  /** Without those of RepmgrDriverTest's database: what a driver shares outlives its tests. */
  private static Set<Thread> driverThreads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith("repmgr-jdbc"))
        .filter(thread -> !thread.getName().startsWith("repmgr-jdbc driver-test"))
        .collect(Collectors.toSet());
  }
}
