package io.github.repmgrjdbc;

import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What the driver knows about the cluster at one moment. Immutable.
 *
 * @param epoch grows with every change of anything but wording (the reason and the nodes' details);
 *     0 before anything is known
 * @param term the primary served last, or null before the first one
 * @param available whether the term's primary is given new connections now; false while it is in
 *     doubt or gone and no successor is known
 * @param nodes the registered nodes by id, then the configured addresses not yet tied to one
 * @param reason why the view is what it is, in words
 */
public record ClusterView(
    long epoch, @Nullable Term term, boolean available, List<Node> nodes, String reason) {

  /** Makes a view. */
  public ClusterView {
    nodes = List.copyOf(nodes);
  }

  /** The node that new connections go to, or empty while there is none. */
  public Optional<Node> primary() {
    Term served = term;
    if (served == null || !available) {
      return Optional.empty();
    }
    return nodes.stream().filter(node -> node.id() == served.primaryId()).findFirst();
  }

  /**
   * One node's time as the primary. Changes only when the primary does.
   *
   * @param systemIdentifier PostgreSQL's identifier of the database cluster
   * @param timeline the WAL timeline that the primary writes
   * @param primaryId the primary's {@code node_id}
   */
  public record Term(long systemIdentifier, int timeline, int primaryId) {}

  /**
   * What a node was seen to be, or, while it is silent, what the node table has it registered as.
   */
  public enum Role {
    /** Takes writes. */
    PRIMARY,
    /** In recovery: a standby. */
    STANDBY,
    /** A witness, which holds no data. */
    WITNESS,
    /** Not known yet. */
    UNKNOWN
  }

  /** What the driver makes of a node. */
  public enum State {
    /** Answers, and is what it should be. */
    UP,
    /** Does not answer. */
    SILENT,
    /** Answers as a primary, but has lost that role to another node: it gets no connection. */
    SUPERSEDED,
    /** Answers as a primary beside the one that is served, without the cluster's support. */
    CHALLENGER,
    /** Answers, but belongs to another database cluster. */
    FOREIGN
  }

  /**
   * One node.
   *
   * @param id its {@code node_id}, or 0 for a configured address that is not tied to a node yet
   * @param name its {@code node_name}, or the address where that is not known
   * @param role what it was seen to be
   * @param state what the driver makes of it
   * @param address where it is dialled, or null if nothing says
   * @param timeline its timeline, or 0 while it is silent
   * @param detail what it answered, or why there is no answer; for people
   */
  public record Node(
      int id,
      String name,
      Role role,
      State state,
      @Nullable HostAndPort address,
      int timeline,
      String detail) {}
}
