package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.github.dockerjava.api.exception.NotFoundException;
import io.github.repmgrjdbc.testing.Fault;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.testcontainers.DockerClientFactory;

/**
 * Nodes are killed, frozen, cut off and stopped, one after the other, and come back: each time the
 * cluster is at full strength again with nobody having touched it, and has what it acknowledged.
 *
 * <p>{@code -Dhealing.rounds=20 -Dhealing.seed=...} makes it longer, or the same again; {@code
 * -Drepmgr.environment=NAME=VALUE} sets the nodes' environment.
 */
class HealingIT {

  private static final List<Fault> FAULTS =
      List.of(Fault.KILL, Fault.FREEZE, Fault.CUT_OFF, Fault.CUT_FROM_NODES, Fault.STOP);

  private static final String OLDER_IMAGE =
      System.getProperty(RepmgrCluster.IMAGE_PROPERTY, RepmgrCluster.DEFAULT_IMAGE) + "-bookworm";

  private static final Duration PROMOTION_TIMEOUT = Duration.ofSeconds(60);

  private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(90);

  /** What is written while a standby is away: enough for everybody to have noticed. */
  private static final int ROWS_MEANWHILE = 2_000;

  @RegisterExtension final Clusters clusters = new Clusters();

  /** Asynchronously, as it comes: the loss is counted. */
  @Test
  void everyNodeComesBack() throws SQLException {
    rounds(clusters.start());
  }

  @Test
  void everyNodeComesBackAndNothingIsLost() throws SQLException {
    rounds(clusters.start(quorum()));
  }

  /** PostgreSQL 15 and repmgr 5.3; {@code verify} provides the image. */
  @Test
  void everyNodeComesBackAndNothingIsLostOnAnOlderDebian() throws SQLException {
    assumeTrue(isThere(OLDER_IMAGE), "there is no image " + OLDER_IMAGE);
    rounds(clusters.start(quorum().image(OLDER_IMAGE)));
  }

  private static RepmgrCluster.Builder quorum() {
    return RepmgrCluster.builder().environment("SYNC_MODE", "quorum");
  }

  /** A round is one of each kind, on nodes in turn. */
  private static void rounds(RepmgrCluster cluster) throws SQLException {
    int rounds = Integer.getInteger("healing.rounds", 1);
    long seed = Long.getLong("healing.seed", System.nanoTime() & 0xffff);
    System.out.printf(
        "healing: %d rounds with -Dhealing.seed=%d, %s%n", rounds, seed, cluster.environment());
    cluster.awaitHealthy(HEALTH_TIMEOUT);
    Random random = new Random(seed);
    List<RepmgrNode> turn = new ArrayList<>();
    long acknowledged = 0;
    long lost = 0;
    for (int round = 1; round <= rounds; round++) {
      List<Fault> faults = new ArrayList<>(FAULTS);
      Collections.shuffle(faults, random);
      for (Fault fault : faults) {
        if (turn.isEmpty()) {
          turn.addAll(cluster.nodes());
          Collections.shuffle(turn, random);
        }
        String run = "round %d, %s".formatted(round, fault);
        Writers.Audit audit = strikeAndHeal(cluster, run, fault, turn.remove(0));
        acknowledged += audit.acknowledged();
        lost += audit.missingCount();
      }
    }
    System.out.printf("healing: %d rows acknowledged, %d of them lost%n", acknowledged, lost);
  }

  private static Writers.Audit strikeAndHeal(
      RepmgrCluster cluster, String run, Fault fault, RepmgrNode node) throws SQLException {
    RepmgrNode before = cluster.primary();
    Writers writers;
    RepmgrNode after;
    long healed;
    try (Application application =
        new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl(), run)) {
      writers = application.writers();
      await("rows on " + before)
          .until(() -> application.writers().acknowledgedBy(address(before)) > 200);
      fault.strike(node);
      if (node.equals(before)) {
        cluster.awaitPrimary(PROMOTION_TIMEOUT, node);
      }
      awaitRows(application.writers(), "without " + node, ROWS_MEANWHILE);

      long undone = System.nanoTime();
      fault.undo(node);
      after = cluster.awaitHealthy(HEALTH_TIMEOUT);
      healed = System.nanoTime() - undone;
      awaitRows(application.writers(), "on the whole cluster", 0);
    }
    Writers.Audit audit = audit(writers, after);
    for (RepmgrNode standby : cluster.standbys()) {
      // One that has gone its own way has others.
      await("the same rows on " + standby).until(() -> audit(writers, standby).equals(audit));
    }
    System.out.printf(
        "healing: %s: %s: primary then %s; at full strength after %.1f s; %s%n",
        run,
        node.equals(before) ? node + ", the primary" : node.toString(),
        after,
        healed / 1e9,
        audit);
    if ("quorum".equals(cluster.environment().get("SYNC_MODE"))) {
      assertEquals(0, audit.missingCount(), "acknowledged rows are missing: " + audit);
    }
    return audit;
  }

  /** From all threads, and so many. */
  private static void awaitRows(Writers writers, String where, int count) {
    long now = System.nanoTime();
    long before = writers.acknowledged();
    await("rows " + where)
        .atMost(PROMOTION_TIMEOUT)
        .until(() -> writers.allWroteSince(now) && writers.acknowledged() >= before + count);
  }

  private static Writers.Audit audit(Writers writers, RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("app")) {
      return writers.audit(connection);
    }
  }

  private static String address(RepmgrNode node) {
    return node.containerAddress().host();
  }

  private static boolean isThere(String image) {
    try {
      DockerClientFactory.instance().client().inspectImageCmd(image).exec();
      return true;
    } catch (NotFoundException e) {
      return false;
    }
  }
}
