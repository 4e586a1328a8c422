package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** One node is in trouble of its own: its log says so, and the others go on as if nothing was. */
class MishapsIT {

  private static final Duration PROMOTION_TIMEOUT = Duration.ofMinutes(1);
  private static final Duration HEALTH_TIMEOUT = Duration.ofMinutes(2);
  private static final String VOLUME = "/var/lib/postgresql";
  private static final String DATA = VOLUME + "/data";
  private static final String SET_ASIDE = VOLUME + "/set-aside";

  @RegisterExtension final Clusters clusters = new Clusters();

  // -------------------------------------------------------------------------------------- disks

  /** Its volume has room for the data, and not for the WAL that comes. */
  @Test
  void aDiskIsFull() throws SQLException {
    // A copy has room there; the 512 MB of WAL that the image keeps (wal_keep_size) have none.
    RepmgrCluster cluster = clusters.start(RepmgrCluster.builder().volumeSize(3, 400));
    RepmgrNode full = cluster.nodes().get(2);
    try (Onlooker onlooker = new Onlooker(cluster);
        Connection primary = cluster.primary().connect("postgres")) {
      for (int i = 0; i < 100 && !saysThatItsDiskIsFull(full); i++) {
        segment(primary);
        awaitHas(primary, cluster.nodes().get(1));
        await(full + " to have it, or no room for it")
            .until(() -> has(full, lsn(primary)) || saysThatItsDiskIsFull(full));
      }
      assertTrue(saysThatItsDiskIsFull(full), "no test");
      onlooker.assertUnharmed(full);
    }
    // What it had goes with its container: as if somebody had given it an empty disk.
    full.kill();
    full.start();
    cluster.awaitHealthy(HEALTH_TIMEOUT);
  }

  private static boolean saysThatItsDiskIsFull(RepmgrNode node) {
    return node.logs().contains("No space left on device");
  }

  /** And the node whose WAL was not kept comes back by a copy. */
  @Test
  void whatIsKeptForADeadNodeHasABound() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode dead = cluster.nodes().get(2);
    RepmgrNode primary = cluster.primary();
    try (Onlooker onlooker = new Onlooker(cluster);
        Connection connection = primary.connect("postgres")) {
      assertNotEquals("-1", text(connection, "SHOW max_slot_wal_keep_size"), "there is no bound");
      // The image's own would take gigabytes.
      for (String setting :
          List.of(
              "max_slot_wal_keep_size = '64MB'",
              "wal_keep_size = '32MB'",
              "min_wal_size = '32MB'",
              "max_wal_size = '64MB'")) {
        execute(connection, "ALTER SYSTEM SET " + setting);
      }
      text(connection, "SELECT pg_reload_conf()");
      text(connection, "SELECT pg_create_physical_replication_slot('of_a_dead_node', true)");
      dead.kill();
      for (int i = 0; i < 20; i++) {
        segment(connection);
        awaitHas(connection, cluster.nodes().get(1));
      }
      execute(connection, "CHECKPOINT");
      assertEquals(
          "lost",
          text(
              connection,
              "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'of_a_dead_node'"));
      assertLogged(primary, 0, "invalidating obsolete replication slot \"of_a_dead_node\"");
      long size = Long.parseLong(text(connection, "SELECT sum(size)::bigint FROM pg_ls_waldir()"));
      // Twenty segments were written, 335 MB; what may be kept is 64 MB, and what is in use.
      assertTrue(size < 200_000_000, "WAL of " + size + " bytes is kept");
      onlooker.assertUnharmed(dead);

      int logged = dead.logs().length();
      dead.start();
      cluster.awaitHealthy(HEALTH_TIMEOUT);
      assertLogged(dead, logged, "copying all of it");
    }
  }

  enum Damage {
    /** PostgreSQL does not start at all. */
    CONTROL_FILE("head -c 8192 /dev/urandom > global/pg_control", "control file", true),
    /** It starts, and nobody can connect. */
    CATALOG("head -c 8192 /dev/urandom > global/1262", "invalid page", true),
    /** There is no more to begin with than what the primary has. */
    NO_WAL("rm pg_wal/0*", "started streaming WAL", false);

    private final String command;
    private final String line;
    private final boolean replaced;

    Damage(String command, String line, boolean replaced) {
      this.command = command;
      this.line = line;
      this.replaced = replaced;
    }
  }

  /** The node heals by a new copy, or it stays out. Of what was replaced, the last is kept. */
  @ParameterizedTest
  @EnumSource
  void theDataOfAStandbyAreDamaged(Damage damage) throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode damaged = cluster.standbys().get(0);
    try (Onlooker onlooker = new Onlooker(cluster)) {
      // What was changed since would be mended by the WAL, which has whole pages.
      execute(cluster.primary(), "CHECKPOINT");
      try (Connection primary = cluster.primary().connect("postgres")) {
        awaitHas(primary, damaged);
      }
      execute(damaged, "CHECKPOINT");
      damaged
          .exec("sh", "-c", "mkdir %1$s && touch %1$s/PG_VERSION".formatted(SET_ASIDE))
          .orThrow();
      String kept =
          damaged.exec("stat", "-c", "%i", DATA + "/PG_VERSION").orThrow().stdout().strip();
      // Stopped, so that nobody mends it by a checkpoint.
      damaged.exec("pkill", "-STOP", "-x", "postgres").orThrow();
      damaged.exec("sh", "-c", "cd " + DATA + " && " + damage.command).orThrow();
      damaged.kill();
      int logged = damaged.logs().length();
      damaged.startContainer();
      await("it to heal, or to end")
          .atMost(HEALTH_TIMEOUT)
          .until(() -> !damaged.isRunning() || cluster.isHealthy());
      System.out.printf(
          "mishaps: %s: the node %s%n", damage, damaged.isRunning() ? "has healed" : "stays out");
      assertLogged(damaged, logged, damage.line);
      String log = damaged.logs().substring(logged);
      assertFalse(log.contains(".sh: line "), "a script failed:\n" + log);
      if (damage.replaced) {
        String data =
            damaged
                .exec("sh", "-c", "stat -c '%i %n' " + VOLUME + "/*/PG_VERSION")
                .orThrow()
                .stdout();
        assertEquals(2, data.lines().count(), data);
        assertTrue(data.contains(kept + " " + SET_ASIDE), "not what was there in the end: " + data);
      }
      onlooker.assertUnharmed(damaged);
    }
  }

  // ---------------------------------------------------------------------------------- settings

  @Test
  void aNewNodeHasAWrongPassword() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    try (Onlooker onlooker = new Onlooker(cluster)) {
      RepmgrNode stranger = cluster.join(4, Map.of("REPMGR_PASSWORD", "wrong"));
      await("it to say so")
          .atMost(Duration.ofSeconds(30))
          .until(() -> stranger.logs().contains("password authentication failed"));
      cluster.remove(stranger);
      onlooker.assertUnharmed();
      // It is not in anybody's table.
      cluster.awaitHealthy(HEALTH_TIMEOUT);
    }
  }

  @Test
  void twoNodesHaveOneName() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode first = cluster.standbys().get(0);
    try (Onlooker onlooker = new Onlooker(cluster)) {
      RepmgrNode second = cluster.join(4, Map.of("NODE_NAME", first.name()));
      await("it to say so")
          .atMost(Duration.ofSeconds(60))
          .until(() -> second.logs().contains("another node"));
      cluster.remove(second);
      onlooker.assertUnharmed();
      cluster.awaitHealthy(HEALTH_TIMEOUT);
    }
  }

  /** Nobody answers under the name when the second one begins. */
  @Test
  void twoNodesOfOneNameStartAtOnce() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode first = cluster.standbys().get(0);
    try (Onlooker onlooker = new Onlooker(cluster)) {
      first.kill();
      RepmgrNode second = cluster.join(4, Map.of("NODE_NAME", first.name()));
      await("it to find the name free")
          .pollInterval(Duration.ofMillis(20))
          .until(() -> second.logs().contains("cloning from"));
      first.start();
      await("it to notice, and to end")
          .atMost(Duration.ofSeconds(60))
          .until(() -> second.logs().contains("another node is called") && !second.isRunning());
      cluster.remove(second);
      onlooker.assertUnharmed(first);
      cluster.awaitHealthy(HEALTH_TIMEOUT);
    }
  }

  // ------------------------------------------------------------------------------------- clocks

  /** Its own and its neighbours' idea of when something was differ by that. */
  @Test
  void aClockIsAnHourOff() throws SQLException {
    String image = System.getProperty(RepmgrCluster.IMAGE_PROPERTY, RepmgrCluster.DEFAULT_IMAGE);
    String withFaketime = image + "-faketime";
    Docker.build(
        withFaketime,
        """
        FROM %s
        RUN apt-get update && apt-get install -y --no-install-recommends libfaketime
        """
            .formatted(image));
    RepmgrCluster cluster =
        clusters.start(
            RepmgrCluster.builder()
                .image(withFaketime)
                .environment(2, "LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
                .environment(2, "DONT_FAKE_MONOTONIC", "1")
                .environment(2, "FAKETIME", "+1h"));
    RepmgrNode fast = cluster.nodes().get(1);
    try (Connection connection = fast.connect("postgres")) {
      double ahead =
          Double.parseDouble(text(connection, "SELECT extract(epoch FROM clock_timestamp())"))
              - Instant.now().getEpochSecond();
      assertTrue(ahead > 3_500, "its clock is right: no test");
    }
    cluster.awaitHealthy(HEALTH_TIMEOUT);
    try (Application application =
        new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl(), "clock")) {
      // Each of the three leads once at least, or comes back while another leads.
      for (int i = 0; i < 2; i++) {
        RepmgrNode primary = cluster.primary();
        primary.kill();
        cluster.awaitPrimary(PROMOTION_TIMEOUT, primary);
        primary.start();
        cluster.awaitHealthy(HEALTH_TIMEOUT);
      }
      fast.kill();
      fast.start();
      RepmgrNode primary = cluster.awaitHealthy(HEALTH_TIMEOUT);
      long whole = System.nanoTime();
      await("all to write").until(() -> application.writers().allWroteSince(whole));
      System.out.printf("mishaps: %s, an hour ahead; %s is primary%n", fast, primary);
    }
  }

  // -------------------------------------------------------------------------------------- tools

  /** An application, and the nodes' roles as they were: all of that must go on. */
  private static final class Onlooker implements AutoCloseable {

    private final RepmgrCluster cluster;
    private final RepmgrNode primary;
    private final Application application;

    Onlooker(RepmgrCluster cluster) throws SQLException {
      this.cluster = cluster;
      primary = cluster.awaitHealthy(HEALTH_TIMEOUT);
      application = new Application(PoolKind.DATA_SOURCE, cluster.directJdbcUrl());
      awaitRows();
    }

    /** But for those nodes. */
    void assertUnharmed(RepmgrNode... but) throws SQLException {
      awaitRows();
      Writers writers = application.writers();
      assertEquals(Map.of(), writers.errors(), "the application noticed: " + writers.lastError());
      assertEquals(primary, cluster.primary());
      for (RepmgrNode node : cluster.nodes()) {
        if (!List.of(but).contains(node) && !node.equals(primary)) {
          try (Connection connection = primary.connect("postgres")) {
            assertEquals(
                "1",
                text(
                    connection,
                    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
                        + " AND application_name = '%s'".formatted(node)),
                node + " streams no more");
          }
        }
      }
    }

    private void awaitRows() {
      long now = System.nanoTime();
      await("all to write").until(() -> application.writers().allWroteSince(now));
    }

    @Override
    public void close() {
      application.close();
    }
  }

  private static void assertLogged(RepmgrNode node, int from, String line) {
    String log = node.logs().substring(from);
    assertTrue(log.contains(line), "not in its log: " + line + "\n" + log);
  }

  /** 16 MB of WAL. */
  private static void segment(Connection connection) throws SQLException {
    execute(connection, "SELECT pg_logical_emit_message(false, 'test', 'x')");
    execute(connection, "SELECT pg_switch_wal()");
  }

  private static void execute(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  /** The standby has what the primary has now; WAL that is made at once would outrun it. */
  private static void awaitHas(Connection primary, RepmgrNode standby) throws SQLException {
    String lsn = lsn(primary);
    await(standby + " to have replayed all").until(() -> has(standby, lsn));
  }

  private static boolean has(RepmgrNode standby, String lsn) throws SQLException {
    try (Connection connection = standby.connect("postgres")) {
      return text(connection, "SELECT pg_last_wal_replay_lsn() >= '%s'".formatted(lsn)).equals("t");
    }
  }

  private static String lsn(Connection primary) throws SQLException {
    return text(primary, "SELECT pg_current_wal_lsn()");
  }

  private static void execute(RepmgrNode node, String sql) throws SQLException {
    try (Connection connection = node.connect("postgres")) {
      execute(connection, sql);
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
