package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** All nodes are gone, and come back one by one: what was acknowledged is there again. */
class RestartIT {

  private static final Duration PROMOTION_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(90);

  /** The image waits so long for a node that may have more; the third must be back before that. */
  private static final Duration GRACE = Duration.ofSeconds(10);

  /** What the image does by itself where nobody is primary, it does within that time. */
  private static final Duration ALONE = Duration.ofSeconds(20);

  /** As soon as it begins. */
  private static final String STOP_RECOVERY =
      "until pkill -STOP -f '^postgres: startup'; do sleep 0.01; done";

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();

  private static RepmgrCluster shared;

  @BeforeAll
  static void start() {
    shared = CLUSTERS.startShared();
  }

  /** P is the primary. The others' order differs only if they have replayed differently far. */
  @ParameterizedTest
  @ValueSource(strings = {"P12", "12P"})
  void allNodesAreKilledAndComeBack(String order) throws SQLException {
    killAllAndStart(shared, order);
  }

  @Tag("slow")
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void allNodesAreKilledAndComeBackInEveryOrder(boolean quorum) throws SQLException {
    RepmgrCluster cluster = quorum ? CLUSTERS.start(quorum()) : shared;
    for (String order : List.of("P12", "P21", "1P2", "2P1", "12P", "21P")) {
      killAllAndStart(cluster, order);
    }
  }

  private static void killAllAndStart(RepmgrCluster cluster, String order) throws SQLException {
    RepmgrNode primary = cluster.awaitHealthy(HEALTH_TIMEOUT);
    List<RepmgrNode> standbys = cluster.standbys();
    List<RepmgrNode> inOrder =
        order
            .chars()
            .mapToObj(c -> c == 'P' ? primary : standbys.get(Character.digit(c, 10) - 1))
            .toList();
    String run = order + " " + System.nanoTime();
    Writers writers;
    RepmgrNode after;
    try (Application application = application(cluster, run)) {
      writers = application.writers();
      awaitRows(application);
      atOnce(cluster.nodes(), RepmgrNode::kill);

      inOrder.get(0).start();
      inOrder.get(1).start();
      long majority = System.nanoTime();
      inOrder.get(2).start();
      Duration late = Duration.ofNanos(System.nanoTime() - majority);
      assertTrue(late.compareTo(GRACE) < 0, "the third came too late to be waited for: " + late);
      after = cluster.awaitHealthy(HEALTH_TIMEOUT);
      awaitRows(application);
    }
    Writers.Audit audit = audit(writers, after);
    System.out.printf(
        "restart: %s %s: %s was primary, then %s; %s%n",
        order, cluster.environment(), primary, after, audit);
    assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
  }

  /**
   * PostgreSQL refuses to start beside one that is empty, as beside one whose process id somebody
   * else has: ids begin anew with each start of a container.
   */
  @Test
  void lockFilesOfBeforeAreNoObstacle() {
    shared.awaitHealthy(HEALTH_TIMEOUT);
    RepmgrNode node = shared.standbys().get(0);
    for (String file :
        List.of("/var/lib/postgresql/data/postmaster.pid", "/run/postgresql/.s.PGSQL.5432.lock")) {
      node.exec("truncate", "--no-create", "--size=0", file).orThrow();
    }
    node.kill();
    node.start();
    shared.awaitHealthy(HEALTH_TIMEOUT);
  }

  /** Only the old primary has the last rows, and it takes its time to read what it wrote. */
  @Test
  void whoIsInALongRecoveryIsWaitedFor() throws SQLException {
    Clusters.assumeAsynchronous(shared);
    RepmgrNode primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    List<RepmgrNode> standbys = shared.standbys();
    RepmgrNode first = standbys.get(0);
    Writers writers;
    RepmgrNode after;
    try (Application application = application(shared, "recovery")) {
      writers = application.writers();
      awaitRows(application);
      try (Connection connection = primary.connect("app");
          Statement statement = connection.createStatement()) {
        // Enough for its recovery to be met under way.
        statement.execute(
            "CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)");
      }
      primary.cutOffFrom(standbys.toArray(RepmgrNode[]::new));
      long before = writers.acknowledged();
      await("rows that only it has").until(() -> writers.acknowledged() > before + 20);
      atOnce(shared.nodes(), RepmgrNode::kill);

      int logged = first.logs().length();
      primary.startContainer();
      primary.exec("timeout", "30", "sh", "-c", STOP_RECOVERY).orThrow();
      atOnce(standbys, RepmgrNode::start);
      await("the others to say that they wait for it")
          .atMost(ALONE)
          .until(() -> first.logs().substring(logged).contains("waiting 300 s for " + primary));
      assertTrue(audit(writers, first).missingCount() > 0, "it has all that there is: no test");
      await("nobody to lead, longer than nodes are waited for that are silent")
          .during(GRACE.plusSeconds(2))
          .atMost(ALONE)
          .until(() -> shared.standbys().equals(standbys));
      primary.exec("pkill", "-CONT", "-f", "^postgres: startup").orThrow();
      after = shared.awaitHealthy(HEALTH_TIMEOUT);
      awaitRows(application);
      assertEquals(
          1,
          first
              .logs()
              .substring(logged)
              .lines()
              .filter(line -> line.contains("entering standby mode"))
              .count(),
          "it has replayed all that there is again, and the primary has not had it meanwhile");
    }
    Writers.Audit audit = audit(writers, after);
    System.out.printf("restart: a recovery: %s was primary, then %s; %s%n", primary, after, audit);
    assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
  }

  /** Each commit is on one of the two, and that one leads, though the old primary never returns. */
  @Test
  void aMajorityHasEverythingUnderQuorum() throws SQLException {
    RepmgrCluster cluster = CLUSTERS.start(quorum());
    RepmgrNode primary = cluster.awaitHealthy(HEALTH_TIMEOUT);
    List<RepmgrNode> standbys = cluster.standbys();
    Writers writers;
    try (Application application = application(cluster, "majority")) {
      writers = application.writers();
      awaitRows(application);
      atOnce(cluster.nodes(), RepmgrNode::kill);
      standbys.forEach(RepmgrNode::start);
      cluster.awaitPrimary(PROMOTION_TIMEOUT);
      awaitRows(application);
    }
    Writers.Audit audit = audit(writers, cluster.primary());
    System.out.printf("restart: without the old primary: %s%n", audit);
    assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
    primary.start();
    cluster.awaitHealthy(HEALTH_TIMEOUT);
  }

  /** The first one comes back before the second, and knows nothing of what that led to. */
  @Test
  void twoPrimariesDieInARow() throws SQLException {
    RepmgrCluster cluster = CLUSTERS.start(quorum());
    RepmgrNode first = cluster.awaitHealthy(HEALTH_TIMEOUT);
    Writers writers;
    RepmgrNode after;
    try (Application application = application(cluster, "in a row")) {
      writers = application.writers();
      awaitRows(application);
      first.kill();
      RepmgrNode second = cluster.awaitPrimary(PROMOTION_TIMEOUT, first);
      // Each of these is on the third one as well.
      awaitRows(application);
      second.kill();
      first.start();
      cluster.awaitPrimary(PROMOTION_TIMEOUT, second);
      awaitRows(application);
      second.start();
      after = cluster.awaitHealthy(HEALTH_TIMEOUT);
    }
    Writers.Audit audit = audit(writers, after);
    System.out.printf("restart: two in a row: %s%n", audit);
    assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
  }

  /** It knows nothing of its successor, and nobody is there to tell. */
  @Test
  void theOldPrimaryAloneTakesNoWrite() throws SQLException {
    RepmgrCluster cluster = CLUSTERS.start();
    RepmgrNode old = cluster.awaitHealthy(HEALTH_TIMEOUT);
    try (Application application = application(cluster, "before")) {
      awaitRows(application);
      old.kill();
    }
    RepmgrNode promoted = cluster.awaitPrimary(PROMOTION_TIMEOUT, old);
    Writers writers;
    try (Application application = application(cluster, "after")) {
      writers = application.writers();
      awaitRows(application);
    }
    List<RepmgrNode> others = cluster.nodes().stream().filter(node -> node != old).toList();
    atOnce(others, RepmgrNode::kill);

    int logged = old.logs().length();
    old.start();
    await(old + " to say why it does not lead")
        .atMost(Duration.ofSeconds(30))
        .until(() -> old.logs().substring(logged).contains("which is no majority"));
    await(old + " to take no write all the time")
        .during(ALONE)
        .atMost(ALONE.plusSeconds(5))
        .until(() -> whyNoWrite(old), "25006"::equals);

    atOnce(others, RepmgrNode::start);
    RepmgrNode after = cluster.awaitHealthy(HEALTH_TIMEOUT);
    Writers.Audit audit = audit(writers, after);
    System.out.printf(
        "restart: %s alone, then %s, which was promoted, and the third: %s is primary; %s%n",
        old, promoted, after, audit);
    assertTrue(others.contains(after), "the old primary leads, which lacks the others' rows");
    assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
  }

  private static RepmgrCluster.Builder quorum() {
    return RepmgrCluster.builder().environment("SYNC_MODE", "quorum");
  }

  /** Tries as somebody who insists; the SQLSTATE, or "none" if the row went in. */
  private static String whyNoWrite(RepmgrNode node) {
    try (Connection connection = node.connect("app");
        Statement statement = connection.createStatement()) {
      statement.execute("SET default_transaction_read_only = off");
      statement.execute("INSERT INTO written VALUES ('alone', 0, 0) ON CONFLICT DO NOTHING");
      return "none";
    } catch (SQLException e) {
      return String.valueOf(e.getSQLState());
    }
  }

  private static void atOnce(List<RepmgrNode> nodes, Consumer<RepmgrNode> action) {
    CompletableFuture.allOf(
            nodes.stream()
                .map(
                    node ->
                        CompletableFuture.runAsync(
                            () -> action.accept(node), task -> new Thread(task).start()))
                .toArray(CompletableFuture<?>[]::new))
        .join();
  }

  private static Application application(RepmgrCluster cluster, String run) throws SQLException {
    return new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl(), run);
  }

  private static void awaitRows(Application application) {
    long now = System.nanoTime();
    long before = application.writers().acknowledged();
    await("rows")
        .atMost(PROMOTION_TIMEOUT)
        .until(
            () ->
                application.writers().allWroteSince(now)
                    && application.writers().acknowledged() > before + 500);
  }

  private static Writers.Audit audit(Writers writers, RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("app")) {
      return writers.audit(connection);
    }
  }
}
