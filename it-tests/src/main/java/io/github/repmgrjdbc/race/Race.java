package io.github.repmgrjdbc.race;

import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionTimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Lets all contenders write to one real cluster, strikes its primary, and measures what that costs
 * each of them. {@code it-tests/race} is the command.
 */
public final class Race implements AutoCloseable {

  private static final Logger LOG = LoggerFactory.getLogger(Race.class);

  private static final Duration HEALTH_TIMEOUT = Duration.ofMinutes(2);
  private static final Duration PROMOTION_TIMEOUT = Duration.ofMinutes(1);
  private static final int ROWS_BEFORE = 50;
  private static final Duration WARM_UP_TIMEOUT = Duration.ofSeconds(20);

  /** Who has not recovered so long after the promotion is given up. */
  private static final Duration PATIENCE = Duration.ofSeconds(20);

  /** How long it is watched what happens after the return of the old primary. */
  private static final Duration AFTERWARDS = Duration.ofSeconds(3);

  private static final Duration AFTERWARDS_STALE = Duration.ofSeconds(10);

  /** All are measured for as long, whoever recovers when. */
  private static final Duration CPU_AFTER_PROMOTION = Duration.ofSeconds(5);

  private static final int WARM_UP_CONNECTIONS = 100;

  private static final int ATTEMPTS = 3;

  private final List<Contender> contenders;
  private final Path directory;
  private final Random random;
  private final String parameters;
  private @Nullable RepmgrCluster cluster;
  private boolean healing;
  private boolean warm;

  /**
   * Makes a race.
   *
   * @param directory where the records and logs go
   * @param seed of the order of hosts
   * @param parameters of our own URL
   */
  Race(List<Contender> contenders, Path directory, long seed, String parameters) {
    this.contenders = List.copyOf(contenders);
    this.directory = directory;
    this.random = new Random(seed);
    this.parameters = parameters;
    try {
      Files.createDirectories(directory);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** One lap; the cluster is started if there is none that is fit for it. */
  Lap run(Course course, int number) throws SQLException {
    String lap = course.name().toLowerCase(Locale.ROOT) + "-" + number;
    for (int attempt = 1; ; attempt++) {
      RepmgrCluster fit = fitFor(course);
      try {
        return run(course, number, lap, fit);
      } catch (ReplacedBeforeException e) {
        if (attempt == ATTEMPTS) {
          throw e;
        }
        LOG.warn("{} does not count: {}", lap, e.getMessage());
      }
    }
  }

  /** There was a failover before the fault: the lap says nothing. */
  private static final class ReplacedBeforeException extends IllegalStateException {
    private static final long serialVersionUID = 1L;

    ReplacedBeforeException(RepmgrNode old, RepmgrNode promoted) {
      super("%s had been replaced by %s before the fault".formatted(old, promoted));
    }
  }

  private RepmgrCluster fitFor(Course course) throws SQLException {
    RepmgrCluster current = cluster;
    if (current != null && healing && course.healing()) {
      try {
        current.awaitHealthy(HEALTH_TIMEOUT);
        return current;
      } catch (ConditionTimeoutException e) {
        LOG.warn("another cluster is started: {}", e.getMessage());
      }
    }
    abandonCluster();
    RepmgrCluster started = RepmgrCluster.builder().healing(course.healing()).start();
    cluster = started;
    healing = course.healing();
    // In the metadata's database: the AWS wrapper reads its topology over the application's.
    try (Connection connection = started.primary().connect("repmgr");
        Statement statement = connection.createStatement()) {
      statement.execute(
          "CREATE TABLE public.race (run text, thread int, seq int,"
              + " PRIMARY KEY (run, thread, seq))");
      statement.execute("GRANT ALL ON public.race TO " + started.user());
    }
    if (!warm) {
      // For the one that is told directly: the contenders' code is warm as well.
      for (int i = 0; i < WARM_UP_CONNECTIONS; i++) {
        insertDirectly(started.primary().containerAddress().host(), field(started), "warm-up " + i);
      }
      warm = true;
    }
    return started;
  }

  private Lap run(Course course, int number, String name, RepmgrCluster on) throws SQLException {
    RepmgrNode old = on.primary();
    Field field = field(on);
    List<Entrant> entrants = new ArrayList<>();
    try (PromotionWatch watch = PromotionWatch.start(on.standbys())) {
      List<Contender> order = new ArrayList<>(contenders);
      Collections.shuffle(order, random);
      for (Contender contender : order) {
        entrants.add(Entrant.start(contender, field, name, directory));
      }
      List<Boolean> wroteBefore = ask(entrants, "await-rows", ROWS_BEFORE, WARM_UP_TIMEOUT);
      List<Long> cpuBefore = entrants.stream().map(Entrant::cpuNanos).toList();
      CompletableFuture<Double> direct =
          CompletableFuture.supplyAsync(() -> connectAtPromotion(watch, field, name));
      CompletableFuture<Long> strike = CompletableFuture.supplyAsync(() -> course.strike(old));
      Promotion promotion = await(watch, strike);
      LockSupport.parkNanos(
          promotion.nanoTime() + CPU_AFTER_PROMOTION.toNanos() - System.nanoTime());
      List<Long> cpuAfter = entrants.stream().map(Entrant::cpuNanos).toList();
      ask(entrants, "await-since", promotion.nanoTime(), PATIENCE);
      long struck = strike.join();
      if (promotion.nanoTime() - struck < 0) {
        // Seven JVMs that start on two cores can be too much for a primary that has to hear of
        // others.
        throw new ReplacedBeforeException(old, promotion.node());
      }
      long returned = System.nanoTime();
      course.undo(old);
      if (course.healing()) {
        awaitReturn(on, old);
      }
      LockSupport.parkNanos((course.healing() ? AFTERWARDS : AFTERWARDS_STALE).toNanos());
      Lap.Times times = new Lap.Times(struck, promotion.nanoTime(), returned, System.nanoTime());
      Map<Contender, Lap.Run> runs = new EnumMap<>(Contender.class);
      for (int i = 0; i < entrants.size(); i++) {
        runs.put(
            entrants.get(i).contender(),
            Lap.evaluate(
                entrants.get(i).end(),
                times,
                old.containerAddress().host(),
                promotion.node().containerAddress().host(),
                wroteBefore.get(i),
                (cpuAfter.get(i) - cpuBefore.get(i)) / 1e9));
      }
      return new Lap(
          course,
          number,
          List.copyOf(field.hosts().keySet()),
          old.name(),
          promotion.node().name(),
          times.millis(times.promoted()),
          times.millis(returned),
          times.millis(times.ended()),
          direct.join(),
          runs);
    } finally {
      entrants.forEach(Entrant::close);
    }
  }

  private Field field(RepmgrCluster on) {
    List<RepmgrNode> nodes = new ArrayList<>(on.nodes());
    Collections.shuffle(nodes, random);
    Map<String, String> hosts = new LinkedHashMap<>();
    nodes.forEach(node -> hosts.put(node.name(), node.containerAddress().host()));
    return new Field(hosts, "repmgr", on.user(), on.password(), parameters);
  }

  /** All are asked at once; they answer when it is so, or the time is over. */
  private static List<Boolean> ask(
      List<Entrant> entrants, String what, long number, Duration timeout) {
    entrants.forEach(entrant -> entrant.order(what, number, timeout));
    return entrants.stream().map(Entrant::answer).map(Boolean::valueOf).toList();
  }

  private static Promotion await(PromotionWatch watch, CompletableFuture<Long> strike) {
    Awaitility.await("a promotion")
        .pollInSameThread()
        .pollDelay(Duration.ZERO)
        .pollInterval(Duration.ofMillis(5))
        .atMost(PROMOTION_TIMEOUT)
        .until(() -> watch.promotion().isPresent() || strike.isCompletedExceptionally());
    if (watch.promotion().isEmpty()) {
      strike.join();
    }
    return watch.promotion().orElseThrow();
  }

  private static void awaitReturn(RepmgrCluster on, RepmgrNode old) {
    try {
      on.awaitHealthy(HEALTH_TIMEOUT);
    } catch (ConditionTimeoutException e) {
      LOG.warn("{} did not come back: {}", old, e.getMessage());
    }
  }

  /**
   * What nobody can be faster than: a client that opens no connection before the promotion, but is
   * told of it at that moment. Its connect and its first commit, in milliseconds.
   */
  private static double connectAtPromotion(PromotionWatch watch, Field field, String lap) {
    long deadline = System.nanoTime() + PROMOTION_TIMEOUT.toNanos();
    while (watch.promotion().isEmpty() && System.nanoTime() - deadline < 0) {
      LockSupport.parkNanos(1_000_000);
    }
    if (watch.promotion().isEmpty()) {
      return Lap.NEVER;
    }
    String host = watch.promotion().get().node().containerAddress().host();
    long began = System.nanoTime();
    try {
      insertDirectly(host, field, lap);
      return (System.nanoTime() - began) / 1e6;
    } catch (SQLException e) {
      LOG.warn("the direct connection failed", e);
      return Lap.NEVER;
    }
  }

  private static void insertDirectly(String host, Field field, String lap) throws SQLException {
    try (Connection connection =
            DriverManager.getConnection(
                "jdbc:postgresql://%s:%d/%s?connectTimeout=10&socketTimeout=10"
                    .formatted(host, Field.PORT, field.database()),
                field.user(),
                field.password());
        Statement statement = connection.createStatement()) {
      statement.execute("INSERT INTO public.race VALUES ('%s direct', 0, 0)".formatted(lap));
    }
  }

  /** For a report: where it was run. There must be a cluster. */
  String surroundings() {
    return Objects.requireNonNull(cluster).surroundings();
  }

  @Override
  public void close() {
    abandonCluster();
  }

  /** Removes the cluster; what its nodes have logged is kept. The next lap gets another one. */
  void abandonCluster() {
    RepmgrCluster current = cluster;
    cluster = null;
    if (current != null) {
      try {
        current.saveLogs(directory.resolve(current.name()));
      } finally {
        current.close();
      }
    }
  }
}
