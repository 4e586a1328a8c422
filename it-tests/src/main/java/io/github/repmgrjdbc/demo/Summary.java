package io.github.repmgrjdbc.demo;

import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.io.PrintStream;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What the failover has cost.
 *
 * @param cluster where it happened
 * @param old the primary that was killed
 * @param killed when, by {@link System#nanoTime()}
 * @param promotion who followed it
 * @param firstRow when the first row was acknowledged there
 * @param writers the application
 * @param audit its rows, as the new primary has them
 */
record Summary(
    RepmgrCluster cluster,
    RepmgrNode old,
    long killed,
    Promotion promotion,
    long firstRow,
    Writers writers,
    Writers.Audit audit) {

  /**
   * Prints it and judges.
   *
   * @param allBack whether every thread of the application has written to the new primary
   * @return whether the application recovered, and the new primary has all that it acknowledged
   */
  boolean print(PrintStream out, boolean allBack) {
    RepmgrNode promoted = promotion.node();
    out.println();
    line(out, "kill to promotion", promotion.nanoTime() - killed, "repmgrd's work; by " + promoted);
    line(
        out,
        "promotion to first row",
        firstRow - promotion.nanoTime(),
        "the driver's and the pool's");
    line(
        out,
        "longest wait of a thread",
        writers.longestGap().toNanos(),
        "from one row to its next");
    count(out, "errors", errorCount(), byState());
    count(
        out,
        "rows acknowledged",
        audit.acknowledged(),
        "%,d by the old, %,d by the new".formatted(by(old), by(promoted)));
    count(out, "rows found on " + promoted, audit.found(), "");
    count(out, "acknowledged, but missing", audit.missingCount(), "");
    missing().forEach(out::println);
    long ownMissing = audit.missing().getOrDefault(promoted.containerAddress().host(), 0L);
    boolean recovered = allBack && ownMissing == 0;
    out.println();
    out.println(
        recovered
            ? "The application recovered: every thread writes to " + promoted + "."
            : "The application did NOT recover"
                + (allBack
                    ? ": the new primary lost rows of its own."
                    : ": a thread still hangs."));
    return recovered;
  }

  private long by(RepmgrNode node) {
    return writers.acknowledgedBy(node.containerAddress().host());
  }

  private long errorCount() {
    return writers.errors().values().stream().mapToLong(Integer::longValue).sum();
  }

  private String byState() {
    return writers.errors().entrySet().stream()
        .map(entry -> "SQLSTATE " + entry.getKey() + ": " + entry.getValue())
        .collect(Collectors.joining(", "));
  }

  /** A line for each server whose rows are not all there: more would not fit beside the number. */
  private List<String> missing() {
    if (audit.missingCount() == 0) {
      return List.of();
    }
    Map<String, String> names =
        cluster.nodes().stream()
            .collect(Collectors.toMap(node -> node.containerAddress().host(), RepmgrNode::name));
    return audit.missing().entrySet().stream()
        .map(
            entry ->
                "      of %s %,d, which no standby had yet (asynchronous replication)"
                    .formatted(
                        names.getOrDefault(entry.getKey(), entry.getKey()), entry.getValue()))
        .toList();
  }

  private static void line(PrintStream out, String what, long nanos, String remark) {
    count(out, what + " (ms)", Demo.millis(nanos), remark);
  }

  private static void count(PrintStream out, String what, long value, String remark) {
    out.println("  %-28s %,9d   %s".formatted(what, value, remark).stripTrailing());
  }
}
