package io.github.repmgrjdbc.race;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A picture of one failover: how many rows each took in each step of time, one below the other, on
 * one time axis, with what happened when.
 *
 * @param title what happened, for who cannot see it
 * @param series one for each who writes, all of the same length
 * @param marks in the order of time; times are milliseconds since the fault
 */
public record Chart(String title, List<Series> series, List<Mark> marks) {

  /** The width of a step in milliseconds. */
  public static final int STEP = 100;

  /** When the first step begins, in milliseconds since the fault. */
  public static final int FIRST_STEP = -2_000;

  private static final int WIDTH = 1060;
  private static final int LEFT = 300;
  private static final int RIGHT = 20;
  private static final int TOP = 34;
  private static final int ROW = 62;
  private static final int BOTTOM = 30;
  private static final String OURS = "#0b7a4b";
  private static final String OTHERS = "#7a8794";

  /**
   * What one of them did.
   *
   * @param ours whether it stands out
   * @param rows in each step
   */
  public record Series(String name, boolean ours, List<Integer> rows) {}

  /** Something that happened. */
  public record Mark(double millis, String what, String colour) {

    /** The fault itself. */
    public static Mark fault(String what) {
      return new Mark(0, what, "#b3261e");
    }

    /** A node took the primary's place. */
    public static Mark promoted(double millis, String node) {
      return new Mark(millis, node + " promoted", "#1a5fb4");
    }

    /** A node came back. */
    public static Mark returned(double millis, String node) {
      return new Mark(millis, node + " given back", "#8a6d00");
    }
  }

  static Chart of(Lap lap) {
    List<Series> series = new ArrayList<>();
    lap.runs()
        .forEach(
            (contender, run) ->
                series.add(
                    new Series(contender.title(), contender == Contender.REPMGR_JDBC, run.rows())));
    return new Chart(
        lap.course().title(),
        series,
        List.of(
            Mark.fault(lap.course().title()),
            Mark.promoted(lap.promotion(), lap.promoted()),
            Mark.returned(lap.returned(), lap.primary())));
  }

  /** The picture, to be put into a page. */
  public String svg() {
    int steps = series.get(0).rows().size();
    int bottom = TOP + ROW * series.size();
    StringBuilder svg = new StringBuilder();
    add(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\""
            + " role=\"img\" aria-label=\"%s\" font-family=\"system-ui, sans-serif\""
            + " font-size=\"12\">",
        WIDTH,
        bottom + BOTTOM,
        WIDTH,
        Report.escaped(title));
    int highest =
        series.stream()
            .flatMap(one -> one.rows().stream())
            .mapToInt(Integer::intValue)
            .max()
            .orElse(1);
    for (int i = 0; i < series.size(); i++) {
      addSeries(svg, series.get(i), TOP + ROW * i, steps, Math.max(highest, 1));
    }
    addAxis(svg, bottom, steps);
    for (int i = 0; i < marks.size(); i++) {
      // Side by side they would overlap.
      addMark(svg, marks.get(i), i % 2 == 0 ? 12 : 28, bottom, steps);
    }
    return svg.append("</svg>\n").toString();
  }

  private static void addSeries(StringBuilder svg, Series one, int top, int steps, int highest) {
    String colour = one.ours() ? OURS : OTHERS;
    int base = top + ROW - 8;
    int height = ROW - 16;
    add(
        svg,
        "<text x=\"0\" y=\"%d\" fill=\"%s\">%s</text>",
        base - height / 2 + 4,
        colour,
        Report.escaped(one.name()));
    add(
        svg,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#999\" font-size=\"10\">%,d/s</text>",
        LEFT - 6,
        base - height + 4,
        highest * 1_000 / STEP);
    StringBuilder points = new StringBuilder();
    add(points, "%.1f,%d", x(0, steps), base);
    for (int step = 0; step < one.rows().size(); step++) {
      double y = base - (double) height * one.rows().get(step) / highest;
      // A staircase: what was counted in a step is true of all of it.
      add(points, " %.1f,%.1f %.1f,%.1f", x(step, steps), y, x(step + 1, steps), y);
    }
    add(points, " %.1f,%d", x(one.rows().size(), steps), base);
    add(svg, "<polygon points=\"%s\" fill=\"%s\" fill-opacity=\".55\"/>", points, colour);
    add(
        svg,
        "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"#ccc\"/>",
        LEFT,
        WIDTH - RIGHT,
        base,
        base);
  }

  private static void addAxis(StringBuilder svg, int bottom, int steps) {
    int seconds = (steps * STEP + FIRST_STEP) / 1000;
    int every = seconds > 24 ? 5 : seconds > 12 ? 2 : 1;
    for (int second = 0; second <= seconds; second += every) {
      add(
          svg,
          "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#666\">%d s</text>",
          x(stepOf(second * 1000.0), steps),
          bottom + 16,
          second);
    }
  }

  private static void addMark(StringBuilder svg, Mark mark, int y, int bottom, int steps) {
    double x = x(stepOf(mark.millis()), steps);
    if (x > WIDTH - RIGHT) {
      return;
    }
    boolean atTheEnd = x > WIDTH - 150;
    add(
        svg,
        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-dasharray=\"3 3\"/>"
            + "<text x=\"%.1f\" y=\"%d\" fill=\"%s\" text-anchor=\"%s\">%s</text>",
        x,
        x,
        y - 10,
        bottom,
        mark.colour(),
        atTheEnd ? x - 4 : x + 4,
        y,
        mark.colour(),
        atTheEnd ? "end" : "start",
        Report.escaped(mark.what()));
  }

  private static double stepOf(double millis) {
    return (millis - FIRST_STEP) / STEP;
  }

  private static double x(double step, int steps) {
    return LEFT + (WIDTH - LEFT - RIGHT) * step / steps;
  }

  private static void add(StringBuilder to, String format, Object... values) {
    to.append(String.format(Locale.ROOT, format, values));
  }
}
