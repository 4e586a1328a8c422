package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.race.Contender;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The command: {@code histories --help}. */
public final class HistoriesMain {

  private static final Path DIRECTORY = Path.of("it-tests", "target", "histories");

  private static final String COMMAND = System.getProperty("measure.command", "HistoriesMain");

  private static final int SHORT = 11;
  private static final int LONG = 220;

  private HistoriesMain() {}

  private record Options(
      int faults, long seed, boolean synchronous, boolean alone, List<Contender> others) {

    static Options parse(String[] arguments) {
      int faults = SHORT;
      long seed = (System.nanoTime() & 0xffff) + 1;
      boolean synchronous = false;
      boolean alone = false;
      List<Contender> others = new ArrayList<>();
      for (int i = 0; i < arguments.length; i++) {
        switch (arguments[i]) {
          case "--long" -> faults = LONG;
          case "--sync" -> synchronous = true;
          case "--alone" -> alone = true;
          case "--others" -> {
            others.add(Contender.PGJDBC_TUNED);
            others.add(Contender.AWS_DIALECT);
          }
          case "--faults" -> faults = number(arguments, ++i);
          case "--seed" -> seed = number(arguments, ++i);
          default -> throw new IllegalArgumentException("unknown: " + arguments[i]);
        }
      }
      return new Options(faults, seed, synchronous, alone, others);
    }

    private static int number(String[] arguments, int at) {
      String value = at < arguments.length ? arguments[at] : "";
      if (!value.matches("[1-9]\\d{0,8}")) {
        throw new IllegalArgumentException(
            arguments[at - 1] + " " + value + ": a number, 1 to 999999999");
      }
      return Integer.parseInt(value);
    }
  }

  /** See {@code histories --help}. */
  public static void main(String[] arguments) throws SQLException, IOException {
    Options options;
    try {
      options = Options.parse(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println("histories: " + e.getMessage());
      System.exit(2);
      return;
    }
    System.out.printf("histories: seed %d%n", options.seed);
    RepmgrCluster.Builder builder = RepmgrCluster.builder();
    if (options.synchronous) {
      builder.environment("SYNC_MODE", "quorum");
    }
    if (options.alone) {
      builder.environment("ALONE", "allow");
    }
    Histories.Result result;
    String about;
    try (RepmgrCluster cluster = builder.start()) {
      about = "%s; `%s`, seed %d".formatted(cluster.surroundings(), COMMAND, options.seed);
      try {
        result = new Histories(cluster, options.others, options.seed).run(options.faults);
      } finally {
        cluster.saveLogs(DIRECTORY.resolve(cluster.name()));
      }
    }
    System.out.printf("%n%s%n%s%n", table(result), about);
    result.violations().forEach(violation -> System.out.println("VIOLATION: " + violation));
    System.exit(result.violations().isEmpty() ? 0 : 1);
  }

  static String table(Histories.Result result) {
    StringBuilder text = new StringBuilder();
    text.append("%d faults.%n%n".formatted(result.strikes().size()));
    text.append(
        "| clients | acknowledged | failed | unknown | lost: answered before the promotion"
            + " | lost: after it | lost without one | failed but found | stale: ordered after a promotion"
            + " | the same, successor in view | last one after a promotion, ms |\n");
    text.append("|---".repeat(11)).append("|\n");
    for (Findings one : result.findings()) {
      text.append(
          "| %s | %,d | %,d | %,d | %,d | %,d | %,d | %,d | %,d | %,d | %,.0f |%n"
              .formatted(
                  one.group(),
                  one.acknowledged(),
                  one.failed(),
                  one.unknown(),
                  one.lostBefore().size(),
                  one.lostBeside().size(),
                  one.lostForNoReason().size(),
                  one.foundThoughFailed().size(),
                  one.stale().size(),
                  one.staleInView().size(),
                  one.lastStaleMillis()));
    }
    text.append(
        "\nFrom a promotion to the last acknowledgement by an old primary, longest, ms:\n\n");
    text.append("| fault |");
    result.findings().forEach(one -> text.append(" %s |".formatted(one.group())));
    text.append("\n|---|").append("---|".repeat(result.findings().size())).append('\n');
    result
        .lastTaken()
        .forEach(
            (blow, longest) -> {
              text.append("| %s |".formatted(blow.name().toLowerCase(Locale.ROOT)));
              for (Findings one : result.findings()) {
                text.append(" %,.0f |".formatted(longest.getOrDefault(one.group(), 0.0)));
              }
              text.append('\n');
            });
    text.append("\nErrors, and what they were taken for:\n\n");
    result
        .findings()
        .forEach(one -> text.append("- %s: %s%n".formatted(one.group(), one.errors())));
    return text.toString();
  }
}
