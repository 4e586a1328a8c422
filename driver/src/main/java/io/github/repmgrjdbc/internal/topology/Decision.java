package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What follows from the observations, and what has to be remembered for the next time.
 *
 * @param term the primary served last, or null before the first one
 * @param available whether new connections go to it now
 * @param fenced whether those that it has are to be cut: it is superseded, or has lost its majority
 * @param nodes as the view has them
 * @param reason why this primary, or why none; in words
 * @param calm whether nothing is in doubt, so that probes may be rare
 * @param warning whether somebody should look: it is served for want of a better one
 * @param recheckAt the time (in the resolver's {@code now}) at which to decide again even if
 *     nothing new is seen, or null
 * @param incurable the failure that waiting cannot cure, if every node that answered gave one
 * @param memory for the next decision only
 */
public record Decision(
    @Nullable Term term,
    boolean available,
    boolean fenced,
    List<Node> nodes,
    String reason,
    boolean calm,
    boolean warning,
    @Nullable Long recheckAt,
    Observation.@Nullable Failure incurable,
    Memory memory) {

  /** Before anything was seen. */
  public static final Decision NONE =
      new Decision(
          null,
          false,
          false,
          List.of(),
          "nothing is known yet",
          false,
          false,
          null,
          null,
          Memory.NONE);

  /** Copies the list. */
  public Decision {
    nodes = List.copyOf(nodes);
  }

  /** Whether it is the same for everybody outside: all but wording and memory. */
  public boolean looksLike(Decision other) {
    return available == other.available
        && fenced == other.fenced
        && (term == null ? other.term == null : term.equals(other.term))
        && nodes.stream()
            .map(Decision::withoutDetail)
            .toList()
            .equals(other.nodes.stream().map(Decision::withoutDetail).toList());
  }

  /**
   * This as the memory of one who begins to watch again after a while: who has not been asked yet
   * is not silent, and what was being waited for is over.
   */
  public Decision resumed() {
    Memory old = memory;
    return new Decision(
        term,
        false,
        fenced,
        nodes,
        reason,
        false,
        false,
        null,
        null,
        new Memory(
            old.members,
            old.identities,
            old.refused,
            null,
            old.passedOver,
            null,
            null,
            old.sightings,
            null,
            false));
  }

  /**
   * Where to ask, beside the configured addresses: where the nodes are, and, while nobody is
   * served, also wherever the primary served last was met. A copy that says that it has moved may
   * be old.
   */
  public Set<HostAndPort> addresses() {
    Set<HostAndPort> addresses = new LinkedHashSet<>();
    nodes.stream().map(Node::address).filter(Objects::nonNull).forEach(addresses::add);
    Term last = term;
    if (!available && last != null) {
      memory.identities.forEach(
          (address, identity) -> {
            if (identity.isOf(last.systemIdentifier(), last.primaryId())) {
              addresses.add(address);
            }
          });
    }
    return addresses;
  }

  private static Node withoutDetail(Node node) {
    return new Node(
        node.id(), node.name(), node.role(), node.state(), node.address(), node.timeline(), "");
  }

  /**
   * What outlives an observation.
   *
   * @param members the node table of the primary served last, by id; before the first one, empty
   * @param identities which node answered last at an address
   * @param refused superseded nodes by id
   * @param contest the challenge that is being waited out, or null
   * @param passedOver challengers that got no support in time: node id to timeline
   * @param goneSince since when the incumbent has not answered as a primary, or null
   * @param candidatesSince since when, on a cold start, there are candidates
   * @param sightings since when a node has been seen to take writes on a timeline, by id
   * @param unsupportedSince since when most of the nodes do not support the primary served last, or
   *     null
   * @param settled whether, since watching began, everybody was asked or given the time to answer
   */
  record Memory(
      Map<Integer, Member> members,
      Map<HostAndPort, Identity> identities,
      Map<Integer, Refusal> refused,
      @Nullable Contest contest,
      Map<Integer, Integer> passedOver,
      @Nullable Long goneSince,
      @Nullable Long candidatesSince,
      Map<Integer, Sighting> sightings,
      @Nullable Long unsupportedSince,
      boolean settled) {

    static final Memory NONE =
        new Memory(Map.of(), Map.of(), Map.of(), null, Map.of(), null, null, Map.of(), null, true);

    Memory {
      members = Map.copyOf(members);
      identities = Map.copyOf(identities);
      refused = Map.copyOf(refused);
      passedOver = Map.copyOf(passedOver);
      sightings = Map.copyOf(sightings);
    }
  }

  /**
   * Who answered at an address, and for which database cluster.
   *
   * @param conninfo what the node table said of the node when it was first met there, or "" while
   *     it is not registered: where it says something else since, the node has moved if it no
   *     longer answers
   */
  record Identity(long systemIdentifier, int nodeId, String conninfo) {

    boolean isOf(long cluster, int node) {
      return systemIdentifier == cluster && nodeId == node;
    }
  }

  /**
   * Why a node is refused.
   *
   * @param timeline the one it was on: on a newer one it has been promoted anew
   * @param successor the node that took its place: once that is no longer registered there,
   *     somebody has decided that it is gone for good
   */
  record Refusal(int timeline, int successor, String why) {}

  /** A node that takes writes on a timeline, and since when that has been seen. */
  record Sighting(int timeline, long since) {}

  /** A challenger without support, and since when it has been there. */
  record Contest(int nodeId, int timeline, long since) {}
}
