package io.github.repmgrjdbc.race;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What laps are made into. */
class ReportTest {

  private final List<Lap> laps = new ArrayList<>();

  @Test
  void mediansAndWorstsAreOfTheLapsInWhichItWroteBefore() {
    lap(20, run(true, 10, 15), run(true, 500, Lap.NEVER));
    lap(30, run(true, 12, 30), run(false, 1, 1));
    lap(40, run(true, 50, 60), run(true, Lap.NEVER, Lap.NEVER));

    assertEquals(
        "| kill -9 | 3 | 30 / 40 | 12 / 50 (30 / 60) | never / never (never / never) |",
        row(0, "kill -9"));
    assertEquals(
        "| kill -9 | pgJDBC multi-host | 2 of 3 | 2.0 | 1,000 / 1,000 | 2 | 4 | 6 | 0.50 |",
        row(2, "kill -9"));
  }

  /** With the defaults: half the hunting interval is 10 ms, all of it 20. */
  @Test
  void demandsAreMadeOfWhatWasMeasuredInTheSameRun() {
    lap(20, run(true, 10, 15), run(true, 300, 900));
    lap(30, run(true, 12, 30), run(true, 360, 900));
    lap(40, run(true, 50, 60), run(true, 900, 900));

    // At most 10 + 30, and twice that + 20; the last thread 5, 18, 10 ms after the first.
    assertEquals(
        "| kill -9 | 12 (40) | 50 (100) | 10 / 18 | 1,000 / 1,000 | 30.0 |", row(3, "kill -9"));
  }

  @Test
  void whereNobodyElseWroteThereIsNothingToCompareWith() {
    lap(20, run(true, 10, 15), run(false, 300, 900));

    assertTrue(row(0, "kill -9").contains("| - (-) |"), row(0, "kill -9"));
    assertTrue(row(3, "kill -9").endsWith("| - |"), row(3, "kill -9"));
  }

  @Test
  void theFilesAreWhatTheyAreCalled(@TempDir Path directory) throws IOException {
    lap(20, run(true, 10, Lap.NEVER), run(true, 300, 900));

    report().write(directory);

    String json = Files.readString(directory.resolve("race.json"));
    assertTrue(
        JsonParser.parseString(json)
            .getAsJsonObject()
            .getAsJsonArray("laps")
            .get(0)
            .getAsJsonObject()
            .getAsJsonObject("runs")
            .getAsJsonObject("REPMGR_JDBC")
            .get("last")
            .isJsonNull(),
        json);
    String html = Files.readString(directory.resolve("race.html"));
    assertTrue(html.contains("<svg") && html.contains("somewhere, &lt;once&gt;"), html);
    assertEquals(report().markdown(), Files.readString(directory.resolve("race.md")));
  }

  /** The first of that fault from that table on; 0 is the summary, 2 the details' second. */
  private String row(int number, String fault) {
    List<String> rows =
        report().markdown().lines().filter(line -> line.startsWith("| " + fault)).toList();
    return rows.get(number);
  }

  private Report report() {
    return new Report("somewhere, <once>", laps);
  }

  private void lap(double direct, Lap.Run ours, Lap.Run pgjdbc) {
    laps.add(
        new Lap(
            Course.KILL,
            laps.size() + 1,
            List.of("n1", "n2"),
            "n1",
            "n2",
            1_000,
            3_000,
            6_000,
            direct,
            Map.of(Contender.REPMGR_JDBC, ours, Contender.PGJDBC, pgjdbc)));
  }

  private static Lap.Run run(boolean wroteBefore, double first, double last) {
    return new Lap.Run(wroteBefore, first, last, 2_000, 1, 2, 3, 100, 0.5, List.of(1, 0, 2));
  }
}
