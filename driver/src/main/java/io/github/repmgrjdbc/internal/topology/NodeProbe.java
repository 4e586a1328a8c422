package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import io.github.repmgrjdbc.internal.wire.Dial;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;

/**
 * The real probe: a connection of its own to the metadata database, kept open, so that a question
 * costs one round trip and the server's death is seen at once.
 */
public final class NodeProbe implements Probe {

  /**
   * A primary's timeline is in the name of the WAL file that it writes. A standby's is in its
   * control file, where it lags until a restartpoint; the end of its recovery helps there. What
   * walreceiver knows is hidden from ordinary roles.
   */
  private static final String WHO_ARE_YOU =
      """
      select pg_catalog.pg_is_in_recovery(),
             case when pg_catalog.pg_is_in_recovery()
                  then greatest(checkpoint.timeline_id, recovery.min_recovery_end_timeline)
                  else ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()),
                                      1, 8))::bit(32)::int
             end,
             control.system_identifier,
             coalesce(repmgr.get_local_node_id(), 0),
             %s
        from pg_catalog.pg_control_checkpoint() as checkpoint,
             pg_catalog.pg_control_recovery() as recovery,
             pg_catalog.pg_control_system() as control""";

  /** As repmgr 4.4 and later have it. Earlier ones do not tell: upstream unknown. */
  private static final String UPSTREAM = "coalesce(repmgr.get_upstream_node_id(), 0)";

  private static final String UNKNOWN_UPSTREAM = "0";

  private static final String UNDEFINED_FUNCTION = "42883";

  private static final String INSUFFICIENT_PRIVILEGE = "42501";

  private static final String NODE_TABLE =
      """
      select node_id, node_name, type, active, coalesce(upstream_node_id, 0), conninfo
        from repmgr.nodes order by node_id""";

  /** Asks the catalogs, which everybody may read, so that no message has to be understood. */
  private static final String MISSING_RIGHTS =
      """
      select 'GRANT ' || what || ' TO ' || quote_ident(current_user)
        from (select 1 as rank, 'USAGE ON SCHEMA repmgr' as what
                from pg_catalog.pg_namespace
               where nspname = 'repmgr' and not has_schema_privilege(oid, 'USAGE')
               union all
              select 2, 'SELECT ON repmgr.nodes'
                from pg_catalog.pg_class
               where relnamespace = (select oid from pg_catalog.pg_namespace
                                      where nspname = 'repmgr')
                 and relname = 'nodes' and not has_table_privilege(oid, 'SELECT')
               union all
              select 3, 'EXECUTE ON FUNCTION repmgr.' || proname || '()'
                from pg_catalog.pg_proc
               where pronamespace = (select oid from pg_catalog.pg_namespace
                                      where nspname = 'repmgr')
                 and proname in ('get_local_node_id', 'get_upstream_node_id')
                 and not has_function_privilege(oid, 'EXECUTE')
               union all
              select 4, 'EXECUTE ON FUNCTION pg_catalog.' || oid::regprocedure
                from pg_catalog.pg_proc
               where pronamespace = 'pg_catalog'::regnamespace
                 and proname in ('pg_is_in_recovery', 'pg_walfile_name', 'pg_current_wal_lsn',
                                 'pg_control_checkpoint', 'pg_control_recovery',
                                 'pg_control_system')
                 and not has_function_privilege(oid, 'EXECUTE')) as missing
       order by rank, what""";

  /** How long a wake-up may go unnoticed: pgJDBC's wait can only be ended by the server. */
  private static final Duration SLICE = Duration.ofMillis(50);

  private final HostAndPort address;
  private final String database;
  private final Supplier<Map<String, String>> parameters;
  private final Network network;

  /** The connection's, open or opening. */
  private volatile @Nullable Dial dial;

  /** The same while a question is under way: only then may a deadline cut it. Guarded by this. */
  private @Nullable Dial asking;

  /** The question under way, or 0. Guarded by this. */
  private int question;

  /** Why it is to be ended, also if it is just about to connect anew. Guarded by this. */
  private @Nullable String tooLate;

  private volatile boolean awake;
  private volatile boolean closed;
  private volatile @Nullable Session session;
  private List<Member> copy = List.of();

  /** An open connection with its prepared question. */
  private record Session(Connection connection, Dial dial, PreparedStatement question) {}

  /**
   * Makes a probe; it connects when it is asked.
   *
   * @param address whom to ask
   * @param database where {@code repmgr.nodes} is
   * @param parameters pgJDBC's, with user and password; asked for each time it connects
   */
  public NodeProbe(
      HostAndPort address,
      String database,
      Supplier<Map<String, String>> parameters,
      Network network) {
    this.address = address;
    this.database = database;
    this.parameters = parameters;
    this.network = network;
  }

  @Override
  public Observation ask(int number, boolean readTable) {
    awake = false;
    begin(number);
    try {
      Session kept = session;
      if (kept != null && kept.dial.cutReason() == null) {
        useFor(kept.dial);
        try {
          return ask(kept, readTable);
        } catch (SQLException e) {
          disconnect();
          if (kept.dial.cutReason() != null) {
            return failure(kept.dial, e, "");
          }
          // Ended while nobody looked, by a restart, say: a new one tells what is true now.
        }
      }
      return connectAndAsk();
    } finally {
      begin(0);
    }
  }

  private synchronized void begin(int number) {
    question = number;
    tooLate = null;
    asking = null;
  }

  private synchronized void useFor(Dial current) {
    asking = current;
    if (tooLate != null) {
      current.cut(tooLate);
    }
  }

  private Observation connectAndAsk() {
    disconnect();
    Dial opening = new Dial(address, null, network, () -> {});
    dial = opening;
    useFor(opening);
    if (closed) {
      opening.hangUp("the probe is closed");
    }
    try {
      Connection connection = opening.open(database, parameters.get());
      Session opened = prepare(connection, opening, UPSTREAM);
      try {
        return ask(opened, true);
      } catch (SQLException e) {
        if (!UNDEFINED_FUNCTION.equals(e.getSQLState())) {
          throw e;
        }
        return ask(prepare(connection, opening, UNKNOWN_UPSTREAM), false);
      }
    } catch (SQLException e) {
      String cure = INSUFFICIENT_PRIVILEGE.equals(e.getSQLState()) ? missingRights() : "";
      disconnect();
      InetSocketAddress peer = opening.connectedTo();
      if (peer != null) {
        network.avoid(peer);
      }
      return failure(opening, e, cure);
    }
  }

  private Session prepare(Connection connection, Dial dial, String upstream) throws SQLException {
    PreparedStatement question = connection.prepareStatement(WHO_ARE_YOU.formatted(upstream));
    Session opened = new Session(connection, dial, question);
    session = opened;
    return opened;
  }

  /** The statements that would give the rights that are missing, if that can be found out. */
  private String missingRights() {
    Session open = session;
    if (open == null) {
      // The login itself was refused: of all rights, that one is for the database.
      String user = parameters.get().get("user");
      return user == null
          ? ""
          : "; the cure: GRANT CONNECT ON DATABASE " + quoted(database) + " TO " + quoted(user);
    }
    List<String> grants = new ArrayList<>();
    try (Statement statement = open.connection.createStatement();
        ResultSet row = statement.executeQuery(MISSING_RIGHTS)) {
      while (row.next()) {
        grants.add(row.getString(1));
      }
    } catch (SQLException e) {
      return "";
    }
    return grants.isEmpty() ? "" : "; the cure: " + String.join("; ", grants);
  }

  private Observation ask(Session open, boolean readTable) throws SQLException {
    if (readTable) {
      copy = readTable(open.connection);
    }
    try (ResultSet row = open.question.executeQuery()) {
      if (!row.next()) {
        throw new SQLException("the answer is empty", "08P01");
      }
      for (int column = 1; column <= 5; column++) {
        if (row.getObject(column) == null) {
          throw new SQLException("the answer has a NULL in it", "08P01");
        }
      }
      return Observation.of(
          address,
          new Answer(
              Math.max(row.getInt(4), 0),
              row.getBoolean(1),
              row.getInt(2),
              row.getLong(3),
              Math.max(row.getInt(5), 0),
              copy,
              open.dial.connectedTo()));
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
  }

  /** pgJDBC's, of a message that no PostgreSQL sends. */
  private static SQLException nonsense(RuntimeException e) {
    return new SQLException("the answer makes no sense: " + e, "08P01", e);
  }

  /** As {@code quote_ident} does, but for key words. */
  private static String quoted(String identifier) {
    return identifier.matches("[a-z_][a-z0-9_]*")
        ? identifier
        : '"' + identifier.replace("\"", "\"\"") + '"';
  }

  private static List<Member> readTable(Connection connection) throws SQLException {
    List<Member> members = new ArrayList<>();
    try (PreparedStatement statement = connection.prepareStatement(NODE_TABLE);
        ResultSet row = statement.executeQuery()) {
      while (row.next()) {
        members.add(
            new Member(
                row.getInt(1),
                text(row, 2),
                text(row, 3),
                row.getBoolean(4),
                row.getInt(5),
                text(row, 6)));
      }
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
    return members;
  }

  /** repmgr's table has no NULL there; a table that is not repmgr's may. */
  private static String text(ResultSet row, int column) throws SQLException {
    String value = row.getString(column);
    return value == null ? "" : value;
  }

  private Observation failure(Dial failed, SQLException e, String cure) {
    String cut = failed.cutReason();
    return cut != null
        ? Observation.failed(address, "08006", cut)
        : Observation.failed(address, e, Failure.describe(e) + cure);
  }

  @Override
  public boolean listen(int number, Duration atMost) {
    Session open = session;
    if (open == null) {
      return true;
    }
    begin(number);
    try {
      useFor(open.dial);
      return listen(open.connection, System.nanoTime() + atMost.toNanos());
    } finally {
      begin(0);
    }
  }

  private boolean listen(Connection connection, long end) {
    try {
      PGConnection pgConnection = connection.unwrap(PGConnection.class);
      while (!awake && !closed) {
        long left = Duration.ofNanos(end - System.nanoTime()).toMillis();
        if (left <= 0) {
          break;
        }
        pgConnection.getNotifications((int) Math.min(left, SLICE.toMillis()));
      }
      return false;
    } catch (SQLException | RuntimeException e) {
      disconnect();
      return true;
    }
  }

  @Override
  public void wake() {
    awake = true;
  }

  @Override
  public synchronized void cut(int number, String reason) {
    if (number == question) {
      tooLate = reason;
      if (asking != null) {
        asking.cut(reason);
      }
    }
  }

  private void disconnect() {
    Session open = session;
    session = null;
    if (open != null) {
      try {
        open.connection.close();
      } catch (SQLException e) {
        // It had ended already.
      }
    }
  }

  @Override
  public void close() {
    closed = true;
    Dial current = dial;
    if (current != null) {
      current.hangUp("the probe is closed");
    }
    Session open = session;
    if (open != null) {
      try {
        // Its socket is closed. This is for pgJDBC, which would warn of a connection never closed.
        open.connection.abort(Runnable::run);
      } catch (SQLException e) {
        // It had ended already.
      }
    }
  }
}
