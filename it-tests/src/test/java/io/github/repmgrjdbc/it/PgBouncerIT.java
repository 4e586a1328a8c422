package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A PgBouncer in front of each node, on the node itself, and nothing but it is dialled: by the
 * application's connections and, as the address map has it, by the probes.
 */
class PgBouncerIT {

  private static final String IMAGE = RepmgrCluster.DEFAULT_IMAGE + "-pgbouncer";
  private static final int PORT = 6432;

  /**
   * What {@code pgbouncer.ini} has beyond its defaults; it must not outlive a test with sessions.
   */
  private static final String CONFIGURATION =
      """
      [databases]
      * = host=%s port=5432
      [pgbouncer]
      listen_addr = *
      listen_port = 6432
      unix_socket_dir =
      auth_type = scram-sha-256
      auth_file = /var/lib/postgresql/userlist.txt
      server_idle_timeout = 1
      pool_mode = %s
      logfile = /var/lib/postgresql/pgbouncer.log
      pidfile = /var/lib/postgresql/pgbouncer.pid
      """;

  @RegisterExtension final Clusters clusters = new Clusters();

  @BeforeAll
  static void buildImage() {
    Docker.build(
        IMAGE,
        """
        FROM %s
        RUN apt-get update && apt-get install -y --no-install-recommends pgbouncer
        """
            .formatted(RepmgrCluster.DEFAULT_IMAGE));
  }

  @ParameterizedTest
  @ValueSource(strings = {"session", "transaction"})
  void failoverThroughPgBouncer(String poolMode) throws SQLException {
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().image(IMAGE).healing(false));
    cluster.nodes().forEach(node -> startPgBouncer(cluster, node, poolMode));
    RepmgrNode old = cluster.primary();
    String oldAddress = old.containerAddress().host();
    String url = url(cluster);
    try (Application application = new Application(PoolKind.DATA_SOURCE, url)) {
      RepmgrDataSource dataSource = (RepmgrDataSource) application.pool().getDataSource();
      await("rows on the old primary")
          .until(() -> application.writers().acknowledgedBy(oldAddress) > 200);
      assertEquals(
          "0",
          text(
              old,
              "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"
                  + " AND client_addr <> inet '%s'".formatted(oldAddress)),
          "somebody has gone round PgBouncer");

      Promotion promotion;
      try (PromotionWatch watch = PromotionWatch.start(cluster.standbys())) {
        // PostgreSQL alone: PgBouncer goes on accepting, and holds on to who is waiting.
        old.exec("pkill", "-STOP", "-f", "docker-entrypoint.sh").orThrow();
        old.exec("pkill", "-KILL", "-x", "postgres");
        promotion =
            await("a standby to be promoted")
                .atMost(Duration.ofMinutes(1))
                .until(watch::promotion, Optional::isPresent)
                .orElseThrow();
      }
      String newAddress = promotion.node().containerAddress().host();
      await("all to write on the new primary")
          .atMost(Duration.ofMinutes(1))
          .until(() -> application.writers().allWroteSince(promotion.nanoTime()));
      System.out.printf(
          "PgBouncer, pool_mode %s: reroute lag %.1f ms, longest gap %d ms, errors %s%n",
          poolMode,
          (application.writers().firstAcknowledgedBy(newAddress).orElseThrow()
                  - promotion.nanoTime())
              / 1e6,
          application.writers().longestGap().toMillis(),
          application.writers().errors());

      old.kill();
      long rows = application.writers().acknowledgedBy(oldAddress);
      old.start();
      startPgBouncer(cluster, old, poolMode);
      await("the old primary to be refused")
          .atMost(Duration.ofSeconds(30))
          .until(
              () ->
                  dataSource.view().nodes().stream()
                      .anyMatch(node -> node.state() == State.SUPERSEDED));
      application.pool().getHikariPoolMXBean().softEvictConnections();
      long evicted = System.nanoTime();
      await("all to write after their connections were replaced")
          .until(() -> application.writers().allWroteSince(evicted));
      assertEquals(
          rows,
          application.writers().acknowledgedBy(oldAddress),
          "rows were written to the superseded primary");
    }
    Leaks.awaitNone(cluster);
  }

  private static String url(RepmgrCluster cluster) {
    HostAndPort seed = pgBouncer(cluster.nodes().get(1));
    return cluster.jdbcUrl(List.of(seed))
        + "&addressMap="
        + cluster.nodes().stream()
            .map(node -> node.name() + "=" + pgBouncer(node))
            .collect(Collectors.joining(","));
  }

  private static HostAndPort pgBouncer(RepmgrNode node) {
    return new HostAndPort(node.containerAddress().host(), PORT);
  }

  private static void startPgBouncer(RepmgrCluster cluster, RepmgrNode node, String poolMode) {
    String home = "/var/lib/postgresql";
    String write = "printf '%%s' '%s' > " + home + "/%s";
    String configuration = CONFIGURATION.formatted(node.containerAddress().host(), poolMode);
    String users = "\"%s\" \"%s\"%n".formatted(cluster.user(), cluster.password());
    node.exec("sh", "-c", write.formatted(configuration, "pgbouncer.ini")).orThrow();
    node.exec("sh", "-c", write.formatted(users, "userlist.txt")).orThrow();
    node.exec("sh", "-c", "rm -f pgbouncer.pid; pgbouncer -d " + home + "/pgbouncer.ini").orThrow();
  }

  private static String text(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return row.getString(1);
    }
  }
}
