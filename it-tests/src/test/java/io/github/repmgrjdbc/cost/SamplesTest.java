package io.github.repmgrjdbc.cost;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

/** Expected values by hand, with Student's t for 95 % and three rounds, 4.3027. */
class SamplesTest {

  private final Samples samples = new Samples("connect", "pgjdbc");

  @Test
  void roundsAreComparedInPairs() {
    // In the second round the machine is ten times slower, for both: that says nothing of either.
    add("pgjdbc", 100, 1_000);
    add("pgjdbc", 1_000, 1_000);
    add("pgjdbc", 100, 1_000);
    add("ours", 110, 2_000);
    add("ours", 1_100, 2_000);
    add("ours", 110, 2_000);

    assertEquals(
        List.of(
            "| connect | pgjdbc | 3 | 400.0 ± 1,290.8 | 1,000 ± 0 | 1 | 1 |",
            "| connect | ours | 3 | 440.0 ± 1,419.9 | 2,000 ± 0 | 1.100 (1.100 to 1.100) |"
                + " 2.000 (2.000 to 2.000) |"),
        samples.rows().lines().toList());
  }

  @Test
  void theMeanOfRatiosIsGeometricAndSoIsItsInterval() {
    add("pgjdbc", 100, 1);
    add("pgjdbc", 100, 1);
    add("pgjdbc", 100, 1);
    add("ours", 50, 1);
    add("ours", 100, 1);
    add("ours", 200, 1);

    // Half, the same, double: on the whole the same; ± 4.303 * ln 2 / sqrt 3.
    assertEquals(
        "| connect | ours | 3 | 116.7 ± 189.7 | 1 ± 0 | 1.000 (0.179 to 5.595) |"
            + " 1.000 (1.000 to 1.000) |",
        samples.rows().lines().toList().get(1));
  }

  @Test
  void whatWasNotMeasuredIsADash() {
    for (int round = 0; round < 3; round++) {
      add("pgjdbc", 100, Double.NaN);
      add("ours", 200, Double.NaN);
    }

    assertEquals(
        "| connect | ours | 3 | 200.0 ± 0.0 | - | 2.000 (2.000 to 2.000) | - |",
        samples.rows().lines().toList().get(1));
  }

  private void add(String driver, double micros, double bytes) {
    samples.add(driver, micros, bytes);
  }
}
