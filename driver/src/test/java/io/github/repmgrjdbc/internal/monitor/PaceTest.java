package io.github.repmgrjdbc.internal.monitor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PaceTest {

  private static final Duration STEADY = Duration.ofSeconds(1);
  private static final Duration HUNT = Duration.ofMillis(20);

  @ParameterizedTest
  @CsvSource({"0,20", "29,20", "30,40", "60,80", "90,160", "120,200", "3600,200", "31536000,200"})
  void huntingIsQuickAtFirstAndThenBacksOff(long secondsSoFar, long millis) {
    Pace pace = new Pace(STEADY, HUNT, () -> 1.0);
    assertEquals(Duration.ofMillis(millis), pace.hunting(Duration.ofSeconds(secondsSoFar), 0));
  }

  /** With jitter that takes off a tenth in the mean: about 2,000 questions a second in all. */
  @ParameterizedTest
  @CsvSource({"0,20", "36,20", "360,200", "1000,555", "1800,1000", "3600,2000", "100000,2000"})
  void theMoreHuntTheSlowerEachOne(int hunters, long millis) {
    Pace pace = new Pace(STEADY, HUNT, () -> 1.0);
    assertEquals(millis, pace.hunting(Duration.ZERO, hunters).toMillis());
  }

  @Test
  void aCrowdInALongHuntWaitsForTheLongerOfBoth() {
    Pace pace = new Pace(STEADY, HUNT, () -> 1.0);
    assertEquals(200, pace.hunting(Duration.ofHours(1), 36).toMillis());
    assertEquals(555, pace.hunting(Duration.ofHours(1), 1_000).toMillis());
  }

  @Test
  void huntingIsNeverSlowerThanSteadyButForACrowd() {
    Pace pace = new Pace(Duration.ofMillis(30), HUNT, () -> 1.0);
    assertEquals(Duration.ofMillis(30), pace.hunting(Duration.ofHours(1), 50));
    assertEquals(Duration.ofMillis(60), pace.hunting(Duration.ofHours(1), 5_000));
  }

  @Test
  void jitterOnlyShortensAndByAFifthAtMost() {
    assertEquals(Duration.ofMillis(800), new Pace(STEADY, HUNT, () -> 0.0).steady());
    assertEquals(STEADY, new Pace(STEADY, HUNT, () -> 1.0).steady());
    Duration half = new Pace(STEADY, HUNT, () -> 0.5).hunting(Duration.ZERO, 1);
    assertTrue(half.compareTo(HUNT) < 0 && half.compareTo(Duration.ofMillis(16)) > 0, "" + half);
  }
}
