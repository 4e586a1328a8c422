package io.github.repmgrjdbc.histories;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.histories.Nemesis.Blow;
import io.github.repmgrjdbc.histories.Nemesis.Strike;
import io.github.repmgrjdbc.race.Contender;
import io.github.repmgrjdbc.race.Field;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntSupplier;
import org.awaitility.Awaitility;

/** One history on one cluster: who takes part, what happens, and what came of it. */
final class Histories {

  static final String DIRECT = "repmgr-jdbc";
  static final String EAST = "repmgr-jdbc, east";
  static final String EAST_QUORUM = "repmgr-jdbc, east, quorum";
  static final String WEST = "repmgr-jdbc, west";

  /**
   * Who reaches all nodes, or the promoted one at least, waits for support of a challenger for 5 s
   * at most. With {@code quorum} a supporter's word counts for 6 s, and 3 s are waited without one.
   * Both: and a probe's deadline. The others in the east may see nobody but the old primary.
   */
  private static final Map<String, Double> LAST_TAKEN_MILLIS =
      Map.of(DIRECT, 7_000.0, WEST, 7_000.0, EAST_QUORUM, 11_000.0);

  /** Applications and the AWS wrapper's topology share a connection: the metadata's database. */
  private static final String DATABASE = "repmgr";

  private static final int POOL_SIZE = 5;
  private static final int ROWS_BEFORE = 50;
  private static final Duration HEALTH_TIMEOUT = Duration.ofMinutes(3);

  private final RepmgrCluster cluster;
  private final List<Contender> others;
  private final long seed;
  private final List<AutoCloseable> toClose = new ArrayList<>();

  /**
   * What came of it.
   *
   * @param strikes what happened
   * @param findings by group
   * @param lastTaken milliseconds from a promotion to the last acknowledgement by an old primary,
   *     the longest of each kind of fault, by group
   * @param faults what is wrong with the database, whoever wrote to it
   * @param synchronous whether nothing may be lost
   */
  record Result(
      List<Strike> strikes,
      List<Findings> findings,
      Map<Blow, Map<String, Double>> lastTaken,
      List<String> faults,
      boolean synchronous) {

    /** What must not be, in words: of our own groups, and of the database. */
    List<String> violations() {
      List<String> violations = new ArrayList<>(faults);
      for (Findings one : findings) {
        if (one.group().startsWith(DIRECT)) {
          complain(violations, one, "failed but found", one.foundThoughFailed());
          complain(
              violations, one, "failed for a reason that is not the connection's", one.rejected());
          complain(violations, one, "lost without a failover", one.lostForNoReason());
          complain(
              violations, one, "taken by a server whose successor was in view", one.staleInView());
          Double bound = LAST_TAKEN_MILLIS.get(one.group());
          if (bound != null && one.lastStaleMillis() > bound) {
            violations.add(
                "%s: an old primary was still written to %.0f ms after a promotion, allowed is %.0f"
                    .formatted(one.group(), one.lastStaleMillis(), bound));
          }
          if (synchronous) {
            complain(violations, one, "lost at a promotion", one.lostBefore());
            complain(violations, one, "lost beside the new primary", one.lostBeside());
          }
        }
      }
      return violations;
    }

    private static void complain(
        List<String> violations, Findings findings, String what, List<Operation> operations) {
      if (!operations.isEmpty()) {
        violations.add(
            "%s: %d %s, the first: %s"
                .formatted(findings.group(), operations.size(), what, operations.get(0)));
      }
    }
  }

  /**
   * Prepares.
   *
   * @param cluster a fresh one
   * @param others who takes part besides us
   */
  Histories(RepmgrCluster cluster, List<Contender> others, long seed) {
    this.cluster = cluster;
    this.others = List.copyOf(others);
    this.seed = seed;
  }

  /** Plays it. */
  Result run(int faults) throws SQLException, IOException {
    RepmgrNode first = cluster.awaitHealthy(HEALTH_TIMEOUT);
    int groupCount = 4 + others.size();
    try (Connection connection = first.connect(DATABASE)) {
      Ledger.create(connection, groupCount * Group.ACCOUNTS, cluster.user());
    }
    try (Side east = new Side(cluster.nodes());
        Side west = new Side(cluster.nodes());
        Reigns reigns = new Reigns(cluster.nodes())) {
      List<Group> groups = new ArrayList<>();
      List<HostAndPort> direct =
          cluster.nodes().stream().map(RepmgrNode::containerAddress).toList();
      groups.add(ours(DIRECT, direct, "latest", groups.size()));
      groups.add(ours(EAST, east.addresses(), "latest", groups.size()));
      groups.add(ours(EAST_QUORUM, east.addresses(), "quorum", groups.size()));
      groups.add(ours(WEST, west.addresses(), "latest", groups.size()));
      for (Contender other : others) {
        HikariDataSource pool = other.open(field());
        groups.add(group(other.title(), pool, () -> 0, groups.size()));
      }
      groups.forEach(Group::start);
      Nemesis nemesis = new Nemesis(cluster, east, west, seed);
      List<Operation> operations = new ArrayList<>();
      try {
        awaitOurs(groups, ROWS_BEFORE);
        nemesis.run(faults);
        // All of ours go on, once all is well.
        awaitOurs(groups, ROWS_BEFORE);
      } finally {
        groups.forEach(group -> operations.addAll(group.end()));
        closeAll();
      }
      RepmgrNode primary = cluster.awaitHealthy(HEALTH_TIMEOUT);
      try (Connection connection = primary.connect(DATABASE)) {
        Ledger ledger = Ledger.read(connection, groupCount * Group.ACCOUNTS);
        Checker checker = new Checker(operations, ledger, reigns.seen());
        return new Result(
            nemesis.strikes(),
            checker.findings(),
            lastTaken(nemesis.strikes(), operations, ledger, reigns.seen()),
            checker.faults(),
            "quorum".equals(cluster.environment().get("SYNC_MODE")));
      }
    }
  }

  /** What was answered from one fault to the next belongs to the first. */
  private static Map<Blow, Map<String, Double>> lastTaken(
      List<Strike> strikes, List<Operation> operations, Ledger ledger, List<Reign> reigns) {
    Map<Blow, Map<String, Double>> longest = new TreeMap<>();
    for (int i = 0; i < strikes.size(); i++) {
      long from = strikes.get(i).began();
      boolean last = i + 1 == strikes.size();
      long to = last ? 0 : strikes.get(i + 1).began();
      List<Operation> meanwhile =
          operations.stream()
              .filter(one -> one.ended() - from >= 0 && (last || one.ended() - to < 0))
              .toList();
      Map<String, Double> ofBlow =
          longest.computeIfAbsent(strikes.get(i).blow(), key -> new TreeMap<>());
      for (Findings findings : new Checker(meanwhile, ledger, reigns).findings()) {
        ofBlow.merge(findings.group(), findings.lastStaleMillis(), Math::max);
      }
    }
    return longest;
  }

  private static void awaitOurs(List<Group> groups, int more) {
    for (Group group : groups.subList(0, 4)) {
      int before = group.acknowledged();
      Awaitility.await(group + " to write")
          .atMost(Duration.ofSeconds(60))
          .until(() -> group.acknowledged() >= before + more);
    }
  }

  private Group ours(String name, List<HostAndPort> hosts, String policy, int number) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setUrl(
        cluster.jdbcUrl(hosts).replace("/" + cluster.database() + "?", "/" + DATABASE + "?"));
    dataSource.setPrimaryPolicy(policy);
    HikariConfig config = new HikariConfig();
    config.setPoolName(name);
    config.setMaximumPoolSize(POOL_SIZE);
    config.setDataSource(dataSource);
    InView inView = new InView();
    dataSource.addListener(inView);
    Group group = group(name, new HikariDataSource(config), inView, number);
    toClose.add(dataSource);
    return group;
  }

  private Group group(String name, HikariDataSource pool, IntSupplier inView, int number) {
    Group group = new Group(name, pool, inView, number, seed + 100L * number);
    toClose.add(group);
    return group;
  }

  private Field field() {
    Map<String, String> hosts = new LinkedHashMap<>();
    cluster.nodes().forEach(node -> hosts.put(node.name(), node.containerAddress().host()));
    return new Field(hosts, DATABASE, cluster.user(), cluster.password(), "");
  }

  private void closeAll() {
    for (AutoCloseable one : toClose) {
      try {
        one.close();
      } catch (Exception e) {
        throw new IllegalStateException(e);
      }
    }
  }
}
