package io.github.repmgrjdbc.internal.monitor;

import java.time.Duration;
import java.util.function.DoubleSupplier;

/**
 * How long to wait between two probes of a node.
 *
 * <p>Steady when all is well. Hunting while the primary is in doubt: quick for as long as a usual
 * failover takes, then slower, so that a long outage with many clients does not become a load of
 * its own on the nodes that are left. And the slower, the more there are: all of them together ask
 * a node about {@value #QUESTIONS} times a second, until each has come down to half the steady pace
 * (with 3,600 clients, by default). All with jitter, so that clients do not march in step.
 */
final class Pace {

  /** A failover takes 2 to 13 s with repmgrd's usual settings; twice that is hunted quickly. */
  static final Duration QUICK = Duration.ofSeconds(30);

  /** How many questions a second a node may be asked by all that hunt. */
  static final int QUESTIONS = 2_000;

  /** Jitter only shortens: the mean wait is so much of the longest. */
  private static final double MEAN = 0.9;

  /** How much slower hunting gets at the most. */
  static final int SLOWEST = 10;

  private final Duration steady;
  private final Duration hunt;
  private final DoubleSupplier random;

  /**
   * Makes a pace.
   *
   * @param random gives numbers from 0 to 1
   */
  Pace(Duration steady, Duration hunt, DoubleSupplier random) {
    this.steady = steady;
    this.hunt = hunt;
    this.random = random;
  }

  Duration steady() {
    return jittered(steady);
  }

  /**
   * The wait when the hunt has taken that long; it doubles with every {@link #QUICK}.
   *
   * @param hunters how many ask that node; 0 if it is unknown
   */
  Duration hunting(Duration soFar, int hunters) {
    long doublings = Math.min(soFar.dividedBy(QUICK), 10);
    Duration wait = hunt.multipliedBy(Math.min(1L << doublings, SLOWEST));
    Duration share = Duration.ofNanos((long) (hunters * (1e9 / QUESTIONS) / MEAN));
    // Slower than that, and what was seen of a node would be too old to count before it is asked
    // again.
    Duration slowest = steady.multipliedBy(2);
    Duration calm = wait.compareTo(steady) < 0 ? wait : steady;
    Duration fair = calm.compareTo(share) < 0 ? share : calm;
    return jittered(fair.compareTo(slowest) < 0 ? fair : slowest);
  }

  private Duration jittered(Duration wait) {
    return Duration.ofNanos((long) (wait.toNanos() * (0.8 + 0.2 * random.getAsDouble())));
  }
}
