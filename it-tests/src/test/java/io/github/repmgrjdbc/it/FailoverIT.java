package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** An application goes on writing when its primary goes, whatever its pool and whatever the way. */
class FailoverIT {

  private static final Duration PROMOTION_TIMEOUT = Duration.ofMinutes(1);
  private static final Duration RECOVERY_TIMEOUT = Duration.ofMinutes(1);

  @RegisterExtension final Clusters clusters = new Clusters();

  enum Fault {
    /** The machine is gone. */
    KILL {
      @Override
      void strike(RepmgrNode primary, List<RepmgrNode> standbys) {
        primary.kill();
      }
    },
    /** The machine is shut down, and nobody has told repmgrd. */
    STOP {
      @Override
      void strike(RepmgrNode primary, List<RepmgrNode> standbys) {
        primary.stop();
      }
    },
    /** Maintenance: repmgrd is told to keep still, and people do its work. */
    BY_HAND {
      @Override
      void prepare(RepmgrNode primary) {
        repmgr(primary, "service", "pause");
      }

      @Override
      void strike(RepmgrNode primary, List<RepmgrNode> standbys) {
        primary.stop();
        repmgr(standbys.get(0), "standby", "promote");
        repmgr(standbys.get(1), "standby", "follow");
      }
    };

    void prepare(RepmgrNode primary) {}

    abstract void strike(RepmgrNode primary, List<RepmgrNode> standbys);

    private static void repmgr(RepmgrNode node, String object, String action) {
      node.exec("repmgr", "-f", "/etc/repmgr.conf", object, action).orThrow();
    }
  }

  @ParameterizedTest
  @EnumSource
  void allPoolsGoOnWriting(Fault fault) throws Exception {
    RepmgrCluster cluster = clusters.start();
    // In a thread that ends: HikariCP keeps its pool, and so the data source that it made by class
    // name, reachable from each thread that has used it.
    ExecutorService thread = Executors.newSingleThreadExecutor();
    try {
      Callable<Boolean> task =
          () -> {
            goOnWriting(fault, cluster);
            return true;
          };
      thread.submit(task).get();
    } finally {
      thread.shutdown();
    }
    Leaks.awaitNone(cluster);
  }

  /**
   * By when its server was started; also one that was opened ahead, while that was a standby. Where
   * it has to be asked by a query, everything else would be green, too.
   */
  @Test
  void noQueryAsksWhereAConnectionIs() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode old = cluster.primary();
    for (RepmgrNode node : cluster.nodes()) {
      try (Connection connection = node.connect("postgres");
          Statement statement = connection.createStatement()) {
        statement.execute("ALTER SYSTEM SET log_statement = 'all'");
        statement.execute("SELECT pg_reload_conf()");
      }
    }
    try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
      dataSource.setUrl(cluster.directJdbcUrl());
      dataSource.getConnection().close();
      awaitFunctionCalls(1, old);
      old.kill();
      // This one waits for the promotion, and gets what was opened ahead.
      dataSource.getConnection().close();
      dataSource.getConnection().close();
    }
    RepmgrNode next = cluster.awaitPrimary(PROMOTION_TIMEOUT, old);
    awaitFunctionCalls(2, next);
    assertFalse(next.logs().contains("case when not pg_catalog.pg_is_in_recovery()"));
  }

  /** A line takes its way through the image's formatter. */
  private static void awaitFunctionCalls(long count, RepmgrNode node) {
    String call = "fastpath function call: \"pg_postmaster_start_time\"";
    await("function calls in the log of " + node)
        .atMost(Duration.ofSeconds(10))
        .until(() -> node.logs().lines().filter(line -> line.contains(call)).count() == count);
  }

  private static void goOnWriting(Fault fault, RepmgrCluster cluster) throws SQLException {
    RepmgrNode old = cluster.primary();
    List<RepmgrNode> standbys = cluster.standbys();
    String oldAddress = old.containerAddress().host();
    List<Application> applications = new ArrayList<>();
    try {
      for (PoolKind kind : PoolKind.values()) {
        applications.add(new Application(kind, cluster.jdbcUrl()));
      }
      for (Application application : applications) {
        await(application.kind() + " to write steadily")
            .until(() -> application.writers().acknowledgedBy(oldAddress) > 200);
      }
      fault.prepare(old);

      Promotion promotion;
      try (PromotionWatch watch = PromotionWatch.start(standbys)) {
        fault.strike(old, standbys);
        promotion =
            await("a standby to be promoted")
                .atMost(PROMOTION_TIMEOUT)
                .until(watch::promotion, Optional::isPresent)
                .orElseThrow();
      }
      for (Application application : applications) {
        await(application.kind() + " to write on " + promotion.node())
            .atMost(RECOVERY_TIMEOUT)
            .until(() -> application.writers().allWroteSince(promotion.nanoTime()));
      }
      for (Application application : applications) {
        application.close();
        check(fault, application, promotion, oldAddress);
      }
    } finally {
      applications.forEach(Application::close);
    }
  }

  private static void check(
      Fault fault, Application application, Promotion promotion, String oldAddress)
      throws SQLException {
    String newAddress = promotion.node().containerAddress().host();
    Writers writers = application.writers();
    Writers.Audit audit;
    try (Connection connection = promotion.node().connect("app")) {
      audit = writers.audit(connection);
    }
    long lagNanos = writers.firstAcknowledgedBy(newAddress).orElseThrow() - promotion.nanoTime();
    System.out.printf(
        "%s, %s: reroute lag %.1f ms, longest gap %d ms, errors %s, %d rows acknowledged,"
            + " acknowledged but missing %s%n",
        fault,
        application.kind(),
        lagNanos / 1e6,
        writers.longestGap().toMillis(),
        writers.errors(),
        audit.acknowledged(),
        audit.missing());

    assertEquals(
        audit.acknowledged(),
        writers.acknowledgedBy(oldAddress) + writers.acknowledgedBy(newAddress),
        "rows were written to a node that never was the primary");
    assertEquals(
        0,
        audit.missing().getOrDefault(newAddress, 0L),
        "the new primary has lost rows of its own");
    assertTrue(audit.found() >= audit.acknowledged() - audit.missingCount(), audit.toString());
    int errors = writers.errors().values().stream().mapToInt(Integer::intValue).sum();
    assertTrue(
        errors <= 2 * PoolKind.POOL_SIZE,
        "more than the rows in flight failed: " + writers.errors());
  }
}
