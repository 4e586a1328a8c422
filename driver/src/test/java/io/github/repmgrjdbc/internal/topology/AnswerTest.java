package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AnswerTest {

  private static final Term TERM = new Term(7_001, 4, 2);

  @ParameterizedTest
  @CsvSource({
    "2, false, 4, 7001, true",
    "2, true,  4, 7001, false",
    "3, false, 4, 7001, false",
    "0, false, 4, 7001, false",
    "2, false, 3, 7001, false",
    "2, false, 5, 7001, false",
    "2, false, 4, 7002, false"
  })
  void isOfThePrimaryOfATerm(
      int id, boolean inRecovery, int timeline, long cluster, boolean isPrimary) {
    Answer answer = new Answer(id, inRecovery, timeline, cluster, 1, 0, null, List.of(), null, 0);
    assertEquals(isPrimary, answer.isPrimaryOf(TERM));
  }
}
