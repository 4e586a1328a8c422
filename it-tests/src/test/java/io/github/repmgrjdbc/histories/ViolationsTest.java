package io.github.repmgrjdbc.histories;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.histories.Operation.Kind;
import io.github.repmgrjdbc.histories.Operation.Outcome;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What of a checker's findings must not be. */
class ViolationsTest {

  private static final List<Operation> NONE = List.of();

  private static final List<Operation> ONE =
      List.of(
          new Operation(7, "ours", Kind.APPEND, 1, 2, Outcome.ACKNOWLEDGED, "10.0.0.1", 1, 1, ""));

  @Test
  void nothingOfNothing() {
    assertEquals(List.of(), violations(true, Histories.DIRECT, NONE, NONE, NONE, NONE, NONE, 0));
  }

  @Test
  void whatIsLostAtAPromotionIsAllowedUnlessCommitsWait() {
    assertEquals(List.of(), violations(false, Histories.WEST, ONE, ONE, NONE, NONE, NONE, 0));
    List<String> violations = violations(true, Histories.WEST, ONE, ONE, NONE, NONE, NONE, 0);
    assertEquals(2, violations.size());
    assertTrue(violations.get(0).startsWith("repmgr-jdbc, west: 1 lost at a promotion"));
    assertTrue(violations.get(1).startsWith("repmgr-jdbc, west: 1 lost beside the new primary"));
  }

  @Test
  void theRestIsNeverAllowed() {
    String group = Histories.EAST;
    assertEquals(1, violations(false, group, NONE, NONE, ONE, NONE, NONE, 0).size());
    assertEquals(1, violations(false, group, NONE, NONE, NONE, ONE, NONE, 0).size());
    assertEquals(1, violations(false, group, NONE, NONE, NONE, NONE, ONE, 0).size());
  }

  @Test
  void otherDriversAreNotJudged() {
    assertEquals(List.of(), violations(true, "pgJDBC", ONE, ONE, ONE, ONE, ONE, 60_000));
  }

  @Test
  void anOldPrimaryIsLeftInTime() {
    assertEquals(
        1, violations(false, Histories.DIRECT, NONE, NONE, NONE, NONE, NONE, 7_001).size());
    assertEquals(
        0, violations(false, Histories.DIRECT, NONE, NONE, NONE, NONE, NONE, 7_000).size());
    assertEquals(1, violations(false, Histories.WEST, NONE, NONE, NONE, NONE, NONE, 7_001).size());
    assertEquals(
        1, violations(false, Histories.EAST_QUORUM, NONE, NONE, NONE, NONE, NONE, 11_001).size());
    // It may see nobody else.
    assertEquals(0, violations(false, Histories.EAST, NONE, NONE, NONE, NONE, NONE, 60_000).size());
  }

  @Test
  void faultsOfTheDatabaseAreNobodysAndCount() {
    assertEquals(
        List.of("account 1"),
        new Histories.Result(List.of(), List.of(), Map.of(), List.of("account 1"), false)
            .violations());
  }

  private static List<String> violations(
      boolean synchronous,
      String group,
      List<Operation> lostBefore,
      List<Operation> lostBeside,
      List<Operation> lostForNoReason,
      List<Operation> foundThoughFailed,
      List<Operation> staleInView,
      double lastStaleMillis) {
    Findings findings =
        new Findings(
            group,
            1,
            0,
            0,
            NONE,
            Map.of(),
            lostBefore,
            lostBeside,
            lostForNoReason,
            foundThoughFailed,
            NONE,
            staleInView,
            lastStaleMillis);
    return new Histories.Result(List.of(), List.of(findings), Map.of(), List.of(), synchronous)
        .violations();
  }
}
