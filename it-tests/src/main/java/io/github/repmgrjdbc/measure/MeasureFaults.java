package io.github.repmgrjdbc.measure;

import io.github.repmgrjdbc.testing.Fault;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionTimeoutException;

/**
 * Strikes the primary with every kind of fault, gives it back, and prints as a table what that
 * cost: the long form of the tests. {@code it-tests/measure-faults} is the command.
 *
 * <p>Two clients write to each node at its own address, whoever is primary: one that gives up a
 * connection after a second's silence, and one that waits for ever. So it is seen when a node
 * begins to take writes, when it ends, and when two do.
 */
public final class MeasureFaults {

  private static final Duration PROMOTION_TIMEOUT = Duration.ofMinutes(1);
  private static final Duration HEALTH_TIMEOUT = Duration.ofMinutes(2);

  /** An old primary that has taken nothing for so long has ended, or cannot be reached. */
  private static final Duration QUIET = Duration.ofSeconds(3);

  /** Between two acknowledgements that are farther apart, the node took no writes. */
  private static final Duration PAUSE = Duration.ofSeconds(1);

  private static final double NEVER = Double.POSITIVE_INFINITY;

  private static final Path LOGS = Path.of("it-tests", "target", "measure-faults");

  private final Options options;
  private final Map<Fault, List<Round>> results = new EnumMap<>(Fault.class);
  private RepmgrCluster cluster;

  /**
   * What one fault did; empty is never.
   *
   * @param writable seconds until another node took a write
   * @param whole seconds from the node's return to full strength
   * @param two seconds in which both took writes
   * @param late rows that the old primary took after the new one's first
   * @param lost acknowledged rows that are not there in the end
   * @param acknowledged all of them
   */
  private record Round(
      OptionalDouble writable,
      OptionalDouble whole,
      double two,
      long late,
      long lost,
      long acknowledged) {

    @Override
    public String toString() {
      return "another takes writes after %s s, at full strength %s s after its return, two took writes for %.1f s (%d rows), %d of %d rows lost"
          .formatted(
              text(writable.orElse(NEVER)),
              text(whole.orElse(NEVER)),
              two,
              late,
              lost,
              acknowledged);
    }
  }

  private record Options(int rounds, long seed, List<Fault> faults, Map<String, String> variables) {

    static Options parse(String[] arguments) {
      int rounds = 5;
      long seed = System.nanoTime() & 0xffff;
      List<Fault> faults = new ArrayList<>();
      Map<String, String> variables = new TreeMap<>();
      for (int i = 0; i + 1 < arguments.length; i += 2) {
        String value = arguments[i + 1];
        switch (arguments[i]) {
          case "--rounds" -> rounds = Integer.parseInt(value);
          case "--seed" -> seed = Long.parseLong(value);
          case "--fault" -> faults.add(Fault.valueOf(value.toUpperCase(Locale.ROOT)));
          case "--environment" -> {
            String[] parts = value.split("=", 2);
            if (parts.length < 2) {
              throw new IllegalArgumentException("--environment NAME=VALUE, not " + value);
            }
            variables.put(parts[0], parts[1]);
          }
          default -> throw new IllegalArgumentException("unknown: " + arguments[i]);
        }
      }
      if (arguments.length % 2 != 0) {
        throw new IllegalArgumentException("no value: " + arguments[arguments.length - 1]);
      }
      return new Options(
          rounds, seed, faults.isEmpty() ? List.of(Fault.values()) : faults, variables);
    }
  }

  private MeasureFaults(Options options) {
    this.options = options;
    cluster = startCluster();
  }

  /** See {@code measure-faults --help}. */
  public static void main(String[] arguments) throws SQLException {
    Options options;
    try {
      options = Options.parse(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println("measure-faults: " + e.getMessage());
      System.exit(2);
      return;
    }
    MeasureFaults measurement = new MeasureFaults(options);
    try {
      measurement.run();
    } finally {
      measurement.cluster.close();
    }
  }

  private void run() throws SQLException {
    String about = about();
    List<Fault> strikes = new ArrayList<>();
    for (int round = 0; round < options.rounds; round++) {
      strikes.addAll(options.faults);
    }
    Collections.shuffle(strikes, new Random(options.seed));
    for (int i = 0; i < strikes.size(); i++) {
      Fault fault = strikes.get(i);
      Round round = measure(fault, "strike " + (i + 1));
      results.computeIfAbsent(fault, key -> new ArrayList<>()).add(round);
      System.out.printf("%d of %d: %s: %s%n", i + 1, strikes.size(), fault, round);
      if (round.whole.isEmpty()) {
        cluster.close();
        cluster = startCluster();
      }
    }
    System.out.printf("%n%s%n%n", about);
    printTable();
  }

  private RepmgrCluster startCluster() {
    RepmgrCluster.Builder builder = RepmgrCluster.builder();
    options.variables.forEach(builder::environment);
    RepmgrCluster started = builder.start();
    try (Connection connection = started.primary().connect(started.database());
        Statement statement = connection.createStatement()) {
      statement.execute(PinnedWriter.TABLE);
      statement.execute("GRANT ALL ON pinned TO " + started.user());
    } catch (SQLException e) {
      started.close();
      throw new IllegalStateException(e);
    }
    return started;
  }

  // ---------------------------------------------------------------------------------- one strike

  private Round measure(Fault fault, String run) throws SQLException {
    RepmgrNode old = cluster.awaitHealthy(HEALTH_TIMEOUT);
    List<PinnedWriter> writers = new ArrayList<>();
    try {
      for (RepmgrNode node : cluster.nodes()) {
        for (int patience : new int[] {1, 0}) {
          String name = "%s, %s, %d".formatted(run, node, patience);
          writers.add(PinnedWriter.start(cluster, node, patience, name));
        }
      }
      await("rows on " + old, PROMOTION_TIMEOUT, () -> acknowledgedBy(writers, old).count() > 200);
      long struck = fault.strike(old);
      boolean replaced = reached(PROMOTION_TIMEOUT, () -> othersSince(writers, old, struck) > 0);
      // A fence takes its time; a node that was given back before would not show it.
      reached(PROMOTION_TIMEOUT, () -> quiet(writers, old));
      long returned = System.nanoTime();
      fault.undo(old);
      OptionalDouble whole = OptionalDouble.empty();
      if (isHealthyInTime(run)) {
        whole = OptionalDouble.of(seconds(System.nanoTime() - returned));
      }
      writers.forEach(PinnedWriter::close);
      return evaluate(writers, old, struck, replaced, whole);
    } finally {
      writers.forEach(PinnedWriter::close);
    }
  }

  private boolean isHealthyInTime(String run) {
    try {
      cluster.awaitHealthy(HEALTH_TIMEOUT);
      return true;
    } catch (ConditionTimeoutException e) {
      System.out.println(e.getMessage());
      cluster.saveLogs(LOGS.resolve(run.replace(' ', '-')));
      return false;
    }
  }

  private Round evaluate(
      List<PinnedWriter> writers,
      RepmgrNode old,
      long struck,
      boolean replaced,
      OptionalDouble whole)
      throws SQLException {
    OptionalDouble writable = OptionalDouble.empty();
    List<Long> late = List.of();
    double two = 0;
    if (replaced) {
      long first =
          writers.stream()
              .filter(writer -> !writer.node().equals(old))
              .flatMap(writer -> writer.times().stream())
              .min(Long::compare)
              .orElseThrow();
      writable = OptionalDouble.of(seconds(first - struck));
      late = acknowledgedBy(writers, old).filter(time -> time - first > 0).sorted().toList();
      long before = first;
      for (long time : late) {
        if (time - before < PAUSE.toNanos()) {
          two += seconds(time - before);
        }
        before = time;
      }
    }
    long lost = 0;
    try (Connection connection = cluster.primary().connect(cluster.database())) {
      for (PinnedWriter writer : writers) {
        lost += writer.missing(connection);
      }
    }
    long acknowledged = writers.stream().mapToLong(writer -> writer.times().size()).sum();
    return new Round(writable, whole, two, late.size(), lost, acknowledged);
  }

  private static Stream<Long> acknowledgedBy(List<PinnedWriter> writers, RepmgrNode node) {
    return writers.stream()
        .filter(writer -> writer.node().equals(node))
        .flatMap(writer -> writer.times().stream());
  }

  private static long othersSince(List<PinnedWriter> writers, RepmgrNode old, long since) {
    return writers.stream()
        .filter(writer -> !writer.node().equals(old))
        .flatMap(writer -> writer.times().stream())
        .filter(time -> time - since > 0)
        .count();
  }

  private static boolean quiet(List<PinnedWriter> writers, RepmgrNode node) {
    long now = System.nanoTime();
    return acknowledgedBy(writers, node).noneMatch(time -> now - time < QUIET.toNanos());
  }

  private static boolean reached(Duration timeout, Callable<Boolean> state) {
    try {
      await("it", timeout, state);
      return true;
    } catch (ConditionTimeoutException e) {
      return false;
    }
  }

  private static void await(String what, Duration timeout, Callable<Boolean> condition) {
    Awaitility.await(what)
        .pollInSameThread()
        .pollDelay(Duration.ZERO)
        .pollInterval(Duration.ofMillis(50))
        .atMost(timeout)
        .until(condition);
  }

  private static double seconds(long nanos) {
    return nanos / 1e9;
  }

  // ----------------------------------------------------------------------------------- the table

  private void printTable() {
    System.out.println(
        "| fault on the primary | n | another one takes writes, s | full strength after its return,"
            + " s | two take writes, s (rows) | acknowledged rows lost |");
    System.out.println("|---|---|---|---|---|---|");
    for (Fault fault : options.faults) {
      List<Round> rounds = results.getOrDefault(fault, List.of());
      double[] two = rounds.stream().mapToDouble(Round::two).sorted().toArray();
      System.out.printf(
          Locale.ROOT,
          "| %s | %d | %s | %s | %.1f / %.1f (%d) | %d of %d |%n",
          fault,
          rounds.size(),
          medianAndWorst(rounds.stream().map(Round::writable).toList()),
          medianAndWorst(rounds.stream().map(Round::whole).toList()),
          two[two.length / 2],
          two[two.length - 1],
          rounds.stream().mapToLong(Round::late).sum(),
          rounds.stream().mapToLong(Round::lost).sum(),
          rounds.stream().mapToLong(Round::acknowledged).sum());
    }
  }

  /** The upper one of two medians; never is the worst of all. */
  private static String medianAndWorst(List<OptionalDouble> values) {
    double[] sorted = values.stream().mapToDouble(value -> value.orElse(NEVER)).sorted().toArray();
    return text(sorted[sorted.length / 2]) + " / " + text(sorted[sorted.length - 1]);
  }

  private static String text(double seconds) {
    return Double.isInfinite(seconds) ? "never" : "%.1f".formatted(seconds);
  }

  private String about() {
    return "%s; `%s`, seed %d; median / worst"
        .formatted(
            cluster.surroundings(),
            System.getProperty("measure.command", "MeasureFaults"),
            options.seed);
  }
}
