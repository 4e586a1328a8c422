package io.github.repmgrjdbc.internal.monitor;

import java.time.Duration;

/**
 * Where work runs and what time it is: the seam by which tests let time pass without waiting.
 *
 * <p>Steps run one after the other and never block. Whatever may block is work, and runs beside
 * them.
 */
public interface Tasks {

  /** As {@link System#nanoTime()}. */
  long nanoTime();

  /** Runs a step soon. */
  void step(Runnable step);

  /** Runs a step after a while, unless the result is run before. */
  Runnable stepAfter(Duration delay, Runnable step);

  /** Runs something that may block, at once, beside everything else. */
  void work(Runnable work);
}
