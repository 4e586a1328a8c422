package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

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

  /** The node did not answer, or refused to. */
  public static Observation failed(HostAndPort address, @Nullable String sqlState, String message) {
    return new Observation(address, null, new Failure(sqlState == null ? "" : sqlState, message));
  }

  /**
   * What a node says of itself.
   *
   * @param nodeId its {@code node_id}, or 0 if it does not know ({@code repmgr.get_local_node_id()}
   *     gives NULL or -1 until repmgrd has run)
   * @param inRecovery whether it is a standby
   * @param timeline its timeline; a standby's may lag
   * @param systemIdentifier PostgreSQL's identifier of the database cluster
   * @param upstreamId the {@code node_id} that it follows, or 0 if there is none or it is unknown
   * @param copy its copy of {@code repmgr.nodes}
   * @param peer the address as it was resolved, or null if that is unknown
   */
  public record Answer(
      int nodeId,
      boolean inRecovery,
      int timeline,
      long systemIdentifier,
      int upstreamId,
      List<Member> copy,
      @Nullable InetSocketAddress peer) {

    /** Copies the list. */
    public Answer {
      copy = List.copyOf(copy);
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
   */
  public record Failure(String sqlState, String message) {

    /** pgJDBC's, when it cannot do what the server asks for: no password, no TLS. */
    private static final String REJECTED = "08004";

    private static final Set<String> INCURABLE = Set.of("3D000", "42501", REJECTED);

    /**
     * Whether waiting cannot cure it: a wrong password or no entry in pg_hba.conf (class 28), no
     * password or no TLS at all (08004), a missing database (3D000), a missing right (42501).
     */
    public static boolean isIncurable(@Nullable String sqlState) {
      return sqlState != null && (sqlState.startsWith("28") || INCURABLE.contains(sqlState));
    }

    /** Whether waiting cannot cure this one. */
    public boolean isIncurable() {
      return isIncurable(sqlState);
    }

    /** Whether a server said so, rather than the network. */
    boolean isAnswer() {
      return !sqlState.isEmpty() && (!sqlState.startsWith("08") || sqlState.equals(REJECTED));
    }
  }
}
