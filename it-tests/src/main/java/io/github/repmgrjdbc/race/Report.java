package io.github.repmgrjdbc.race;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonNull;
import com.google.gson.JsonPrimitive;
import com.google.gson.JsonSerializer;
import io.github.repmgrjdbc.race.Lap.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.function.ToLongFunction;
import java.util.stream.Collectors;

/**
 * What the laps have shown: as JSON for programs, Markdown for a README, HTML with pictures.
 *
 * @param about where and how it was run
 */
record Report(String about, List<Lap> laps) {

  private static final List<String> HEADINGS =
      List.of(
          "fault",
          "contender",
          "laps",
          "longest call, s",
          "beyond the failover, ms",
          "hung calls",
          "failed calls",
          "rows to the old primary",
          "CPU, s");

  /** The hunting interval's half, and all of it, in milliseconds, as the driver comes. */
  private static final double HALF_INTERVAL = 10;

  private static final double INTERVAL = 20;

  /** One line for a terminal. */
  static String line(Lap lap) {
    return "%s: %s for %s after %.1f s; direct %.0f ms; %s"
        .formatted(
            lap.course().title(),
            lap.promoted(),
            lap.primary(),
            lap.promotion() / 1000,
            lap.direct(),
            lap.runs().entrySet().stream()
                .map(
                    run ->
                        "%s %s/%s"
                            .formatted(
                                run.getKey(),
                                text(run.getValue().first()),
                                text(run.getValue().last())))
                .collect(Collectors.joining(", ")));
  }

  /** Writes {@code race.json}, {@code race.md} and {@code race.html}. */
  void write(Path directory) throws IOException {
    Files.writeString(directory.resolve("race.json"), json());
    Files.writeString(directory.resolve("race.md"), markdown());
    Files.writeString(directory.resolve("race.html"), html());
  }

  // ---------------------------------------------------------------------------------------- tables

  /** The summary and the details as tables; times are median / worst. */
  String markdown() {
    StringBuilder text = new StringBuilder();
    text.append("From the promotion to the first committed write, milliseconds, median / worst")
        .append(" (of the last of eight threads), of the laps in which it wrote before.\n\n");
    append(text, summary());
    text.append('\n');
    append(text, details());
    if (contenders().contains(Contender.REPMGR_JDBC)) {
      text.append(
          "\nWhat is demanded of repmgr-jdbc, in brackets, and what it did; milliseconds.\n\n");
      append(text, demands());
    }
    return text.append("\n").append(about).append("\n").toString();
  }

  private static void append(StringBuilder text, List<List<String>> table) {
    for (int i = 0; i < table.size(); i++) {
      text.append("| ").append(String.join(" | ", table.get(i))).append(" |\n");
      if (i == 0) {
        text.append("|---".repeat(table.get(0).size())).append("|\n");
      }
    }
  }

  private List<List<String>> summary() {
    List<List<String>> table = new ArrayList<>();
    List<String> head = new ArrayList<>(List.of("fault", "laps", "told directly"));
    contenders().forEach(contender -> head.add(contender.title()));
    table.add(head);
    byCourse()
        .forEach(
            (course, all) -> {
              List<String> row = new ArrayList<>();
              row.add(course.title());
              row.add(String.valueOf(all.size()));
              row.add(medianAndWorst(all.stream().mapToDouble(Lap::direct).toArray()));
              for (Contender contender : contenders()) {
                List<Run> runs = thatWrote(runs(all, contender));
                row.add(
                    "%s (%s)"
                        .formatted(
                            medianAndWorst(values(runs, Run::first)),
                            medianAndWorst(values(runs, Run::last))));
              }
              table.add(row);
            });
    return table;
  }

  private List<List<String>> details() {
    List<List<String>> table = new ArrayList<>();
    table.add(HEADINGS);
    byCourse()
        .forEach(
            (course, all) -> {
              for (Contender contender : contenders()) {
                List<Run> runs = thatWrote(runs(all, contender));
                double[] blocks = values(runs, Run::longestBlock);
                double[] cpu = values(runs, Run::cpuSeconds);
                table.add(
                    List.of(
                        course.title(),
                        contender.title(),
                        runs.size() + " of " + all.size(),
                        runs.isEmpty() ? "-" : seconds(blocks[blocks.length - 1]),
                        medianAndWorst(overruns(all, contender)),
                        String.valueOf(sum(runs, Run::hung)),
                        String.valueOf(sum(runs, Run::failed)),
                        String.valueOf(sum(runs, Run::stale)),
                        runs.isEmpty() ? "-" : String.format(Locale.ROOT, "%.2f", median(cpu))));
              }
            });
    return table;
  }

  private static double[] overruns(List<Lap> laps, Contender contender) {
    return laps.stream()
        .filter(lap -> lap.run(contender).wroteBefore())
        .mapToDouble(lap -> lap.overrun(lap.run(contender)))
        .toArray();
  }

  /** What is demanded of the driver, and what it did. */
  private List<List<String>> demands() {
    List<List<String>> table = new ArrayList<>();
    table.add(
        List.of(
            "fault",
            "median of the first write (at most)",
            "worst (at most)",
            "last thread after the first (30)",
            "longest call beyond the failover (100)",
            "so many times faster than the best other (10)"));
    byCourse()
        .forEach(
            (course, all) -> {
              List<Run> runs = thatWrote(runs(all, Contender.REPMGR_JDBC));
              double median = median(values(runs, Run::first));
              double bound =
                  HALF_INTERVAL + median(all.stream().mapToDouble(Lap::direct).toArray());
              double best =
                  contenders().stream()
                      .filter(other -> other != Contender.REPMGR_JDBC)
                      .mapToDouble(other -> median(values(thatWrote(runs(all, other)), Run::first)))
                      .min()
                      .orElse(Lap.NEVER);
              table.add(
                  List.of(
                      course.title(),
                      "%s (%s)".formatted(text(median), text(bound)),
                      "%s (%s)"
                          .formatted(
                              text(worst(values(runs, Run::first))), text(2 * bound + INTERVAL)),
                      medianAndWorst(values(runs, Run::spread)),
                      medianAndWorst(overruns(all, Contender.REPMGR_JDBC)),
                      best == Lap.NEVER ? "-" : String.format(Locale.ROOT, "%.1f", best / median)));
            });
    return table;
  }

  private Map<Course, List<Lap>> byCourse() {
    return laps.stream()
        .collect(Collectors.groupingBy(Lap::course, TreeMap::new, Collectors.toList()));
  }

  private List<Contender> contenders() {
    return laps.stream().flatMap(lap -> lap.runs().keySet().stream()).distinct().sorted().toList();
  }

  private static List<Run> runs(List<Lap> laps, Contender contender) {
    return laps.stream().map(lap -> lap.run(contender)).toList();
  }

  /** Who could not write before the fault was not interrupted by it. */
  private static List<Run> thatWrote(List<Run> runs) {
    return runs.stream().filter(Run::wroteBefore).toList();
  }

  private static double[] values(List<Run> runs, ToDoubleFunction<Run> value) {
    return runs.stream().mapToDouble(value).sorted().toArray();
  }

  private static long sum(List<Run> runs, ToLongFunction<Run> value) {
    return runs.stream().mapToLong(value).sum();
  }

  private static String medianAndWorst(double[] values) {
    return values.length == 0 ? "-" : text(median(values)) + " / " + text(worst(values));
  }

  /** Of none, never. */
  static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    int half = sorted.length / 2;
    return sorted.length == 0
        ? Lap.NEVER
        : sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  private static double worst(double[] values) {
    return Arrays.stream(values).max().orElse(Lap.NEVER);
  }

  private static String seconds(double millis) {
    return String.format(Locale.ROOT, "%.1f", millis / 1000);
  }

  private static String text(double millis) {
    return Double.isInfinite(millis) ? "never" : String.format(Locale.ROOT, "%,.0f", millis);
  }

  // ------------------------------------------------------------------------------------------ JSON

  private String json() {
    Gson gson =
        new GsonBuilder()
            .setPrettyPrinting()
            .serializeNulls()
            .registerTypeAdapter(
                Double.class,
                (JsonSerializer<Double>)
                    // JSON has no word for never.
                    (value, type, context) ->
                        value.isInfinite()
                            ? JsonNull.INSTANCE
                            : new JsonPrimitive(Math.round(value * 1000) / 1000.0))
            .create();
    return gson.toJson(this);
  }

  // ------------------------------------------------------------------------------------------ HTML

  private String html() {
    StringBuilder text = new StringBuilder();
    text.append(
        """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>The race</title>
        <style>
        body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px;
               padding: 0 1em; color: #222; background: #fff }
        table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
        th, td { border-bottom: 1px solid #ddd; padding: .3em .6em; text-align: right }
        th:first-child, td:first-child { text-align: left }
        table.details td:nth-child(2), table.details th:nth-child(2) { text-align: left }
        tr.ours { background: #eaf5ef; font-weight: 600 }
        svg { display: block; max-width: 100% }
        .about { color: #666; font-size: 13px }
        </style></head><body>
        <h1>Who writes again, and when</h1>
        <p>All contenders write at the same time to the same cluster of three nodes, each with eight
        threads through a HikariCP pool of ten. Then something happens to the primary, and repmgrd
        promotes a standby. Times are milliseconds from the promotion: median / worst of the laps,
        of the first of eight threads (and of the last). &ldquo;Told directly&rdquo; is what one
        connect and the first commit took a client that was told of the promotion. Laps in which a
        contender could not write before the fault either, as its first host was a standby, say
        nothing of it; they are left out. A call hangs that takes more than 5 s of the time after the
        promotion; rows to the old primary are those that it acknowledged after that; CPU is the
        median from the fault until 5 s after the promotion.</p>
        """);
    table(text, "summary", summary());
    text.append("<h2>Details</h2>\n");
    table(text, "details", details());
    if (contenders().contains(Contender.REPMGR_JDBC)) {
      text.append("<h2>What is demanded of repmgr-jdbc, in brackets, and what it did</h2>\n");
      table(text, "demands", demands());
    }
    byCourse()
        .forEach(
            (course, all) -> {
              text.append("<h2>").append(escaped(course.title())).append("</h2>\n");
              Lap shown = mostTelling(all);
              text.append("<p>Rows in each tenth of a second, in lap ")
                  .append(shown.number())
                  .append(" of this fault.</p>\n");
              text.append(Chart.of(shown).svg());
            });
    text.append("<p class=\"about\">").append(escaped(about)).append("</p>\n</body></html>\n");
    return text.toString();
  }

  /** The first in which most of them wrote before the fault. */
  private static Lap mostTelling(List<Lap> laps) {
    Lap best = laps.get(0);
    for (Lap lap : laps) {
      if (wrote(lap) > wrote(best)) {
        best = lap;
      }
    }
    return best;
  }

  private static long wrote(Lap lap) {
    return lap.runs().values().stream().filter(Run::wroteBefore).count();
  }

  private static void table(StringBuilder text, String kind, List<List<String>> table) {
    text.append("<table class=\"").append(kind).append("\">\n");
    for (int i = 0; i < table.size(); i++) {
      String cell = i == 0 ? "th" : "td";
      boolean ours = table.get(i).get(1).equals(Contender.REPMGR_JDBC.title());
      text.append(ours ? "<tr class=\"ours\">" : "<tr>");
      for (String value : table.get(i)) {
        text.append('<').append(cell).append('>').append(escaped(value));
        text.append("</").append(cell).append('>');
      }
      text.append("</tr>\n");
    }
    text.append("</table>\n");
  }

  static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
  }
}
