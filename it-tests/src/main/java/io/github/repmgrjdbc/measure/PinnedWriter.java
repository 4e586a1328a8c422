package io.github.repmgrjdbc.measure;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A client that knows but one node and writes to it whenever that lets it: one row after the other,
 * by plain pgJDBC, at the node's own address.
 */
final class PinnedWriter extends Thread implements AutoCloseable {

  static final String TABLE =
      "CREATE TABLE IF NOT EXISTS pinned (writer text, seq bigint, PRIMARY KEY (writer, seq))";

  private static final long PACE_NANOS = TimeUnit.MILLISECONDS.toNanos(10);

  private final RepmgrNode node;
  private final String run;
  private final String url;
  private final List<Long> times = new ArrayList<>();
  private final Set<Long> rows = new HashSet<>();
  private volatile @Nullable Connection connection;
  private volatile boolean closed;

  /**
   * Starts it.
   *
   * @param patience how many seconds it waits for an answer before it connects anew; 0 for ever
   * @param run what its rows are called; unique
   */
  static PinnedWriter start(RepmgrCluster cluster, RepmgrNode node, int patience, String run) {
    String url =
        "jdbc:postgresql://%%s/%s?user=%s&password=%s&connectTimeout=1&loginTimeout=2&socketTimeout=%d"
            .formatted(cluster.database(), cluster.user(), cluster.password(), patience);
    PinnedWriter writer = new PinnedWriter(node, run, url);
    writer.start();
    return writer;
  }

  private PinnedWriter(RepmgrNode node, String run, String url) {
    super("pinned writer " + run);
    this.node = node;
    this.run = run;
    this.url = url;
    setDaemon(true);
  }

  RepmgrNode node() {
    return node;
  }

  /** When its rows were acknowledged, by {@link System#nanoTime()}, in that order. */
  List<Long> times() {
    synchronized (times) {
      return List.copyOf(times);
    }
  }

  /** How many of its acknowledged rows a server has not. */
  long missing(Connection server) throws SQLException {
    Set<Long> missing = new HashSet<>(rows);
    try (var statement = server.prepareStatement("SELECT seq FROM pinned WHERE writer = ?")) {
      statement.setString(1, run);
      try (ResultSet row = statement.executeQuery()) {
        while (row.next()) {
          missing.remove(row.getLong(1));
        }
      }
    }
    return missing.size();
  }

  @Override
  public void run() {
    long seq = 0;
    while (!closed) {
      try (Connection opened = DriverManager.getConnection(url.formatted(node.containerAddress()));
          Statement statement = opened.createStatement()) {
        connection = opened;
        while (!closed) {
          long next = System.nanoTime() + PACE_NANOS;
          write(statement, seq++);
          LockSupport.parkNanos(next - System.nanoTime());
        }
      } catch (SQLException e) {
        LockSupport.parkNanos(PACE_NANOS);
      }
    }
  }

  /** A standby is asked first, so that its log does not fill with refusals. */
  private void write(Statement statement, long seq) throws SQLException {
    try (ResultSet row = statement.executeQuery("SELECT pg_is_in_recovery()")) {
      row.next();
      if (row.getBoolean(1)) {
        return;
      }
    }
    statement.execute("INSERT INTO pinned VALUES ('%s', %d)".formatted(run, seq));
    long now = System.nanoTime();
    synchronized (times) {
      times.add(now);
      rows.add(seq);
    }
  }

  /** Ends it, even in the middle of a wait. */
  @Override
  public void close() {
    closed = true;
    try {
      Connection open = connection;
      if (open != null) {
        open.abort(Runnable::run);
      }
      join(TimeUnit.SECONDS.toMillis(10));
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    if (isAlive()) {
      throw new IllegalStateException(getName() + " hangs");
    }
  }
}
