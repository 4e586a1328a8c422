package io.github.repmgrjdbc.race;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Predicate;
import javax.sql.DataSource;

/**
 * One contender, in a process of its own: eight threads that write through its pool, one row after
 * the other, each with a connection from the pool. Every call is recorded.
 *
 * <p>It is told what to do on standard input, by {@link Entrant}, and answers on standard output:
 * {@code await-rows N MILLIS} (until every thread has had so many acknowledged, or one of them as
 * many refused, or none has had one for 10 s), {@code await-since NANOS MILLIS} (one after that
 * moment), {@code cpu}, and {@code end}, which writes the record to a file and ends the process,
 * whatever still hangs.
 */
final class Runner {

  static final int THREADS = 8;

  /** Leaves the machine's cores to the cluster: it is about time, not about throughput. */
  private static final long PACE_NANOS = TimeUnit.MILLISECONDS.toNanos(50);

  private static final long NOT_ONE_NANOS = TimeUnit.SECONDS.toNanos(10);

  private static final long POLL_NANOS = TimeUnit.MILLISECONDS.toNanos(5);

  private static final String INSERT =
      "INSERT INTO public.race VALUES (?, ?, ?) RETURNING host(inet_server_addr())";

  private final Contender contender;
  private final String lap;
  private final DataSource pool;
  private final List<Writer> writers = new ArrayList<>();
  private final long began = System.nanoTime();
  private volatile boolean ending;

  private Runner(Field field, Contender contender, String lap) {
    this.contender = contender;
    this.lap = lap;
    this.pool = contender.open(field);
  }

  /** Arguments: the contender, the lap's name, the file for the record. */
  public static void main(String[] arguments) throws IOException {
    Field field = Field.ofEnvironment(System.getenv());
    Runner runner = new Runner(field, Contender.valueOf(arguments[0]), arguments[1]);
    runner.start();
    runner.obey(Path.of(arguments[2]));
    // Threads may hang, and a pool's close() may wait for them.
    Runtime.getRuntime().halt(0);
  }

  private void start() {
    for (int i = 0; i < THREADS; i++) {
      writers.add(new Writer(i));
    }
    writers.forEach(Thread::start);
  }

  private void obey(Path record) throws IOException {
    // What libraries print must not be taken for an answer.
    PrintStream answers = System.out;
    System.setOut(System.err);
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ", -1);
      switch (words[0]) {
        case "await-rows" -> {
          int rows = Integer.parseInt(words[1]);
          reached(writer -> writer.hasWritten(rows) || cannotWrite(rows), words[2]);
          answers.println(writers.stream().allMatch(writer -> writer.hasWritten(rows)));
        }
        case "await-since" -> {
          long since = Long.parseLong(words[1]);
          answers.println(reached(writer -> writer.hasWrittenSince(since), words[2]));
        }
        case "cpu" -> answers.println(cpuNanos());
        case "end" -> {
          end(record);
          answers.println("ok");
          answers.flush();
          return;
        }
        default -> throw new IllegalArgumentException(line);
      }
      answers.flush();
    }
  }

  private boolean reached(Predicate<Writer> state, String millis) {
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(Long.parseLong(millis));
    while (!writers.stream().allMatch(state)) {
      if (System.nanoTime() - deadline > 0) {
        return false;
      }
      LockSupport.parkNanos(POLL_NANOS);
    }
    return true;
  }

  /** Who cannot write before the fault either need not be waited for: its host is a standby. */
  private boolean cannotWrite(int times) {
    return writers.stream().anyMatch(writer -> writer.hasFailed(times))
        || (System.nanoTime() - began > NOT_ONE_NANOS
            && writers.stream().noneMatch(writer -> writer.hasWritten(1)));
  }

  private static long cpuNanos() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }

  private void end(Path record) throws IOException {
    ending = true;
    long now = System.nanoTime();
    List<String> lines = new ArrayList<>();
    for (Writer writer : writers) {
      synchronized (writer.calls) {
        writer.calls.forEach(call -> lines.add(call.toLine()));
        long open = writer.openSince;
        if (open != 0) {
          lines.add(new Call(writer.id, open, now, null, null).toLine());
        }
      }
    }
    Files.write(record, lines);
  }

  private final class Writer extends Thread {

    private final int id;

    /** Guards all of this. */
    private final List<Call> calls = new ArrayList<>();

    private int acknowledged;
    private long lastAcknowledged;

    /** When the call under way began, or 0. */
    private long openSince;

    Writer(int id) {
      super("writer " + id);
      this.id = id;
      setDaemon(true);
    }

    boolean hasWritten(int rows) {
      synchronized (calls) {
        return acknowledged >= rows;
      }
    }

    boolean hasFailed(int times) {
      synchronized (calls) {
        return calls.size() - acknowledged >= times;
      }
    }

    boolean hasWrittenSince(long nanoTime) {
      synchronized (calls) {
        return acknowledged > 0 && lastAcknowledged - nanoTime > 0;
      }
    }

    @Override
    public void run() {
      for (int seq = 0; !ending; seq++) {
        long start = System.nanoTime();
        synchronized (calls) {
          openSince = start;
        }
        record(write(seq, start));
        LockSupport.parkNanos(start + PACE_NANOS - System.nanoTime());
      }
    }

    private void record(Call call) {
      synchronized (calls) {
        openSince = 0;
        calls.add(call);
        if (call.server() != null) {
          lastAcknowledged = call.end();
          acknowledged++;
        }
      }
    }

    private Call write(int seq, long start) {
      String server = null;
      String failure = null;
      long end = 0;
      try (Connection connection = pool.getConnection();
          PreparedStatement statement = connection.prepareStatement(INSERT)) {
        statement.setString(1, lap + " " + contender);
        statement.setInt(2, id);
        statement.setInt(3, seq);
        // Autocommit: when the result is here, all of it, the server has committed.
        try (ResultSet row = statement.executeQuery()) {
          row.next();
          server = row.getString(1);
          end = System.nanoTime();
        }
      } catch (SQLException e) {
        failure = String.valueOf(e.getSQLState());
      } catch (RuntimeException | Error e) {
        failure = e.getClass().getSimpleName();
      }
      // What was acknowledged stays so, also if giving the connection back failed.
      return server == null
          ? new Call(id, start, System.nanoTime(), null, failure)
          : new Call(id, start, end, server, null);
    }
  }
}
