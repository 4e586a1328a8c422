package io.github.repmgrjdbc.race;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** What a run's record is made into. Times are milliseconds. */
class LapTest {

  private static final String OLD = "old";
  private static final String NEW = "new";

  /** Struck at 1000, promoted at 3000, given back at 5000, ended at 6000. */
  private static final Lap.Times TIMES =
      new Lap.Times(nanos(1_000), nanos(3_000), nanos(5_000), nanos(6_000));

  private final List<Call> calls = new ArrayList<>();

  @Test
  void lagsAreFromThePromotionToEachThreadsFirstRowThere() {
    for (int thread = 0; thread < Runner.THREADS; thread++) {
      call(thread, 990, 1_005, OLD, null);
      call(thread, 2_990, 3_020 + thread, NEW, null);
      call(thread, 3_500, 3_510, NEW, null);
    }
    Lap.Run run = evaluate();
    assertEquals(20, run.first());
    assertEquals(20 + Runner.THREADS - 1, run.last());
    assertEquals(30 + Runner.THREADS - 1, run.longestBlock());
    assertEquals(0, run.hung());
    assertEquals(0, run.stale());
    assertEquals(3 * Runner.THREADS, run.acknowledged());
  }

  @Test
  void aThreadThatNeverWroteMakesItNever() {
    call(0, 2_990, 3_020, NEW, null);
    Lap.Run run = evaluate();
    assertEquals(20, run.first());
    assertEquals(Lap.NEVER, run.last());
  }

  @Test
  void whoIsFreedByTheReturnOfTheOldPrimaryHasNotRecovered() {
    for (int thread = 0; thread < Runner.THREADS; thread++) {
      call(thread, 995, thread == 0 ? 5_000 : 5_001, NEW, null);
    }
    assertEquals(2_000, evaluate().first());
    assertEquals(Lap.NEVER, evaluate().last());
  }

  @Test
  void nobodyWrote() {
    Lap.Run run = evaluate();
    assertEquals(Lap.NEVER, run.first());
    assertEquals(0, run.longestBlock());
  }

  @Test
  void aCallThatTakesMoreThanFiveSecondsOfTheTimeAfterThePromotionHangs() {
    call(0, 995, 9_000, null, null);
    call(1, 995, 8_001, null, "08006");
    call(2, 995, 8_000, null, "08006");
    call(3, 3_500, 8_501, NEW, null);
    call(4, 3_500, 8_500, null, null);
    Lap.Run run = evaluate();
    assertEquals(3, run.hung());
    assertEquals(2, run.failed());
    // From the fault, not from its own beginning.
    assertEquals(8_000, run.longestBlock());
  }

  @Test
  void theLastThreadIsSoMuchLaterThanTheFirst() {
    for (int thread = 0; thread < Runner.THREADS; thread++) {
      call(thread, 2_990, 3_020 + thread, NEW, null);
    }
    assertEquals(Runner.THREADS - 1, evaluate().spread());
    calls.remove(0);
    assertEquals(Lap.NEVER, evaluate().spread());
  }

  @Test
  void rowsThatTheOldPrimaryTookAfterThePromotion() {
    call(0, 2_000, 2_999, OLD, null);
    call(0, 2_999, 3_001, OLD, null);
    call(0, 5_100, 5_110, OLD, null);
    call(0, 5_200, 5_210, NEW, null);
    assertEquals(2, evaluate().stale());
  }

  @Test
  void rowsByTenthsOfASecond() {
    call(0, 0, 999, OLD, null);
    call(0, 0, 1_000, OLD, null);
    call(0, 0, 1_099, OLD, null);
    call(0, 0, 1_050, null, "08006");
    List<Integer> rows = evaluate().rows();
    assertEquals(70, rows.size(), "from 2 s before the fault to the end");
    assertEquals(1, rows.get(19));
    assertEquals(2, rows.get(20));
    assertEquals(3, rows.stream().mapToInt(Integer::intValue).sum());
  }

  private void call(
      int thread, long start, long end, @Nullable String server, @Nullable String failure) {
    Call call = new Call(thread, nanos(start), nanos(end), server, failure);
    assertEquals(call, Call.ofLine(call.toLine()));
    calls.add(call);
  }

  private Lap.Run evaluate() {
    return Lap.evaluate(calls, TIMES, OLD, NEW, true, 0);
  }

  private static long nanos(long millis) {
    return millis * 1_000_000;
  }
}
