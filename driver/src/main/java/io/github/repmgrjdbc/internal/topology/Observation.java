package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import java.io.EOFException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.file.NoSuchFileException;
import java.security.GeneralSecurityException;
import java.sql.SQLException;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLKeyException;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.security.auth.login.LoginException;
import org.ietf.jgss.GSSException;
import org.jspecify.annotations.Nullable;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/**
 * What one probe of one address brought: an answer, or why there is none.
 *
 * @param address the address that was asked
 * @param answer what it said, or null
 * @param failure why it said nothing, or null
 */
public record Observation(HostAndPort address, @Nullable Answer answer, @Nullable Failure failure) {

  /** The node answered. */
  public static Observation of(HostAndPort address, Answer answer) {
    return new Observation(address, answer, null);
  }

  /** The node did not answer, or refused to; by this SQLSTATE, if it has one. */
  public static Observation failed(HostAndPort address, @Nullable String sqlState, String message) {
    return new Observation(address, null, new Failure(sqlState == null ? "" : sqlState, message));
  }

  /** The node did not answer, or refused to, with this exception; the message is for people. */
  static Observation failed(HostAndPort address, SQLException e, String message) {
    String sqlState = e.getSQLState() == null ? "" : e.getSQLState();
    return new Observation(address, null, new Failure(sqlState, message, Failure.isIncurable(e)));
  }

  /**
   * What a node says of itself.
   *
   * @param nodeId its {@code node_id}, or 0 if it does not know ({@code repmgr.get_local_node_id()}
   *     gives NULL or -1 until repmgrd has run)
   * @param inRecovery whether it is a standby
   * @param timeline its timeline; a standby's may lag
   * @param systemIdentifier PostgreSQL's identifier of the database cluster
   * @param startedAt when its server was started, in PostgreSQL's own format: microseconds since
   *     2000
   * @param upstreamId the {@code node_id} that it follows, or 0 if there is none or it is unknown
   * @param upstreamSeenAt when its repmgrd saw that upstream last, at the earliest: a time of
   *     {@link System#nanoTime}; null if that is unknown
   * @param copy its copy of {@code repmgr.nodes}
   * @param peer the address as it was resolved, or null if that is unknown
   * @param probes how many probes like this one, of all clients, were connected to the node when it
   *     was last asked that; 0 if it is unknown
   */
  public record Answer(
      int nodeId,
      boolean inRecovery,
      int timeline,
      long systemIdentifier,
      long startedAt,
      int upstreamId,
      @Nullable Long upstreamSeenAt,
      List<Member> copy,
      @Nullable InetSocketAddress peer,
      int probes) {

    /** Copies the list. */
    public Answer {
      copy = List.copyOf(copy);
    }

    Answer withProbes(int count) {
      return new Answer(
          nodeId,
          inRecovery,
          timeline,
          systemIdentifier,
          startedAt,
          upstreamId,
          upstreamSeenAt,
          copy,
          peer,
          count);
    }

    /** Whether that is the primary of that term. */
    public boolean isPrimaryOf(Term term) {
      return !inRecovery
          && nodeId == term.primaryId()
          && timeline == term.timeline()
          && systemIdentifier == term.systemIdentifier();
    }

    Optional<Member> row(int id) {
      return copy.stream().filter(member -> member.nodeId() == id).findFirst();
    }

    /** Whether its copy holds that node as the active primary. */
    boolean namesPrimary(int id) {
      return row(id).filter(Member::isActivePrimary).isPresent();
    }

    /** Whether its copy holds some other node as the active primary. */
    boolean namesPrimaryOtherThan(int id) {
      return copy.stream().anyMatch(member -> member.nodeId() != id && member.isActivePrimary());
    }
  }

  /**
   * Why there is no answer.
   *
   * @param sqlState the error's SQLSTATE, or "" if it had none
   * @param message for people; never with a password in it
   * @param isIncurable whether waiting cannot cure it
   */
  public record Failure(String sqlState, String message, boolean isIncurable) {

    /** pgJDBC's, when it cannot do what the server asks for: no password, no TLS. */
    private static final String REJECTED = "08004";

    /**
     * A missing database, right, table, schema, function or setting. (PostgreSQL's documentation,
     * "Error Codes".)
     */
    private static final Set<String> MISSING =
        Set.of("3D000", "42501", "42P01", "3F000", "42883", "42704", REJECTED);

    /**
     * pgJDBC's, when it cannot even begin: of a parameter it cannot read, a class it cannot find.
     */
    private static final Set<String> UNUSABLE = Set.of("08001", "08006", "22023", "42602");

    /** A failure by its SQLSTATE alone. */
    Failure(String sqlState, String message) {
      this(sqlState, message, isIncurable(sqlState));
    }

    /** Whether waiting cannot cure what pgJDBC reports of an attempt to connect or to ask. */
    public static boolean isIncurable(SQLException e) {
      return isIncurable(e.getSQLState()) || isOfTls(e) || isOfParameters(e);
    }

    private static boolean isIncurable(@Nullable String sqlState) {
      // Class 28: a wrong password, or no entry in pg_hba.conf.
      return sqlState != null && (sqlState.startsWith("28") || MISSING.contains(sqlState));
    }

    /** The handshake took place and failed: a certificate is not trusted, say. */
    private static boolean isOfTls(SQLException e) {
      return hasCause(
              e,
              SSLHandshakeException.class,
              SSLPeerUnverifiedException.class,
              SSLKeyException.class,
              GeneralSecurityException.class)
          && !hasCause(e, EOFException.class, SocketException.class, SocketTimeoutException.class);
    }

    /** Neither the server nor the network has said no, but pgJDBC itself. */
    private static boolean isOfParameters(SQLException e) {
      return e instanceof PSQLException pgJdbcs
          && pgJdbcs.getServerErrorMessage() == null
          && UNUSABLE.contains(String.valueOf(e.getSQLState()))
          && (hasCause(e, FileNotFoundException.class, NoSuchFileException.class)
              || !hasCause(e, IOException.class, GSSException.class, LoginException.class));
    }

    /**
     * What happened, on one line: the server's words without the position in a question that nobody
     * but the driver knows; the network's without pgJDBC's advice on firewalls.
     */
    public static String describe(SQLException e) {
      String message = String.valueOf(e.getMessage());
      ServerErrorMessage server =
          e instanceof PSQLException pgJdbcs ? pgJdbcs.getServerErrorMessage() : null;
      if (server != null) {
        message =
            server.getSeverity()
                + ": "
                + server.getMessage()
                + (server.getDetail() == null ? "" : " (" + server.getDetail() + ")");
      } else if (e.getCause() instanceof UnknownHostException) {
        message = "unknown host";
      } else if (e.getCause() instanceof EOFException) {
        message = "the server closed the connection";
      } else if (e.getCause() instanceof IOException cause && cause.getMessage() != null) {
        message = cause.getMessage();
      }
      return message.replaceAll("\\s*\n\\s*", " ");
    }

    @SafeVarargs
    private static boolean hasCause(Throwable e, Class<? extends Throwable>... types) {
      // Bounded: an exception may, by mistake, be its cause's cause.
      Throwable cause = e.getCause();
      for (int depth = 0; cause != null && depth < 20; depth++, cause = cause.getCause()) {
        for (Class<? extends Throwable> type : types) {
          if (type.isInstance(cause)) {
            return true;
          }
        }
      }
      return false;
    }

    /** Whether it is the user or the password that is refused. */
    public boolean isOfLogin() {
      return sqlState.startsWith("28") || sqlState.equals(REJECTED);
    }

    /**
     * Whether it is what was configured that pgJDBC can do nothing with, before anybody is asked.
     */
    public boolean isOfSettings() {
      return isIncurable && UNUSABLE.contains(sqlState);
    }

    /** Whether a server said so, or would not be understood, rather than the network. */
    boolean isAnswer() {
      return isIncurable || (!sqlState.isEmpty() && !sqlState.startsWith("08"));
    }
  }
}
