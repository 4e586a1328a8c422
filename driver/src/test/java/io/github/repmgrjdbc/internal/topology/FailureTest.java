package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import java.io.EOFException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.security.cert.CertificateException;
import java.sql.SQLException;
import java.time.Duration;
import java.util.stream.Stream;
import javax.net.ssl.SSLHandshakeException;
import org.ietf.jgss.GSSException;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;
import org.postgresql.util.ServerErrorMessage;

/** What waiting cannot cure. */
class FailureTest {

  @ParameterizedTest
  @CsvSource({
    "28P01, true",
    "28000, true",
    "08004, true",
    "3D000, true",
    "42501, true",
    "42P01, true",
    "3F000, true",
    "42883, true",
    "42704, true",
    "53300, false",
    "57P01, false",
    "57P03, false",
    "08P01, false",
    "08001, false",
    "08006, false",
    "22023, false",
    "XX000, false",
    "'', false"
  })
  void whatAServerSays(String sqlState, boolean incurable) {
    ServerErrorMessage message = new ServerErrorMessage("SFATAL\0C" + sqlState + "\0Mno\0\0");

    assertEquals(incurable, Failure.isIncurable(new PSQLException(message)));
    assertEquals(incurable, new Failure(sqlState, "no").isIncurable());
  }

  @Test
  void noSqlStateAtAllIsWaitedOut() {
    assertEquals(false, Failure.isIncurable(new SQLException("no")));
  }

  @Test
  void anExceptionThatIsItsOwnCauseIsLookedAtToo() {
    SQLException first = new SQLException("no", "XX000");
    IOException second = new IOException("its cause", first);
    first.initCause(second);

    boolean incurable =
        assertTimeoutPreemptively(Duration.ofSeconds(5), () -> Failure.isIncurable(first));

    assertEquals(false, incurable);
  }

  @ParameterizedTest
  @CsvSource({"28P01, true", "28000, true", "08004, true", "3D000, false", "08006, false"})
  void whatIsOfTheLogin(String sqlState, boolean ofLogin) {
    assertEquals(ofLogin, new Failure(sqlState, "no").isOfLogin());
  }

  @Test
  void anObservationKeepsWhatWasSaid() {
    HostAndPort address = new HostAndPort("n1", 5432);

    assertEquals(
        new Failure("28000", "no entry", true),
        Observation.failed(address, new SQLException("no", "28000"), "no entry").failure());
    assertEquals(
        new Failure("", "nothing", false),
        Observation.failed(address, new SQLException("no"), "nothing").failure());
  }

  static Stream<Arguments> whatPgJdbcSays() {
    return Stream.of(
        // The handshake failed, and not for want of a peer.
        Arguments.of(true, tls(new SSLHandshakeException("unknown_ca"))),
        Arguments.of(true, tls(caused("PKIX", new CertificateException("expired")))),
        Arguments.of(false, tls(caused("ended by the peer", new EOFException()))),
        Arguments.of(false, tls(caused("reset", new SocketException("Connection reset")))),
        Arguments.of(false, tls(caused("silence", new SocketTimeoutException()))),
        // pgJDBC cannot use a parameter.
        Arguments.of(true, unable(null)),
        Arguments.of(true, unable(new ClassNotFoundException("com.example.Factory"))),
        Arguments.of(true, unable(new FileNotFoundException("root.crt"))),
        Arguments.of(
            true, new PSQLException("a number is none", PSQLState.INVALID_PARAMETER_VALUE)),
        // The network, or Kerberos.
        Arguments.of(false, unable(new IOException("no route"))),
        Arguments.of(false, unable(new GSSException(GSSException.NO_CRED))),
        // A server that speaks another language.
        Arguments.of(false, new PSQLException("session set-up", PSQLState.PROTOCOL_VIOLATION)),
        // Our own, when a connection led somewhere else.
        Arguments.of(false, new SQLException("a standby", "08001")));
  }

  @ParameterizedTest
  @MethodSource
  void whatPgJdbcSays(boolean incurable, SQLException e) {
    assertEquals(incurable, Failure.isIncurable(e));
  }

  @Test
  void whatTheServerSaidIsToldWithoutThePositionInAQuestionThatNobodyKnows() {
    ServerErrorMessage message =
        new ServerErrorMessage("SERROR\0C42501\0Mpermission denied\0Dno right\0P89\0\0");
    ServerErrorMessage bare = new ServerErrorMessage("SFATAL\0C28P01\0Mno\0\0");

    assertEquals(
        "ERROR: permission denied (no right)", Failure.describe(new PSQLException(message)));
    assertEquals("FATAL: no", Failure.describe(new PSQLException(bare)));
  }

  @Test
  void whatTheNetworkSaidIsToldWithoutAdvice() {
    assertEquals("unknown host", Failure.describe(unable(new UnknownHostException("pg9"))));
    assertEquals(
        "the server closed the connection", Failure.describe(unable(new EOFException("end"))));
    assertEquals("no route", Failure.describe(unable(new IOException("no route"))));
    assertEquals("unable", Failure.describe(unable(new IOException())));
    assertEquals("one two", Failure.describe(new SQLException("one\n  two")));
  }

  private static PSQLException unable(@Nullable Throwable cause) {
    return new PSQLException("unable", PSQLState.CONNECTION_UNABLE_TO_CONNECT, cause);
  }

  private static PSQLException tls(SSLHandshakeException cause) {
    return new PSQLException("SSL error", PSQLState.CONNECTION_FAILURE, cause);
  }

  private static SSLHandshakeException caused(String message, Exception cause) {
    SSLHandshakeException e = new SSLHandshakeException(message);
    e.initCause(cause);
    return e;
  }

  @Test
  void whatPgJdbcCannotEvenBeginWithIsAMatterOfSettings() {
    assertTrue(new Failure("22023", "", true).isOfSettings());
    assertFalse(new Failure("08006", "", false).isOfSettings(), "the network's");
    assertFalse(new Failure("28P01", "", true).isOfSettings(), "the server's");
  }
}
