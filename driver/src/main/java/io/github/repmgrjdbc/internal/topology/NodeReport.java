package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Decision.Identity;
import io.github.repmgrjdbc.internal.topology.Decision.Refusal;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import io.github.repmgrjdbc.internal.topology.Roster.Seen;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** What is told of the nodes, in a view and in words. */
final class NodeReport {

  private final Roster roster;
  private final Map<Integer, Refusal> refused;

  NodeReport(Roster roster, Map<Integer, Refusal> refused) {
    this.roster = roster;
    this.refused = refused;
  }

  /** Why that node, served before, is not served now. */
  String whyNot(int id) {
    Member member = roster.members().get(id);
    HostAndPort address = member == null ? null : roster.addressOf(member);
    String name = roster.name(id);
    Seen node = roster.seen().get(id);
    Answer stranger = node != null ? null : roster.answerAt(address);
    if (stranger != null) {
      return name + " is not there: " + describeStranger(stranger);
    }
    if (node != null && node.answer().inRecovery()) {
      return name + " is a standby";
    }
    Refusal refusal = refused.get(id);
    if (node != null && refusal != null) {
      return name + " is superseded: " + refusal.why();
    }
    return node != null
        ? name + " is no longer registered in repmgr.nodes"
        : name + (isRefusedAt(address) ? " refuses us" : " is silent") + because(address);
  }

  private boolean isRefusedAt(@Nullable HostAndPort address) {
    Failure failure = roster.failureAt(address);
    return failure != null && failure.isIncurable();
  }

  private String because(@Nullable HostAndPort address) {
    Failure failure = roster.failureAt(address);
    return failure == null ? "" : ": " + failure.message();
  }

  /**
   * The members, then the seeds that belong to none of them.
   *
   * @param next the primary served last, or null before the first one
   */
  List<Node> nodes(@Nullable Term next) {
    List<Node> nodes = new ArrayList<>();
    Set<HostAndPort> used = new HashSet<>();
    for (Member member : roster.members().values()) {
      Node node = describe(member, next);
      nodes.add(node);
      if (node.address() != null) {
        used.add(node.address());
      }
    }
    for (HostAndPort seed : roster.seeds()) {
      Identity identity = roster.identityAt(seed);
      Answer answer = roster.answerAt(seed);
      int id = identity == null ? 0 : identity.nodeId();
      boolean foreign = answer != null && roster.isForeign(id, answer);
      if ((foreign || !roster.members().containsKey(id)) && used.add(seed)) {
        nodes.add(describe(seed, answer, foreign));
      }
    }
    return nodes;
  }

  private Node describe(HostAndPort seed, @Nullable Answer answer, boolean foreign) {
    return answer == null
        ? new Node(0, seed.toString(), Role.UNKNOWN, State.SILENT, seed, 0, noAnswer(seed))
        : new Node(
            0,
            seed.toString(),
            answer.inRecovery() ? Role.STANDBY : Role.UNKNOWN,
            foreign ? State.FOREIGN : State.UP,
            seed,
            answer.timeline(),
            foreign ? "belongs to another database cluster" : whyNoMember(answer));
  }

  private static String whyNoMember(Answer answer) {
    if (answer.copy().isEmpty()) {
      return "its repmgr.nodes is empty: no node has been registered";
    }
    return answer.nodeId() > 0
        ? "answers as node " + answer.nodeId() + ", which is not registered in repmgr.nodes"
        : "answers, but does not know its node_id (has repmgrd ever run there?), and no row of"
            + " repmgr.nodes has this address";
  }

  private Node describe(Member member, @Nullable Term next) {
    int id = member.nodeId();
    HostAndPort address = roster.addressOf(member);
    Seen node = roster.seen().get(id);
    if (node == null) {
      Answer stranger = roster.answerAt(address);
      return new Node(
          id,
          member.name(),
          registeredRole(member),
          stranger != null ? State.FOREIGN : State.SILENT,
          address,
          0,
          stranger != null
              ? describeStranger(stranger)
              : address == null
                  ? "not dialled: its conninfo is of no use, " + Conninfo.fault(member.conninfo())
                  : noAnswer(address));
    }
    Answer answer = node.answer();
    Refusal refusal = refused.get(id);
    if (roster.isWitness(node)) {
      return new Node(id, member.name(), Role.WITNESS, State.UP, address, 0, "witness");
    }
    if (answer.inRecovery()) {
      return new Node(
          id,
          member.name(),
          Role.STANDBY,
          State.UP,
          address,
          answer.timeline(),
          answer.upstreamId() > 0 ? "follows " + roster.name(answer.upstreamId()) : "in recovery");
    }
    State state =
        refusal != null
            ? State.SUPERSEDED
            : next == null || next.primaryId() == id ? State.UP : State.CHALLENGER;
    return new Node(
        id,
        member.name(),
        Role.PRIMARY,
        state,
        address,
        answer.timeline(),
        refusal != null ? refusal.why() : "takes writes");
  }

  private String describeStranger(Answer answer) {
    return roster.isOfAnotherCluster(answer)
        ? "a node of another database cluster answers at its address"
        : "another node answers at its address";
  }

  private static Role registeredRole(Member member) {
    return switch (member.type()) {
      case "primary" -> Role.PRIMARY;
      case "standby" -> Role.STANDBY;
      case "witness" -> Role.WITNESS;
      default -> Role.UNKNOWN;
    };
  }

  private String noAnswer(HostAndPort address) {
    Failure failure = roster.failureAt(address);
    return failure == null ? "no answer yet" : failure.message();
  }
}
