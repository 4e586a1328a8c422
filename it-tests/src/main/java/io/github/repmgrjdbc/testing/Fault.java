package io.github.repmgrjdbc.testing;

import java.time.Duration;
import org.awaitility.Awaitility;

/** What can happen to a node, and how it comes to an end. */
public enum Fault {

  /** The machine is gone, from one moment to the next. */
  KILL("kill -9") {
    @Override
    public long strike(RepmgrNode node) {
      long began = System.nanoTime();
      node.kill();
      return began;
    }
  },

  /** PostgreSQL ends at once, and says so to those who are connected. */
  SHUTDOWN("immediate shutdown") {
    @Override
    public long strike(RepmgrNode node) {
      long began = System.nanoTime();
      String postmaster = "/var/lib/postgresql/data/postmaster.pid";
      node.exec("sh", "-c", "kill -QUIT $(head -n 1 " + postmaster + ")").orThrow();
      return began;
    }

    @Override
    public void undo(RepmgrNode node) {
      // Its container ends with its PostgreSQL, a moment later.
      Awaitility.await(node + " to end")
          .atMost(Duration.ofSeconds(30))
          .until(() -> !node.isRunning());
      super.undo(node);
    }
  },

  /** Nothing moves on the machine, but its kernel accepts connections. */
  FREEZE("frozen") {
    @Override
    public long strike(RepmgrNode node) {
      node.pause();
      return System.nanoTime();
    }

    @Override
    public void undo(RepmgrNode node) {
      node.unpause();
    }
  },

  /** Its network cable is pulled. */
  CUT_OFF("black hole") {
    @Override
    public long strike(RepmgrNode node) {
      return node.cutOff();
    }

    @Override
    public void undo(RepmgrNode node) {
      node.reconnect();
    }
  },

  /** The nodes do not reach it, but clients do: they may go on writing there, and on another. */
  CUT_FROM_NODES("cut off from the nodes, not from clients") {
    @Override
    public long strike(RepmgrNode node) {
      return node.cutOffFrom(node.others().toArray(RepmgrNode[]::new));
    }

    @Override
    public void undo(RepmgrNode node) {
      node.reconnect();
    }
  },

  /** The node no longer hears the others, but they hear it, and clients notice nothing. */
  DEAFEN("deaf to the nodes") {
    @Override
    public long strike(RepmgrNode node) {
      return node.deafen(node.others().toArray(RepmgrNode[]::new));
    }

    @Override
    public void undo(RepmgrNode node) {
      node.reconnect();
    }
  },

  /** The other way: it hears them, and they do not hear it. */
  SILENCE("not heard by the nodes") {
    @Override
    public long strike(RepmgrNode node) {
      return node.silence(node.others().toArray(RepmgrNode[]::new));
    }

    @Override
    public void undo(RepmgrNode node) {
      node.reconnect();
    }
  },

  /** Somebody means it well. */
  STOP("docker stop") {
    @Override
    public long strike(RepmgrNode node) {
      long began = System.nanoTime();
      node.stop();
      return began;
    }
  };

  private final String text;

  Fault(String text) {
    this.text = text;
  }

  /**
   * Lets it happen.
   *
   * @return when it began to take effect, by {@link System#nanoTime()}
   */
  public abstract long strike(RepmgrNode node);

  /** Gives the node back; what it does then is its own affair. */
  public void undo(RepmgrNode node) {
    if (!node.isRunning()) {
      node.start();
    }
  }

  /** What people call it. */
  @Override
  public String toString() {
    return text;
  }
}
