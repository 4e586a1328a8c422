package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Two data nodes and a witness: the smallest cluster that has a majority to lose. */
class WitnessIT {

  private static final String TABLE =
      "SELECT (n.*)::text FROM repmgr.nodes n WHERE EXISTS"
          + " (SELECT FROM repmgr.nodes WHERE node_name = '%s' AND type = 'primary' AND active)"
          + " ORDER BY node_id";
  private static final String REGISTERED =
      "SELECT node_id FROM repmgr.nodes WHERE node_name = '%s' AND type = '%s' AND active";

  /** How long a witness may take to hear of what happened. */
  private static final Duration NEWS = Duration.ofSeconds(15);

  private static final Duration RECOVERY = Duration.ofMinutes(1);

  @RegisterExtension final Clusters clusters = new Clusters();

  @Test
  void theWitnessVotesAndTheApplicationGoesOn() throws SQLException {
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().nodes(2).witness());
    RepmgrNode first = cluster.nodes().get(0);
    RepmgrNode second = cluster.nodes().get(1);
    RepmgrNode witness = cluster.nodes().get(2);
    assertTrue(witness.isWitness(), "no witness: no test");
    assertEquals(first, cluster.primary());

    try (Application application = new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl())) {
      awaitRowsOn(application, first);
      first.kill();
      assertEquals(second, cluster.awaitPrimary(RECOVERY, first));
      long promoted = System.nanoTime();
      awaitRowsOn(application, second);
      awaitCopy(witness, second);
      System.out.printf(
          "the witness had the table of the new primary %d ms after its promotion%n",
          TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - promoted));

      first.start();
      await("the old primary to be a standby")
          .atMost(RECOVERY)
          .until(
              () -> query(witness, REGISTERED.formatted(first, "standby")), List.of("1")::equals);
      awaitCopy(witness, second);
      assertEquals(List.of(first), cluster.standbys());
      // The witness took none of them.
      assertEquals(0, application.writers().acknowledgedBy(witness.containerAddress().host()));
    }
    Leaks.awaitNone(cluster);
  }

  /** The standby has every commit, and leads by the witness's vote; its own commits wait. */
  @Test
  void nothingIsLostWithTheWitnesssVote() throws SQLException {
    RepmgrCluster cluster =
        clusters.start(
            RepmgrCluster.builder().nodes(2).witness().environment("SYNC_MODE", "quorum"));
    RepmgrNode first = cluster.awaitHealthy(RECOVERY);
    RepmgrNode second = cluster.nodes().get(1);
    Writers writers;
    try (Application application = new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl())) {
      writers = application.writers();
      awaitRowsOn(application, first);
      first.kill();
      assertEquals(second, cluster.awaitPrimary(RECOVERY, first));
      first.start();
      awaitRowsOn(application, second);
      cluster.awaitHealthy(RECOVERY);
    }
    try (Connection connection = second.connect("app")) {
      Writers.Audit audit = writers.audit(connection);
      System.out.printf("a witness, and SYNC_MODE=quorum: %s%n", audit);
      assertEquals(0, audit.missingCount(), audit.toString());
    }
  }

  /** Without the witness's vote the one that is left must not lead; with it, it must. */
  @Test
  void noVoteNoPrimary() throws SQLException {
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().nodes(2).witness());
    RepmgrNode second = cluster.nodes().get(1);
    RepmgrNode witness = cluster.nodes().get(2);
    witness.kill();
    cluster.primary().kill();
    await("repmgrd to find no majority")
        .atMost(RECOVERY)
        .until(() -> second.logs().contains("unable to reach a qualified majority"));
    // Then the node itself tries, once that has lasted 10 s. Who looks only now and then may miss a
    // promotion that the node took back; its log does not.
    await("nobody to be promoted")
        .during(Duration.ofSeconds(15))
        .atMost(RECOVERY)
        .until(() -> !second.logs().contains("received promote request"));
    assertTrue(inRecovery(second), second + " takes writes");

    witness.start();
    assertEquals(second, cluster.awaitPrimary(RECOVERY));
    awaitCopy(witness, second);
  }

  /** The driver asks it as it asks the others, as the application. */
  @Test
  void theApplicationMayAskTheWitness() throws SQLException {
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().nodes(2).witness());
    RepmgrNode witness = cluster.nodes().get(2);
    await("the application's role to arrive")
        .atMost(NEWS)
        .ignoreExceptionsInstanceOf(SQLException.class)
        .until(() -> nodesSeen(cluster, witness, cluster.password()), "3"::equals);
    try (Connection connection = login(cluster, witness, cluster.password());
        Statement statement = connection.createStatement()) {
      SQLException e =
          assertThrows(
              SQLException.class, () -> statement.execute("SELECT repmgr.repmgrd_pause(true)"));
      assertEquals("42501", e.getSQLState(), e.getMessage());
    }

    execute(cluster.primary(), "ALTER ROLE app PASSWORD 'another'");
    await("the new password to arrive")
        .atMost(NEWS)
        .ignoreExceptionsInstanceOf(SQLException.class)
        .until(() -> nodesSeen(cluster, witness, "another"), "3"::equals);
    SQLException old =
        assertThrows(SQLException.class, () -> login(cluster, witness, cluster.password()));
    assertEquals("28P01", old.getSQLState(), old.getMessage());

    execute(cluster.primary(), "REVOKE repmgr_metadata FROM app");
    await("the witness to let it in no more")
        .atMost(NEWS)
        .until(() -> refuses(() -> login(cluster, witness, "another")));
    for (RepmgrNode node : cluster.nodes()) {
      assertFalse(node.logs().contains("SCRAM-SHA-256$"), "a verifier in the log of " + node);
      assertFalse(node.logs().contains(cluster.password()), "a password in the log of " + node);
    }
  }

  private static void awaitRowsOn(Application application, RepmgrNode node) {
    long before = application.writers().acknowledgedBy(node.containerAddress().host());
    await("rows on " + node)
        .atMost(RECOVERY)
        .until(
            () ->
                application.writers().acknowledgedBy(node.containerAddress().host())
                    > before + 100);
  }

  private static void awaitCopy(RepmgrNode witness, RepmgrNode primary) throws SQLException {
    await("the witness to have the table of " + primary)
        .atMost(NEWS)
        .until(
            () -> {
              List<String> table = query(primary, TABLE.formatted(primary));
              return !table.isEmpty() && table.equals(query(witness, TABLE.formatted(primary)));
            });
  }

  private static boolean inRecovery(RepmgrNode node) throws SQLException {
    return query(node, "SELECT pg_is_in_recovery()").equals(List.of("t"));
  }

  private static Connection login(RepmgrCluster cluster, RepmgrNode node, String password)
      throws SQLException {
    return DriverManager.getConnection(
        "jdbc:postgresql://" + node.address() + "/repmgr", cluster.user(), password);
  }

  private static String nodesSeen(RepmgrCluster cluster, RepmgrNode node, String password)
      throws SQLException {
    try (Connection connection = login(cluster, node, password)) {
      return query(connection, "SELECT count(*) FROM repmgr.nodes").get(0);
    }
  }

  private static boolean refuses(Callable<Connection> login) throws Exception {
    try (Connection connection = login.call()) {
      return connection == null;
    } catch (SQLException e) {
      return e.getSQLState().startsWith("28");
    }
  }

  private static void execute(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  private static List<String> query(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("repmgr")) {
      return query(connection, sql);
    }
  }

  private static List<String> query(Connection connection, String sql) throws SQLException {
    List<String> values = new ArrayList<>();
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      while (row.next()) {
        values.add(row.getString(1));
      }
    }
    return values;
  }
}
