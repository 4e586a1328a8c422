package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What a whole cluster of the image is like. */
class ClusterImageIT {

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();

  private static RepmgrCluster cluster;

  @BeforeAll
  static void start() {
    cluster = CLUSTERS.startShared();
  }

  @Test
  void nodesHaveTheirContainersNamesAndIdsOfTheirOwn() throws SQLException {
    List<String> names = cluster.nodes().stream().map(RepmgrNode::name).toList();
    for (RepmgrNode node : cluster.nodes()) {
      assertEquals(names, query(node, "SELECT node_name FROM repmgr.nodes ORDER BY node_name"));
      assertEquals(
          List.of("1", "2", "3"), query(node, "SELECT node_id FROM repmgr.nodes ORDER BY 1"));
    }
  }

  @Test
  void noConninfoHasAPassword() throws SQLException {
    for (String conninfo : query(cluster.primary(), "SELECT conninfo FROM repmgr.nodes")) {
      assertFalse(conninfo.contains("pass"), conninfo);
    }
  }

  /** What the engine puts in from outside, to check the health, has no parent in the container. */
  @Test
  void nothingButTheInitRunsAsRoot() {
    for (RepmgrNode node : cluster.nodes()) {
      List<String> processes =
          node.exec("ps", "-eo", "ppid=,pid=,user=,comm=").orThrow().stdout().lines().toList();
      assertEquals(
          List.of("0 1 root tini"),
          processes.stream()
              .map(line -> line.strip().replaceAll("\\s+", " "))
              .filter(line -> line.contains(" root "))
              .filter(line -> line.startsWith("0 1 ") || !line.startsWith("0 "))
              .toList());
      for (String needed : List.of("postgres", "repmgrd")) {
        assertEquals(
            true, processes.stream().anyMatch(line -> line.endsWith(" " + needed)), needed);
      }
    }
  }

  /** All that the driver needs, and nothing that changes anything. */
  @Test
  void theApplicationMayReadTheMetadataAndNoMore() throws SQLException {
    for (RepmgrNode node : cluster.nodes()) {
      try (Connection connection = applicationsConnection(node);
          Statement statement = connection.createStatement()) {
        try (ResultSet row =
            statement.executeQuery(
                "SELECT repmgr.get_local_node_id(), repmgr.get_upstream_node_id(),"
                    + " repmgr.get_upstream_last_seen(), count(*) FROM repmgr.nodes")) {
          row.next();
          assertEquals(idByName(node), row.getInt(1));
          assertEquals(3, row.getInt(4));
        }
        List<String> changes =
            new ArrayList<>(
                List.of(
                    "SELECT repmgr.repmgrd_pause(true)",
                    "SELECT repmgr.set_local_node_id(2)",
                    "SELECT public.reserve_node_id('x', NULL)",
                    "SELECT pg_promote()"));
        if (node.equals(cluster.primary())) {
          // A standby refuses these for being one.
          changes.addAll(
              List.of("UPDATE repmgr.nodes SET active = false", "DELETE FROM repmgr.events"));
        }
        assertAll(changes.stream().map(sql -> () -> assertDenied(statement, sql)));
      }
    }
  }

  /** The image's article: three commands, and a look. Nothing of the fixture is in the way. */
  @Test
  void theThreeCommandsOfTheArticleMakeACluster() {
    try (Docker docker = new Docker()) {
      String network = docker.network();
      String[] node = {network + "-1", network + "-2", network + "-3"};
      docker.run(node[0]);
      // At the same moment: they must not get the same id.
      List.of(node[1], node[2]).parallelStream()
          .forEach(name -> docker.run(name, "-e", "PRIMARY_NAME=" + node[0]));

      await("three running nodes")
          .atMost(Duration.ofMinutes(1))
          .ignoreExceptionsInstanceOf(IllegalStateException.class)
          .until(
              () -> shown(docker, node[0]),
              Set.of(
                      node[0] + " primary * running -",
                      node[1] + " standby running " + node[0],
                      node[2] + " standby running " + node[0])
                  ::equals);

      docker.stop(node[0]);
      await("a new primary and a follower")
          .atMost(Duration.ofMinutes(1))
          .ignoreExceptionsInstanceOf(IllegalStateException.class)
          .until(
              () -> shown(docker, node[1]),
              shown -> follows(shown, node[1], node[2]) || follows(shown, node[2], node[1]));
    }
  }

  /** Nobody is named the first: they agree on one, and make one cluster. */
  @Test
  void emptyNodesThatStartAtOnceAgreeOnOne() {
    try (Docker docker = new Docker()) {
      String network = docker.network();
      List<String> nodes = List.of(network + "-1", network + "-2", network + "-3");
      nodes.parallelStream()
          .forEach(name -> docker.run(name, "-e", "PEERS=" + String.join(",", nodes)));
      await("one primary and two standbys, for all of them")
          .atMost(Duration.ofMinutes(1))
          .ignoreExceptionsInstanceOf(IllegalStateException.class)
          .until(
              () -> nodes.stream().map(node -> shown(docker, node)).distinct().toList(),
              shown ->
                  shown.size() == 1
                      && shown
                          .get(0)
                          .equals(
                              Set.of(
                                  nodes.get(0) + " primary * running -",
                                  nodes.get(1) + " standby running " + nodes.get(0),
                                  nodes.get(2) + " standby running " + nodes.get(0))));
    }
  }

  private static boolean follows(Set<String> shown, String follower, String primary) {
    return shown.contains(primary + " primary * running -")
        && shown.contains(follower + " standby running " + primary);
  }

  /** {@code repmgr cluster show} as the article has it: name, role, status and upstream. */
  private static Set<String> shown(Docker docker, String node) {
    Set<String> rows = new TreeSet<>();
    for (String line : docker.exec(node, "su", "-c", "repmgr cluster show", "-", "postgres")) {
      String[] cells = line.split("\\|", -1);
      if (cells.length > 5 && !cells[0].contains("ID")) {
        String upstream = cells[4].strip();
        rows.add(
            "%s %s %s %s"
                .formatted(
                    cells[1].strip(),
                    cells[2].strip(),
                    cells[3].strip(),
                    upstream.isEmpty() ? "-" : upstream));
      }
    }
    return rows;
  }

  private static void assertDenied(Statement statement, String sql) {
    SQLException e = assertThrows(SQLException.class, () -> statement.execute(sql), sql);
    assertEquals("42501", e.getSQLState(), sql + ": " + e.getMessage());
  }

  private static int idByName(RepmgrNode node) throws SQLException {
    return Integer.parseInt(
        query(node, "SELECT node_id FROM repmgr.nodes WHERE node_name = '" + node.name() + "'")
            .get(0));
  }

  private static Connection applicationsConnection(RepmgrNode node) throws SQLException {
    return DriverManager.getConnection(
        "jdbc:postgresql://" + node.address() + "/repmgr", cluster.user(), cluster.password());
  }

  private static List<String> query(RepmgrNode node, String sql) throws SQLException {
    List<String> values = new ArrayList<>();
    try (Connection connection = node.connect("repmgr");
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      while (row.next()) {
        values.add(row.getString(1));
      }
    }
    return values;
  }
}
