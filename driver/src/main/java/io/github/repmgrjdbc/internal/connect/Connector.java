package io.github.repmgrjdbc.internal.connect;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.monitor.Tasks;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.wire.Dial;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;
import org.postgresql.fastpath.FastpathArg;
import org.postgresql.util.PSQLException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Opens connections to the primary, and proves on each one that it is there. */
public final class Connector {

  private static final Logger LOG = LoggerFactory.getLogger(Connector.class);

  /**
   * {@code pg_postmaster_start_time()}, by its number in PostgreSQL's pg_proc.dat, which no version
   * has changed. Called by that (PostgreSQL's documentation, "Function Call" in "Frontend/Backend
   * Protocol") and not by a query, since each query that is the first of a server process, whose
   * caches are empty, takes longer than what pgJDBC would ask and does not for this driver.
   */
  private static final int POSTMASTER_START_TIME = 2560;

  /**
   * On a primary the name of its WAL file, which begins with the timeline. Names in full: the
   * application's search_path must not matter.
   */
  private static final String WHERE_AM_I =
      """
      select case when not pg_catalog.pg_is_in_recovery()
                  then pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) end,
             (pg_catalog.pg_control_system()).system_identifier""";

  /** The server tells both by itself (PostgreSQL 14 and later: GUC_REPORT). */
  private static final String READ_ONLY = "default_transaction_read_only";

  private static final String IN_HOT_STANDBY = "in_hot_standby";

  /** What is on the way and knows no function calls may say nothing instead of an error. */
  private static final Duration CALL = Duration.ofSeconds(2);

  /** What was opened ahead and does not answer in that time, a new connection is quicker than. */
  private static final Duration SPARE_CHECK = Duration.ofMillis(500);

  /** How often it is looked whether a thread that opens a connection has been interrupted. */
  private static final Duration GLANCE = Duration.ofMillis(50);

  private final String database;
  private final SocketRegistry registry;
  private final Tasks tasks;
  private final Spares spares;
  private volatile @Nullable Term warnedReadOnly;

  /** The term in which a function call failed: a pooler on the way, say, knows none. */
  private volatile @Nullable Term withoutCalls;

  /** Makes a connector to that database. */
  public Connector(String database, SocketRegistry registry, Tasks tasks) {
    this.database = database;
    this.registry = registry;
    this.tasks = tasks;
    this.spares = new Spares(database, registry, tasks);
  }

  /**
   * Has a connection opened to a node that may become the primary, for who comes first then. Does
   * not wait for it, and does it once until {@link #endAhead}.
   */
  public void openAhead(
      HostAndPort address, @Nullable InetSocketAddress peer, Map<String, String> parameters) {
    spares.open(address, peer, parameters);
  }

  /** Closes those that nobody needed. */
  public void endAhead() {
    spares.clear();
  }

  /** As {@link #endAhead}, at once: none is opened from now on that would not be cut. */
  public void close() {
    spares.close();
  }

  /**
   * Opens and verifies one connection, in the calling thread.
   *
   * @param address the primary's
   * @param seen its last answer to a probe, or null
   * @param term the primary's term; the connection lives no longer
   * @param parameters pgJDBC's, with user and password
   * @param deadline a time of {@link Tasks#nanoTime}; then it fails, whatever it is waiting for
   * @throws SQLException pgJDBC's, or one with state 08001 that says what was met instead of the
   *     primary, or why the attempt was cut
   */
  public Connection open(
      HostAndPort address,
      @Nullable Answer seen,
      Term term,
      Map<String, String> parameters,
      long deadline)
      throws SQLException {
    Target target = new Target(address, seen, term);
    Spares.Spare spare = spares.take(address, parameters);
    if (spare != null) {
      registry.adopt(spare.dial(), term);
      try {
        long soon = tasks.nanoTime() + SPARE_CHECK.toNanos();
        return establish(
            spare.dial(), spare::connection, target, soon - deadline < 0 ? soon : deadline);
      } catch (SQLException e) {
        LOG.debug("What was opened ahead is of no use; trying anew", e);
      }
    }
    Dial dial = registry.register(address, seen == null ? null : seen.peer(), term);
    return establish(dial, () -> dial.open(database, parameters), target, deadline);
  }

  /** What a connection is to be to. */
  private record Target(HostAndPort address, @Nullable Answer seen, Term term) {}

  private interface Opening {
    Connection open() throws SQLException;
  }

  private Connection establish(Dial dial, Opening opening, Target target, long deadline)
      throws SQLException {
    Watch watch = new Watch(dial, deadline);
    Connection connection = null;
    try {
      watch.start();
      connection = opening.open();
      verify(connection, dial, target);
      registry.handOver(dial, target.term);
      return connection;
    } catch (SQLException | RuntimeException | Error e) {
      String cut = dial.cutReason();
      if (connection != null) {
        close(connection);
      }
      dial.cut("the connection was not established");
      registry.withdraw(dial);
      if (e instanceof Error error) {
        throw error;
      }
      if (cut != null) {
        throw new SQLException(
            "The connection to " + target.address + " was cut: " + cut, "08001", e);
      }
      throw e instanceof SQLException failure
          ? failure
          // pgJDBC's, of an answer that makes no sense.
          : new SQLException("The connection to " + target.address + " failed: " + e, "08001", e);
    } finally {
      watch.end();
    }
  }

  /**
   * Ends an opening that takes too long, or whose thread is interrupted: a thread that reads from a
   * socket does not notice by itself.
   */
  private final class Watch {

    private final Thread thread = Thread.currentThread();
    private final Dial dial;
    private final long deadline;
    private volatile Runnable cancel = () -> {};
    private volatile boolean ended;

    Watch(Dial dial, long deadline) {
      this.dial = dial;
      this.deadline = deadline;
    }

    void start() {
      long left = Math.max(deadline - tasks.nanoTime(), 0);
      cancel = tasks.stepAfter(Duration.ofNanos(Math.min(left, GLANCE.toNanos())), this::look);
    }

    private void look() {
      if (ended) {
        return;
      }
      if (deadline - tasks.nanoTime() <= 0) {
        tasks.work(() -> dial.cutOpening("the deadline has passed"));
      } else if (thread.isInterrupted()) {
        tasks.work(() -> dial.cutOpening("the thread was interrupted"));
      } else {
        start();
      }
    }

    void end() {
      ended = true;
      cancel.run();
    }
  }

  private void verify(Connection connection, Dial dial, Target target) throws SQLException {
    if (!isToWhoWasSeen(connection, dial, target)) {
      askWhereItIs(connection, target.address, target.term);
    }
    if (isOn(READ_ONLY, connection) && !Objects.equals(warnedReadOnly, target.term)) {
      warnedReadOnly = target.term;
      LOG.warn(
          "The primary at {} gives read-only sessions: see default_transaction_read_only",
          target.address);
    }
  }

  /**
   * Whether it is to the very server that was seen as the primary, as it was started at the same
   * microsecond. A primary becomes a standby, and its timeline another one, only by a start; or by
   * a crash of a process of it, if somebody has put a standby.signal there meanwhile.
   */
  @SuppressWarnings("deprecation") // pgJDBC would have queries instead; see above
  private boolean isToWhoWasSeen(Connection connection, Dial dial, Target target)
      throws SQLException {
    Answer seen = target.seen;
    if (seen == null || !seen.isPrimaryOf(target.term) || target.term.equals(withoutCalls)) {
      return false;
    }
    Runnable answered = tasks.stepAfter(CALL, () -> noAnswer(dial, target));
    try {
      byte[] answer =
          connection
              .unwrap(PGConnection.class)
              .getFastpathAPI()
              .fastpath(POSTMASTER_START_TIME, new FastpathArg[0]);
      return answer != null
          && answer.length == Long.BYTES
          && ByteBuffer.wrap(answer).getLong() == seen.startedAt()
          && !isOn(IN_HOT_STANDBY, connection);
    } catch (SQLException e) {
      if (dial.cutReason() == null) {
        LOG.debug("No function can be called at {}; asking by queries", target.address, e);
        withoutCalls = target.term;
      }
      if (isOfServer(e) && !connection.isClosed()) {
        return false;
      }
      throw e;
    } catch (OutOfMemoryError e) {
      // pgJDBC makes room for as much as the answer says that it is long.
      throw new SQLException("the answer makes no sense: " + e, "08P01", e);
    } finally {
      answered.run();
    }
  }

  private void noAnswer(Dial dial, Target target) {
    withoutCalls = target.term;
    tasks.work(() -> dial.cutOpening("a function call was not answered"));
  }

  private static boolean isOfServer(SQLException e) {
    return e instanceof PSQLException pgJdbcs && pgJdbcs.getServerErrorMessage() != null;
  }

  private static boolean isOn(String parameter, Connection connection) throws SQLException {
    return "on".equals(connection.unwrap(PGConnection.class).getParameterStatus(parameter));
  }

  private static void askWhereItIs(Connection connection, HostAndPort address, Term term)
      throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(WHERE_AM_I)) {
      row.next();
      String walFile = row.getString(1);
      int timeline = walFile == null ? 0 : Integer.parseUnsignedInt(walFile.substring(0, 8), 16);
      long systemIdentifier = row.getLong(2);
      if (walFile == null
          || timeline != term.timeline()
          || systemIdentifier != term.systemIdentifier()) {
        String met =
            walFile == null
                ? "a standby"
                : systemIdentifier != term.systemIdentifier()
                    ? "another database cluster"
                    : "timeline " + timeline;
        throw new SQLException(
            address + " is " + met + ", not the primary on timeline " + term.timeline(), "08001");
      }
    }
  }

  private static void close(Connection connection) {
    try {
      connection.close();
    } catch (SQLException e) {
      LOG.debug("Closing a connection that was not wanted failed", e);
    }
  }
}
