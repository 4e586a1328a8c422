package io.github.repmgrjdbc.testing;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * An application that writes: some threads, each inserting one row at a time through a data source,
 * each row its own transaction and a connection of its own from the pool. An error is counted, the
 * row is given up, and the thread goes on with the next one, as a web application would.
 *
 * <p>A row counts as acknowledged only once the insert returned without an error, together with the
 * address of the server that took it. So it can be said afterwards which acknowledged rows are
 * missing, and whose they were.
 *
 * <p>Safe for use by several threads.
 */
public final class Writers implements AutoCloseable {

  /** What {@link #errors()} calls an exception without SQLSTATE. */
  public static final String NO_STATE = "none";

  private static final String TABLE =
      "CREATE TABLE IF NOT EXISTS written"
          + " (run text, writer int, seq int, PRIMARY KEY (run, writer, seq))";
  private static final String INSERT =
      "INSERT INTO written VALUES (?, ?, ?) RETURNING host(inet_server_addr())";

  /** Leaves the machine's cores to the cluster: it is about time, not about throughput. */
  private static final long PACE_NANOS = 10_000_000;

  private static final long PATIENCE_MILLIS = 5_000;

  private final String run;
  private final DataSource dataSource;
  private final List<Writer> writers = new ArrayList<>();

  /** Guards everything below and the writers' figures. */
  private final Object lock = new Object();

  private final Map<String, Server> servers = new TreeMap<>();
  private final Map<String, Integer> errors = new TreeMap<>();
  private final List<Long> acknowledgements = new ArrayList<>();
  private @Nullable SQLException lastError;
  private @Nullable RuntimeException bug;

  private volatile boolean stopping;

  private Writers(String run, DataSource dataSource) {
    this.run = run;
    this.dataSource = dataSource;
  }

  /**
   * Makes the table unless it is there, and starts to write.
   *
   * @param run what the rows of these writers are called in the table; one name, one object
   * @param dataSource where each write gets its connection; not closed here
   * @param threads how many write
   * @throws SQLException if the table cannot be made
   */
  public static Writers start(String run, DataSource dataSource, int threads) throws SQLException {
    try (Connection connection = dataSource.getConnection();
        Statement statement = connection.createStatement()) {
      statement.execute(TABLE);
    }
    Writers writers = new Writers(run, dataSource);
    for (int i = 0; i < threads; i++) {
      writers.writers.add(writers.new Writer(i));
    }
    writers.writers.forEach(Thread::start);
    return writers;
  }

  /** How many rows were acknowledged. */
  public long acknowledged() {
    synchronized (lock) {
      return servers.values().stream().mapToLong(server -> server.count).sum();
    }
  }

  /** How many rows a server acknowledged, by its own address. */
  public long acknowledgedBy(String serverAddress) {
    synchronized (lock) {
      Server server = servers.get(serverAddress);
      return server == null ? 0 : server.count;
    }
  }

  /**
   * How many rows were acknowledged in each step of time.
   *
   * @param from when the first step begins, by {@link System#nanoTime()}
   * @param step how long each is
   */
  public List<Integer> acknowledgedBySteps(long from, Duration step) {
    List<Long> times;
    synchronized (lock) {
      times = List.copyOf(acknowledgements);
    }
    int[] counts = new int[(int) ((System.nanoTime() - from) / step.toNanos())];
    for (long time : times) {
      long index = Math.floorDiv(time - from, step.toNanos());
      if (index >= 0 && index < counts.length) {
        counts[(int) index]++;
      }
    }
    return Arrays.stream(counts).boxed().toList();
  }

  /** The first row that a server acknowledged, as {@link System#nanoTime()} had it. */
  public OptionalLong firstAcknowledgedBy(String serverAddress) {
    synchronized (lock) {
      Server server = servers.get(serverAddress);
      return server == null ? OptionalLong.empty() : OptionalLong.of(server.firstNanos);
    }
  }

  /** Whether every writer has had a row acknowledged since then. */
  public boolean allWroteSince(long nanoTime) {
    synchronized (lock) {
      return writers.stream().allMatch(writer -> writer.lastNanos - nanoTime > 0);
    }
  }

  /** How many errors there were, by SQLSTATE. */
  public Map<String, Integer> errors() {
    synchronized (lock) {
      return new TreeMap<>(errors);
    }
  }

  /** The latest error, or null. */
  public @Nullable SQLException lastError() {
    synchronized (lock) {
      return lastError;
    }
  }

  /** The longest time that one writer went without an acknowledged row, until now or its end. */
  public Duration longestGap() {
    long now = System.nanoTime();
    synchronized (lock) {
      return Duration.ofNanos(
          writers.stream().mapToLong(writer -> writer.longestGap(now)).max().orElse(0));
    }
  }

  /**
   * Ends the threads.
   *
   * @throws IllegalStateException if one hangs for 10 s, half of them after it was interrupted, or
   *     one ended by anything but an {@link SQLException}
   */
  @Override
  public void close() {
    stopping = true;
    try {
      for (Writer writer : writers) {
        writer.join(PATIENCE_MILLIS);
      }
      for (Writer writer : writers) {
        if (writer.isAlive()) {
          writer.interrupt();
          writer.join(PATIENCE_MILLIS);
        }
        if (writer.isAlive()) {
          throw new IllegalStateException(writer.getName() + " hangs");
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    synchronized (lock) {
      if (bug != null) {
        throw new IllegalStateException("a writer ended by itself", bug);
      }
    }
  }

  /**
   * What became of the rows.
   *
   * @param acknowledged how many rows the application was told are there
   * @param found how many rows are there; more than were acknowledged if an answer was lost
   * @param missing acknowledged rows that are not there, by the server that acknowledged them
   */
  public record Audit(long acknowledged, long found, Map<String, Long> missing) {

    /** How many acknowledged rows are not there. */
    public long missingCount() {
      return missing.values().stream().mapToLong(Long::longValue).sum();
    }
  }

  /**
   * Compares what was acknowledged with what is in the table. After {@link #close()}, as rows that
   * come in meanwhile confuse it.
   *
   * @param connection one to the server to look at
   * @throws SQLException if the table cannot be read
   */
  public Audit audit(Connection connection) throws SQLException {
    Map<Integer, BitSet> found = new TreeMap<>();
    long count = 0;
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT writer, seq FROM written WHERE run = ?")) {
      statement.setString(1, run);
      try (ResultSet row = statement.executeQuery()) {
        while (row.next()) {
          found.computeIfAbsent(row.getInt(1), key -> new BitSet()).set(row.getInt(2));
          count++;
        }
      }
    }
    Map<String, Long> missing = new TreeMap<>();
    synchronized (lock) {
      servers.forEach(
          (address, server) -> {
            long lost = 0;
            for (Map.Entry<Integer, BitSet> rows : server.rows.entrySet()) {
              BitSet gone = (BitSet) rows.getValue().clone();
              gone.andNot(found.getOrDefault(rows.getKey(), new BitSet()));
              lost += gone.cardinality();
            }
            if (lost > 0) {
              missing.put(address, lost);
            }
          });
    }
    return new Audit(acknowledged(), count, missing);
  }

  /** What one server acknowledged. */
  private static final class Server {
    final long firstNanos;
    final Map<Integer, BitSet> rows = new TreeMap<>();
    long count;

    Server(long firstNanos) {
      this.firstNanos = firstNanos;
    }
  }

  private final class Writer extends Thread {

    private final int id;
    private long lastNanos = System.nanoTime();
    private long longestGap;
    private boolean ended;

    Writer(int id) {
      super("writer " + run + " " + id);
      this.id = id;
      setDaemon(true);
    }

    @Override
    public void run() {
      try {
        for (int seq = 0; !stopping; seq++) {
          long next = System.nanoTime() + PACE_NANOS;
          try {
            acknowledge(seq, write(seq));
          } catch (SQLException e) {
            count(e);
          }
          LockSupport.parkNanos(next - System.nanoTime());
        }
      } catch (RuntimeException e) {
        synchronized (lock) {
          bug = e;
        }
      }
      long now = System.nanoTime();
      synchronized (lock) {
        longestGap = longestGap(now);
        ended = true;
      }
    }

    private String write(int seq) throws SQLException {
      try (Connection connection = dataSource.getConnection();
          PreparedStatement statement = connection.prepareStatement(INSERT)) {
        statement.setString(1, run);
        statement.setInt(2, id);
        statement.setInt(3, seq);
        // Autocommit: when the result is here, all of it, the server has committed.
        try (ResultSet row = statement.executeQuery()) {
          row.next();
          return row.getString(1);
        }
      }
    }

    private void acknowledge(int seq, String address) {
      long now = System.nanoTime();
      synchronized (lock) {
        longestGap = longestGap(now);
        lastNanos = now;
        acknowledgements.add(now);
        Server server = servers.computeIfAbsent(address, key -> new Server(now));
        server.rows.computeIfAbsent(id, key -> new BitSet()).set(seq);
        server.count++;
      }
    }

    private void count(SQLException e) {
      String state = e.getSQLState();
      synchronized (lock) {
        errors.merge(state == null ? NO_STATE : state, 1, Integer::sum);
        lastError = e;
      }
    }

    private long longestGap(long now) {
      return ended ? longestGap : Math.max(longestGap, now - lastNanos);
    }
  }
}
