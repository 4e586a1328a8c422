package io.github.repmgrjdbc.race;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * One failover and what it cost each contender. Times are milliseconds since the fault.
 *
 * @param number counted from 1 for each course
 * @param hostOrder the nodes' names as every URL had them
 * @param primary the node that the fault struck
 * @param promoted the node that followed it
 * @param promotion when that took writes
 * @param returned when the old primary was given back
 * @param end when the record ends
 * @param direct what a client paid that was told of the promotion at that moment: the milliseconds
 *     of one connect and the first commit by plain pgJDBC
 */
record Lap(
    Course course,
    int number,
    List<String> hostOrder,
    String primary,
    String promoted,
    double promotion,
    double returned,
    double end,
    double direct,
    Map<Contender, Run> runs) {

  static final double NEVER = Double.POSITIVE_INFINITY;

  private static final int LAST_STEP = 40_000;

  /** A call that is under way for longer than that after the promotion hangs. */
  private static final long HANGS_NANOS = TimeUnit.SECONDS.toNanos(5);

  /**
   * What it cost one of them; {@link #NEVER} where it did not come to it before the old primary was
   * given back.
   *
   * @param wroteBefore whether all threads wrote before the fault
   * @param first from the promotion to the first row that the promoted node took
   * @param last the same for the last of the threads
   * @param longestBlock the longest time that a call took, after the fault
   * @param hung calls that took more than 5 s of the time after the promotion
   * @param failed calls that failed after the fault
   * @param stale rows that the old primary acknowledged after the promotion
   * @param acknowledged rows in all
   * @param cpuSeconds from the fault until 5 s after the promotion
   * @param rows acknowledged rows in each step
   */
  record Run(
      boolean wroteBefore,
      double first,
      double last,
      double longestBlock,
      long hung,
      long failed,
      long stale,
      long acknowledged,
      double cpuSeconds,
      List<Integer> rows) {

    /** From the first thread's row to the last one's. */
    double spread() {
      return last == NEVER ? NEVER : last - first;
    }
  }

  /** What happened when, by {@link System#nanoTime()}. */
  record Times(long struck, long promoted, long returned, long ended) {

    double millis(long nanoTime) {
      return (nanoTime - struck) / 1e6;
    }
  }

  /** By how much the longest of these calls took longer than the failover itself. */
  double overrun(Run run) {
    return run.longestBlock() - promotion;
  }

  /** What it cost this one, which took part. */
  Run run(Contender contender) {
    return Objects.requireNonNull(runs.get(contender));
  }

  /**
   * Reads a run out of its record.
   *
   * @param oldServer the old primary's address
   * @param newServer the promoted node's
   */
  static Run evaluate(
      List<Call> calls,
      Times times,
      String oldServer,
      String newServer,
      boolean wroteBefore,
      double cpuSeconds) {
    Map<Integer, Long> firstByThread = new TreeMap<>();
    for (Call call : calls) {
      // Who was freed by the return of the old primary has not come by its own power.
      if (newServer.equals(call.server()) && call.end() - times.returned <= 0) {
        firstByThread.merge(call.thread(), call.end(), Math::min);
      }
    }
    List<Double> lags =
        firstByThread.values().stream()
            .map(first -> (first - times.promoted) / 1e6)
            .sorted()
            .toList();
    List<Call> after = calls.stream().filter(call -> call.end() - times.struck > 0).toList();
    return new Run(
        wroteBefore,
        lags.isEmpty() ? NEVER : lags.get(0),
        lags.size() < Runner.THREADS ? NEVER : lags.get(lags.size() - 1),
        after.stream()
            .mapToDouble(call -> (call.end() - Math.max(call.start(), times.struck)) / 1e6)
            .max()
            .orElse(0),
        after.stream()
            .filter(call -> call.end() - Math.max(call.start(), times.promoted) > HANGS_NANOS)
            .count(),
        after.stream().filter(call -> call.failure() != null).count(),
        after.stream()
            .filter(call -> oldServer.equals(call.server()) && call.end() - times.promoted > 0)
            .count(),
        calls.stream().filter(call -> call.server() != null).count(),
        cpuSeconds,
        rows(calls, times));
  }

  private static List<Integer> rows(List<Call> calls, Times times) {
    int steps =
        ((int) Math.min(times.millis(times.ended), LAST_STEP) - Chart.FIRST_STEP) / Chart.STEP;
    int[] rows = new int[steps];
    for (Call call : calls) {
      int step = (int) Math.floor((times.millis(call.end()) - Chart.FIRST_STEP) / Chart.STEP);
      if (call.server() != null && step >= 0 && step < steps) {
        rows[step]++;
      }
    }
    List<Integer> list = new ArrayList<>();
    for (int count : rows) {
      list.add(count);
    }
    return list;
  }
}
