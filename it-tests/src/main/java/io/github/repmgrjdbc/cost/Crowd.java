package io.github.repmgrjdbc.cost;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import org.awaitility.Awaitility;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.images.builder.Transferable;
import org.testcontainers.utility.DockerImageName;

/**
 * Many clients that speak only the probe: to each node a pgbench, with a session for each client,
 * in a container of their own. As many whole data sources in one JVM beside the nodes would measure
 * that JVM.
 *
 * <p>To a node, and to data sources that count who asks it, they are probes: they have the probes'
 * name, and put the very question that a probe has put.
 */
final class Crowd implements AutoCloseable {

  /** What counts is the name that the driver gives its probes. */
  private static final String NAME = "repmgr-jdbc monitor";

  private static final String PROBES =
      "FROM pg_stat_activity WHERE application_name = '" + NAME + "'";

  /** How a question ends that has the node table in it. */
  private static final String END = "order by node.node_id";

  private final GenericContainer<?> container;
  private final int perSecond;

  private Crowd(GenericContainer<?> container, int perSecond) {
    this.container = container;
    this.perSecond = perSecond;
  }

  /**
   * Starts it; returns when all are connected to all nodes.
   *
   * @param question see {@link #question}
   * @param perSecond how many questions each node is asked by all of them together
   */
  static Crowd start(
      RepmgrCluster cluster, String question, int clients, int perSecond, Duration timeout) {
    StringBuilder script = new StringBuilder();
    for (RepmgrNode node : cluster.nodes()) {
      HostAndPort address = node.containerAddress();
      script.append(
          "pgbench -n -M prepared -j 1 -c %d -R %d -T 3600 -f /question.sql -h %s -p %d -U %s repmgr &\n"
              .formatted(clients, perSecond, address.host(), address.port(), cluster.user()));
    }
    GenericContainer<?> container =
        new GenericContainer<>(DockerImageName.parse(cluster.image()))
            .withNetworkMode(cluster.name())
            .withLabel(RepmgrCluster.LABEL, cluster.name())
            .withEnv("PGPASSWORD", cluster.password())
            .withEnv("PGAPPNAME", NAME)
            .withCopyToContainer(Transferable.of(question), "/question.sql")
            .withCreateContainerCmdModifier(
                create -> create.withEntrypoint("bash", "-c", script + "wait"));
    container.start();
    Crowd crowd = new Crowd(container, perSecond);
    try {
      for (RepmgrNode node : cluster.nodes()) {
        Awaitility.await(clients + " clients at " + node)
            .atMost(timeout)
            .until(() -> connected(node) >= clients);
      }
      return crowd;
    } catch (RuntimeException e) {
      String log = container.getLogs();
      crowd.close();
      throw new IllegalStateException("The crowd did not come: " + log, e);
    }
  }

  /** What a data source that is open asks this node while all is well. */
  static String question(RepmgrNode node, Duration timeout) {
    return Awaitility.await("a probe's question")
        .atMost(timeout)
        .ignoreExceptionsInstanceOf(SQLException.class)
        .until(() -> ask(node, "SELECT coalesce(max(query), '') " + PROBES), q -> q.endsWith(END));
  }

  private static int connected(RepmgrNode node) throws SQLException {
    return Integer.parseInt(ask(node, "SELECT count(*) " + PROBES));
  }

  private static String ask(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return row.getString(1);
    }
  }

  @Override
  public String toString() {
    return "%,d questions a second".formatted(perSecond);
  }

  /** Ends all. */
  @Override
  public void close() {
    container.stop();
  }
}
