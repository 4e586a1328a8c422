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
             coalesce(repmgr.get_local_node_id(), 0),
             %s
        from pg_catalog.pg_control_checkpoint() as checkpoint,
             pg_catalog.pg_control_recovery() as recovery,
             pg_catalog.pg_control_system() as control""";

  /** As repmgr 4.4 and later have it. Earlier ones do not tell: upstream unknown. */
  private static final String UPSTREAM = "coalesce(repmgr.get_upstream_node_id(), 0)";

  private static final String UNKNOWN_UPSTREAM = "0";

  private static final String UNDEFINED_FUNCTION = "42883";

  private static final String NODE_TABLE =
      """
      select node_id, node_name, type, active, coalesce(upstream_node_id, 0), conninfo
        from repmgr.nodes order by node_id""";

  /**
   * How many probes are connected. Everybody may see others' application names (PostgreSQL's
   * documentation, "pg_stat_activity"). Asked seldom, as the server looks at each of its sessions.
   */
  private static final String PROBES =
      "select count(*)::int from pg_catalog.pg_stat_get_activity(null) where application_name = '"
          + NodeProbe.APPLICATION_NAME
          + "'";

  private static final int TABLES_PER_COUNT = 10;

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

  private final Dial dial;
  private final Connection connection;
  private PreparedStatement question;
  private List<Member> copy = List.of();
  private int tablesRead;
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
    question = connection.prepareStatement(WHO_ARE_YOU.formatted(UPSTREAM));
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
    if (readTable) {
      copy = readTable();
    }
    Answer answer = answer();
    if (readTable && tablesRead++ % TABLES_PER_COUNT == 0) {
      probes = countProbes();
      return answer.withProbes(probes);
    }
    return answer;
  }

  private Answer answer() throws SQLException {
    try {
      return whoAreYou();
    } catch (SQLException e) {
      if (!UNDEFINED_FUNCTION.equals(e.getSQLState())) {
        throw e;
      }
      question = connection.prepareStatement(WHO_ARE_YOU.formatted(UNKNOWN_UPSTREAM));
      return whoAreYou();
    }
  }

  private Answer whoAreYou() throws SQLException {
    try (ResultSet row = question.executeQuery()) {
      if (!row.next()) {
        throw new SQLException("the answer is empty", "08P01");
      }
      for (int column = 1; column <= 5; column++) {
        if (row.getObject(column) == null) {
          throw new SQLException("the answer has a NULL in it", "08P01");
        }
      }
      return new Answer(
          Math.max(row.getInt(4), 0),
          row.getBoolean(1),
          row.getInt(2),
          row.getLong(3),
          Math.max(row.getInt(5), 0),
          copy,
          dial.connectedTo(),
          probes);
    } catch (RuntimeException e) {
      throw nonsense(e);
    }
  }

  private List<Member> readTable() throws SQLException {
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
