package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.hamcrest.Matchers;

/** What must not be there any more once an application has closed its pools. */
final class Leaks {

  /**
   * What came by URL or class name has nobody to close it: the driver ends it when it had no
   * connection for 30 s and its data source, if any, is garbage.
   */
  private static final Duration PATIENCE = Duration.ofSeconds(45);

  private Leaks() {}

  /** Waits until no thread of the driver and no server session of the application is left. */
  static void awaitNone(RepmgrCluster cluster) {
    await("threads of the driver to end")
        .atMost(PATIENCE)
        .pollInterval(Duration.ofMillis(500))
        .until(Leaks::threads, Matchers.empty());
    await("sessions of the application to end")
        .atMost(Duration.ofSeconds(10))
        .until(() -> sessions(cluster), Matchers.empty());
  }

  private static List<String> threads() {
    System.gc();
    return Thread.getAllStackTraces().keySet().stream()
        .map(Thread::getName)
        .filter(name -> name.startsWith("repmgr-jdbc"))
        .toList();
  }

  /** On all nodes that run; the probes are the application's sessions, too. */
  private static List<String> sessions(RepmgrCluster cluster) throws SQLException {
    List<String> sessions = new ArrayList<>();
    for (RepmgrNode node : cluster.nodes()) {
      if (!node.isRunning()) {
        continue;
      }
      try (Connection connection = node.connect("postgres");
          PreparedStatement statement =
              connection.prepareStatement(
                  "SELECT datname, application_name FROM pg_stat_activity WHERE usename = ?")) {
        statement.setString(1, cluster.user());
        try (ResultSet row = statement.executeQuery()) {
          while (row.next()) {
            sessions.add(node.name() + ": " + row.getString(1) + ", " + row.getString(2));
          }
        }
      }
    }
    return sessions;
  }
}
