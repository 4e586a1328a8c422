package io.github.repmgrjdbc.demo;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.State;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A picture at the bottom of a terminal of 80 columns, drawn again and again in its place; events
 * scroll by above it.
 */
final class TerminalScreen implements Screen {

  private static final int WIDTH = 79;
  private static final int BARS = 64;
  private static final String EVENT_INDENT = "         ";

  private static final String BOLD = "1";
  private static final String DIM = "2";
  private static final String RED = "31";
  private static final String GREEN = "32";
  private static final String YELLOW = "33";

  private final PrintStream out;
  private final String levels;
  private final boolean colours;
  private final long began = System.nanoTime();
  private List<String> picture = List.of();
  private boolean closed;

  /**
   * Makes a screen.
   *
   * @param unicode whether the terminal has block characters
   * @param colours whether to use any
   */
  TerminalScreen(PrintStream out, boolean unicode, boolean colours) {
    this.out = out;
    this.levels = unicode ? " ▁▂▃▄▅▆▇█" : " .,:-=+*#";
    this.colours = colours;
  }

  @Override
  public synchronized void event(String text) {
    if (closed) {
      return;
    }
    erase();
    String time = String.format(Locale.ROOT, "%6.1f s ", (System.nanoTime() - began) / 1e9);
    String rest = text;
    String indent = colour(DIM, time);
    while (!rest.isEmpty()) {
      int end = lineEnd(rest, WIDTH - EVENT_INDENT.length());
      out.println(indent + emphasised(rest.substring(0, end)));
      rest = rest.substring(end).stripLeading();
      indent = EVENT_INDENT;
    }
    draw(picture);
  }

  @Override
  public synchronized void show(Status status) {
    if (closed) {
      return;
    }
    erase();
    draw(picture(status));
  }

  @Override
  public synchronized void close() {
    closed = true;
    out.flush();
  }

  private void erase() {
    if (!picture.isEmpty()) {
      // Up to the picture's first line, then clear all below.
      out.print("\033[" + picture.size() + "A\r\033[J");
    }
  }

  private void draw(List<String> lines) {
    lines.forEach(out::println);
    out.flush();
    picture = lines;
  }

  private List<String> picture(Status status) {
    ClusterView view = status.view();
    List<String> lines = new ArrayList<>();
    lines.add("");
    lines.add(colour(BOLD, row("NODE", "ROLE", "TIMELINE", "STATE", "")));
    for (Node node : view.nodes()) {
      boolean primary = view.primary().filter(node::equals).isPresent();
      String text =
          row(
              node.name(),
              node.role().name().toLowerCase(Locale.ROOT),
              node.timeline() == 0 ? "-" : String.valueOf(node.timeline()),
              node.state().name().toLowerCase(Locale.ROOT),
              node.detail());
      lines.add(colour(node.state() == State.UP ? (primary ? GREEN : "0") : RED, text));
    }
    lines.add("");
    addBars(status, lines);
    lines.add(
        "rows     %,d a second, %,d acknowledged, %d errors"
            .formatted(status.rate(), status.acknowledged(), status.errors()));
    return lines;
  }

  private void addBars(Status status, List<String> lines) {
    List<Integer> all = status.bars();
    int from = Math.max(0, all.size() - BARS);
    int highest = Math.max(1, all.stream().mapToInt(Integer::intValue).max().orElse(1));
    StringBuilder bars = new StringBuilder();
    StringBuilder marks = new StringBuilder();
    for (int i = from; i < all.size(); i++) {
      int value = all.get(i);
      int top = levels.length() - 1;
      // Anything at all is seen; only nothing looks like nothing.
      bars.append(levels.charAt(value == 0 ? 0 : 1 + value * (top - 1) / highest));
      marks.append(status.mark(i));
    }
    lines.add("         " + colour(GREEN, bars.toString()));
    lines.add("         " + colour(YELLOW, marks.toString()));
  }

  private static String row(
      String name, String role, String timeline, String state, String detail) {
    String line = String.format("%-16s %-8s %-8s  %-11s %s", name, role, timeline, state, detail);
    return line.length() <= WIDTH ? line : line.substring(0, WIDTH - 3) + "...";
  }

  private String emphasised(String line) {
    int space = line.indexOf(' ');
    String first = space < 0 ? line : line.substring(0, space);
    return first.length() > 2 && first.equals(first.toUpperCase(Locale.ROOT))
        ? colour(first.equals("KILL") ? RED : GREEN, first) + line.substring(first.length())
        : line;
  }

  private String colour(String code, String text) {
    return colours ? "\033[" + code + "m" + text + "\033[0m" : text;
  }

  private static int lineEnd(String text, int width) {
    if (text.length() <= width) {
      return text.length();
    }
    int space = text.lastIndexOf(' ', width);
    return space <= 0 ? width : space;
  }
}
