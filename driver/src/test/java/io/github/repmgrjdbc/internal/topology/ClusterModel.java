package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A small model of a cluster that repmgr runs, on a virtual time line: who takes writes on which
 * timeline, who follows whom, what each copy of the node table says and how late it is.
 *
 * <p>In it: crashes, plain restarts (a primary comes back as it went), freezes, cuts between nodes
 * and from the client, promotions by repmgrd (with most of the nodes in sight) and by hand, tables
 * that are written a while after a promotion, followers that are late, witnesses that are synced
 * now and then, rejoins, nodes that are unregistered. A timeline is one more than the promoted
 * node's own, so that two that do not know of each other may both be on one.
 *
 * <p>Left out: rows of WAL (who has the most plays no part in what the driver decides), answers of
 * a standby's control file that lag behind its timeline, nodes that move or share addresses, other
 * clusters' nodes, rights and passwords. {@link ResolverTest} has those. What is taken for granted
 * here of copies and of what a node says of its upstream, {@code ModelIT} looks for on real nodes.
 */
final class ClusterModel {

  static final long CLUSTER = 7_001L;
  private static final long WITNESS_CLUSTER = 7_009L;

  /** How often repmgrd looks at its upstream. */
  private static final Duration LOOKS = Duration.ofSeconds(2);

  private final Map<Integer, Node> nodes = new TreeMap<>();
  private final Set<Set<Integer>> cuts = new HashSet<>();
  private final Set<Integer> cutFromClient = new HashSet<>();
  private long now = 1_000_000_000L;

  /** A node, and what repmgrd on it knows. */
  static final class Node {
    final int id;
    final boolean isWitness;
    boolean running = true;
    boolean frozen;
    boolean primary;

    /** Whether its promotion stands in its table. */
    boolean recorded = true;

    int timeline = 1;
    int upstream;
    @Nullable Long seenAt;

    /** The timeline on which its upstream was the primary when it was seen last; the truth. */
    int seenTimeline;

    List<Member> copy = List.of();

    Node(int id, boolean isWitness) {
      this.id = id;
      this.isWitness = isWitness;
    }

    /** Unregistered, and never started again. */
    boolean isGone;

    boolean isUp() {
      return running && !frozen;
    }

    boolean isStandby() {
      return !primary && !isWitness;
    }
  }

  /** What the client was told, and the truth about whom that node had seen as the primary then. */
  record Told(Observation observation, int upstream, int seenTimeline) {}

  /** Node 1 is the primary, all others follow it, and all copies say so. */
  ClusterModel(int dataNodes, boolean witness) {
    List<Member> table = new ArrayList<>();
    for (int id = 1; id <= dataNodes + (witness ? 1 : 0); id++) {
      Node node = new Node(id, id > dataNodes);
      node.primary = id == 1;
      node.upstream = id == 1 ? 0 : 1;
      node.seenAt = id == 1 ? null : (Long) now;
      node.seenTimeline = 1;
      nodes.put(id, node);
      table.add(row(node));
    }
    nodes.values().forEach(node -> node.copy = List.copyOf(table));
  }

  private static Member row(Node node) {
    return member(
        node.id,
        node.isWitness ? "witness" : node.primary ? "primary" : "standby",
        true,
        node.upstream);
  }

  private static Member member(int id, String type, boolean active, int upstream) {
    return new Member(id, "n" + id, type, active, upstream, "host=n" + id);
  }

  static HostAndPort address(int id) {
    return new HostAndPort("n" + id, 5_432);
  }

  long now() {
    return now;
  }

  int size() {
    return nodes.size();
  }

  Node node(int id) {
    return nodes.getOrDefault(id, nodes.values().iterator().next());
  }

  List<Node> dataNodes() {
    return nodes.values().stream().filter(node -> !node.isWitness).toList();
  }

  // ---- what happens ----------------------------------------------------------------------------

  void kill(Node node) {
    node.running = false;
    node.frozen = false;
  }

  /** Plainly, by somebody who does not look round: what was a primary is one again. */
  void start(Node node) {
    if (!node.running && !node.isGone) {
      node.running = true;
      node.seenAt = null;
    }
  }

  void freeze(Node node) {
    node.frozen = node.running;
  }

  void thaw(Node node) {
    node.frozen = false;
  }

  void cut(Node one, Node other) {
    cuts.add(Set.of(one.id, other.id == one.id ? 0 : other.id));
  }

  void heal(Node one, Node other) {
    cuts.remove(Set.of(one.id, other.id == one.id ? 0 : other.id));
  }

  void cutFromClient(Node node) {
    cutFromClient.add(node.id);
  }

  void healToClient(Node node) {
    cutFromClient.remove(node.id);
  }

  /** As repmgrd does it: its upstream is out of reach, and it sees more than half of the nodes. */
  void promoteByRepmgrd(Node node) {
    Node upstream = nodes.get(node.upstream);
    long visible = nodes.values().stream().filter(other -> reaches(node, other)).count();
    if (upstream != null && !reaches(node, upstream) && 2 * visible > node.copy.size()) {
      promoteByHand(node);
    }
  }

  void promoteByHand(Node node) {
    if (node.isUp() && node.isStandby()) {
      node.primary = true;
      node.timeline++;
      node.recorded = false;
      node.upstream = 0;
      node.seenAt = null;
    }
  }

  /** The promotion is written into the promoted node's table, a while after it. */
  void record(Node node) {
    if (node.isUp() && node.primary && !node.recorded) {
      node.recorded = true;
      List<Member> table = new ArrayList<>();
      for (Member row : node.copy) {
        boolean wasPrimary = row.type().equals("primary");
        table.add(
            row.nodeId() == node.id
                ? member(node.id, "primary", true, 0)
                : wasPrimary ? member(row.nodeId(), "primary", false, 0) : row);
      }
      node.copy = table;
    }
  }

  /** A standby, or a witness, goes over to a primary that is at least as new. */
  void follow(Node node, Node primary) {
    boolean mayFollow = node.isWitness || (node.isStandby() && primary.timeline >= node.timeline);
    if (mayFollow && primary.primary && primary.recorded && reaches(node, primary)) {
      attach(node, primary);
    }
  }

  /** A primary of before, running or not, becomes a standby: with what it had rewound. */
  void rejoin(Node node, Node primary) {
    boolean mayRejoin =
        !node.isWitness
            && !node.isGone
            && node.id != primary.id
            && primary.timeline >= node.timeline;
    if (mayRejoin && primary.primary && primary.recorded && primary.isUp()) {
      boolean wasFrozen = node.frozen;
      node.frozen = false;
      node.running = true;
      if (reaches(node, primary)) {
        node.primary = false;
        attach(node, primary);
      } else {
        node.frozen = wasFrozen;
      }
    }
  }

  private void attach(Node node, Node primary) {
    node.upstream = primary.id;
    primary.copy =
        primary.copy.stream().map(row -> row.nodeId() == node.id ? row(node) : row).toList();
    sync(node, primary);
    see(node, primary);
  }

  /** On a primary, of a node that is down for good; its standbys get it by replication. */
  void unregister(Node primary, Node gone) {
    if (primary.isUp() && primary.primary && primary.id != gone.id && !gone.running) {
      gone.isGone = true;
      primary.copy = primary.copy.stream().filter(row -> row.nodeId() != gone.id).toList();
    }
  }

  /** A witness is told now and then only. */
  void syncWitnesses() {
    nodes.values().stream()
        .filter(node -> node.isWitness && node.isUp())
        .forEach(node -> sync(node, node(node.upstream)));
  }

  private void sync(Node node, Node primary) {
    if (primary.primary && reaches(node, primary)) {
      node.copy = primary.copy;
      if (!node.isWitness) {
        node.timeline = primary.timeline;
        node.seenTimeline = primary.timeline;
      }
    }
  }

  /** Time passes: standbys are replicated to, and each repmgrd looks at its upstream. */
  void pass(Duration time) {
    now += time.toNanos();
    for (Node node : nodes.values()) {
      Node upstream = nodes.get(node.upstream);
      if (upstream == null || !node.isUp()) {
        continue;
      }
      if (node.isStandby() && upstream.timeline >= node.timeline) {
        sync(node, upstream);
      }
      Long last = node.seenAt;
      if (last == null || now - last >= LOOKS.toNanos()) {
        see(node, upstream);
      }
    }
  }

  private void see(Node node, Node upstream) {
    if (reaches(node, upstream)) {
      node.seenAt = now;
      node.seenTimeline = upstream.primary ? upstream.timeline : 0;
    }
  }

  private boolean reaches(Node from, Node to) {
    return from.isUp()
        && to.isUp()
        && !cuts.contains(Set.of(from.id, to.id == from.id ? 0 : to.id));
  }

  // ---- what is seen ----------------------------------------------------------------------------

  /** What the client is told by that node now. */
  Told ask(Node node) {
    HostAndPort address = address(node.id);
    if (!node.running) {
      return new Told(Observation.failed(address, "08001", "Connection refused"), 0, 0);
    }
    if (node.frozen || cutFromClient.contains(node.id)) {
      return new Told(Observation.failed(address, "08006", "no answer within 2000 ms"), 0, 0);
    }
    Answer answer =
        new Answer(
            node.id,
            node.isStandby(),
            node.isWitness ? 9 : node.timeline,
            node.isWitness ? WITNESS_CLUSTER : CLUSTER,
            1,
            node.upstream,
            node.seenAt,
            node.copy,
            null,
            0);
    return new Told(Observation.of(address, answer), node.upstream, node.seenTimeline);
  }

  // ---- the end of all faults -------------------------------------------------------------------

  /**
   * Everything that is still registered runs, reaches everything, and follows the primary on the
   * newest timeline; there is one, if need be by a promotion.
   */
  Node endFaults() {
    cuts.clear();
    cutFromClient.clear();
    nodes.values().forEach(this::thaw);
    Node leader =
        dataNodes().stream()
            .filter(node -> !node.isGone)
            .max(Comparator.comparingInt(node -> node.timeline))
            .orElseThrow();
    start(leader);
    if (!leader.primary) {
      promoteByHand(leader);
    }
    record(leader);
    for (Node node : List.copyOf(nodes.values())) {
      start(node);
      if (node.isGone) {
        unregister(leader, node);
      } else if (node.isWitness) {
        follow(node, leader);
      } else {
        rejoin(node, leader);
      }
    }
    nodes.values().forEach(node -> sync(node, node.id == leader.id ? node : leader));
    return leader;
  }
}
