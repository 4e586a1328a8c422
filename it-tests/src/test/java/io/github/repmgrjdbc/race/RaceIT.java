package io.github.repmgrjdbc.race;

import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/**
 * The race's short form. Who was how fast is for its report; here it counts that we came through.
 */
class RaceIT {

  /** Without those that are not back after 20 s: everybody would wait for them. */
  private static final List<Contender> QUICK =
      List.of(Contender.REPMGR_JDBC, Contender.PGJDBC_TUNED, Contender.AWS_DIALECT);

  private static final Path DIRECTORY = Path.of("target", "race-it");

  @Test
  void weRecoverAndWriteNothingToTheOldPrimary() throws SQLException, IOException {
    List<Lap> laps = new ArrayList<>();
    try (Race race = new Race(QUICK, DIRECTORY, 1, "")) {
      for (Course course : List.of(Course.KILL, Course.STALE)) {
        laps.add(race.run(course, 1));
        new Report(race.surroundings(), laps).write(DIRECTORY);
      }
    }
    for (Lap lap : laps) {
      Lap.Run ours = lap.run(Contender.REPMGR_JDBC);
      assertAll(
          lap.course().title(),
          () -> assertTrue(ours.wroteBefore(), "did not write before the fault"),
          () -> assertTrue(ours.last() < Lap.NEVER, "a thread never wrote to the new primary"),
          () -> assertEquals(0, ours.hung(), "calls that hung"),
          () -> assertEquals(0, ours.stale(), "rows that a superseded primary took"));
    }
  }
}
