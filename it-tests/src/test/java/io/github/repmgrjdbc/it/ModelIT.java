package io.github.repmgrjdbc.it;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Predicate;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * What the driver's model of repmgr ({@code ClusterModel}, among its unit tests) takes for granted,
 * looked at on real nodes: when copies of the node table are late, and what a node says of its
 * upstream.
 */
class ModelIT {

  private static final Duration SOON = Duration.ofMinutes(1);

  @RegisterExtension final Clusters clusters = new Clusters();

  /** An old primary that comes back as it went, and a follower. */
  @Test
  void ofAFailoverAndAPlainReturn() throws SQLException {
    RepmgrCluster cluster = clusters.startWithoutHealing();
    RepmgrNode old = cluster.primary();
    int oldId = id(old, old);
    try (Watch watch = new Watch(cluster)) {
      watch.awaitEach(sample -> true);
      List<Sample> before = watch.of(old);
      String table = before.get(0).table;
      long killed = System.nanoTime();
      old.kill();
      RepmgrNode promoted = cluster.awaitPrimary(SOON, old);
      int newId = id(promoted, promoted);
      RepmgrNode follower =
          promoted.others().stream().filter(node -> !node.equals(old)).findFirst().orElseThrow();
      watch.await(
          follower,
          sample ->
              sample.upstream == newId
                  && sample.seen >= 0
                  && sample.seen < 3
                  && sample.names(newId));
      watch.await(promoted, sample -> sample.names(newId));
      long returned = System.nanoTime();
      old.start();
      watch.await(old, sample -> sample.asked > returned && !sample.inRecovery);
      Awaitility.await("some more of " + old)
          .atMost(SOON)
          .until(() -> watch.since(old, returned).size() > 20);

      Sample promotion = first(watch.of(promoted), sample -> !sample.inRecovery);
      Sample recorded = first(watch.of(promoted), sample -> sample.names(newId));
      assertEquals(2, promotion.timeline);
      assertEquals(table, promotion.table, "the promoted node's copy must be late");
      assertTrue(recorded.asked - promotion.answered > 0);
      assertPromotionIsOneChange(watch, oldId, newId);

      Sample copied = first(watch.of(follower), sample -> sample.names(newId));
      Sample followed = first(watch.of(follower), sample -> sample.upstream == newId);
      Sample lastWithout = last(watch.of(promoted), sample -> !sample.names(newId));
      assertTrue(copied.answered - lastWithout.asked > 0, "it knew before the promoted node did");
      assertTrue(followed.answered - promotion.asked > 0, "it followed who was not promoted yet");
      assertGrowsOld(watch.since(follower, killed), oldId);
      assertTrue(watch.of(follower).stream().allMatch(sample -> sample.inRecovery));

      // For ever, by what it says of itself.
      for (Sample sample : watch.since(old, returned)) {
        assertFalse(sample.inRecovery);
        assertEquals(1, sample.timeline);
        assertEquals(table, sample.table);
      }
      System.out.printf(
          "after the promotion: in its own copy after %d ms, in the follower's after %d, followed"
              + " after %d%n",
          millis(promotion, recorded), millis(promotion, copied), millis(promotion, followed));
    }
  }

  /** A witness, whose copy is refreshed now and then, and an old primary that rejoins. */
  @Test
  void ofAWitnessAndARejoin() throws SQLException {
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().nodes(2).witness());
    RepmgrNode old = cluster.primary();
    RepmgrNode promoted = cluster.standbys().get(0);
    RepmgrNode witness =
        cluster.nodes().stream().filter(RepmgrNode::isWitness).findFirst().orElseThrow();
    int oldId = id(old, old);
    int newId = id(old, promoted);
    try (Watch watch = new Watch(cluster)) {
      watch.awaitEach(sample -> true);
      old.kill();
      cluster.awaitPrimary(SOON, old);
      watch.await(witness, sample -> sample.upstream == newId && sample.names(newId));
      long returned = System.nanoTime();
      old.start();
      watch.await(old, sample -> sample.asked > returned && sample.upstream == newId);

      Sample promotion = first(watch.of(promoted), sample -> !sample.inRecovery);
      Sample lastWithout = last(watch.of(promoted), sample -> !sample.names(newId));
      Sample told = first(watch.of(witness), sample -> sample.names(newId));
      Sample followed = first(watch.of(witness), sample -> sample.upstream == newId);
      assertTrue(told.answered - lastWithout.asked > 0, "it knew before the promoted node did");
      assertTrue(followed.answered - promotion.asked > 0, "it followed who was not promoted yet");
      assertTrue(watch.of(witness).stream().noneMatch(sample -> sample.inRecovery));
      assertPromotionIsOneChange(watch, oldId, newId);

      assertTrue(watch.since(old, returned).stream().allMatch(sample -> sample.inRecovery));
      Sample rejoined = last(watch.of(old), sample -> true);
      assertEquals(2, rejoined.timeline);
      assertTrue(rejoined.names(newId), rejoined.toString());
      System.out.printf(
          "after the promotion: the witness has it after %d ms, and follows after %d%n",
          millis(promotion, told), millis(promotion, followed));
    }
  }

  /** No copy ever has two active primaries, or a new one beside an old one that is still active. */
  private static void assertPromotionIsOneChange(Watch watch, int oldId, int newId) {
    for (Sample sample : watch.all()) {
      assertEquals(sample.names(newId), !sample.names(oldId), sample.toString());
      assertEquals(
          sample.names(newId),
          sample.table.contains(oldId + " primary false")
              || sample.table.contains(oldId + " standby"),
          sample.toString());
    }
  }

  /** For as long as it follows who is gone: repmgrd does not see it any more. */
  private static void assertGrowsOld(List<Sample> samples, int goneId) {
    int seen = 0;
    for (Sample sample : samples) {
      if (sample.upstream == goneId) {
        assertTrue(sample.seen >= seen - 1, sample + " after " + seen);
        seen = Math.max(seen, sample.seen);
      }
    }
    assertTrue(seen >= 1, "it was followed for " + seen + " s after its end");
  }

  private static int id(RepmgrNode asked, RepmgrNode of) throws SQLException {
    try (Connection connection = asked.connect("repmgr");
        Statement statement = connection.createStatement();
        ResultSet row =
            statement.executeQuery(
                "SELECT node_id FROM repmgr.nodes WHERE node_name = '" + of.name() + "'")) {
      row.next();
      return row.getInt(1);
    }
  }

  private static Sample first(List<Sample> samples, Predicate<Sample> which) {
    return samples.stream().filter(which).findFirst().orElseThrow();
  }

  private static Sample last(List<Sample> samples, Predicate<Sample> which) {
    return samples.stream().filter(which).reduce((one, next) -> next).orElseThrow();
  }

  private static long millis(Sample from, Sample to) {
    return (to.answered - from.answered) / 1_000_000;
  }

  /**
   * What a node said of itself.
   *
   * @param upstream whom it follows, or 0 for nobody and unknown
   * @param seen how many seconds ago its repmgrd saw that, or -1
   * @param table its copy: id, type, whether active, upstream, of each node
   */
  private record Sample(
      RepmgrNode node,
      long asked,
      long answered,
      boolean inRecovery,
      int timeline,
      int upstream,
      int seen,
      String table) {

    /** As the active primary. */
    boolean names(int id) {
      return table.contains(id + " primary true");
    }
  }

  /** Asks each node every 10 ms. */
  private static final class Watch implements AutoCloseable {

    private static final String QUESTION =
        """
        SELECT pg_is_in_recovery(),
               (SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir()
                 WHERE name ~ '^[0-9A-F]{24}$'),
               greatest(coalesce(repmgr.get_upstream_node_id(), 0), 0),
               coalesce(repmgr.get_upstream_last_seen(), -1),
               (SELECT string_agg(node_id || ' ' || type || ' ' || active || ' '
                                  || coalesce(upstream_node_id, 0), ', ' ORDER BY node_id)
                  FROM repmgr.nodes)""";

    private final Queue<Sample> samples = new ConcurrentLinkedQueue<>();
    private final List<RepmgrNode> nodes;
    private final List<Thread> threads;
    private volatile boolean closed;

    Watch(RepmgrCluster cluster) {
      nodes = cluster.nodes();
      threads = nodes.stream().map(node -> new Thread(() -> ask(node))).toList();
      threads.forEach(Thread::start);
    }

    private void ask(RepmgrNode node) {
      while (!closed) {
        try (Connection connection = node.connect("repmgr");
            Statement statement = connection.createStatement()) {
          while (!closed) {
            samples.add(ask(node, statement));
            LockSupport.parkNanos(10_000_000);
          }
        } catch (SQLException e) {
          // It is down, or starts.
          LockSupport.parkNanos(10_000_000);
        }
      }
    }

    private static Sample ask(RepmgrNode node, Statement statement) throws SQLException {
      long asked = System.nanoTime();
      try (ResultSet row = statement.executeQuery(QUESTION)) {
        row.next();
        return new Sample(
            node,
            asked,
            System.nanoTime(),
            row.getBoolean(1),
            row.getInt(2),
            row.getInt(3),
            row.getInt(4),
            row.getString(5));
      }
    }

    List<Sample> all() {
      return List.copyOf(samples);
    }

    List<Sample> of(RepmgrNode node) {
      return samples.stream().filter(sample -> sample.node.equals(node)).toList();
    }

    List<Sample> since(RepmgrNode node, long asked) {
      return of(node).stream().filter(sample -> sample.asked - asked > 0).toList();
    }

    void await(RepmgrNode node, Predicate<Sample> which) {
      Awaitility.await(node.name()).atMost(SOON).until(() -> of(node).stream().anyMatch(which));
    }

    void awaitEach(Predicate<Sample> which) {
      nodes.forEach(node -> await(node, which));
    }

    @Override
    public void close() {
      closed = true;
      Awaitility.await("the watchers to end")
          .atMost(SOON)
          .until(() -> threads.stream().noneMatch(Thread::isAlive));
    }
  }
}
