package io.github.repmgrjdbc.demo;

import io.github.repmgrjdbc.ClusterView.Node;
import java.io.PrintStream;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** A line for each event, and one each second. */
final class PlainScreen implements Screen {

  private final PrintStream out;
  private final long began = System.nanoTime();
  private long shown = began;
  private boolean closed;

  PlainScreen(PrintStream out) {
    this.out = out;
  }

  @Override
  public synchronized void event(String text) {
    if (!closed) {
      out.printf(Locale.ROOT, "%5.1f s  %s%n", (System.nanoTime() - began) / 1e9, text);
    }
  }

  @Override
  public synchronized void show(Status status) {
    long now = System.nanoTime();
    if (now - shown < TimeUnit.SECONDS.toNanos(1)) {
      return;
    }
    shown = now;
    String nodes =
        status.view().nodes().stream().map(PlainScreen::describe).collect(Collectors.joining(", "));
    event("%4d rows/s, %d errors; %s".formatted(status.rate(), status.errors(), nodes));
  }

  private static String describe(Node node) {
    return "%s %s %s".formatted(node.name(), node.role(), node.state()).toLowerCase(Locale.ROOT);
  }

  @Override
  public synchronized void close() {
    closed = true;
    out.flush();
  }
}
