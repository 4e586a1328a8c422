package io.github.repmgrjdbc.cost;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.testing.Relay;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.VerboseMode;

/** The command {@code it-tests/cost}: runs the benchmarks in rounds, and prints them as a table. */
public final class Cost {

  private static final Path REPORT = Path.of("it-tests", "target", "cost.md");

  /** What the measured JVMs log is no answer, and no part of the table. */
  private static final List<String> QUIET =
      List.of(
          "-Dlogback.configurationFile=demo-logback.xml",
          "-Ddemo.log=" + REPORT.resolveSibling("cost-measured.log"));

  private static final String PGJDBC = "pgjdbc";
  private static final String OURS = "repmgr-jdbc";

  private final int rounds;
  private final Map<String, Samples> results = new LinkedHashMap<>();

  private Cost(int rounds) {
    this.rounds = rounds;
  }

  /** See {@code cost --help}. */
  public static void main(String[] arguments) throws Exception {
    // A multiple of three: each of three drivers is as often the first, and as often the last.
    int rounds = 6;
    String only = "";
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      switch (arguments[i]) {
        case "--rounds" -> rounds = Load.count(arguments[i + 1]);
        case "--only" -> only = arguments[i + 1];
        default -> only = "?";
      }
    }
    // Fewer say nothing of how far apart they may be.
    if (arguments.length % 2 != 0
        || rounds < 3
        || !List.of("", "pool", "connect", "start").contains(only)) {
      System.err.println(
          "cost: allowed are --rounds N, 3 to 9999, and --only pool, connect or start");
      System.exit(2);
    }
    new Cost(rounds).run(only);
  }

  private void run(String only) throws SQLException, RunnerException, IOException {
    String about;
    try (RepmgrCluster cluster = RepmgrCluster.builder().start()) {
      about = cluster.surroundings() + "; JDK " + System.getProperty("java.version");
      enableTls(cluster);
      for (int round = 0; round < rounds; round++) {
        if (only.isEmpty() || only.equals("pool")) {
          bench(PoolBenchmark.class, poolUrls(cluster), List.of(PGJDBC, OURS, "aws"), "", round);
        }
        if (only.isEmpty() || only.equals("connect")) {
          bench(cluster, "scram", "sslmode=disable", round);
          bench(cluster, "tls", "sslmode=require", round);
        }
        if (only.isEmpty() || only.equals("start")) {
          start(cluster, round);
        }
        report(about, round + 1);
      }
    }
    if (only.isEmpty() || only.equals("connect")) {
      try (RepmgrCluster cluster =
          RepmgrCluster.builder().environment("POSTGRES_HOST_AUTH_METHOD", "trust").start()) {
        for (int round = 0; round < rounds; round++) {
          bench(cluster, "trust", "sslmode=disable", round);
          benchFar(cluster, round);
          report(about, round + 1);
        }
      }
    }
    System.out.printf("%n%s", Files.readString(REPORT));
  }

  private void report(String about, int round) throws IOException {
    String text =
        Samples.heading()
            + results.values().stream().map(Samples::rows).collect(Collectors.joining())
            + "\n%s; `%s`%n"
                .formatted(about, System.getProperty("measure.command", "it-tests/cost"));
    Files.writeString(REPORT, text);
    System.out.println("round " + round + " of " + rounds + " is over");
  }

  private static void enableTls(RepmgrCluster cluster) throws SQLException {
    for (RepmgrNode node : cluster.nodes()) {
      node.exec(
              "openssl req -x509 -nodes -days 2 -subj /CN=node -newkey rsa:2048"
                  .concat(" -keyout /var/lib/postgresql/tls.key -out /var/lib/postgresql/tls.crt")
                  .split(" "))
          .orThrow();
      try (Connection connection = node.connect("postgres");
          Statement statement = connection.createStatement()) {
        statement.execute("ALTER SYSTEM SET ssl_cert_file = '/var/lib/postgresql/tls.crt'");
        statement.execute("ALTER SYSTEM SET ssl_key_file = '/var/lib/postgresql/tls.key'");
        statement.execute("ALTER SYSTEM SET ssl = on");
        statement.execute("SELECT pg_reload_conf()");
      }
    }
  }

  // -------------------------------------------------------------------------------------- the URLs

  private static Map<String, String> poolUrls(RepmgrCluster cluster) {
    Map<String, String> urls = new TreeMap<>();
    urls.put("cost.url." + PGJDBC, pgjdbcUrl(cluster));
    urls.put("cost.url." + OURS, cluster.directJdbcUrl());
    urls.put("cost.url.aws", pgjdbcUrl(cluster).replace("jdbc:", "jdbc:aws-wrapper:"));
    return urls;
  }

  private static String pgjdbcUrl(RepmgrCluster cluster) {
    return pgjdbc(cluster.jdbcUrl(List.of(cluster.primary().containerAddress())));
  }

  /**
   * What opening a connection is measured with.
   *
   * @param address where a node is reached
   */
  private static Map<String, String> connectUrls(
      RepmgrCluster cluster, Function<RepmgrNode, HostAndPort> address, String parameter) {
    // The primary last: pgJDBC looks at the standbys first, and remembers them for ten seconds.
    List<HostAndPort> hosts = new ArrayList<>();
    cluster.standbys().forEach(node -> hosts.add(address.apply(node)));
    HostAndPort primary = address.apply(cluster.primary());
    hosts.add(primary);
    Map<String, String> urls = new LinkedHashMap<>();
    urls.put(PGJDBC, pgjdbc(cluster.jdbcUrl(List.of(primary))) + "&" + parameter);
    urls.put(OURS, cluster.jdbcUrl(hosts) + "&" + parameter);
    urls.put(
        "pgjdbc-multi-host",
        pgjdbc(cluster.jdbcUrl(hosts)) + "&targetServerType=primary&" + parameter);
    return urls;
  }

  private static String pgjdbc(String url) {
    return url.replace("jdbc:repmgr:", "jdbc:postgresql:");
  }

  // -------------------------------------------------------------------------------- the benchmarks

  private void bench(RepmgrCluster cluster, String security, String parameter, int round)
      throws RunnerException {
    bench(connectUrls(cluster, RepmgrNode::containerAddress, parameter), security, round);
  }

  /** With the round trip that a network between data centres of one city has. */
  private void benchFar(RepmgrCluster cluster, int round) throws RunnerException, IOException {
    List<Relay> relays = new ArrayList<>();
    try {
      Map<HostAndPort, HostAndPort> far = new HashMap<>();
      for (RepmgrNode node : cluster.nodes()) {
        HostAndPort near = node.containerAddress();
        Relay relay = Relay.to(() -> near, Duration.ofMillis(1));
        relays.add(relay);
        far.put(near, relay.address());
      }
      Map<String, String> urls =
          connectUrls(
              cluster,
              node -> far.getOrDefault(node.containerAddress(), node.containerAddress()),
              "sslmode=disable");
      bench(urls, ConnectBenchmark.FAR, round);
    } finally {
      for (Relay relay : relays) {
        relay.close();
      }
    }
  }

  private void bench(Map<String, String> urls, String security, int round) throws RunnerException {
    Map<String, String> properties = new TreeMap<>();
    urls.forEach((driver, url) -> properties.put("cost.url." + security + "." + driver, url));
    bench(ConnectBenchmark.class, properties, List.copyOf(urls.keySet()), security, round);
  }

  /** Each driver in a JVM of its own, in another order in each round. */
  private void bench(
      Class<?> benchmark,
      Map<String, String> properties,
      List<String> drivers,
      String security,
      int round)
      throws RunnerException {
    List<String> order = new ArrayList<>(drivers);
    Collections.rotate(order, round);
    List<String> jvm = new ArrayList<>(List.of("-Xms512m", "-Xmx512m"));
    jvm.addAll(QUIET);
    properties.forEach((name, value) -> jvm.add("-D" + name + "=" + value));
    for (String driver : order) {
      OptionsBuilder options = new OptionsBuilder();
      options
          .include(benchmark.getName() + "\\.")
          .param("driver", driver)
          .addProfiler(GCProfiler.class)
          .verbosity(VerboseMode.SILENT)
          .shouldFailOnError(true)
          .jvmArgs(jvm.toArray(new String[0]));
      if (!security.isEmpty()) {
        options.param("security", security);
      }
      Collection<RunResult> all = new Runner(options.build()).run();
      for (RunResult result : all) {
        String what = result.getPrimaryResult().getLabel() + " " + security;
        Result<?> allocated = result.getSecondaryResults().get("gc.alloc.rate.norm");
        add(
            what.strip(),
            driver,
            result.getPrimaryResult().getScore(),
            allocated == null ? Double.NaN : allocated.getScore());
      }
    }
  }

  private void start(RepmgrCluster cluster, int round) throws IOException {
    List<String> order = new ArrayList<>(List.of(PGJDBC, OURS));
    Collections.rotate(order, round);
    for (String driver : order) {
      String url = driver.equals(OURS) ? cluster.directJdbcUrl() : pgjdbcUrl(cluster);
      List<String> command = new ArrayList<>();
      command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
      command.addAll(QUIET);
      command.addAll(List.of("-cp", classPath(driver), FirstConnection.class.getName()));
      ProcessBuilder builder = new ProcessBuilder(command);
      builder.environment().put(FirstConnection.URL, url);
      builder.redirectError(ProcessBuilder.Redirect.DISCARD);
      long began = System.nanoTime();
      Process process = builder.start();
      String line = process.inputReader(StandardCharsets.UTF_8).readLine();
      if (!"true".equals(line)) {
        throw new IllegalStateException(driver + " opened no connection: " + line);
      }
      add(
          "JVM start to the first connection",
          driver,
          (System.nanoTime() - began) / 1e3,
          Double.NaN);
    }
  }

  /** What an application with that driver has: DriverManager loads every driver that it finds. */
  private static String classPath(String driver) {
    List<String> jars = new ArrayList<>(List.of("postgresql-", "slf4j-api-", "logback-"));
    if (driver.equals(OURS)) {
      jars.addAll(List.of("repmgr-jdbc-", "caffeine-"));
    }
    return Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator, -1))
        .filter(
            entry ->
                !entry.endsWith(".jar")
                    || jars.stream().anyMatch(new File(entry).getName()::startsWith))
        .collect(Collectors.joining(File.pathSeparator));
  }

  private void add(String what, String driver, double micros, double allocated) {
    results.computeIfAbsent(what, key -> new Samples(what, PGJDBC)).add(driver, micros, allocated);
  }
}
