package io.github.repmgrjdbc.internal;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.NoSuitableNodeException;
import io.github.repmgrjdbc.RepmgrConfig;
import io.github.repmgrjdbc.internal.topology.Decision;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import java.sql.SQLException;
import java.sql.SQLInvalidAuthorizationSpecException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * What callers are told when they get no connection: which node, where, what it answered, and what
 * can be done about it. Never a password.
 */
final class Errors {

  private Errors() {}

  static SQLException closed() {
    return new SQLNonTransientConnectionException("The data source has been closed", "08003");
  }

  static SQLException interrupted(ClusterView view, Exception cause) {
    return new SQLTransientConnectionException(
        "Interrupted while waiting for a connection: " + view.reason(), "08001", cause);
  }

  /** Nobody could be connected to in time. */
  static SQLException noPrimary(
      Duration waited,
      Decision decision,
      ClusterView view,
      RepmgrConfig config,
      @Nullable SQLException lastFailure) {
    // Before the first answer there are no nodes, only addresses.
    String nodes =
        decision.nodes().isEmpty()
            ? config.hosts().stream()
                .map(host -> host + ": no answer yet")
                .collect(Collectors.joining("; "))
            : describe(decision.nodes());
    return new NoSuitableNodeException(
        (decision.available() ? "No connection to the primary within " : "No primary within ")
            + waited.toMillis()
            + " ms: "
            + decision.reason()
            + (lastFailure == null ? "" : "; the last attempt: " + Failure.describe(lastFailure))
            + ". "
            + nodes
            + (decision.nodes().stream().anyMatch(node -> node.state() == State.SUPERSEDED)
                ? ". If the cluster was restored to an earlier state, forget() accepts it"
                : ""),
        view,
        lastFailure);
  }

  /** Every node that answered has refused the probe, in a way that waiting cannot cure. */
  static SQLException unreadable(
      Failure failure, Decision decision, RepmgrConfig config, Login login) {
    return incurable(
        (failure.isOfSettings()
                ? "Cannot connect with these parameters. "
                : "Cannot read repmgr.nodes in database "
                    + config.repmgrDatabase()
                    + " as "
                    + login
                    + ". ")
            + describe(decision.nodes())
            + cureOfProbes(failure.sqlState()),
        failure.sqlState(),
        null);
  }

  /** The primary has refused the connection, in a way that waiting cannot cure. */
  static SQLException refused(SQLException e, Node primary, RepmgrConfig config, Login login) {
    return incurable(
        primary.name()
            + " at "
            + primary.address()
            + ", the primary, gives "
            + login
            + " no connection to database "
            + config.database()
            + ": "
            + Failure.describe(e)
            + cureOfConnection(String.valueOf(e.getSQLState())),
        String.valueOf(e.getSQLState()),
        e);
  }

  /** What to do about a connection that the primary refuses. */
  private static String cureOfConnection(String sqlState) {
    return switch (sqlState) {
      case "28P01", "08004" ->
          ". See the connection's user and password; both may be set anew at any time";
      case "28000" -> ". pg_hba.conf of each node must let this user into this database, from here";
      case "3D000" -> ". See the database in the URL; it is not repmgrDatabase";
      case "42704" -> ". See options and the other parameters that set something in the server";
      case "42501" ->
          ". The user needs the right CONNECT on this database; see GRANT in PostgreSQL's manual";
      default -> "";
    };
  }

  private static SQLException incurable(
      String message, String sqlState, @Nullable SQLException cause) {
    return sqlState.startsWith("28")
        ? new SQLInvalidAuthorizationSpecException(message, sqlState, cause)
        : new SQLNonTransientConnectionException(message, sqlState, cause);
  }

  /** What to do, where the server's own words do not say it. */
  private static String cureOfProbes(String sqlState) {
    return switch (sqlState) {
      case "28P01", "08004" ->
          ". See repmgrUser and repmgrPassword; by default they are the"
              + " connection's user and password";
      case "28000" -> ". pg_hba.conf of each node must let this user into this database, from here";
      case "3D000" -> ". repmgrDatabase must name the database that has repmgr.nodes";
      case "42P01", "3F000", "42883" ->
          ". repmgrDatabase must name the database that has the"
              + " extension repmgr, version 4.0 or later";
      default -> "";
    };
  }

  /** What is known of these nodes, in one line. */
  static String describe(List<Node> nodes) {
    return nodes.stream()
        .map(
            node ->
                node.name()
                    + (node.id() == 0 || node.address() == null ? "" : " at " + node.address())
                    + ": "
                    // A failure speaks for itself: it may be the network's or the server's.
                    + (node.state() == State.SILENT ? "" : node.role() + ", " + node.state() + ", ")
                        .toLowerCase(Locale.ROOT)
                    + node.detail())
        .collect(Collectors.joining("; "));
  }
}
