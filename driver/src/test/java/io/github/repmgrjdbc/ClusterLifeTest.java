package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.FakeServer.Row;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.core.ConditionFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What happens to a cluster in the course of years, under an application that goes on. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ClusterLifeTest {

  private static final Duration SOON = Duration.ofSeconds(4);
  private static final String DATABASE = "life-test";

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

  @BeforeEach
  void introduce() {
    FakeServer.introduce(1, n1, n2, n3);
  }

  @AfterEach
  void closeAll() throws Exception {
    threads.shutdownNow();
    for (int i = toClose.size() - 1; i >= 0; i--) {
      toClose.get(i).close();
    }
  }

  // ---- members come, go and move -------------------------------------------------------------

  @Test
  void aNodeThatIsAddedIsFoundAndMayBecomeThePrimary() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2);
    dataSource.getConnection().close();

    FakeServer n4 = started(new FakeServer(4).standby(1, 1));
    FakeServer.introduce(1, n1, n2, n3, n4);

    soon().until(() -> isUp(dataSource, 4));
    n1.kill();
    soon().until(() -> dataSource.view().primary().isEmpty());
    n4.primary(2);
    assertEquals(n4.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void aNodeThatIsRemovedIsLeftAlone() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2);
    dataSource.getConnection().close();
    soon().until(() -> isUp(dataSource, 3));

    FakeServer.introduce(1, n1, n2);

    soon().until(() -> n3.connections() == 0);
    assertEquals(List.of(1, 2), dataSource.view().nodes().stream().map(Node::id).toList());
    n3.primary(9);
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void aNodeThatIsRenamedIsTheSameNode() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2, n3);
    Connection connection = dataSource.getConnection();
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));
    int accepted = n1.accepted() + n2.accepted() + n3.accepted();

    tell(
        List.of(
            new Row(1, "berlin", "primary", true, 0, n1.conninfo()),
            new Row(2, "paris", "standby", true, 1, n2.conninfo()),
            new Row(3, "rome", "standby", true, 1, n3.conninfo())),
        n1,
        n2,
        n3);

    soon()
        .until(
            () ->
                dataSource.view().nodes().stream()
                    .map(Node::name)
                    .toList()
                    .equals(List.of("berlin", "paris", "rome")));
    assertEquals(n1.port(), portOf(connection));
    assertEquals(accepted, n1.accepted() + n2.accepted() + n3.accepted());
  }

  @Test
  void aStandbyThatMovesIsFoundAtItsNewAddress() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n3);
    dataSource.getConnection().close();
    soon().until(() -> isUp(dataSource, 2));

    n2.kill();
    FakeServer moved = started(new FakeServer(2).standby(1, 1));
    FakeServer.introduce(1, n1, moved, n3);

    soon()
        .until(() -> isUp(dataSource, 2) && moved.address().equals(node(dataSource, 2).address()));
    n1.kill();
    moved.primary(2);
    n3.standby(2, 2);
    assertEquals(moved.port(), portOf(dataSource.getConnection()));
  }

  /** Its own copy, the last one that ruled, has the old address; the standbys' have the new one. */
  @Test
  void aPrimaryThatMovesIsFoundAtItsNewAddress() throws Exception {
    RepmgrDataSource dataSource = dataSource("failoverTimeout=4s", n2, n3);
    dataSource.getConnection().close();

    n1.kill();
    soon().until(() -> dataSource.view().primary().isEmpty());
    FakeServer moved = started(new FakeServer(1));
    FakeServer.introduce(1, moved, n2, n3);

    assertEquals(moved.port(), portOf(dataSource.getConnection()));
  }

  /** n3's replication is broken, and so its copy will never have the primary's new address. */
  @Test
  void anOldCopyDoesNotLeadAwayFromAPrimaryThatMissedAProbe() throws Exception {
    n1.kill();
    n3.kill();
    FakeServer moved = started(new FakeServer(1));
    FakeServer.introduce(1, moved, n2, n3);
    n3.table(
        List.of(
            new FakeServer.Row(1, "n1", "primary", true, 0, n1.conninfo()),
            new FakeServer.Row(2, "n2", "standby", true, 1, n2.conninfo()),
            new FakeServer.Row(3, "n3", "standby", true, 1, n3.conninfo())));
    RepmgrDataSource dataSource = dataSource("failoverTimeout=4s", n2, n3);
    assertEquals(moved.port(), portOf(dataSource.getConnection()));
    n3.restart();
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));

    moved.mode(FakeServer.Mode.SILENT);
    soon().until(() -> dataSource.view().primary().isEmpty());
    moved.mode(FakeServer.Mode.NORMAL);

    assertEquals(moved.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void twoStandbysMaySwapTheirAddresses() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2, n3);
    dataSource.getConnection().close();
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));

    Stream.of(n2, n3).forEach(FakeServer::endSessions);
    n2.nodeId(3);
    n3.nodeId(2);
    FakeServer.introduce(1, n1, n3, n2);

    soon()
        .until(
            () ->
                isUp(dataSource, 2)
                    && isUp(dataSource, 3)
                    && n3.address().equals(node(dataSource, 2).address())
                    && n2.address().equals(node(dataSource, 3).address()));
    n1.kill();
    n3.primary(2);
    n2.standby(2, 2);
    assertEquals(n3.port(), portOf(dataSource.getConnection()));
    assertEquals(new Term(42, 2, 2), dataSource.view().term());
  }

  @Test
  void thePrimaryMaySwapItsAddressWithAStandby() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2, n3);
    dataSource.getConnection().close();

    Stream.of(n1, n2).forEach(FakeServer::kill);
    soon().until(() -> dataSource.view().primary().isEmpty());
    n1.nodeId(2).standby(1, 1);
    n2.nodeId(1).primary(1);
    FakeServer.introduce(1, n2, n1, n3);
    Stream.of(n1, n2).forEach(FakeServer::restart);

    assertEquals(n2.port(), portOf(dataSource.getConnection()));
    soon().until(() -> isUp(dataSource, 2));
    assertEquals(n1.address(), node(dataSource, 2).address());
  }

  @Test
  void theApplicationGoesOnWhenAllSeedsHaveBeenReplaced() throws Exception {
    RepmgrDataSource dataSource = dataSource("", n1, n2, n3);
    dataSource.getConnection().close();
    FakeServer n4 = started(new FakeServer(4).standby(1, 1));
    FakeServer n5 = started(new FakeServer(5).standby(1, 1));
    List<SQLException> failures = new CopyOnWriteArrayList<>();
    AtomicInteger connected = new AtomicInteger();
    AtomicBoolean enough = new AtomicBoolean();
    Future<?> application =
        threads.submit(
            () -> {
              while (!enough.get()) {
                try {
                  dataSource.getConnection().close();
                  connected.incrementAndGet();
                } catch (SQLException e) {
                  failures.add(e);
                }
              }
            });

    FakeServer.introduce(1, n1, n2, n3, n4, n5);
    soon().until(() -> isUp(dataSource, 4) && isUp(dataSource, 5));
    n1.kill();
    n4.primary(2);
    n5.standby(4, 2);
    soon().until(() -> new Term(42, 2, 4).equals(dataSource.view().term()));
    n2.kill();
    n3.kill();
    FakeServer.introduce(4, n4, n5);
    soon()
        .until(
            () ->
                dataSource.view().nodes().stream()
                    .filter(node -> node.id() > 0)
                    .map(Node::id)
                    .toList()
                    .equals(List.of(4, 5)));
    n4.kill();
    soon().until(() -> dataSource.view().primary().isEmpty());
    n5.primary(3);
    soon().until(() -> new Term(42, 3, 5).equals(dataSource.view().term()));
    int before = connected.get();
    soon().until(() -> connected.get() > before);

    enough.set(true);
    application.get(SOON.toSeconds(), SECONDS);
    assertEquals(List.of(), failures);
    assertEquals(n5.port(), portOf(dataSource.getConnection()));
  }

  // ---- nobody is there -----------------------------------------------------------------------

  @Test
  void whileAllAreDownTheErrorNamesThemAllAndThePrimarysReturnIsSeenAtOnce() throws Exception {
    // Nothing here can come from the steady pace.
    RepmgrDataSource dataSource = dataSource("steadyInterval=60s&huntInterval=20ms", n1, n2, n3);
    dataSource.getConnection().close();
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));

    Stream.of(n1, n2, n3).forEach(FakeServer::kill);

    soon().until(() -> dataSource.view().nodes().stream().noneMatch(n -> n.state() == State.UP));
    dataSource.setLoginTimeout(1);
    String message =
        String.valueOf(
            assertThrows(NoSuitableNodeException.class, dataSource::getConnection).getMessage());
    for (FakeServer node : List.of(n1, n2, n3)) {
      String part = "n" + node.nodeId() + " at " + node.address() + ": Connection refused";
      assertTrue(message.contains(part), "no '" + part + "' in: " + message);
    }
    dataSource.setLoginTimeout(0);
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    long start = System.nanoTime();
    n1.restart();
    assertEquals(n1.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
    Duration took = Duration.ofNanos(System.nanoTime() - start);
    // Far from the steady pace; how near to the hunting one, TopologyMonitorTest knows.
    assertTrue(took.compareTo(SOON) < 0, "it took " + took);
  }

  @Test
  void whileAllAreDownNothingGrowsHoweverManyWait() throws Exception {
    RepmgrDataSource dataSource = dataSource("huntInterval=20ms&failoverTimeout=20s", n1, n2, n3);
    dataSource.getConnection().close();
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));
    n2.kill();
    n3.kill();
    n1.mode(FakeServer.Mode.CLOSE_AT_ONCE).endSessions();
    List<Future<Connection>> waiting = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      waiting.add(threads.submit(() -> dataSource.getConnection()));
    }
    soon().until(() -> dataSource.view().primary().isEmpty());
    // Those that had begun to connect have been refused.
    int settled = n1.accepted();
    soon().until(() -> n1.accepted() > settled + 20);

    int before = n1.accepted();
    long start = System.nanoTime();
    AtomicInteger mostThreads = new AtomicInteger();
    soon()
        .until(
            () -> {
              mostThreads.accumulateAndGet(driverThreads(), Math::max);
              return n1.accepted() >= before + 30;
            });
    Duration took = Duration.ofNanos(System.nanoTime() - start);

    // One probe asks every 16 to 20 ms, and no waiter does.
    assertTrue(took.compareTo(Duration.ofMillis(400)) > 0, "30 questions in " + took);
    // The monitor, the listeners', and for each node a question and a cut.
    assertTrue(mostThreads.get() <= 8, mostThreads + " threads");
    assertEquals(0, n1.connections());
    assertEquals(3, dataSource.view().nodes().size());
    assertTrue(waiting.stream().noneMatch(Future::isDone));
    n1.mode(FakeServer.Mode.NORMAL);
    for (Future<Connection> connection : waiting) {
      assertEquals(n1.port(), portOf(connection.get(SOON.toSeconds(), SECONDS)));
    }
  }

  // ---- another cluster under the same addresses ----------------------------------------------

  @Test
  void aRebuiltClusterIsAcceptedByItself() throws Exception {
    RepmgrDataSource dataSource = servedOnTimeline(3, "", n1, n2, n3);

    Stream.of(n1, n2, n3).forEach(FakeServer::kill);
    n1.systemIdentifier(77).primary(1);
    n2.systemIdentifier(77).standby(1, 1);
    n3.systemIdentifier(77).standby(1, 1);
    Stream.of(n1, n2, n3).forEach(FakeServer::restart);

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(new Term(77, 1, 1), dataSource.view().term());
  }

  @Test
  void aRestoredClusterIsAcceptedByItself() throws Exception {
    RepmgrDataSource dataSource = servedOnTimeline(3, "", n1, n2, n3);

    restore(n1, n2, n3);
    Stream.of(n1, n2, n3).forEach(FakeServer::restart);

    soon().until(() -> new Term(42, 1, 1).equals(dataSource.view().term()));
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  /** The one that is missing may be the true primary, cut off. */
  @ParameterizedTest
  @ValueSource(longs = {42, 77})
  void whileADataNodeIsMissingOnlyForgettingHelps(long identifier) throws Exception {
    RepmgrDataSource dataSource = servedOnTimeline(3, "failoverTimeout=1s", n1, n2, n3);

    restore(n1, n2, n3);
    Stream.of(n1, n2, n3).forEach(node -> node.systemIdentifier(identifier));
    Stream.of(n1, n2).forEach(FakeServer::restart);

    assertThrows(NoSuitableNodeException.class, dataSource::getConnection);
    assertEquals(new Term(42, 3, 1), dataSource.view().term());
    assertEquals(0, n1.sessions(DATABASE));
    dataSource.forget();
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(new Term(identifier, 1, 1), dataSource.view().term());
  }

  private RepmgrDataSource servedOnTimeline(int timeline, String parameters, FakeServer... nodes)
      throws SQLException {
    n1.primary(timeline);
    Stream.of(n2, n3).forEach(node -> node.standby(1, timeline));
    RepmgrDataSource dataSource = dataSource(parameters, nodes);
    dataSource.getConnection().close();
    assertEquals(new Term(42, timeline, 1), dataSource.view().term());
    soon().until(() -> isUp(dataSource, 2) && isUp(dataSource, 3));
    return dataSource;
  }

  /** All are down, with a backup's data. */
  private static void restore(FakeServer primary, FakeServer... standbys) {
    primary.kill();
    primary.primary(1);
    for (FakeServer standby : standbys) {
      standby.kill();
      standby.standby(primary.nodeId(), 1);
    }
  }

  // ---- helpers -------------------------------------------------------------------------------

  private RepmgrDataSource dataSource(String parameters, FakeServer... seeds) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    String hosts =
        Arrays.stream(seeds).map(seed -> "" + seed.address()).collect(Collectors.joining(","));
    List<String> all =
        new ArrayList<>(List.of("user=app", "repmgrUser=monitor", "probeTimeout=1s"));
    for (String defaulted : List.of("huntInterval=10ms", "steadyInterval=100ms")) {
      if (!parameters.contains(defaulted.substring(0, 8))) {
        all.add(defaulted);
      }
    }
    if (!parameters.isEmpty()) {
      all.add(parameters);
    }
    dataSource.setUrl("jdbc:repmgr://" + hosts + "/" + DATABASE + "?" + String.join("&", all));
    toClose.add(dataSource);
    return dataSource;
  }

  private FakeServer started(FakeServer server) {
    toClose.add(0, server);
    return server;
  }

  private static void tell(List<Row> table, FakeServer... nodes) {
    for (FakeServer node : nodes) {
      node.table(table);
    }
  }

  private static boolean isUp(RepmgrDataSource dataSource, int id) throws SQLException {
    return dataSource.view().nodes().stream()
        .anyMatch(node -> node.id() == id && node.state() == State.UP);
  }

  private static Node node(RepmgrDataSource dataSource, int id) throws SQLException {
    return dataSource.view().nodes().stream()
        .filter(node -> node.id() == id)
        .findFirst()
        .orElseThrow();
  }

  private static int driverThreads() {
    return (int)
        Thread.getAllStackTraces().keySet().stream()
            .filter(thread -> thread.getName().startsWith("repmgr-jdbc " + DATABASE))
            .count();
  }

  private static ConditionFactory soon() {
    return await().atMost(SOON).pollInterval(Duration.ofMillis(10));
  }

  private static int portOf(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("select inet_server_port()")) {
      row.next();
      return row.getInt(1);
    }
  }
}
