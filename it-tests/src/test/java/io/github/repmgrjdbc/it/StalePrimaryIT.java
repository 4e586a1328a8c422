package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.NoSuitableNodeException;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An old primary that comes back writable gets nothing, from those who knew it or from anybody. */
class StalePrimaryIT {

  @RegisterExtension final Clusters clusters = new Clusters();

  @Test
  void getsNoRowAndNoConnection() throws SQLException {
    RepmgrCluster cluster = clusters.startWithoutHealing();
    RepmgrNode old = cluster.primary();
    // Published ports change with a restart, the containers' own addresses here do not.
    String oldAddress = old.containerAddress().host();
    String url = cluster.directJdbcUrl();
    try (Application application = new Application(PoolKind.JDBC_URL, url);
        RepmgrDataSource onlooker = new RepmgrDataSource()) {
      onlooker.setUrl(url);
      await("rows on the old primary")
          .until(() -> application.writers().acknowledgedBy(oldAddress) > 100);
      old.kill();
      RepmgrNode promoted = cluster.awaitPrimary(Duration.ofMinutes(1), old);
      String newAddress = promoted.containerAddress().host();
      await("rows on the new primary")
          .atMost(Duration.ofMinutes(1))
          .until(() -> application.writers().acknowledgedBy(newAddress) > 100);
      awaitFollowed(cluster, promoted);

      old.start();
      assertEquals(oldAddress, old.containerAddress().host(), "the URL must still lead to it");
      assertFalse(inRecovery(old), "it came back as a standby: not what this test is about");
      long rowsBefore = rowsOn(old);
      await("the driver to see that it is superseded")
          .atMost(Duration.ofSeconds(30))
          .until(() -> state(onlooker, old) == ClusterView.State.SUPERSEDED);

      // Every connection is replaced, several times over: each is a chance to get to the wrong one.
      for (int round = 0; round < 5; round++) {
        application.pool().getHikariPoolMXBean().softEvictConnections();
        long evicted = System.nanoTime();
        await("all to write after their connections were replaced")
            .atMost(Duration.ofSeconds(30))
            .until(() -> application.writers().allWroteSince(evicted));
      }
      assertEquals(rowsBefore, rowsOn(old), "rows were written to the superseded primary");
      for (int i = 0; i < 5; i++) {
        assertEquals(newAddress, addressOfNewConnection(onlooker));
      }
    }

    assertStrangersGoTo(cluster.primary(), old, cluster);
    assertWhoSeesNobodyElseCanKnowByQuorumOnly(old, cluster);
    Leaks.awaitNone(cluster);
  }

  /** The same when a standby missed the promotion and streams from the old primary again. */
  @Test
  void aFollowerThatWentBackToItDoesNotHelpIt() throws SQLException {
    RepmgrCluster cluster = clusters.startWithoutHealing();
    RepmgrNode old = cluster.primary();
    RepmgrNode promoted = cluster.standbys().get(0);
    RepmgrNode follower = cluster.standbys().get(1);
    old.exec("repmgr", "-f", "/etc/repmgr.conf", "service", "pause").orThrow();
    old.kill();
    promoted.exec("repmgr", "-f", "/etc/repmgr.conf", "standby", "promote").orThrow();
    old.start();
    await(follower + " to stream from " + old + " again")
        .atMost(Duration.ofSeconds(30))
        .until(
            () -> {
              try (Connection connection = old.connect("postgres")) {
                return text(connection, "SELECT count(*) FROM pg_stat_replication");
              }
            },
            "1"::equals);
    assertEquals(promoted, cluster.primary());
    assertStrangersGoTo(promoted, old, cluster);
    Leaks.awaitNone(cluster);
  }

  /** The documented limit of {@code latest}, and what {@code quorum} is for. */
  private static void assertWhoSeesNobodyElseCanKnowByQuorumOnly(
      RepmgrNode old, RepmgrCluster cluster) throws SQLException {
    String url = cluster.directJdbcUrl() + "&failoverTimeout=8s&primaryPolicy=";
    old.others().forEach(RepmgrNode::pause);
    try (RepmgrDataSource latest = new RepmgrDataSource();
        RepmgrDataSource quorum = new RepmgrDataSource()) {
      latest.setUrl(url + "latest");
      quorum.setUrl(url + "quorum");
      assertEquals(old.containerAddress().host(), addressOfNewConnection(latest));
      NoSuitableNodeException e =
          assertThrows(NoSuitableNodeException.class, () -> addressOfNewConnection(quorum));
      assertTrue(
          String.valueOf(e.getMessage()).contains(old + " is supported by 1 of 3 nodes"),
          e.getMessage());
    } finally {
      old.others().forEach(RepmgrNode::unpause);
    }
  }

  /** Who starts now has no memory of the failover, and is told of the old primary first. */
  private static void assertStrangersGoTo(
      RepmgrNode promoted, RepmgrNode old, RepmgrCluster cluster) throws SQLException {
    String oldFirst =
        cluster.jdbcUrl(
            Stream.concat(Stream.of(old), cluster.nodes().stream().filter(node -> node != old))
                .map(RepmgrNode::containerAddress)
                .toList());
    for (int i = 0; i < 10; i++) {
      try (RepmgrDataSource fresh = new RepmgrDataSource()) {
        fresh.setUrl(oldFirst);
        assertEquals(promoted.containerAddress().host(), addressOfNewConnection(fresh));
      }
    }
  }

  /** A standby that has not followed yet goes back to the old primary when that returns. */
  private static void awaitFollowed(RepmgrCluster cluster, RepmgrNode promoted) {
    for (RepmgrNode standby : cluster.standbys()) {
      await(standby + " to follow " + promoted)
          .atMost(Duration.ofSeconds(30))
          .until(
              () -> {
                try (Connection connection = standby.connect("repmgr")) {
                  return text(
                      connection,
                      "SELECT u.node_name FROM repmgr.nodes n JOIN repmgr.nodes u"
                          + " ON u.node_id = n.upstream_node_id WHERE n.node_name = '"
                          + standby.name()
                          + "'");
                }
              },
              promoted.name()::equals);
    }
  }

  private static ClusterView.State state(RepmgrDataSource dataSource, RepmgrNode node)
      throws SQLException {
    List<ClusterView.Node> nodes = dataSource.view().nodes();
    return nodes.stream()
        .filter(seen -> seen.name().equals(node.name()))
        .map(ClusterView.Node::state)
        .findFirst()
        .orElse(ClusterView.State.SILENT);
  }

  private static String addressOfNewConnection(RepmgrDataSource dataSource) throws SQLException {
    try (Connection connection = dataSource.getConnection()) {
      return text(connection, "SELECT host(inet_server_addr())");
    }
  }

  private static boolean inRecovery(RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("postgres")) {
      return text(connection, "SELECT pg_is_in_recovery()").equals("t");
    }
  }

  private static long rowsOn(RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("app")) {
      return Long.parseLong(text(connection, "SELECT count(*) FROM written"));
    }
  }

  private static String text(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return row.getString(1);
    }
  }
}
