package io.github.repmgrjdbc;

import static io.github.repmgrjdbc.TransactionOutcome.NOT_CONNECTION_RELATED;
import static io.github.repmgrjdbc.TransactionOutcome.RETRY_SAFE;
import static io.github.repmgrjdbc.TransactionOutcome.UNKNOWN;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.EOFException;
import java.net.SocketException;
import java.sql.BatchUpdateException;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLRecoverableException;
import java.sql.SQLTransientConnectionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TransactionOutcomeTest {

  @ParameterizedTest(name = "{0}: {1}, at COMMIT {2} ({3})")
  @CsvSource({
    "08000, RETRY_SAFE, UNKNOWN, connection exception",
    "08001, RETRY_SAFE, UNKNOWN, of a wrapper it may mean that its failover failed",
    "08003, RETRY_SAFE, UNKNOWN, closed: somebody may have done that while it committed",
    "08004, RETRY_SAFE, RETRY_SAFE, no connection came about",
    "08006, RETRY_SAFE, UNKNOWN, the connection broke",
    "08007, UNKNOWN, UNKNOWN, transaction resolution unknown",
    "08P01, RETRY_SAFE, UNKNOWN, the protocol is broken",
    "40003, UNKNOWN, UNKNOWN, statement completion unknown",
    "57P01, RETRY_SAFE, UNKNOWN, the server or the session was told to end",
    "57P02, RETRY_SAFE, UNKNOWN, the server crashes",
    "57P03, RETRY_SAFE, RETRY_SAFE, the server is not up yet",
    "57P05, RETRY_SAFE, UNKNOWN, the session was idle for too long",
    "25P03, RETRY_SAFE, UNKNOWN, the transaction was idle for too long",
    "25P04, RETRY_SAFE, UNKNOWN, the transaction took too long",
    "53300, RETRY_SAFE, RETRY_SAFE, too many connections",
    "25006, RETRY_SAFE, RETRY_SAFE, a standby takes no writes",
    "40001, RETRY_SAFE, RETRY_SAFE, serialization failure",
    "40P01, RETRY_SAFE, RETRY_SAFE, deadlock",
    "23505, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, a unique key",
    "22001, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, data",
    "25P02, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, an error before was not heeded",
    "42P01, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, no such table",
    "57014, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, cancelled: by a time-out, say",
    "53100, NOT_CONNECTION_RELATED, UNKNOWN, disk full: perhaps of a server that panics",
    "58030, NOT_CONNECTION_RELATED, UNKNOWN, input or output error",
    "XX000, NOT_CONNECTION_RELATED, UNKNOWN, internal error",
    "28P01, NOT_CONNECTION_RELATED, NOT_CONNECTION_RELATED, a wrong password",
  })
  void byState(String state, TransactionOutcome before, TransactionOutcome atCommit, String what) {
    SQLException e = new SQLException(what, state);
    assertEquals(before, TransactionOutcome.of(e, false));
    assertEquals(atCommit, TransactionOutcome.of(e, true));
  }

  @Test
  void theExceptionWithinAnotherCounts() {
    SQLException broken = new SQLException("An I/O error occurred", "08006", new EOFException());
    assertEquals(UNKNOWN, TransactionOutcome.of(new IllegalStateException(broken), true));
    assertEquals(RETRY_SAFE, TransactionOutcome.of(new RuntimeException(broken), false));
    assertEquals(
        RETRY_SAFE,
        TransactionOutcome.of(
            new BatchUpdateException("Batch entry 0", "40001", new int[0], broken), true));
  }

  @Test
  void withoutAStateTheTypeTells() {
    for (SQLException e :
        new SQLException[] {
          new SQLNonTransientConnectionException("closed"),
          new SQLRecoverableException("closed"),
          new SQLException("broken", new SocketException("Connection reset")),
          new SQLException("broken", "", new SocketException("Connection reset"))
        }) {
      assertEquals(RETRY_SAFE, TransactionOutcome.of(e, false), e::toString);
      assertEquals(UNKNOWN, TransactionOutcome.of(e, true), e::toString);
    }
    assertEquals(NOT_CONNECTION_RELATED, TransactionOutcome.of(new SQLException("what?"), true));
  }

  @Test
  void whatIsNotOfJdbcIsNotOfTheConnection() {
    assertEquals(
        NOT_CONNECTION_RELATED, TransactionOutcome.of(new IllegalArgumentException("no"), true));
    RuntimeException own = new RuntimeException("its own cause's cause");
    own.initCause(new RuntimeException(own));
    assertEquals(NOT_CONNECTION_RELATED, TransactionOutcome.of(own, true));
  }

  @Test
  void thatThereIsNoConnectionToBeHadIsSafe() {
    for (String state : new String[] {null, "08001", "08006"}) {
      SQLException e = new SQLTransientConnectionException("Connection is not available", state);
      assertEquals(RETRY_SAFE, TransactionOutcome.of(e, true));
    }
  }

  @Test
  void oursIsSafe() {
    ClusterView view = new ClusterView(1, null, false, java.util.List.of(), "nobody answers");
    assertEquals(
        RETRY_SAFE,
        TransactionOutcome.of(new NoSuitableNodeException("No primary", view, null), true));
  }
}
