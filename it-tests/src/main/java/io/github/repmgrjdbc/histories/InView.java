package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.RepmgrListener;
import java.util.concurrent.TimeUnit;
import java.util.function.IntSupplier;

/**
 * The timeline that a driver has in view, and has had for long enough to cut what was connected to
 * the primary of before: cuts are tasks of other threads. Safe for use by several threads.
 */
final class InView implements RepmgrListener, IntSupplier {

  private static final long CUT_NANOS = TimeUnit.SECONDS.toNanos(1);

  private int before;
  private int now;
  private long since = System.nanoTime();

  @Override
  public synchronized void viewChanged(ClusterView old, ClusterView current) {
    ClusterView.Term term = current.term();
    if (term != null && term.timeline() != now) {
      before = getAsInt();
      now = term.timeline();
      since = System.nanoTime();
    }
  }

  @Override
  public synchronized int getAsInt() {
    return System.nanoTime() - since > CUT_NANOS ? now : before;
  }
}
