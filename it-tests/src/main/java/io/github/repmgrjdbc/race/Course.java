package io.github.repmgrjdbc.race;

import io.github.repmgrjdbc.testing.Fault;
import io.github.repmgrjdbc.testing.RepmgrNode;

/** What happens to the primary in a lap, and how it comes back. */
enum Course {
  KILL("kill -9", Fault.KILL, true),
  SHUTDOWN("immediate shutdown", Fault.SHUTDOWN, true),
  FREEZE("frozen", Fault.FREEZE, true),
  BLACK_HOLE("black hole", Fault.CUT_OFF, true),
  STOP("docker stop", Fault.STOP, true),

  /** Handed over as by a stop, and back at once: what a rolling restart does. */
  SWITCHOVER("planned switchover", Fault.STOP, true) {
    @Override
    long strike(RepmgrNode node) {
      long struck = super.strike(node);
      node.start();
      return struck;
    }
  },

  /** As most clusters are that nobody heals: it comes back as it went, and takes writes. */
  STALE("black hole, returns writable", Fault.CUT_OFF, false);

  private final String title;
  private final Fault fault;
  private final boolean healing;

  Course(String title, Fault fault, boolean healing) {
    this.title = title;
    this.fault = fault;
    this.healing = healing;
  }

  /** What it is called in a report. */
  String title() {
    return title;
  }

  /** Whether the cluster brings the old primary back as a standby. */
  boolean healing() {
    return healing;
  }

  /** Lets it happen; see {@link Fault#strike}. */
  long strike(RepmgrNode node) {
    return fault.strike(node);
  }

  void undo(RepmgrNode node) {
    fault.undo(node);
  }
}
