package io.github.repmgrjdbc.histories;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.repmgrjdbc.histories.Ledger.Transfer;
import io.github.repmgrjdbc.histories.Operation.Kind;
import io.github.repmgrjdbc.histories.Operation.Outcome;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * A history without a fault, with one failover at 1,000 ms; then each fault is planted in it, and
 * nothing but that is found.
 */
class CheckerTest {

  private final List<Operation> operations = new ArrayList<>();
  private final Set<Long> items = new HashSet<>();
  private final Map<Long, Transfer> transfers = new TreeMap<>();
  private final Map<Integer, Long> balances = new TreeMap<>(Map.of(0, 1_000L, 1, 1_000L));
  private final List<Reign> reigns = new ArrayList<>();

  @BeforeEach
  void sound() {
    reigns.add(new Reign("n1", "10.0.0.1", 1, millis(0)));
    reigns.add(new Reign("n2", "10.0.0.2", 2, millis(1_000)));
    append(1, Outcome.ACKNOWLEDGED, 100, 101, 1);
    append(2, Outcome.UNKNOWN, 900, 1_100, 1);
    append(3, Outcome.UNKNOWN, 900, 1_100, 1);
    append(4, Outcome.FAILED, 900, 1_100, 0);
    append(5, Outcome.ACKNOWLEDGED, 1_200, 1_201, 2);
    items.addAll(Set.of(1L, 2L, 5L));
    transfer(6, Outcome.ACKNOWLEDGED, 200, 201, 1, 30);
    transfer(7, Outcome.ACKNOWLEDGED, 1_300, 1_301, 2, 12);
  }

  @Test
  void nothingIsFoundWhereNothingIsWrong() {
    assertFindings(0, 0, 0, 0, 0, 0, 0.0);
    assertEquals(List.of(), checker().faults());
    Findings findings = findings();
    assertEquals(4, findings.acknowledged());
    assertEquals(1, findings.failed());
    assertEquals(2, findings.unknown());
  }

  @Test
  void anAnswerBeforeThePromotionMayBeLost() {
    items.remove(1L);
    assertFindings(1, 0, 0, 0, 0, 0, 0.0);
  }

  @Test
  void soMayATransfer() {
    transfers.remove(6L);
    balances.replace(0, 988L);
    balances.replace(1, 1_012L);
    assertFindings(1, 0, 0, 0, 0, 0, 0.0);
    assertEquals(List.of(), checker().faults());
  }

  @Test
  void anAnswerAfterThePromotionThatIsLostWasTakenBesideTheNewPrimary() {
    append(8, Outcome.ACKNOWLEDGED, 999, 1_003, 1);
    assertFindings(0, 1, 0, 0, 0, 0, 3.0);
  }

  @Test
  void whatIsLostWithoutAPromotionHasNoReason() {
    items.remove(5L);
    assertFindings(0, 0, 1, 0, 0, 0, 0.0);
  }

  @Test
  void whatFailedAndIsThereIsFound() {
    items.add(4L);
    assertFindings(0, 0, 0, 1, 0, 0, 0.0);
  }

  @Test
  void whatWasRejectedIsNotThereEither() {
    append(8, Outcome.REJECTED, 400, 401, 0);
    items.add(8L);
    assertFindings(0, 0, 0, 1, 0, 0, 0.0);
  }

  @Test
  void errorsAreCountedAndThoseNotOfTheConnectionShown() {
    append(8, Outcome.REJECTED, 400, 401, 0);
    assertEquals(
        Map.of("08006 FAILED", 1, "08006 REJECTED", 1, "08006 UNKNOWN", 2), findings().errors());
    assertEquals(1, findings().rejected().size());
    assertEquals(2, findings().failed());
  }

  @Test
  void whatWasOrderedAfterThePromotionAtTheOldPrimaryIsStale() {
    append(8, Outcome.ACKNOWLEDGED, 1_500, 1_504, 1);
    items.add(8L);
    assertFindings(0, 0, 0, 0, 1, 0, 504.0);
  }

  @Test
  void withTheSuccessorInViewTheDriverIsToBlame() {
    operations.add(operation(8, Kind.APPEND, Outcome.ACKNOWLEDGED, 1_500, 1_504, 1, 2));
    items.add(8L);
    assertFindings(0, 0, 0, 0, 1, 1, 504.0);
  }

  @Test
  void theNextPromotionCountsNotTheLast() {
    reigns.add(new Reign("n1", "10.0.0.1", 3, millis(5_000)));
    items.remove(1L);
    append(8, Outcome.ACKNOWLEDGED, 4_000, 4_001, 2);
    assertFindings(2, 0, 0, 0, 0, 0, 0.0);
  }

  /** Two that did not know of each other were promoted to the same one. */
  @Test
  void thePromotionOfAnotherToTheSameTimelineCounts() {
    reigns.add(new Reign("n3", "10.0.0.3", 2, millis(2_000)));
    append(8, Outcome.ACKNOWLEDGED, 1_900, 1_901, 2);
    append(9, Outcome.ACKNOWLEDGED, 2_400, 2_405, 2);
    assertFindings(1, 1, 0, 0, 1, 0, 405.0);
  }

  /** It was started again, and has another address. */
  @Test
  void thatTheSameNodeGoesOnElsewhereIsNoPromotion() {
    reigns.add(new Reign("n2", "10.0.0.9", 2, millis(2_000)));
    append(8, Outcome.ACKNOWLEDGED, 1_900, 1_901, 2);
    assertFindings(0, 0, 1, 0, 0, 0, 0.0);
  }

  @Test
  void anAccountThatIsGoneIsMissed() {
    balances.remove(1);
    assertEquals(List.of("account 1 has null, by its transfers 1042"), checker().faults());
  }

  @Test
  void accountsMustAddUp() {
    balances.merge(1, 1L, Long::sum);
    assertEquals(List.of("account 1 has 1043, by its transfers 1042"), checker().faults());
  }

  @Test
  void halfATransferDoesNotAddUp() {
    transfers.remove(7L);
    assertEquals(
        List.of(
            "account 0 has 958, by its transfers 970", "account 1 has 1042, by its transfers 1030"),
        checker().faults());
  }

  @Test
  void whatNobodyWroteIsAFault() {
    items.add(99L);
    transfers.put(98L, new Transfer(0, 1, 0));
    assertEquals(
        List.of("nobody has appended 99", "nobody has made transfer 98"), checker().faults());
  }

  private void assertFindings(
      int lostBefore,
      int lostBeside,
      int lostForNoReason,
      int foundThoughFailed,
      int stale,
      int staleInView,
      double lastStaleMillis) {
    Findings findings = findings();
    assertEquals(lostBefore, findings.lostBefore().size(), "lost before");
    assertEquals(lostBeside, findings.lostBeside().size(), "lost beside");
    assertEquals(lostForNoReason, findings.lostForNoReason().size(), "lost for no reason");
    assertEquals(foundThoughFailed, findings.foundThoughFailed().size(), "failed but found");
    assertEquals(stale, findings.stale().size(), "stale");
    assertEquals(staleInView, findings.staleInView().size(), "stale in view");
    assertEquals(lastStaleMillis, findings.lastStaleMillis(), 1e-6);
  }

  private Findings findings() {
    List<Findings> all = checker().findings();
    assertEquals(1, all.size());
    return all.get(0);
  }

  private Checker checker() {
    return new Checker(operations, new Ledger(2, items, transfers, balances), reigns);
  }

  private void append(long id, Outcome outcome, int ordered, int ended, int timeline) {
    operations.add(operation(id, Kind.APPEND, outcome, ordered, ended, timeline, timeline));
  }

  private void transfer(
      long id, Outcome outcome, int ordered, int ended, int timeline, int amount) {
    operations.add(operation(id, Kind.TRANSFER, outcome, ordered, ended, timeline, timeline));
    transfers.put(id, new Transfer(0, 1, amount));
    balances.merge(0, (long) -amount, Long::sum);
    balances.merge(1, (long) amount, Long::sum);
  }

  private static Operation operation(
      long id, Kind kind, Outcome outcome, int ordered, int ended, int timeline, int inView) {
    return new Operation(
        id,
        "ours",
        kind,
        millis(ordered),
        millis(ended),
        outcome,
        timeline == 0 ? "" : "10.0.0." + timeline,
        timeline,
        inView,
        outcome == Outcome.ACKNOWLEDGED ? "" : "08006");
  }

  private static long millis(int millis) {
    return 7_000_000_000L + millis * 1_000_000L;
  }
}
