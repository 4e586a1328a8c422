package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.wire.Dial;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;

/** A probe's open connection to the metadata database, and what is asked there. */
final class NodeSession {

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
             ('x' || encode(pg_catalog.timestamptz_send(pg_catalog.pg_postmaster_start_time()),
                            'hex'))::bit(64)::bigint,
             coalesce(repmgr.get_local_node_id(), 0),
             %s
        from pg_catalog.pg_control_checkpoint() as checkpoint,
             pg_catalog.pg_control_recovery() as recovery,
             pg_catalog.pg_control_system() as control""";

  /** As repmgr 4.4 and later have it. Earlier ones do not tell: upstream unknown. */
  private static final String UPSTREAM =
      "coalesce(repmgr.get_upstream_node_id(), 0), coalesce(repmgr.get_upstream_last_seen(), -1)";

  private static final String UNKNOWN_UPSTREAM = "0, -1";

  private static final String UNDEFINED_FUNCTION = "42883";

  /** The same with each row of the table: both in one round trip. */
  private static final String WITH_TABLE =
      """
      select me.*, node.node_id, node_name, type, active, coalesce(upstream_node_id, 0), conninfo
        from (%s) as me left join repmgr.nodes as node on true
       order by node.node_id""";

  /**
   * How many probes are connected. Everybody may see others' application names (PostgreSQL's
   * documentation, "pg_stat_activity"). Asked seldom, as the server looks at each of its sessions.
   */
  private static final String PROBES =
      "select count(*)::int from pg_catalog.pg_stat_get_activity(null) where application_name = '"
          + NodeProbe.APPLICATION_NAME
          + "'";

  private static final int TABLES_PER_COUNT = 10;

  /** The more there are, the more each count costs, and the more of them count: so the rarer. */
  private static final int PROBES_PER_TABLE = 20;

  /** They may go as well: about a minute. */
  private static final int MOST_TABLES_PER_COUNT = 60;

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
                 and proname in ('get_local_node_id', 'get_upstream_node_id', 'get_upstream_last_seen')
                 and not has_function_privilege(oid, 'EXECUTE')
               union all
              select 4, 'EXECUTE ON FUNCTION pg_catalog.' || oid::regprocedure
                from pg_catalog.pg_proc
               where pronamespace = 'pg_catalog'::regnamespace
                 and proname in ('pg_is_in_recovery', 'pg_walfile_name', 'pg_current_wal_lsn',
                                 'pg_control_checkpoint', 'pg_control_recovery',
                                 'pg_control_system', 'pg_postmaster_start_time')
                 and not has_function_privilege(oid, 'EXECUTE')) as missing
       order by rank, what""";

  private final Dial dial;
  private final Connection connection;
  private String question = WHO_ARE_YOU.formatted(UPSTREAM);
  private List<Member> copy = List.of();
  private int tablesUntilCount;
  private int probes;

  /**
   * Opens it.
   *
   * @param dial a new one; the deadline's cut ends the opening, too
   * @param parameters pgJDBC's, with user and password
   */
  NodeSession(Dial dial, String database, Map<String, String> parameters) throws SQLException {
    this.dial = dial;
    connection = dial.open(database, parameters);
  }

  Dial dial() {
    return dial;
  }

  /**
   * Asks.
   *
   * @param readTable whether to read the node table too, or to repeat what it was last time
   */
  Answer ask(boolean readTable) throws SQLException {
    Answer answer = answer(readTable);
    if (readTable && --tablesUntilCount < 0) {
      probes = countProbes();
      tablesUntilCount =
          Math.min(Math.max(TABLES_PER_COUNT, probes / PROBES_PER_TABLE), MOST_TABLES_PER_COUNT)
              - 1;
      return answer.withProbes(probes);
    }
    return answer;
  }

  private Answer answer(boolean readTable) throws SQLException {
    try {
      return whoAreYou(readTable);
    } catch (SQLException e) {
      if (!UNDEFINED_FUNCTION.equals(e.getSQLState())) {
        throw e;
      }
      question = WHO_ARE_YOU.formatted(UNKNOWN_UPSTREAM);
      return whoAreYou(readTable);
    }
  }

  private Answer whoAreYou(boolean readTable) throws SQLException {
    String sql = readTable ? WITH_TABLE.formatted(question) : question;
    long askedAt = System.nanoTime();
    try (PreparedStatement statement = connection.prepareStatement(sql);
        ResultSet row = statement.executeQuery()) {
      if (!row.next()) {
        throw new SQLException("the answer is empty", "08P01");
      }
      for (int column = 1; column <= 7; column++) {
        if (row.getObject(column) == null) {
          throw new SQLException("the answer has a NULL in it", "08P01");
        }
      }
      int nodeId = Math.max(row.getInt(5), 0);
      boolean inRecovery = row.getBoolean(1);
      int timeline = row.getInt(2);
      long systemIdentifier = row.getLong(3);
      long startedAt = row.getLong(4);
      int upstreamId = Math.max(row.getInt(6), 0);
      int secondsSince = row.getInt(7);
      if (readTable) {
        copy = members(row);
      }
      return new Answer(
          nodeId,
          inRecovery,
          timeline,
          systemIdentifier,
          startedAt,
          upstreamId,
          upstreamId == 0 || secondsSince < 0 ? null : askedAt - atMost(secondsSince),
          copy,
          dial.connectedTo(),
          probes);
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
  }

  /** Nanoseconds; repmgr gives whole seconds, and leaves out what is over. */
  private static long atMost(int seconds) {
    return TimeUnit.SECONDS.toNanos(seconds + 1L);
  }

  /** From this row on; of an empty table there is one without a member. */
  private static List<Member> members(ResultSet row) throws SQLException {
    List<Member> members = new ArrayList<>();
    do {
      int id = row.getInt(8);
      if (!row.wasNull()) {
        members.add(
            new Member(
                id,
                text(row, 9),
                text(row, 10),
                row.getBoolean(11),
                row.getInt(12),
                text(row, 13)));
      }
    } while (row.next());
    return members;
  }

  /** A right that is missing here is no reason to know nothing. */
  private int countProbes() throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(PROBES);
        ResultSet row = statement.executeQuery()) {
      return row.next() ? Math.max(row.getInt(1), 0) : 0;
    } catch (SQLException e) {
      if (NodeProbe.INSUFFICIENT_PRIVILEGE.equals(e.getSQLState())) {
        return 0;
      }
      throw e;
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
  }

  /** repmgr's table has no NULL there; a table that is not repmgr's may. */
  private static String text(ResultSet row, int column) throws SQLException {
    String value = row.getString(column);
    return value == null ? "" : value;
  }

  /** pgJDBC's, of a message that no PostgreSQL sends. */
  private static SQLException nonsense(RuntimeException e) {
    return new SQLException("the answer makes no sense: " + e, "08P01", e);
  }

  /** The statements that would give the rights that are missing; none if that cannot be told. */
  List<String> missingGrants() {
    List<String> grants = new ArrayList<>();
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(MISSING_RIGHTS)) {
      while (row.next()) {
        grants.add(row.getString(1));
      }
    } catch (SQLException | RuntimeException e) {
      return List.of();
    }
    return grants;
  }

  /** Waits for the connection's end, at most so long. */
  void awaitEnd(Duration atMost) throws SQLException {
    try {
      connection.unwrap(PGConnection.class).getNotifications((int) atMost.toMillis());
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
  }

  /** Also one that has ended: pgJDBC would warn of a connection that nobody closed. */
  void close() {
    try {
      connection.close();
    } catch (SQLException e) {
      // It had ended already.
    }
  }
}
