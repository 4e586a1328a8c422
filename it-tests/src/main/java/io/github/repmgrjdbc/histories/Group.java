package io.github.repmgrjdbc.histories;

import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.TransactionOutcome;
import io.github.repmgrjdbc.histories.Operation.Kind;
import io.github.repmgrjdbc.histories.Operation.Outcome;
import io.github.repmgrjdbc.histories.Operation.Told;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntSupplier;

/**
 * Clients of one kind: threads that append to lists and move money between accounts of their own,
 * through one pool, and note what they are told.
 */
final class Group implements AutoCloseable {

  static final int ACCOUNTS = 10;

  private static final int THREADS = 3;
  private static final int LISTS = 5;
  private static final long PACE_NANOS = TimeUnit.MILLISECONDS.toNanos(40);
  private static final long END_MILLIS = TimeUnit.SECONDS.toMillis(10);

  private static final String WHERE =
      " RETURNING host(inet_server_addr()),"
          + " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int";

  private static final String APPEND = "INSERT INTO public.list_item VALUES (?, ?)" + WHERE;

  /** A client that is cut off may leave its locks behind for a while. */
  private static final String PATIENCE = "SET LOCAL lock_timeout = '2s'";

  private static final String MOVE = "UPDATE public.account SET balance = balance + ? WHERE id = ?";

  private static final String NOTE = "INSERT INTO public.transfer VALUES (?, ?, ?, ?)" + WHERE;

  /** No two operations have the same, whoever's they are. */
  private static final AtomicLong IDS = new AtomicLong();

  private final String name;
  private final HikariDataSource pool;
  private final IntSupplier inView;
  private final int firstAccount;
  private final List<Client> clients = new ArrayList<>();

  /** Guarded by itself. */
  private final List<Operation> operations = new ArrayList<>();

  private volatile boolean stopping;

  /**
   * Makes them; they begin with {@link #start}.
   *
   * @param inView the timeline of the primary that the clients' driver has in view, 0 if none
   * @param number which accounts are theirs: no other group has it
   */
  Group(String name, HikariDataSource pool, IntSupplier inView, int number, long seed) {
    this.name = name;
    this.pool = pool;
    this.inView = inView;
    this.firstAccount = number * ACCOUNTS;
    for (int i = 0; i < THREADS; i++) {
      clients.add(new Client(i, new Random(seed + i)));
    }
  }

  void start() {
    clients.forEach(Thread::start);
  }

  /** How much of what they did has been acknowledged so far. */
  int acknowledged() {
    synchronized (operations) {
      return (int) operations.stream().filter(one -> one.outcome() == Outcome.ACKNOWLEDGED).count();
    }
  }

  /**
   * Ends it, 10 s at most after what was under way, and tells what they did. What has not returned
   * by then is of unknown outcome.
   */
  List<Operation> end() {
    stopping = true;
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(END_MILLIS);
    for (Client client : clients) {
      client.awaitEnd(deadline);
    }
    synchronized (operations) {
      clients.forEach(Client::giveUp);
      return List.copyOf(operations);
    }
  }

  @Override
  public String toString() {
    return name;
  }

  /** Ends the pool; threads that hang are left behind. */
  @Override
  public void close() {
    stopping = true;
    pool.close();
  }

  private final class Client extends Thread {

    private final Random random;
    private long id;
    private Kind kind = Kind.APPEND;
    private Told told = new Told();
    private boolean open;
    private boolean givenUp;

    Client(int number, Random random) {
      super("client " + name + " " + number);
      this.random = random;
      setDaemon(true);
    }

    void awaitEnd(long deadline) {
      try {
        join(Math.max(1, TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime())));
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    @Override
    public void run() {
      while (!stopping) {
        long next = System.nanoTime() + PACE_NANOS;
        Told mine = new Told();
        begin(mine);
        Outcome outcome;
        try {
          if (kind == Kind.APPEND) {
            append(mine);
          } else {
            transfer(mine);
          }
          outcome = Outcome.ACKNOWLEDGED;
        } catch (RuntimeException e) {
          // It must not end the thread unnoticed.
          mine.failed(e.toString());
          outcome = Outcome.REJECTED;
        } catch (SQLException e) {
          mine.failed(e.getSQLState());
          outcome =
              switch (TransactionOutcome.of(e, mine.committing)) {
                case RETRY_SAFE -> Outcome.FAILED;
                case UNKNOWN -> Outcome.UNKNOWN;
                case NOT_CONNECTION_RELATED -> Outcome.REJECTED;
              };
        }
        note(mine, outcome);
        LockSupport.parkNanos(next - System.nanoTime());
      }
    }

    private void begin(Told mine) {
      synchronized (operations) {
        id = IDS.incrementAndGet();
        kind = random.nextBoolean() ? Kind.APPEND : Kind.TRANSFER;
        told = mine;
        open = true;
      }
    }

    private void note(Told mine, Outcome outcome) {
      synchronized (operations) {
        open = false;
        if (!givenUp) {
          operations.add(Operation.of(id, name, kind, outcome, mine));
        }
      }
    }

    /** Called under the lock. */
    void giveUp() {
      givenUp = true;
      if (open) {
        told.failed("no answer");
        operations.add(Operation.of(id, name, kind, Outcome.UNKNOWN, told));
      }
    }

    private void append(Told mine) throws SQLException {
      try (Connection connection = pool.getConnection();
          PreparedStatement statement = connection.prepareStatement(APPEND)) {
        statement.setLong(1, id);
        statement.setInt(2, random.nextInt(LISTS));
        order(mine);
        whereWas(statement, mine);
        mine.ended = System.nanoTime();
      } catch (SQLException e) {
        // What was acknowledged stays so, also if giving the connection back failed.
        if (mine.timeline == 0) {
          throw e;
        }
      }
    }

    private void transfer(Told mine) throws SQLException {
      int source = firstAccount + random.nextInt(ACCOUNTS);
      int target =
          firstAccount + (source - firstAccount + 1 + random.nextInt(ACCOUNTS - 1)) % ACCOUNTS;
      int amount = 1 + random.nextInt(9);
      boolean committed = false;
      try (Connection connection = pool.getConnection()) {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
          statement.execute(PATIENCE);
        }
        // In one order for all, or they would wait for each other.
        move(connection, Math.min(source, target), source < target ? -amount : amount);
        move(connection, Math.max(source, target), source < target ? amount : -amount);
        try (PreparedStatement statement = connection.prepareStatement(NOTE)) {
          statement.setLong(1, id);
          statement.setInt(2, source);
          statement.setInt(3, target);
          statement.setInt(4, amount);
          whereWas(statement, mine);
        }
        order(mine);
        connection.commit();
        mine.ended = System.nanoTime();
        committed = true;
      } catch (SQLException e) {
        if (!committed) {
          throw e;
        }
      }
    }

    private void move(Connection connection, int account, int amount) throws SQLException {
      try (PreparedStatement statement = connection.prepareStatement(MOVE)) {
        statement.setInt(1, amount);
        statement.setInt(2, account);
        statement.executeUpdate();
      }
    }

    /** From here on it may be committed, and a view that is newer comes too late. */
    private void order(Told mine) {
      mine.inView = inView.getAsInt();
      mine.committing = true;
      mine.ordered = System.nanoTime();
    }

    private void whereWas(PreparedStatement statement, Told mine) throws SQLException {
      try (ResultSet row = statement.executeQuery()) {
        row.next();
        mine.server = row.getString(1);
        mine.timeline = row.getInt(2);
      }
    }
  }
}
