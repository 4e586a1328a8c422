package io.github.repmgrjdbc.race;

import java.util.List;
import java.util.Locale;

/** A picture of one lap: rows a second of each contender, one below the other, on one time axis. */
record Chart(Lap lap) {

  private static final int WIDTH = 1060;
  private static final int LEFT = 300;
  private static final int RIGHT = 20;
  private static final int TOP = 34;
  private static final int ROW = 62;
  private static final int BOTTOM = 30;
  private static final String OURS = "#0b7a4b";
  private static final String OTHERS = "#7a8794";

  String svg() {
    List<Contender> contenders = List.copyOf(lap.runs().keySet());
    int steps = lap.run(contenders.get(0)).rows().size();
    int bottom = TOP + ROW * contenders.size();
    StringBuilder svg = new StringBuilder();
    add(
        svg,
        "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"%s\""
            + " font-family=\"system-ui, sans-serif\" font-size=\"12\">",
        WIDTH,
        bottom + BOTTOM,
        WIDTH,
        Report.escaped(lap.course().title()));
    int highest =
        lap.runs().values().stream()
            .flatMap(run -> run.rows().stream())
            .mapToInt(Integer::intValue)
            .max()
            .orElse(1);
    for (int i = 0; i < contenders.size(); i++) {
      addRun(svg, contenders.get(i), TOP + ROW * i, steps, Math.max(highest, 1));
    }
    addAxis(svg, bottom, steps);
    addMark(svg, 0, lap.course().title(), "#b3261e", 12, bottom, steps);
    addMark(svg, lap.promotion(), lap.promoted() + " promoted", "#1a5fb4", 28, bottom, steps);
    addMark(svg, lap.returned(), lap.primary() + " given back", "#8a6d00", 12, bottom, steps);
    return svg.append("</svg>\n").toString();
  }

  private void addRun(StringBuilder svg, Contender contender, int top, int steps, int highest) {
    String colour = contender == Contender.REPMGR_JDBC ? OURS : OTHERS;
    int base = top + ROW - 8;
    int height = ROW - 16;
    add(
        svg,
        "<text x=\"0\" y=\"%d\" fill=\"%s\">%s</text>",
        base - height / 2 + 4,
        colour,
        Report.escaped(contender.title()));
    StringBuilder points = new StringBuilder();
    List<Integer> rows = lap.run(contender).rows();
    add(points, "%.1f,%d", x(0, steps), base);
    for (int step = 0; step < rows.size(); step++) {
      double y = base - (double) height * rows.get(step) / highest;
      // A staircase: what was counted in a step is true of all of it.
      add(points, " %.1f,%.1f %.1f,%.1f", x(step, steps), y, x(step + 1, steps), y);
    }
    add(points, " %.1f,%d", x(rows.size(), steps), base);
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
    int seconds = (steps * Lap.STEP + Lap.FIRST_STEP) / 1000;
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

  private static void addMark(
      StringBuilder svg, double millis, String what, String colour, int y, int bottom, int steps) {
    double x = x(stepOf(millis), steps);
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
        colour,
        atTheEnd ? x - 4 : x + 4,
        y,
        colour,
        atTheEnd ? "end" : "start",
        Report.escaped(what));
  }

  private static double stepOf(double millis) {
    return (millis - Lap.FIRST_STEP) / Lap.STEP;
  }

  private static double x(double step, int steps) {
    return LEFT + (WIDTH - LEFT - RIGHT) * step / steps;
  }

  private static void add(StringBuilder to, String format, Object... values) {
    to.append(String.format(Locale.ROOT, format, values));
  }
}
