package io.github.repmgrjdbc.testing;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;

/**
 * Sees the moment in which a standby becomes able to take writes. Each standby is asked every 2 ms,
 * over a connection that was opened before: a promotion keeps a standby's sessions. It knows
 * nothing of the driver under test and tells it nothing.
 *
 * <p>Safe for use by several threads.
 */
public final class PromotionWatch implements AutoCloseable {

  private static final long PACE_NANOS = TimeUnit.MILLISECONDS.toNanos(2);

  private final List<Watcher> watchers = new ArrayList<>();
  private final AtomicReference<Promotion> first = new AtomicReference<>();
  private volatile boolean closed;

  /**
   * A standby became the primary.
   *
   * @param node which one
   * @param nanoTime when, by {@link System#nanoTime()}: the moment it was asked for the answer that
   *     told, so a few milliseconds late, or more where the machine is busy
   */
  public record Promotion(RepmgrNode node, long nanoTime) {}

  private PromotionWatch() {}

  /**
   * Starts to watch.
   *
   * @param standbys what to watch; all of them must answer now
   * @throws SQLException if one does not
   */
  public static PromotionWatch start(List<RepmgrNode> standbys) throws SQLException {
    PromotionWatch watch = new PromotionWatch();
    try {
      for (RepmgrNode standby : standbys) {
        watch.watchers.add(watch.new Watcher(standby, standby.connect("postgres")));
      }
    } catch (SQLException e) {
      watch.close();
      throw e;
    }
    watch.watchers.forEach(Thread::start);
    return watch;
  }

  /** The first promotion seen, or empty. */
  public Optional<Promotion> promotion() {
    return Optional.ofNullable(first.get());
  }

  /** Ends it. */
  @Override
  public void close() {
    closed = true;
    for (Watcher watcher : watchers) {
      try {
        watcher.connection.abort(Runnable::run);
        watcher.join(TimeUnit.SECONDS.toMillis(5));
      } catch (SQLException e) {
        throw new IllegalStateException(e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private final class Watcher extends Thread {

    private final RepmgrNode node;
    private final Connection connection;

    Watcher(RepmgrNode node, Connection connection) {
      super("promotion-watch " + node.name());
      this.node = node;
      this.connection = connection;
      setDaemon(true);
    }

    @Override
    public void run() {
      try (connection;
          Statement statement = connection.createStatement()) {
        while (!closed) {
          long asked = System.nanoTime();
          try (ResultSet row = statement.executeQuery("SELECT pg_is_in_recovery()")) {
            row.next();
            if (!row.getBoolean(1)) {
              first.compareAndSet(null, new Promotion(node, asked));
              return;
            }
          }
          LockSupport.parkNanos(PACE_NANOS);
        }
      } catch (SQLException e) {
        // The node is gone, or close() has cut the connection: there is no more to see here.
      }
    }
  }
}
