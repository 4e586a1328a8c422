package io.github.repmgrjdbc.demo;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What the demo shows while it runs: the cluster as the driver sees it, and the writing. */
final class Status {

  /** The width of one bar of the history. */
  static final Duration BAR = Duration.ofMillis(500);

  private final RepmgrDataSource dataSource;
  private final Writers writers;
  private final long began = System.nanoTime();
  private final List<Integer> bars = new ArrayList<>();
  private final Map<Integer, Character> marks = new TreeMap<>();
  private long counted;

  Status(RepmgrDataSource dataSource, Writers writers) {
    this.dataSource = dataSource;
    this.writers = writers;
    this.counted = writers.acknowledged();
  }

  /** Ends the bars whose time is over. */
  void update() {
    long due = (System.nanoTime() - began) / BAR.toNanos();
    while (bars.size() < due) {
      long now = writers.acknowledged();
      bars.add((int) (now - counted));
      counted = now;
    }
  }

  /** Puts a letter under the bar of this moment. */
  void mark(char letter) {
    marks.put((int) ((System.nanoTime() - began) / BAR.toNanos()), letter);
  }

  ClusterView view() {
    try {
      return dataSource.view();
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Rows acknowledged in each bar's time, the oldest first. */
  List<Integer> bars() {
    return List.copyOf(bars);
  }

  /** The letter under a bar, or a space. */
  char mark(int bar) {
    return marks.getOrDefault(bar, ' ');
  }

  /** Rows a second, as the last two bars have it. */
  long rate() {
    int size = bars.size();
    return bars.subList(Math.max(0, size - 2), size).stream().mapToLong(Integer::intValue).sum();
  }

  long acknowledged() {
    return writers.acknowledged();
  }

  long errors() {
    return writers.errors().values().stream().mapToLong(Integer::longValue).sum();
  }
}
