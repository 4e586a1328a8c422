package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Nodes that are stopped: a primary hands over first, and whoever leaves is not counted on. */
class LeaveIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(90);

  /** What docker stop leaves a container, unless it is told otherwise. */
  private static final Duration GRACE_PERIOD = Duration.ofSeconds(10);

  /** After that a node resumes its repmgrd, whoever has paused it for a hand-over. */
  private static final Duration PAUSE = Duration.ofSeconds(15);

  /** HikariCP tests a connection that it lends, unless it was used so many milliseconds ago. */
  private static final String BYPASS = "com.zaxxer.hikari.aliveBypassWindowMs";

  /** repmgrd counts who has left, and elects nobody; 10 s later the node itself does. */
  private static final Duration LAST_ONE = Duration.ofSeconds(20);

  /** A thread for each, however many cores there are. */
  private static final Executor AT_ONCE = task -> new Thread(task, "at once").start();

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();

  private static RepmgrCluster shared;

  @BeforeAll
  static void start() {
    shared = CLUSTERS.startShared();
  }

  /**
   * Replication is asynchronous here, and yet nothing is lost. Sessions end between two
   * transactions: a pool that tests each connection that it lends notices, and its application does
   * not; one that does not, as HikariCP within half a second of the last use, lends each dead one
   * once.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aPrimaryThatIsStoppedHandsOver(boolean tested) throws SQLException {
    RepmgrNode old = shared.awaitHealthy(HEALTH_TIMEOUT);
    int logged = old.logs().length();
    Writers writers;
    try (Application application = stopped(tested)) {
      writers = application.writers();
      awaitRows(writers, old);
      long began = System.nanoTime();
      old.stop();
      Duration took = Duration.ofNanos(System.nanoTime() - began);
      System.out.printf("leave: handed over and stopped after %d ms%n", took.toMillis());
      assertTrue(took.compareTo(GRACE_PERIOD) < 0, "docker stop would have killed it: " + took);
      String log = old.logs().substring(logged);
      assertTrue(log.contains("has taken over, after"), log);
      assertEquals(0, old.exitCode());
      awaitRows(writers, shared.awaitPrimary(TIMEOUT, old));
    }
    for (RepmgrNode node : old.others()) {
      assertEquals("f", ask(node, "SELECT repmgr.repmgrd_is_paused()"), node + " is paused");
    }
    old.start();
    Writers.Audit audit = audit(writers, shared.awaitHealthy(HEALTH_TIMEOUT));
    System.out.printf("leave: %s; errors %s%n", audit, writers.errors());
    assertEquals(Map.of(), audit.missing());
    int errors = writers.errors().values().stream().mapToInt(Integer::intValue).sum();
    assertTrue(
        errors <= (tested ? 0 : PoolKind.POOL_SIZE),
        () -> writers.errors() + ", as " + writers.lastError());
  }

  private static Application stopped(boolean tested) throws SQLException {
    if (tested) {
      System.setProperty(BYPASS, "-1");
    }
    try {
      return new Application(
          PoolKind.DATA_SOURCE, shared.directJdbcUrl(), "stopped " + System.nanoTime());
    } finally {
      System.clearProperty(BYPASS);
    }
  }

  @Test
  void aCrashInTheMiddleLeavesNothingPaused() {
    RepmgrNode old = shared.awaitHealthy(HEALTH_TIMEOUT);
    Thread stop = new Thread(old::stop, "docker stop");
    stop.start();
    await("both to be paused")
        .pollInSameThread()
        .pollInterval(Duration.ofMillis(1))
        .until(() -> old.others().stream().allMatch(LeaveIT::isPaused));
    old.kill();
    shared.awaitPrimary(TIMEOUT, old);
    await("nobody to be paused")
        .atMost(PAUSE.plusSeconds(10))
        .until(() -> old.others().stream().noneMatch(LeaveIT::isPaused));
    old.start();
    shared.awaitHealthy(HEALTH_TIMEOUT);
  }

  /**
   * Who has paused repmgrd wants no failover, not by a stop either. The primary is not the first in
   * line here: of those that have as much, it leads on.
   */
  @Test
  void aPauseByHandIsRespected() throws SQLException {
    RepmgrNode primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    if (ask(primary, "SELECT min(node_id) = repmgr.get_local_node_id() FROM repmgr.nodes")
        .equals("t")) {
      primary.stop();
      primary.start();
      primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    }
    int logged = primary.logs().length();
    primary.exec("repmgr", "-f", "/etc/repmgr.conf", "service", "pause").orThrow();
    primary.stop();
    String log = primary.logs().substring(logged);
    assertFalse(log.contains("handing over"), "it has handed over all the same");
    for (RepmgrNode node : primary.others()) {
      assertTrue(isPaused(node), node + " has been resumed");
    }
    primary.start();
    assertEquals(primary, shared.awaitPrimary(TIMEOUT));
    primary.exec("repmgr", "-f", "/etc/repmgr.conf", "service", "unpause").orThrow();
    shared.awaitHealthy(HEALTH_TIMEOUT);
  }

  /** Of the two that count then, one is dead, and nobody but it was the primary. */
  @Test
  void onceAnotherHasLeftTheLastOneLeads() throws SQLException {
    RepmgrNode primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    RepmgrNode left = shared.standbys().get(0);
    RepmgrNode last = shared.standbys().get(1);
    left.stop();
    await("its leave to arrive")
        .until(() -> ask(last, "SELECT count(*) FROM public.nodes_away"), "1"::equals);
    long killed = System.nanoTime();
    primary.kill();
    assertEquals(last, shared.awaitPrimary(LAST_ONE, primary));
    System.out.printf(
        "leave: the last one leads after %.1f s%n", (System.nanoTime() - killed) / 1e9);
    primary.start();
    left.start();
    shared.awaitHealthy(HEALTH_TIMEOUT);
  }

  /** A pair only by a leave: neither can tell a cut from the other one's death. */
  @Test
  void onceAnotherHasLeftACutPromotesNobody() throws SQLException {
    Clusters.assumeAsynchronous(shared);
    RepmgrNode left = shared.awaitHealthy(HEALTH_TIMEOUT);
    left.stop();
    RepmgrNode primary = shared.awaitPrimary(TIMEOUT, left);
    RepmgrNode standby = shared.standbys().get(0);
    int logged = standby.logs().length();
    try (Application application =
        new Application(PoolKind.DATA_SOURCE, shared.directJdbcUrl(), "cut")) {
      awaitRows(application.writers(), primary);
      standby.cutOffFrom(primary);
      await("it to say why it does not lead")
          .atMost(TIMEOUT)
          .until(() -> standby.logs().substring(logged).contains("there is no third node to ask"));
      // Also not by itself, which it tries 10 s after it has lost the primary.
      await("nobody to be promoted")
          .during(Duration.ofSeconds(7))
          .atMost(Duration.ofSeconds(12))
          .until(() -> shared.standbys().equals(List.of(standby)));
      awaitRows(application.writers(), primary);
    } finally {
      standby.reconnect();
    }
    left.start();
    assertEquals(primary, shared.awaitHealthy(HEALTH_TIMEOUT));
  }

  /** As when a host is shut down, or a whole composition is: nobody is left to hand over to. */
  @Test
  void allAreStoppedAtOnceAndComeBack() throws SQLException {
    RepmgrNode primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    RepmgrNode after;
    Writers writers;
    try (Application application =
        new Application(PoolKind.DATA_SOURCE, shared.directJdbcUrl(), "at once")) {
      writers = application.writers();
      awaitRows(writers, primary);
      atOnce(RepmgrNode::stop);
      for (RepmgrNode node : shared.nodes()) {
        assertEquals(0, node.exitCode(), node + " did not end by itself");
      }
      atOnce(RepmgrNode::start);
      after = shared.awaitHealthy(HEALTH_TIMEOUT);
      awaitRows(writers, after);
    }
    Writers.Audit audit = audit(writers, after);
    System.out.printf("leave: all at once: %s%n", audit);
    assertEquals(Map.of(), audit.missing());
  }

  private static void atOnce(Consumer<RepmgrNode> what) {
    CompletableFuture.allOf(
            shared.nodes().stream()
                .map(node -> CompletableFuture.runAsync(() -> what.accept(node), AT_ONCE))
                .toArray(CompletableFuture<?>[]::new))
        .join();
  }

  /** Two of three have left: the last one goes on, and only it may begin again. */
  @Test
  void theLastOneServesAndOthersDoNotForgetIt() throws SQLException {
    RepmgrCluster cluster =
        CLUSTERS.start(RepmgrCluster.builder().environment("SYNC_MODE", "quorum"));
    RepmgrNode last = cluster.awaitHealthy(HEALTH_TIMEOUT);
    List<RepmgrNode> others = last.others();
    Writers writers;
    try (Application application =
        new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl(), "last")) {
      writers = application.writers();
      awaitRows(writers, last);
      others.forEach(RepmgrNode::stop);
      awaitRows(writers, last);
    }
    last.stop();

    int logged = others.get(0).logs().length();
    others.forEach(RepmgrNode::start);
    await("it to say why it does not lead")
        .atMost(TIMEOUT)
        .until(() -> others.get(0).logs().substring(logged).contains("this node took its leave"));
    await("nobody to lead")
        .during(Duration.ofSeconds(15))
        .atMost(Duration.ofSeconds(20))
        .until(() -> cluster.standbys().size() == 2);
    last.start();
    RepmgrNode after = cluster.awaitHealthy(HEALTH_TIMEOUT);
    Writers.Audit audit = audit(writers, after);
    System.out.printf("leave: the last one: %s%n", audit);
    assertEquals(last, after);
    assertEquals(Map.of(), audit.missing());
  }

  private static void awaitRows(Writers writers, RepmgrNode node) {
    String address = node.containerAddress().host();
    long before = writers.acknowledgedBy(address);
    await("rows on " + node)
        .atMost(TIMEOUT)
        .until(() -> writers.acknowledgedBy(address) > before + 200);
  }

  private static boolean isPaused(RepmgrNode node) {
    try {
      return ask(node, "SELECT repmgr.repmgrd_is_paused()").equals("t");
    } catch (SQLException e) {
      return false;
    }
  }

  private static String ask(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("repmgr");
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return row.getString(1);
    }
  }

  private static Writers.Audit audit(Writers writers, RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("app")) {
      return writers.audit(connection);
    }
  }
}
