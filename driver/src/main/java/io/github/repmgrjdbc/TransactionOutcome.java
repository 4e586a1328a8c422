package io.github.repmgrjdbc;

import java.io.IOException;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLRecoverableException;
import java.sql.SQLTransientConnectionException;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What is known of a transaction that has failed: for a loop that retries. A failover ends
 * transactions with errors of many kinds, and only some of them say that nothing was written.
 *
 * <pre>{@code
 * boolean committing = false;
 * try (Connection connection = dataSource.getConnection()) {
 *   connection.setAutoCommit(false);
 *   work(connection);
 *   committing = true;
 *   connection.commit();
 * } catch (SQLException e) {
 *   switch (TransactionOutcome.of(e, committing)) {
 *     case RETRY_SAFE -> again();
 *     case UNKNOWN -> lookWhetherItIsThere();
 *     case NOT_CONNECTION_RELATED -> throw e;
 *   }
 * }
 * }</pre>
 *
 * <p>In autocommit mode every statement that writes is a transaction that commits: {@code
 * committing} is true from before the statement on. A batch in autocommit mode, and a procedure
 * that commits by itself, is several transactions: the ones before that which failed are committed
 * whatever this says.
 */
public enum TransactionOutcome {

  /** Nothing of it is in the database, nor ever will be: it may be done again from its start. */
  RETRY_SAFE,

  /**
   * It may have been committed, and may even be committed later, by a server that has received the
   * order and has not answered yet. Before it is done again, look for something that it wrote.
   */
  UNKNOWN,

  /** The error is the statement's or the data's own, a time-out's or a lock's. */
  NOT_CONNECTION_RELATED;

  /** What may have failed is the way to the server or back, or the server itself. */
  private static final String CONNECTION = "08";

  /** The server ends, crashes, or is not up yet; it, or somebody, ends sessions. */
  private static final Set<String> SERVER_ENDS =
      Set.of("57P01", "57P02", "57P03", "57P05", "25P03", "25P04");

  /** The server's answer to a login, or pgJDBC's to what the server asks for: nothing was begun. */
  private static final Set<String> NEVER_CONNECTED = Set.of("08004", "57P03", "53300");

  /**
   * The server's trouble with memory, disk or itself. It may come from a server that has written
   * the commit already, and then panics.
   */
  private static final List<String> TROUBLE = List.of("53", "58", "XX");

  /**
   * The server says that it has undone all of it: a serialization failure, a deadlock, and a write
   * on a node that takes none, be it a standby now.
   */
  private static final Set<String> UNDONE = Set.of("40001", "40P01", "25006");

  /** They say so themselves: PostgreSQL has no such errors, but the standard and wrappers do. */
  private static final Set<String> SAY_UNKNOWN = Set.of("08007", "40003");

  /** A cause may, by mistake, be its own. */
  private static final int DEEPEST_CAUSE = 20;

  /**
   * Says what is known.
   *
   * @param e what was thrown; where another exception is around it, its cause that is an {@code
   *     SQLException} counts
   * @param committing whether the commit had been asked for: {@code commit()} had been called, or,
   *     in autocommit mode, a statement that writes
   */
  public static TransactionOutcome of(Throwable e, boolean committing) {
    SQLException failure = sqlException(e);
    if (failure == null) {
      return NOT_CONNECTION_RELATED;
    }
    String state = failure.getSQLState();
    if (state != null && (NEVER_CONNECTED.contains(state) || UNDONE.contains(state))) {
      return RETRY_SAFE;
    }
    if (state != null && SAY_UNKNOWN.contains(state)) {
      return UNKNOWN;
    }
    if (failure instanceof SQLTransientConnectionException) {
      // What pools and this driver throw when there is no connection to be had; pgJDBC never.
      return RETRY_SAFE;
    }
    if (isOfConnection(failure, state)) {
      return committing ? UNKNOWN : RETRY_SAFE;
    }
    return committing && state != null && TROUBLE.stream().anyMatch(state::startsWith)
        ? UNKNOWN
        : NOT_CONNECTION_RELATED;
  }

  private static boolean isOfConnection(SQLException failure, @Nullable String state) {
    if (state != null && !state.isEmpty()) {
      return state.startsWith(CONNECTION) || SERVER_ENDS.contains(state);
    }
    return failure instanceof SQLNonTransientConnectionException
        || failure instanceof SQLRecoverableException
        || failure.getCause() instanceof IOException;
  }

  private static @Nullable SQLException sqlException(Throwable e) {
    Throwable cause = e;
    for (int depth = 0; cause != null && depth < DEEPEST_CAUSE; depth++) {
      if (cause instanceof SQLException found) {
        return found;
      }
      cause = cause.getCause();
    }
    return null;
  }
}
