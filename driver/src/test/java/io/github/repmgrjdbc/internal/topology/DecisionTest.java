package io.github.repmgrjdbc.internal.topology;

import static io.github.repmgrjdbc.internal.topology.Decision.NONE;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class DecisionTest {

  private static final Term TERM = new Term(7_001, 1, 1);
  private static final Failure WRONG_PASSWORD = new Failure("28P01", "wrong password");

  private final Decision decision =
      decision(TERM, true, false, State.UP, "takes writes", "is the primary");

  @Test
  void wordingAloneMakesNoDifference() {
    assertTrue(decision.looksLike(decision(TERM, true, false, State.UP, "other", "words")));
    assertTrue(NONE.looksLike(NONE));
  }

  @Test
  void everythingElseDoes() {
    List.of(
            decision(TERM, true, true, State.UP, "takes writes", "is the primary"),
            decision(TERM, false, false, State.UP, "takes writes", "is the primary"),
            decision(
                new Term(7_001, 2, 1), true, false, State.UP, "takes writes", "is the primary"),
            decision(null, true, false, State.UP, "takes writes", "is the primary"),
            decision(TERM, true, false, State.SILENT, "takes writes", "is the primary"))
        .forEach(
            other -> {
              assertFalse(decision.looksLike(other), other.toString());
              assertFalse(other.looksLike(decision), other.toString());
            });
  }

  private static Decision decision(
      @Nullable Term term,
      boolean available,
      boolean fenced,
      State state,
      String detail,
      String reason) {
    Node node = new Node(1, "n1", Role.PRIMARY, state, new HostAndPort("n1", 5_432), 1, detail);
    return new Decision(
        term,
        available,
        fenced,
        List.of(node),
        reason,
        true,
        false,
        null,
        WRONG_PASSWORD,
        NONE.memory());
  }
}
