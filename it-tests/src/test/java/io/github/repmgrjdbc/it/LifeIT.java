package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.NoSuitableNodeException;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The cluster changes under a running application, one node at a time or all of it. */
class LifeIT {

  private static final String ADDRESS = "SELECT host(inet_server_addr())";

  @RegisterExtension final Clusters clusters = new Clusters();

  // ------------------------------------------------------------------------------------- nodes

  /** The application was told of one node, which is long gone in the end. */
  @Test
  void allSeedsAreReplacedOverTime() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode first = cluster.nodes().get(0);
    registerByAddress(cluster);
    String url = cluster.jdbcUrl(List.of(first.containerAddress()));
    try (Application application = new Application(PoolKind.DATA_SOURCE, url)) {
      RepmgrDataSource dataSource = (RepmgrDataSource) application.pool().getDataSource();
      awaitRowsOn(application, first);

      RepmgrNode fourth = cluster.add(4);
      long added = System.nanoTime();
      registerByAddress(cluster);
      await("the driver to find the new node")
          .until(() -> state(dataSource, fourth.name()).equals(Optional.of(State.UP)));
      System.out.printf("a new node was found %d ms after it was there%n", millisSince(added));

      first.kill();
      RepmgrNode second = cluster.awaitPrimary(Duration.ofMinutes(1), first);
      awaitRowsOn(application, second);
      // The followers' table says so last: from then on repmgr itself looks for nothing else.
      awaitFollowersOf(second, 2);
      cluster.remove(first);
      repmgr(second, "primary", "unregister", "--node-id=" + id(second, first));
      await("the first node to be forgotten")
          .until(() -> state(dataSource, first.name()).isEmpty());

      repmgr(second, "service", "pause");
      second.stop();
      repmgr(fourth, "standby", "promote");
      for (RepmgrNode standby : cluster.standbys()) {
        repmgr(standby, "standby", "follow");
      }
      awaitRowsOn(application, fourth);
      System.out.printf(
          "all seeds replaced: longest gap %d ms, errors %s%n",
          application.writers().longestGap().toMillis(), application.writers().errors());
    }
    Leaks.awaitNone(cluster);
  }

  @Test
  void anUnregisteredStandbyIsNoLongerAsked() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    registerByAddress(cluster);
    RepmgrNode primary = cluster.primary();
    RepmgrNode kept = cluster.nodes().get(1);
    RepmgrNode gone = cluster.nodes().get(2);
    execute(gone, "postgres", "ALTER SYSTEM SET log_connections = on");
    execute(gone, "postgres", "SELECT pg_reload_conf()");
    String url = cluster.jdbcUrl(List.of(primary.containerAddress()));
    try (RepmgrDataSource dataSource = dataSource(url)) {
      dataSource.getConnection().close();
      endMonitorSessions(gone);
      await("a probe to come back to " + gone).until(() -> probesLogged(gone) > 0);

      // It goes on serving, and neither repmgrd nor its supervisor registers it again.
      gone.exec("pkill", "-STOP", "-f", "docker-entrypoint.sh").orThrow();
      gone.exec("pkill", "-KILL", "-x", "repmgrd").orThrow();
      repmgr(primary, "standby", "unregister", "--node-id=" + id(primary, gone));
      await("it to be forgotten").until(() -> state(dataSource, gone.name()).isEmpty());
      assertEquals(2, dataSource.view().nodes().size(), dataSource.view().toString());
      await("its probe to end").until(() -> monitorSessions(gone).isEmpty());
      long probes = probesLogged(gone);
      Set<String> asked = new HashSet<>();
      await("the other one to be asked some more times")
          .until(
              () -> {
                asked.addAll(monitorSessions(kept));
                return asked.size() > 4;
              });
      assertEquals(probes, probesLogged(gone), "it was asked again");
    }
    Leaks.awaitNone(cluster);
  }

  @Test
  void aRenamedNodeIsTheSameNode() throws SQLException {
    RepmgrCluster cluster = clusters.start(1);
    RepmgrNode node = cluster.primary();
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl());
        Connection connection = dataSource.getConnection()) {
      long epoch = dataSource.view().epoch();
      execute(node, "repmgr", "UPDATE repmgr.nodes SET node_name = 'renamed'");
      await("the new name").until(() -> state(dataSource, "renamed").isPresent());
      assertEquals(1, dataSource.view().nodes().size());
      assertEquals(node.containerAddress().host(), text(connection, ADDRESS));
      dataSource.getConnection().close();
      assertTrue(dataSource.view().epoch() > epoch, "nobody was told");
    }
    Leaks.awaitNone(cluster);
  }

  /** A new node gets the old address of another, which is told by a change of its row alone. */
  @Test
  void aNodeMovesAndItsAddressIsAnothersNow() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    registerByAddress(cluster);
    RepmgrNode moving = cluster.nodes().get(2);
    HostAndPort before = moving.containerAddress();
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl());
        Connection connection = dataSource.getConnection()) {
      await("all nodes").until(() -> answering(dataSource) == 3);
      moving.stop();
      RepmgrNode another = cluster.add(4);
      assertEquals(before, another.containerAddress(), "the engine gives another address: no test");
      moving.start();
      await("its repmgrd, which registers it by name")
          .atMost(Duration.ofSeconds(30))
          .until(() -> text(moving, "repmgr", "SELECT repmgr.repmgrd_is_running()").equals("t"));
      HostAndPort after = moving.containerAddress();
      assertNotEquals(before, after);
      registerByAddress(cluster);
      await("both at their addresses")
          .until(
              () ->
                  address(dataSource, moving).equals(Optional.of(after))
                      && address(dataSource, another).equals(Optional.of(before))
                      && answering(dataSource) == 4);
      assertTrue(connection.isValid(2), "a standby has moved, not the primary");

      RepmgrNode old = cluster.primary();
      repmgr(old, "service", "pause");
      old.stop();
      repmgr(moving, "standby", "promote");
      assertEquals(after.host(), addressOfNewConnection(dataSource));
    }
    Leaks.awaitNone(cluster);
  }

  // ------------------------------------------------------------------------------- the cluster

  @Test
  void aClusterThatIsRebuiltIsServedWithoutACall() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    Set<HostAndPort> addresses = addresses(cluster);
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl());
        HikariDataSource pool = pool(dataSource)) {
      String before = systemIdentifier(pool);
      cluster.rebuild();
      long ready = System.nanoTime();
      dataSource.getConnection().close();
      long direct = millisSince(ready);
      String after = systemIdentifier(pool);
      // The pool's adder may be in its back-off: without the application's role, all nodes refused.
      System.out.printf(
          "rebuilt: after the cluster is ready, %d ms to a connection, %d ms through a pool%n",
          direct, millisSince(ready));
      assertNotEquals(before, after);
      assertEquals(addresses, addresses(cluster), "the URL did not lead there: no test");
    }
    Leaks.awaitNone(cluster);
  }

  /** A restored primary alone looks like a stale one; only people know, until the others follow. */
  @Test
  void aRestoredClusterIsServedOnceItIsWholeOrOnACall() throws Exception {
    RepmgrCluster cluster = clusters.startWithoutHealing();
    RepmgrNode first = cluster.nodes().get(0);
    try (RepmgrDataSource patient = dataSource(cluster.directJdbcUrl());
        RepmgrDataSource told = dataSource(cluster.directJdbcUrl())) {
      String data = "/var/lib/postgresql/data";
      String backup = "/var/lib/postgresql/backup";
      first
          .exec("pg_basebackup", "-h", "localhost", "-U", "repmgr", "-c", "fast", "-D", backup)
          .orThrow();
      first.exec("sh", "-c", "mv %1$s %1$s.old && mv %2$s %1$s".formatted(data, backup)).orThrow();
      first.kill();
      RepmgrNode promoted = cluster.awaitPrimary(Duration.ofMinutes(1), first);
      for (RepmgrDataSource dataSource : List.of(patient, told)) {
        assertEquals(promoted.containerAddress().host(), addressOfNewConnection(dataSource));
        assertEquals(2, timeline(dataSource));
      }
      cluster.remove(cluster.nodes().get(2));
      cluster.remove(cluster.nodes().get(1));
      first.start();
      assertEquals(first, cluster.primary(), "not restored");

      await("the driver to see the restored node")
          .until(() -> state(patient, first.name()).equals(Optional.of(State.SUPERSEDED)));
      patient.setLoginTimeout(1);
      SQLException e = assertThrows(NoSuitableNodeException.class, patient::getConnection);
      System.out.println("restored, alone: " + e.getMessage());
      patient.setLoginTimeout(0);

      told.forget();
      long called = System.nanoTime();
      assertEquals(first.containerAddress().host(), addressOfNewConnection(told));
      System.out.printf("restored: a connection %d ms after the call%n", millisSince(called));

      cluster.add(2);
      CompletableFuture<Long> connected =
          CompletableFuture.supplyAsync(
              () -> {
                try {
                  assertEquals(first.containerAddress().host(), addressOfNewConnection(patient));
                  return System.nanoTime();
                } catch (SQLException failed) {
                  throw new IllegalStateException(failed);
                }
              });
      cluster.add(3);
      long whole = System.nanoTime();
      System.out.printf(
          "restored: a connection %d ms after the cluster was whole%n",
          TimeUnit.NANOSECONDS.toMillis(connected.get(30, TimeUnit.SECONDS) - whole));
      assertEquals(1, timeline(patient));
    }
    Leaks.awaitNone(cluster);
  }

  @Test
  void allNodesAreDownForAWhile() throws Exception {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode primary = cluster.primary();
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl());
        HikariDataSource pool = pool(dataSource);
        RepmgrDataSource impatient = dataSource(cluster.directJdbcUrl() + "&failoverTimeout=15s")) {
      pool.getConnection().close();
      impatient.getConnection().close();
      // The primary last: nobody is to be promoted.
      cluster.standbys().forEach(RepmgrNode::stop);
      primary.stop();
      int threads = driverThreads();
      SQLException e = assertThrows(SQLException.class, impatient::getConnection);
      String message = String.valueOf(e.getMessage());
      System.out.println("all down: " + message);
      for (RepmgrNode node : cluster.nodes()) {
        assertTrue(message.contains(node.name()), message);
        assertTrue(message.contains(node.containerAddress().toString()), message);
      }
      assertTrue(driverThreads() <= threads + 3, "threads grow: " + driverThreads());

      CompletableFuture<Long> direct = connected(impatient::getConnection);
      CompletableFuture<Long> pooled = connected(pool::getConnection);
      CompletableFuture<Long> writable =
          CompletableFuture.supplyAsync(
              () -> {
                while (true) {
                  long asked = System.nanoTime();
                  try (Connection connection = primary.connect("postgres")) {
                    if (text(connection, "SELECT pg_is_in_recovery()").equals("f")) {
                      return asked;
                    }
                  } catch (SQLException notYet) {
                    // It is starting.
                  }
                }
              });
      primary.start();
      long since = writable.get(30, TimeUnit.SECONDS);
      System.out.printf(
          "all down: after the primary takes writes, %.1f ms to a connection, %.1f ms through a"
              + " pool%n",
          (direct.get(30, TimeUnit.SECONDS) - since) / 1e6,
          (pooled.get(30, TimeUnit.SECONDS) - since) / 1e6);
      assertTrue(
          direct.get() - since < TimeUnit.SECONDS.toNanos(1), "more than a hunting interval");
    }
    Leaks.awaitNone(cluster);
  }

  // --------------------------------------------------------------------------------- passwords

  @Test
  void aPasswordIsChangedWhileRunning() throws SQLException {
    RepmgrCluster cluster = clusters.start(1);
    RepmgrNode node = cluster.primary();
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl());
        Connection open = dataSource.getConnection()) {
      changePassword(node, "another");
      SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
      assertEquals("28P01", e.getSQLState(), e.getMessage());

      dataSource.setPassword("another");
      long set = System.nanoTime();
      dataSource.getConnection().close();
      System.out.printf(
          "password changed: a connection %d ms after it was set%n", millisSince(set));
      assertTrue(open.isValid(2), "an open connection was cut");
      awaitProbesWithTheNewPassword(node, dataSource);
    }
    Leaks.awaitNone(cluster);
  }

  /** The old password is gone before anybody tells, and the probes have lost their connections. */
  @Test
  void aPasswordIsChangedAndProbesAreLockedOut() throws SQLException {
    RepmgrCluster cluster = clusters.start(1);
    RepmgrNode node = cluster.primary();
    try (RepmgrDataSource dataSource = dataSource(cluster.directJdbcUrl())) {
      dataSource.getConnection().close();
      changePassword(node, "another");
      endMonitorSessions(node);
      await("the probe to be refused")
          .until(() -> state(dataSource, node.name()).equals(Optional.of(State.SILENT)));
      SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
      assertEquals("28P01", e.getSQLState(), e.getMessage());
      dataSource.setPassword("another");
      long set = System.nanoTime();
      dataSource.getConnection().close();
      System.out.printf(
          "password changed, probes locked out: a connection %d ms after it was set%n",
          millisSince(set));
    }
    Leaks.awaitNone(cluster);
  }

  @Test
  void aPoolThatPassesCredentialsIsGivenANewPassword() throws SQLException {
    RepmgrCluster cluster = clusters.start(1);
    RepmgrNode node = cluster.primary();
    String url = cluster.directJdbcUrl();
    try (RepmgrDataSource dataSource = dataSource(url.substring(0, url.indexOf('?')))) {
      HikariConfig config = new HikariConfig();
      config.setDataSource(dataSource);
      config.setUsername(cluster.user());
      config.setPassword(cluster.password());
      config.setMaximumPoolSize(2);
      try (HikariDataSource pool = new HikariDataSource(config)) {
        pool.getConnection().close();
        changePassword(node, "another");
        pool.getHikariConfigMXBean().setPassword("another");
        pool.getHikariPoolMXBean().softEvictConnections();
        long set = System.nanoTime();
        try (Connection connection = pool.getConnection()) {
          assertEquals(node.containerAddress().host(), text(connection, ADDRESS));
        }
        System.out.printf(
            "password changed in a pool: a connection %d ms after it was set%n", millisSince(set));
      }
    }
    Leaks.awaitNone(cluster);
  }

  private static void changePassword(RepmgrNode node, String password) throws SQLException {
    execute(node, "postgres", "ALTER ROLE app PASSWORD '" + password + "'");
  }

  private static void endMonitorSessions(RepmgrNode node) throws SQLException {
    execute(
        node,
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            + " WHERE application_name = 'repmgr-jdbc monitor'");
  }

  /** What they have open now was opened with the old one, perhaps. */
  private static void awaitProbesWithTheNewPassword(RepmgrNode node, RepmgrDataSource dataSource)
      throws SQLException {
    endMonitorSessions(node);
    await("a probe with the new password").until(() -> !monitorSessions(node).isEmpty());
    await("its answer").until(() -> state(dataSource, node.name()).equals(Optional.of(State.UP)));
  }

  // ------------------------------------------------------------------------------------- tools

  private interface Source {
    Connection get() throws SQLException;
  }

  private static CompletableFuture<Long> connected(Source source) {
    return CompletableFuture.supplyAsync(
        () -> {
          while (true) {
            try (Connection connection = source.get()) {
              long now = System.nanoTime();
              text(connection, "SELECT 1");
              return now;
            } catch (SQLException e) {
              // The next one waits.
            }
          }
        });
  }

  private static int driverThreads() {
    return (int)
        Thread.getAllStackTraces().keySet().stream()
            .filter(thread -> thread.getName().startsWith("repmgr-jdbc"))
            .count();
  }

  /** Their names are known to the containers only; their addresses here as well. */
  private static void registerByAddress(RepmgrCluster cluster) throws SQLException {
    for (RepmgrNode node : cluster.nodes()) {
      execute(
          cluster.primary(),
          "repmgr",
          "UPDATE repmgr.nodes SET conninfo = regexp_replace(conninfo, 'host=\\S+', 'host=%s')"
                  .formatted(node.containerAddress().host())
              + " WHERE node_name = '%s'".formatted(node.name()));
    }
  }

  private static void awaitRowsOn(Application application, RepmgrNode node) {
    long asked = System.nanoTime();
    await("all to write on " + node)
        .atMost(Duration.ofMinutes(1))
        .until(
            () ->
                application.writers().acknowledgedBy(node.containerAddress().host()) > 100
                    && application.writers().allWroteSince(asked));
  }

  private static void awaitFollowersOf(RepmgrNode primary, int count) {
    await("followers of " + primary)
        .atMost(Duration.ofSeconds(30))
        .until(
            () ->
                text(
                    primary,
                    "repmgr",
                    "SELECT count(*) FROM repmgr.nodes WHERE active"
                        + " AND upstream_node_id = repmgr.get_local_node_id()"),
            Integer.toString(count)::equals);
  }

  private static void repmgr(RepmgrNode node, String... command) {
    String[] all = new String[command.length + 3];
    all[0] = "repmgr";
    all[1] = "-f";
    all[2] = "/etc/repmgr.conf";
    System.arraycopy(command, 0, all, 3, command.length);
    node.exec(all).orThrow();
  }

  private static RepmgrDataSource dataSource(String url) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setUrl(url);
    return dataSource;
  }

  private static HikariDataSource pool(RepmgrDataSource dataSource) {
    HikariConfig config = new HikariConfig();
    config.setDataSource(dataSource);
    config.setMaximumPoolSize(2);
    config.setConnectionTimeout(60_000);
    return new HikariDataSource(config);
  }

  private static Optional<ClusterView.Node> seen(RepmgrDataSource dataSource, String name)
      throws SQLException {
    return dataSource.view().nodes().stream().filter(node -> node.name().equals(name)).findFirst();
  }

  private static Optional<State> state(RepmgrDataSource dataSource, String name)
      throws SQLException {
    return seen(dataSource, name).map(ClusterView.Node::state);
  }

  private static Optional<HostAndPort> address(RepmgrDataSource dataSource, RepmgrNode node)
      throws SQLException {
    return seen(dataSource, node.name()).map(ClusterView.Node::address);
  }

  private static long answering(RepmgrDataSource dataSource) throws SQLException {
    return dataSource.view().nodes().stream().filter(node -> node.state() == State.UP).count();
  }

  private static int timeline(RepmgrDataSource dataSource) throws SQLException {
    return dataSource.view().primary().orElseThrow().timeline();
  }

  private static Set<HostAndPort> addresses(RepmgrCluster cluster) {
    return cluster.nodes().stream().map(RepmgrNode::containerAddress).collect(Collectors.toSet());
  }

  /** One text for each question that a probe has asked. */
  private static List<String> monitorSessions(RepmgrNode node) throws SQLException {
    String all =
        text(
            node,
            "postgres",
            "SELECT coalesce(string_agg(pid || ' ' || state_change, ','), '')"
                + " FROM pg_stat_activity WHERE application_name = 'repmgr-jdbc monitor'");
    return all.isEmpty() ? List.of() : List.of(all.split(","));
  }

  private static long probesLogged(RepmgrNode node) {
    return node.logs()
        .lines()
        .filter(line -> line.contains("authorized: user=app database=repmgr"))
        .count();
  }

  private static String id(RepmgrNode asked, RepmgrNode node) throws SQLException {
    String sql = "SELECT node_id FROM repmgr.nodes WHERE node_name = '%s'";
    return text(asked, "repmgr", sql.formatted(node.name()));
  }

  private static String systemIdentifier(HikariDataSource pool) throws SQLException {
    try (Connection connection = pool.getConnection()) {
      return text(connection, "SELECT system_identifier FROM pg_control_system()");
    }
  }

  private static String addressOfNewConnection(RepmgrDataSource dataSource) throws SQLException {
    try (Connection connection = dataSource.getConnection()) {
      return text(connection, ADDRESS);
    }
  }

  private static long millisSince(long nanoTime) {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - nanoTime);
  }

  private static void execute(RepmgrNode node, String database, String sql) throws SQLException {
    try (Connection connection = node.connect(database);
        Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  private static String text(RepmgrNode node, String database, String sql) throws SQLException {
    try (Connection connection = node.connect(database)) {
      return text(connection, sql);
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
