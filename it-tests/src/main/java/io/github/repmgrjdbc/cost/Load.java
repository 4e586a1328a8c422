package io.github.repmgrjdbc.cost;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;

/**
 * The command {@code it-tests/load}: what many data sources cost in threads, heap and questions,
 * and what a crowd of clients does to a cluster whose primary dies.
 */
public final class Load {

  /** Control groups of the first version, or of the second. */
  private static final String CPU_NANOS =
      "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null"
          + " || awk '/^usage_usec/ { print $2 \"000\" }' /sys/fs/cgroup/cpu.stat";

  private static final Duration SETTLE = Duration.ofSeconds(5);
  private static final Duration SAMPLE = Duration.ofSeconds(10);
  private static final Duration TIMEOUT = Duration.ofMinutes(2);

  /** How many of the crowd are whole data sources. */
  private static final int WHOLE = 20;

  /**
   * What a crowd that hunts asks each node each second, all together (the driver's {@code Pace}).
   */
  private static final int QUESTIONS = 2_000;

  private Load() {}

  /** See {@code load --help}. */
  public static void main(String[] arguments) throws Exception {
    int clients = 1_000;
    int pools = 40;
    String only = "";
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      switch (arguments[i]) {
        case "--clients" -> clients = count(arguments[i + 1]);
        case "--pools" -> pools = count(arguments[i + 1]);
        case "--only" -> only = arguments[i + 1];
        default -> only = "?";
      }
    }
    if (arguments.length % 2 != 0
        || clients < WHOLE + 1
        || pools < 1
        || !List.of("", "steady", "hunters", "crowd", "pools").contains(only)) {
      System.err.println(
          "load: allowed are --clients N, 21 to 9999, --pools N, 1 to 9999, and --only steady, hunters, crowd or pools");
      System.exit(2);
    }
    try (RepmgrCluster cluster = RepmgrCluster.builder().start()) {
      System.out.println(cluster.surroundings());
      makeRoom(cluster, Math.max(clients, pools * 10) + 200);
      if (only.isEmpty() || only.equals("steady")) {
        steady(cluster);
      }
      if (only.isEmpty() || only.equals("hunters")) {
        hunters(cluster);
      }
      if (only.isEmpty() || only.equals("crowd")) {
        crowd(cluster, clients);
      }
      if (only.isEmpty() || only.equals("pools")) {
        pools(cluster, pools);
      }
    }
    System.exit(0);
  }

  /** A number of up to four digits, or 0 for anything else. */
  static int count(String value) {
    return value.matches("\\d{1,4}") ? Integer.parseInt(value) : 0;
  }

  /** The standbys first: they must have room for as many as the primary. */
  private static void makeRoom(RepmgrCluster cluster, int connections) throws SQLException {
    List<RepmgrNode> order = new ArrayList<>(cluster.standbys());
    order.add(cluster.primary());
    for (RepmgrNode node : order) {
      try (Connection connection = node.connect("postgres");
          Statement statement = connection.createStatement()) {
        statement.execute("ALTER SYSTEM SET max_connections = " + connections);
      }
    }
    for (RepmgrNode node : order) {
      node.restart();
      cluster.awaitHealthy(TIMEOUT);
    }
  }

  // --------------------------------------------------------------------------------- all is well

  private static void steady(RepmgrCluster cluster) throws Exception {
    System.out.println(
        "| in use, with a connection each | driver threads | heap, KB | transactions a second on each node |");
    System.out.println("|---|---|---|---|");
    double idle = transactionsPerSecond(cluster);
    long heap = heapKilobytes();
    for (int count : new int[] {1, 10, 50, 200}) {
      List<AutoCloseable> open = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        RepmgrDataSource source = new RepmgrDataSource();
        source.setUrl(cluster.directJdbcUrl());
        open.add(source);
        open.add(source.getConnection());
      }
      print(
          cluster, count + " data source" + (count == 1 ? "" : "s, each of a cluster"), idle, heap);
      for (AutoCloseable one : open) {
        one.close();
      }
    }
    List<Connection> open = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      open.add(DriverManager.getConnection(cluster.directJdbcUrl()));
    }
    print(cluster, "10 pools by one URL", idle, heap);
    for (Connection connection : open) {
      connection.close();
    }
  }

  private static void print(RepmgrCluster cluster, String what, double idle, long heap)
      throws SQLException {
    park(SETTLE);
    System.out.printf(
        Locale.ROOT,
        "| %s | %d | %,d | %.1f |%n",
        what,
        driverThreads(),
        heapKilobytes() - heap,
        transactionsPerSecond(cluster) - idle);
  }

  private static long driverThreads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith("repmgr-jdbc"))
        .count();
  }

  private static long heapKilobytes() {
    for (int i = 0; i < 3; i++) {
      System.gc();
      park(Duration.ofMillis(200));
    }
    return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed() / 1024;
  }

  // ----------------------------------------------------------------------------------- the hunters

  /** Whole data sources, some few and many more, that look for a primary which does not come. */
  private static void hunters(RepmgrCluster cluster) throws SQLException {
    RepmgrNode old = cluster.awaitHealthy(TIMEOUT);
    for (int count : new int[] {10, 100}) {
      List<RepmgrDataSource> sources = new ArrayList<>();
      try {
        for (int i = 0; i < count; i++) {
          sources.add(watching(cluster, i, () -> {}));
        }
        service(old, "pause");
        old.kill();
        park(SETTLE);
        Map<RepmgrNode, Usage> before = usage(old.others());
        park(SAMPLE);
        report(
            count + " data sources look for a primary",
            before,
            usage(List.copyOf(before.keySet())));
      } finally {
        sources.forEach(RepmgrDataSource::close);
      }
      old.start();
      Awaitility.await("a primary")
          .atMost(TIMEOUT)
          .ignoreExceptions()
          .until(() -> service(cluster.primary(), "unpause"));
      old = cluster.awaitHealthy(TIMEOUT);
    }
  }

  /** What {@code repmgr service} does on all nodes. */
  private static boolean service(RepmgrNode node, String action) {
    node.execAs("postgres", "repmgr", "-f", "/etc/repmgr.conf", "service", action).orThrow();
    return true;
  }

  // ------------------------------------------------------------------------------------- the crowd

  /** The most of the crowd speak only the probe; some are whole data sources that watch. */
  private static void crowd(RepmgrCluster cluster, int clients) throws SQLException {
    RepmgrNode old = cluster.awaitHealthy(TIMEOUT);
    RepmgrDataSource asks = watching(cluster, 0, () -> {});
    String question = Crowd.question(old, TIMEOUT);
    asks.close();
    System.out.printf(
        "%,d clients, %d of them whole data sources, the others pgbench with the probe's question:%n",
        clients, WHOLE);
    try (Crowd steady = Crowd.start(cluster, question, clients - WHOLE, clients, TIMEOUT)) {
      sample(cluster, "calm, " + steady);
    }
    AtomicLongArray seen = new AtomicLongArray(WHOLE);
    List<RepmgrDataSource> sources = new ArrayList<>();
    try (Crowd hunting = Crowd.start(cluster, question, clients - WHOLE, QUESTIONS, TIMEOUT)) {
      // Now: a data source counts the crowd when it connects, and seldom again.
      for (int i = 0; i < WHOLE; i++) {
        int client = i;
        sources.add(watching(cluster, i, () -> seen.set(client, System.nanoTime())));
      }
      sample(cluster, "hunting, " + hunting);
      try (PromotionWatch watch = PromotionWatch.start(cluster.standbys())) {
        long struck = System.nanoTime();
        Map<RepmgrNode, Usage> before = usage(cluster.standbys());
        old.kill();
        Awaitility.await("a promotion").atMost(TIMEOUT).until(() -> watch.promotion().isPresent());
        Promotion promotion = watch.promotion().orElseThrow();
        report("from the kill to the promotion", before, usage(List.copyOf(before.keySet())));
        Awaitility.await("all to see it")
            .atMost(TIMEOUT)
            .until(() -> count(seen, promotion.nanoTime()) == WHOLE);
        double[] lags = new double[WHOLE];
        for (int i = 0; i < WHOLE; i++) {
          lags[i] = (seen.get(i) - promotion.nanoTime()) / 1e6;
        }
        print(
            "promoted after %.1f s; seen by the data sources"
                .formatted((promotion.nanoTime() - struck) / 1e9),
            lags);
      }
    } finally {
      sources.forEach(RepmgrDataSource::close);
    }
    old.start();
    cluster.awaitHealthy(TIMEOUT);
  }

  /** A data source that watches, and opens nothing. */
  private static RepmgrDataSource watching(RepmgrCluster cluster, int client, Runnable onPrimary)
      throws SQLException {
    RepmgrDataSource source = new RepmgrDataSource();
    source.setUrl(cluster.directJdbcUrl() + "&ApplicationName=crowd-" + client);
    source.addListener(
        (before, after) -> {
          if (after.available()
              && !(before.available() && Objects.equals(before.term(), after.term()))) {
            onPrimary.run();
          }
        });
    Awaitility.await("client " + client)
        .atMost(TIMEOUT)
        .until(() -> sees(source, cluster.nodes().size()));
    return source;
  }

  private static boolean sees(RepmgrDataSource source, int nodes) throws SQLException {
    return source.view().nodes().stream().filter(node -> node.state() == State.UP).count() == nodes;
  }

  private static long count(AtomicLongArray seen, long since) {
    long count = 0;
    for (int i = 0; i < seen.length(); i++) {
      if (seen.get(i) - since > 0) {
        count++;
      }
    }
    return count;
  }

  // ------------------------------------------------------------------------------------- the pools

  /** Full pools that lose their primary all at once. */
  private static void pools(RepmgrCluster cluster, int pools) throws Exception {
    RepmgrNode old = cluster.awaitHealthy(TIMEOUT);
    int connections = pools * 10;
    List<HikariDataSource> all = new ArrayList<>();
    for (int i = 0; i < pools; i++) {
      HikariConfig config = new HikariConfig();
      config.setJdbcUrl(cluster.directJdbcUrl() + "&ApplicationName=pool-" + i);
      config.setMaximumPoolSize(10);
      config.setConnectionTimeout(TimeUnit.MINUTES.toMillis(1));
      all.add(new HikariDataSource(config));
    }
    Awaitility.await("full pools")
        .atMost(TIMEOUT)
        .until(
            () ->
                all.stream()
                    .allMatch(pool -> pool.getHikariPoolMXBean().getTotalConnections() == 10));
    ConcurrentLinkedQueue<Long> served = new ConcurrentLinkedQueue<>();
    ConcurrentLinkedQueue<String> failed = new ConcurrentLinkedQueue<>();
    CountDownLatch ready = new CountDownLatch(connections);
    CountDownLatch release = new CountDownLatch(1);
    String stay = old.containerAddress().host();
    for (HikariDataSource pool : all) {
      for (int i = 0; i < 10; i++) {
        Thread thread =
            new Thread(() -> useOne(pool, stay, ready, release, served, failed), "application");
        thread.setDaemon(true);
        thread.start();
      }
    }
    if (!ready.await(TIMEOUT.toSeconds(), TimeUnit.SECONDS)) {
      throw new IllegalStateException(ready.getCount() + " threads got no connection");
    }
    for (RepmgrNode standby : cluster.standbys()) {
      logConnections(standby);
    }
    try (PromotionWatch watch = PromotionWatch.start(cluster.standbys())) {
      Map<RepmgrNode, Usage> before = usage(cluster.standbys());
      old.kill();
      Awaitility.await("a promotion").atMost(TIMEOUT).until(() -> watch.promotion().isPresent());
      Promotion promotion = watch.promotion().orElseThrow();
      int logged = promotion.node().logs().length();
      Awaitility.await("all to be served")
          .atMost(TIMEOUT)
          .until(() -> served.size() + failed.size() == connections);
      double[] lags =
          served.stream().mapToDouble(at -> (at - promotion.nanoTime()) / 1e6).toArray();
      System.out.printf(
          "%,d pooled connections in %d pools lose their primary; not served: %s%n",
          connections, pools, failed);
      report("failover", before, usage(List.copyOf(before.keySet())));
      attempts(promotion.node().logs().substring(logged));
      print("served", lags);
    } finally {
      release.countDown();
      all.forEach(HikariDataSource::close);
    }
    old.start();
    cluster.awaitHealthy(TIMEOUT);
  }

  private static void logConnections(RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement()) {
      statement.execute("ALTER SYSTEM SET log_connections = on");
      statement.execute("SELECT pg_reload_conf()");
    }
  }

  /** Connections that were begun, whatever came of them: each has a line with its time. */
  private static void attempts(String log) {
    Map<String, Long> bySecond =
        log.lines()
            .filter(line -> line.contains("connection received"))
            .collect(
                Collectors.groupingBy(
                    line -> line.substring(0, "2026-11-26 12:00:00".length()),
                    TreeMap::new,
                    Collectors.counting()));
    System.out.printf(
        "  connections begun on the new primary, each second: %s%n", bySecond.values());
  }

  /** Has a connection when the primary dies, and wants another at once; keeps that. */
  private static void useOne(
      HikariDataSource pool,
      String oldServer,
      CountDownLatch ready,
      CountDownLatch release,
      ConcurrentLinkedQueue<Long> served,
      ConcurrentLinkedQueue<String> failed) {
    try (Connection connection = pool.getConnection();
        Statement statement = connection.createStatement()) {
      ready.countDown();
      statement.execute("select pg_sleep(600)");
    } catch (SQLException e) {
      // As was to be expected.
    }
    for (int attempt = 0; attempt < 20; attempt++) {
      try (Connection connection = pool.getConnection();
          Statement statement = connection.createStatement();
          ResultSet row = statement.executeQuery("select host(inet_server_addr())")) {
        row.next();
        if (!oldServer.equals(row.getString(1))) {
          served.add(System.nanoTime());
          release.await();
          return;
        }
      } catch (SQLException e) {
        // An idle one that had died as well; the next one may be better.
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      }
    }
    failed.add(pool.getPoolName());
  }

  // ------------------------------------------------------------------------------- what nodes say

  /**
   * What a node has done so far.
   *
   * @param cpuNanos of all its processes
   */
  private record Usage(long nanoTime, long transactions, long sessions, long cpuNanos) {}

  private static Map<RepmgrNode, Usage> usage(List<RepmgrNode> nodes) throws SQLException {
    Map<RepmgrNode, Usage> usage = new LinkedHashMap<>();
    for (RepmgrNode node : nodes) {
      String cpu = node.exec("sh", "-c", CPU_NANOS).orThrow().stdout().strip();
      try (Connection connection = node.connect("postgres");
          Statement statement = connection.createStatement();
          ResultSet row =
              statement.executeQuery(
                  "SELECT sum(xact_commit)::bigint, sum(sessions)::bigint FROM pg_stat_database")) {
        row.next();
        usage.put(
            node,
            new Usage(System.nanoTime(), row.getLong(1), row.getLong(2), Long.parseLong(cpu)));
      }
    }
    return usage;
  }

  private static double transactionsPerSecond(RepmgrCluster cluster) throws SQLException {
    Map<RepmgrNode, Usage> before = usage(cluster.nodes());
    park(SAMPLE);
    Map<RepmgrNode, Usage> after = usage(cluster.nodes());
    return before.entrySet().stream()
        .mapToDouble(
            entry -> {
              Usage from = entry.getValue();
              Usage to = after.getOrDefault(entry.getKey(), from);
              return (to.transactions - from.transactions) / ((to.nanoTime - from.nanoTime) / 1e9);
            })
        .average()
        .orElse(0);
  }

  private static void sample(RepmgrCluster cluster, String what) throws SQLException {
    Map<RepmgrNode, Usage> before = usage(cluster.nodes());
    park(SAMPLE);
    report(what, before, usage(cluster.nodes()));
  }

  private static void report(
      String what, Map<RepmgrNode, Usage> before, Map<RepmgrNode, Usage> after) {
    before.forEach(
        (node, from) -> {
          Usage to = after.getOrDefault(node, from);
          double seconds = (to.nanoTime - from.nanoTime) / 1e9;
          System.out.printf(
              Locale.ROOT,
              "  %s, %s: %,.0f transactions a second, %,.0f logins a second, %.2f cores%n",
              what,
              node,
              (to.transactions - from.transactions) / seconds,
              (to.sessions - from.sessions) / seconds,
              (to.cpuNanos - from.cpuNanos) / 1e9 / seconds);
        });
  }

  private static void print(String what, double[] lags) {
    if (lags.length == 0) {
      System.out.printf("  %s; then nobody%n", what);
      return;
    }
    Arrays.sort(lags);
    System.out.printf(
        Locale.ROOT,
        "  %s; then %,d of them after %.0f ms (first), %.0f (median), %.0f (95 %%), %.0f (last)%n",
        what,
        lags.length,
        lags[0],
        lags[lags.length / 2],
        lags[lags.length * 95 / 100],
        lags[lags.length - 1]);
  }

  private static void park(Duration duration) {
    LockSupport.parkNanos(duration.toNanos());
  }
}
