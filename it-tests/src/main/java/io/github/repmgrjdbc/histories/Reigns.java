package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * Sees who takes writes on which timeline, and since when: asks each node every 5 ms, by plain
 * pgJDBC, and connects anew where that ends. A promotion keeps a standby's sessions, so it is seen
 * at once.
 */
final class Reigns implements AutoCloseable {

  private static final long PACE_NANOS = TimeUnit.MILLISECONDS.toNanos(5);
  private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(50);

  private static final String TIMELINE =
      "SELECT CASE WHEN pg_is_in_recovery() THEN 0"
          + " ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END";

  private final List<Watcher> watchers = new ArrayList<>();

  /** Guarded by itself. */
  private final List<Reign> seen = new ArrayList<>();

  private volatile boolean closed;

  Reigns(List<RepmgrNode> nodes) {
    for (RepmgrNode node : nodes) {
      Watcher watcher = new Watcher(node);
      watchers.add(watcher);
      watcher.start();
    }
  }

  /** So far, in the order in which they began. */
  List<Reign> seen() {
    synchronized (seen) {
      return List.copyOf(seen);
    }
  }

  @Override
  public void close() {
    closed = true;
    for (Watcher watcher : watchers) {
      try {
        watcher.join(TimeUnit.SECONDS.toMillis(10));
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private final class Watcher extends Thread {

    private final RepmgrNode node;

    Watcher(RepmgrNode node) {
      super("reigns " + node);
      this.node = node;
      setDaemon(true);
    }

    @Override
    public void run() {
      while (!closed) {
        try (Connection connection = node.connect("postgres");
            Statement statement = connection.createStatement()) {
          String server = node.containerAddress().host();
          int last = 0;
          while (!closed) {
            long asked = System.nanoTime();
            int timeline = timeline(statement);
            if (timeline != last && timeline > 0) {
              note(new Reign(node.name(), server, timeline, asked));
            }
            last = timeline;
            LockSupport.parkNanos(PACE_NANOS);
          }
        } catch (SQLException | RuntimeException e) {
          // It is down, or cut off, or was promoted between the two questions.
          LockSupport.parkNanos(RETRY_NANOS);
        }
      }
    }

    private int timeline(Statement statement) throws SQLException {
      try (ResultSet row = statement.executeQuery(TIMELINE)) {
        row.next();
        return row.getInt(1);
      }
    }

    /** Again is no news: the same node after a restart, say. */
    private void note(Reign reign) {
      synchronized (seen) {
        boolean known =
            seen.stream()
                .anyMatch(
                    one ->
                        one.node().equals(reign.node())
                            && one.timeline() == reign.timeline()
                            && one.server().equals(reign.server()));
        if (!known) {
          seen.add(reign);
        }
      }
    }
  }
}
