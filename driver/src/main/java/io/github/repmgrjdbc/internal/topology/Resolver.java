package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Decision.Contest;
import io.github.repmgrjdbc.internal.topology.Decision.Identity;
import io.github.repmgrjdbc.internal.topology.Decision.Memory;
import io.github.repmgrjdbc.internal.topology.Decision.Refusal;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Decides who is the primary. A pure function of the previous decision, the observations and the
 * time: no clock, no I/O, no logging. The rules and their reasons are in CONTRIBUTING.md, "How the
 * primary is decided".
 */
public final class Resolver {

  /** How long a challenger without support keeps new connections from the incumbent. */
  static final Duration CONTEST = Duration.ofSeconds(5);

  /** How long a cold start waits for nodes that have not answered, and for support. */
  static final Duration GRACE = Duration.ofSeconds(1);

  /** An order that does not depend on who answered first. */
  private static final Comparator<HostAndPort> BY_TEXT =
      Comparator.comparing(HostAndPort::toString);

  private final List<HostAndPort> seeds;
  private final AddressTranslator translator;

  /**
   * Makes a resolver.
   *
   * @param seeds the configured addresses
   * @param translator where to dial a node, or null to leave that to the rest
   */
  public Resolver(List<HostAndPort> seeds, AddressTranslator translator) {
    this.seeds = List.copyOf(seeds);
    this.translator = translator;
  }

  /**
   * Decides.
   *
   * @param previous the last decision, {@link Decision#NONE} at first
   * @param observations the latest of each address, without those that are too old to count
   * @param now nanoseconds of a clock that only goes forward
   */
  public Decision resolve(Decision previous, Collection<Observation> observations, long now) {
    Round round = new Round(previous.term(), previous.memory(), observations, now);
    if (round.isRebuilt()) {
      return new Round(null, Memory.NONE, observations, now).decide();
    }
    return round.decide();
  }

  /** A node that answers. */
  private record Seen(int id, HostAndPort address, Answer answer) {
    int timeline() {
      return answer.timeline();
    }
  }

  /** Whom to serve, or why nobody. */
  private record Choice(
      @Nullable Seen primary, String reason, boolean warning, @Nullable Long again) {
    static Choice nobody(String reason, @Nullable Long again) {
      return new Choice(null, reason, false, again);
    }

    Choice withWarning() {
      return new Choice(primary, reason, true, again);
    }
  }

  /** One decision in the making. */
  private final class Round {

    private final @Nullable Term term;
    private final Memory memory;
    private final long now;
    private final Map<HostAndPort, Answer> answers = new TreeMap<>(BY_TEXT);
    private final Map<HostAndPort, Failure> failures = new TreeMap<>(BY_TEXT);
    private final Map<HostAndPort, Identity> identities = new TreeMap<>(BY_TEXT);

    /** The database clusters that have a primary among the answers. */
    private final Set<Long> clusters = new TreeSet<>();

    /** The one that counts, or null while none does. */
    private final @Nullable Long home;

    private final Map<Integer, Member> members = new TreeMap<>();
    private final Map<Integer, Seen> seen = new TreeMap<>();
    private final Map<Integer, Refusal> refused = new TreeMap<>();
    private final Map<Integer, Seen> candidates = new TreeMap<>();
    private final Map<Integer, Integer> passedOver = new TreeMap<>();
    private @Nullable Contest contest;
    private @Nullable Long goneSince;
    private @Nullable Long candidatesSince;
    private boolean settled;

    Round(@Nullable Term term, Memory memory, Collection<Observation> observations, long now) {
      this.term = term;
      this.memory = memory;
      this.settled = memory.settled();
      this.now = now;
      for (Observation observation : observations) {
        Answer answer = observation.answer();
        Failure failure = observation.failure();
        if (answer != null) {
          answers.put(observation.address(), answer);
        } else if (failure != null) {
          failures.put(observation.address(), failure);
        }
      }
      identities.putAll(memory.identities());
      answers.values().stream()
          .filter(Round::isRegisteredPrimary)
          .forEach(answer -> clusters.add(answer.systemIdentifier()));
      home = term != null ? (Long) term.systemIdentifier() : clusterOfMost();
      members.putAll(term == null ? unionOfCopies() : memory.members());
      identify();
      if (term != null && !seen.containsKey(term.primaryId())) {
        followMoves(term);
      }
    }

    /**
     * Whether all that is remembered is gone: every registered data node answers, none is on the
     * remembered timeline of the remembered cluster, and one of them is a primary. (Without one,
     * timelines prove nothing: a standby's lags.)
     */
    boolean isRebuilt() {
      Term served = term;
      if (served == null) {
        return false;
      }
      Set<Long> identifiers = new HashSet<>();
      boolean anyPrimary = false;
      boolean anyDataNode = false;
      for (Member member : members.values()) {
        if (member.isWitness()) {
          continue;
        }
        anyDataNode = true;
        // At its address, or, behind mapped ports, wherever a node of its id is met.
        HostAndPort address = addressOf(member);
        List<Answer> said =
            answers.entrySet().stream()
                .filter(
                    entry ->
                        entry.getKey().equals(address)
                            || entry.getValue().nodeId() == member.nodeId())
                .map(Map.Entry::getValue)
                .toList();
        if (said.isEmpty() || said.stream().anyMatch(answer -> isOf(served, answer))) {
          return false;
        }
        said.forEach(answer -> identifiers.add(answer.systemIdentifier()));
        anyPrimary |= said.stream().anyMatch(answer -> !answer.inRecovery());
      }
      return anyDataNode && anyPrimary && identifiers.size() == 1;
    }

    Decision decide() {
      refuse();
      findCandidates();
      Choice choice = term == null ? startCold() : goOn(term);
      Seen primary = choice.primary;
      Term next =
          primary == null
              ? term
              : new Term(primary.answer.systemIdentifier(), primary.timeline(), primary.id);
      if (primary != null && !primary.answer.copy().isEmpty()) {
        // Its copy rules from now on.
        members.clear();
        primary.answer.copy().forEach(member -> members.put(member.nodeId(), member));
      }
      if (next != null && !next.equals(term)) {
        // What is served now makes older timelines superseded at once, not with the next probe.
        candidates.values().stream()
            .filter(other -> isOlder(other, next))
            .forEach(other -> refused.put(other.id, olderThan(other, next)));
      }
      noteConninfo();
      return new Decision(
          next,
          primary != null,
          describeNodes(next),
          choice.reason,
          primary != null,
          choice.warning,
          choice.again,
          incurable(),
          new Memory(
              next == null ? Map.of() : members,
              identities,
              refused,
              contest,
              passedOver,
              goneSince,
              candidatesSince,
              primary != null || settled));
    }

    // ---- who answers where -------------------------------------------------------------------

    /** The newest timeline's copy wins; a witness's, which is late, loses to all. */
    private Map<Integer, Member> unionOfCopies() {
      Map<Integer, Member> union = new TreeMap<>();
      answers.values().stream()
          .filter(answer -> !isForeign(answer.nodeId(), answer))
          .sorted(
              Comparator.comparing((Answer answer) -> !isWitness(answer.nodeId(), answer))
                  .thenComparing(Answer::timeline))
          .forEach(answer -> answer.copy().forEach(row -> union.put(row.nodeId(), row)));
      return union;
    }

    private void identify() {
      answers.forEach(
          (address, answer) -> {
            int id = idOf(address, answer);
            if (id <= 0) {
              return;
            }
            Identity known = identities.get(address);
            if (known == null
                || known.nodeId() != id
                || known.systemIdentifier() != answer.systemIdentifier()) {
              identities.put(address, new Identity(answer.systemIdentifier(), id, ""));
            }
            // Another cluster's node may claim the id of one of ours.
            if (!isForeign(id, answer)) {
              seen.putIfAbsent(id, new Seen(id, address, answer));
            }
          });
    }

    /**
     * While the primary is silent, only the others' copies tell where a silent node has moved: it
     * may be the primary itself. A copy that does not name it is of an earlier time: a stale
     * primary's, say.
     */
    private void followMoves(Term served) {
      seen.values().stream()
          .filter(other -> !isWitness(other) && other.answer.namesPrimary(served.primaryId()))
          .sorted(Comparator.comparingInt(Seen::timeline))
          .flatMap(other -> other.answer.copy().stream())
          .filter(row -> members.containsKey(row.nodeId()) && !seen.containsKey(row.nodeId()))
          .forEach(row -> members.put(row.nodeId(), row));
    }

    /** What is said now of nodes that were first met just now, or before they were registered. */
    private void noteConninfo() {
      identities.replaceAll(
          (address, identity) -> {
            Member row = members.get(identity.nodeId());
            return row == null || !identity.conninfo().isEmpty()
                ? identity
                : new Identity(identity.systemIdentifier(), identity.nodeId(), row.conninfo());
          });
    }

    private int idOf(HostAndPort address, Answer answer) {
      if (answer.nodeId() > 0) {
        return answer.nodeId();
      }
      Identity remembered = identities.get(address);
      if (remembered != null && remembered.systemIdentifier() == answer.systemIdentifier()) {
        return remembered.nodeId();
      }
      // It does not know itself, since repmgrd has not run there: its address may tell, ...
      for (Member member : members.values()) {
        if (address.equals(addressOf(member))) {
          return member.nodeId();
        }
      }
      // ... or that it is a primary, unless it might be a witness.
      List<Member> primaries = answer.copy().stream().filter(Member::isActivePrimary).toList();
      boolean mayBeWitness = answer.copy().stream().anyMatch(Member::isWitness);
      return !answer.inRecovery() && !mayBeWitness && primaries.size() == 1
          ? primaries.get(0).nodeId()
          : 0;
    }

    /** Where to dial a node: what was configured, else where it was met, else its conninfo. */
    private @Nullable HostAndPort addressOf(Member member) {
      HostAndPort registered = registeredAddress(member.conninfo());
      HostAndPort configured = translator.translate(member.name(), registered);
      if (configured != null) {
        return configured;
      }
      HostAndPort met = null;
      for (Map.Entry<HostAndPort, Identity> entry : identities.entrySet()) {
        Identity identity = entry.getValue();
        boolean answers = this.answers.containsKey(entry.getKey());
        boolean moved =
            !answers && !Objects.equals(registeredAddress(identity.conninfo()), registered);
        if (identity.nodeId() == member.nodeId()
            && isKnown(entry, member)
            && !moved
            && (met == null || (answers && !this.answers.containsKey(met)))) {
          met = entry.getKey();
        }
      }
      return met != null ? met : registered;
    }

    private static @Nullable HostAndPort registeredAddress(String conninfo) {
      try {
        return Conninfo.addresses(conninfo).get(0);
      } catch (IllegalArgumentException e) {
        // Nothing to dial there; it may be known from elsewhere.
        return null;
      }
    }

    private boolean isKnown(Map.Entry<HostAndPort, Identity> entry, Member member) {
      return home == null || member.isWitness() || entry.getValue().systemIdentifier() == home;
    }

    private boolean isWitness(Seen node) {
      return isWitness(node.id, node.answer);
    }

    /** By its own copy, or, if it is not in there, by what the others say. */
    private boolean isWitness(int id, Answer answer) {
      Member row = answer.row(id).orElse(members.get(id));
      return row != null && row.isWitness();
    }

    private static boolean isRegisteredPrimary(Answer answer) {
      // One that does not know itself may be the witness, if there is one.
      boolean registered =
          answer.nodeId() == 0
              ? !answer.copy().isEmpty() && answer.copy().stream().noneMatch(Member::isWitness)
              : answer.row(answer.nodeId()).filter(row -> !row.isWitness()).isPresent();
      return !answer.inRecovery() && registered;
    }

    /**
     * On a cold start, the cluster that has a primary and more of the data nodes that answer than
     * any other: ours may be without a primary at the moment, and one address lead to somebody
     * else's.
     */
    private @Nullable Long clusterOfMost() {
      Map<Long, Long> sizes =
          answers.values().stream()
              .filter(answer -> answer.inRecovery() || isRegisteredPrimary(answer))
              .collect(Collectors.groupingBy(Answer::systemIdentifier, Collectors.counting()));
      long most = sizes.values().stream().max(Comparator.naturalOrder()).orElse(0L);
      List<Long> largest =
          sizes.entrySet().stream()
              .filter(cluster -> cluster.getValue() == most)
              .map(Map.Entry::getKey)
              .toList();
      return largest.size() == 1 && clusters.contains(largest.get(0)) ? largest.get(0) : null;
    }

    private boolean isForeign(int id, Answer answer) {
      return home != null && answer.systemIdentifier() != home && !isWitness(id, answer);
    }

    // ---- who is superseded -------------------------------------------------------------------

    private void refuse() {
      memory
          .refused()
          .forEach(
              (id, refusal) -> {
                Seen node = seen.get(id);
                // In recovery, or promoted anew since: it has been demoted in between.
                boolean demoted =
                    node != null
                        && (node.answer.inRecovery() || node.timeline() > refusal.timeline());
                if (!demoted) {
                  refused.put(id, refusal);
                }
              });
      for (Seen node : seen.values()) {
        if (node.answer.inRecovery() || isWitness(node)) {
          continue;
        }
        if (term != null && isOlder(node, term)) {
          refused.put(node.id, olderThan(node, term));
        }
        for (Seen other : seen.values()) {
          if (other.id != node.id && hasSeenSuccessorOf(other, node)) {
            refused.putIfAbsent(
                node.id,
                new Refusal(
                    node.timeline(),
                    name(other) + "'s node table has it as a failed primary beside another one"));
          }
        }
      }
    }

    private boolean hasSeenSuccessorOf(Seen other, Seen node) {
      Member row = other.answer.row(node.id).orElse(null);
      boolean replaced =
          row != null
              && row.isPrimary()
              && !row.active()
              && other.answer.namesPrimaryOtherThan(node.id);
      // A witness is a database cluster of its own: nothing says how old its copy is.
      return replaced && sameCluster(other, node) && other.timeline() >= node.timeline();
    }

    private static boolean sameCluster(Seen a, Seen b) {
      return a.answer.systemIdentifier() == b.answer.systemIdentifier();
    }

    private static boolean isOlder(Seen node, Term than) {
      return node.answer.systemIdentifier() == than.systemIdentifier()
          && node.timeline() < than.timeline();
    }

    private static Refusal olderThan(Seen node, Term served) {
      return new Refusal(
          node.timeline(),
          "timeline " + node.timeline() + " is older than " + served.timeline() + ", served since");
    }

    // ---- who may be served -------------------------------------------------------------------

    private void findCandidates() {
      if (term != null) {
        Seen incumbent = seen.get(term.primaryId());
        if (incumbent != null && mayServe(incumbent) && !incumbent.answer.copy().isEmpty()) {
          members.clear();
          incumbent.answer.copy().forEach(member -> members.put(member.nodeId(), member));
        }
      }
      for (Seen node : seen.values()) {
        if (members.containsKey(node.id) && mayServe(node)) {
          candidates.put(node.id, node);
        }
      }
      memory
          .passedOver()
          .forEach(
              (id, timeline) -> {
                Seen node = candidates.get(id);
                if (node == null || node.timeline() == timeline) {
                  passedOver.put(id, timeline);
                }
              });
    }

    private boolean mayServe(Seen node) {
      return !node.answer.inRecovery() && !isWitness(node) && !refused.containsKey(node.id);
    }

    private Choice startCold() {
      if (!clusters.isEmpty() && home == null) {
        return Choice.nobody(
            "the addresses lead to several database clusters, and none with a primary has most of"
                + " the nodes that answer; primaries are at "
                + answers.entrySet().stream()
                    .filter(entry -> isRegisteredPrimary(entry.getValue()))
                    .map(entry -> entry.getKey().toString())
                    .collect(Collectors.joining(" and ")),
            null);
      }
      if (candidates.isEmpty()) {
        return Choice.nobody("no node answers as the primary", null);
      }
      long since = memory.candidatesSince() == null ? now : memory.candidatesSince();
      candidatesSince = since;
      boolean inGrace = now - since < GRACE.toNanos();
      if (inGrace && !everybodyWasAsked()) {
        // A stale primary with a late follower may be the first to answer.
        return Choice.nobody(
            names(candidates.values()) + " answers as a primary; waiting for the other nodes",
            since + GRACE.toNanos());
      }
      List<Seen> supported =
          candidates.values().stream()
              .filter(node -> isAlone() || !supporters(node).isEmpty())
              .toList();
      if (!supported.isEmpty()) {
        Seen best = best(supported);
        return best == null ? tie(supported) : contested(best, "is the primary");
      }
      if (inGrace) {
        return Choice.nobody(
            names(candidates.values()) + " answers as a primary, but no other node supports it yet",
            since + GRACE.toNanos());
      }
      Seen best = best(candidates.values());
      return best == null
          ? tie(candidates.values())
          : contested(best, "is taken for the primary, though no other node supports it,")
              .withWarning();
    }

    private boolean everybodyWasAsked() {
      return seeds.stream().allMatch(this::wasAsked)
          && members.values().stream()
              .filter(member -> !seen.containsKey(member.nodeId()))
              .map(this::addressOf)
              .allMatch(address -> address == null || wasAsked(address));
    }

    private boolean wasAsked(HostAndPort address) {
      return answers.containsKey(address) || failures.containsKey(address);
    }

    private Choice goOn(Term served) {
      long since = memory.goneSince() == null ? now : memory.goneSince();
      settled |= everybodyWasAsked() || now - since >= GRACE.toNanos();
      if (!settled) {
        // There may have been a failover or several since somebody looked, and a stale primary may
        // be the first to answer, as on a cold start.
        goneSince = since;
        return Choice.nobody(
            name(served.primaryId())
                + " was the primary when somebody looked last; waiting for the other nodes",
            since + GRACE.toNanos());
      }
      Seen incumbent = candidates.get(served.primaryId());
      if (incumbent != null) {
        return contested(incumbent, "is the primary");
      }
      goneSince = since;
      contest = memory.contest();
      boolean goneForLong = now - since >= CONTEST.toNanos();
      String why = whyNot(served.primaryId());
      List<Seen> successors =
          candidates.values().stream()
              .filter(node -> goneForLong || !isDoubtful(node) || hasSupport(node))
              .toList();
      if (successors.isEmpty()) {
        return Choice.nobody(
            why + "; no successor yet", candidates.isEmpty() ? null : since + CONTEST.toNanos());
      }
      Seen best = best(successors);
      return best == null ? tie(successors) : serve(best, "is the primary now; " + why);
    }

    /** Whether it was promoted beside the incumbent while that lived. */
    private boolean isDoubtful(Seen node) {
      Contest running = memory.contest();
      return passedOver.containsKey(node.id) || (running != null && running.nodeId() == node.id);
    }

    /** Serves a node, unless a challenger on a newer timeline stands against it. */
    private Choice contested(Seen node, String what) {
      List<Seen> challengers =
          candidates.values().stream().filter(other -> other.timeline() > node.timeline()).toList();
      List<Seen> supported = challengers.stream().filter(this::hasSupport).toList();
      if (!supported.isEmpty()) {
        Seen best = best(supported);
        return best == null
            ? tie(supported)
            : serve(best, "is the primary now; it was promoted beside " + name(node));
      }
      Seen challenger =
          challengers.stream()
              .filter(other -> !passedOver.containsKey(other.id))
              .max(Comparator.comparingInt(Seen::timeline))
              .orElse(null);
      if (challenger == null) {
        return challengers.isEmpty()
            ? serve(node, what)
            : serve(node, what + besides(challengers)).withWarning();
      }
      Contest running = memory.contest();
      if (running == null
          || running.nodeId() != challenger.id
          || running.timeline() != challenger.timeline()) {
        running = new Contest(challenger.id, challenger.timeline(), now);
      }
      if (now - running.since() >= CONTEST.toNanos()) {
        challengers.forEach(other -> passedOver.put(other.id, other.timeline()));
        return serve(node, "goes on as the primary" + besides(challengers)).withWarning();
      }
      contest = running;
      return Choice.nobody(
          name(challenger)
              + " was promoted beside "
              + name(node)
              + " (timeline "
              + challenger.timeline()
              + " against "
              + node.timeline()
              + "); waiting for a sign of which one the cluster follows",
          running.since() + CONTEST.toNanos());
    }

    private String besides(List<Seen> challengers) {
      return ", beside "
          + names(challengers)
          + ", promoted to a newer timeline but supported by no node";
    }

    private Choice serve(Seen node, String what) {
      Set<Integer> supporters = supporters(node);
      return new Choice(
          node,
          name(node)
              + " "
              + what
              + " (timeline "
              + node.timeline()
              + (supporters.isEmpty()
                  ? ")"
                  : ", supported by "
                      + supporters.stream().map(this::name).collect(Collectors.joining(", "))
                      + ")"),
          false,
          null);
    }

    private Choice tie(Collection<Seen> nodes) {
      return Choice.nobody(
          names(nodes) + " answer as primaries on one timeline with equal support", null);
    }

    /** The newest timeline, then the most supporters; null if two are equal in both. */
    private @Nullable Seen best(Collection<Seen> nodes) {
      Comparator<Seen> order =
          Comparator.comparingInt(Seen::timeline).thenComparing(node -> supporters(node).size());
      Seen best = nodes.stream().max(order).orElseThrow();
      return nodes.stream().filter(node -> order.compare(node, best) == 0).count() == 1
          ? best
          : null;
    }

    /** For a challenger its own copy counts too: a promotion through repmgr has written it. */
    private boolean hasSupport(Seen node) {
      return (node.answer.namesPrimary(node.id) && !node.answer.namesPrimaryOtherThan(node.id))
          || !supporters(node).isEmpty();
    }

    /** The others that follow it, or whose copy names it as the active primary. */
    private Set<Integer> supporters(Seen node) {
      return seen.values().stream()
          .filter(other -> other.id != node.id && (isWitness(other) || sameCluster(other, node)))
          .filter(
              other ->
                  (other.answer.inRecovery() && other.answer.upstreamId() == node.id)
                      || other.answer.namesPrimary(node.id))
          .map(other -> other.id)
          .collect(Collectors.toCollection(TreeSet::new));
    }

    /** Whether nobody else is registered who could support anybody. */
    private boolean isAlone() {
      return members.size() == 1;
    }

    // ---- how to say it -----------------------------------------------------------------------

    private String whyNot(int id) {
      Member member = members.get(id);
      HostAndPort address = member == null ? null : addressOf(member);
      String name = name(id);
      Seen node = seen.get(id);
      Answer stranger = node != null || address == null ? null : answers.get(address);
      if (stranger != null) {
        return name + " is not there: " + describeStranger(stranger);
      }
      if (node != null && node.answer.inRecovery()) {
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
      Failure failure = address == null ? null : failures.get(address);
      return failure != null && failure.isIncurable();
    }

    private String because(@Nullable HostAndPort address) {
      Failure failure = address == null ? null : failures.get(address);
      return failure == null ? "" : ": " + failure.message();
    }

    private String names(Collection<Seen> nodes) {
      return nodes.stream().map(this::name).collect(Collectors.joining(" and "));
    }

    private String name(Seen node) {
      return name(node.id);
    }

    private String name(int id) {
      Member member = members.get(id);
      return member == null ? "node " + id : member.name();
    }

    private List<Node> describeNodes(@Nullable Term next) {
      List<Node> nodes = new ArrayList<>();
      Set<HostAndPort> used = new HashSet<>();
      for (Member member : members.values()) {
        Node node = describe(member, next);
        nodes.add(node);
        if (node.address() != null) {
          used.add(node.address());
        }
      }
      for (HostAndPort seed : seeds) {
        Identity identity = identities.get(seed);
        Answer answer = answers.get(seed);
        boolean tied = identity != null && members.containsKey(identity.nodeId());
        boolean foreign =
            answer != null && isForeign(identity == null ? 0 : identity.nodeId(), answer);
        if ((!tied || foreign) && used.add(seed)) {
          nodes.add(
              new Node(
                  0,
                  seed.toString(),
                  answer != null && answer.inRecovery() ? Role.STANDBY : Role.UNKNOWN,
                  foreign ? State.FOREIGN : answer == null ? State.SILENT : State.UP,
                  seed,
                  answer == null ? 0 : answer.timeline(),
                  answer == null
                      ? noAnswer(seed)
                      : foreign
                          ? "belongs to another database cluster"
                          : answer.nodeId() > 0 && !answer.copy().isEmpty()
                              ? "answers as node "
                                  + answer.nodeId()
                                  + ", which is not registered in repmgr.nodes"
                              : answer.copy().isEmpty()
                                  ? "its repmgr.nodes is empty: no node has been registered"
                                  : "answers, but does not know its node_id (has repmgrd ever run"
                                      + " there?), and no row of repmgr.nodes has this address"));
        }
      }
      return nodes;
    }

    private Node describe(Member member, @Nullable Term next) {
      int id = member.nodeId();
      HostAndPort address = addressOf(member);
      Seen node = seen.get(id);
      if (node == null) {
        Answer stranger = address == null ? null : answers.get(address);
        return new Node(
            id,
            member.name(),
            registeredRole(member),
            stranger != null ? State.FOREIGN : State.SILENT,
            address,
            0,
            stranger != null
                ? describeStranger(stranger)
                : address == null ? "not dialled: " + noAddress(member) : noAnswer(address));
      }
      Answer answer = node.answer;
      Refusal refusal = refused.get(id);
      if (isWitness(node)) {
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
            answer.upstreamId() > 0 ? "follows " + name(answer.upstreamId()) : "in recovery");
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

    private static String noAddress(Member member) {
      try {
        return "its conninfo has " + Conninfo.addresses(member.conninfo()).get(0);
      } catch (IllegalArgumentException e) {
        return "its conninfo is of no use, " + e.getMessage();
      }
    }

    private String describeStranger(Answer answer) {
      return home != null && answer.systemIdentifier() != home
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
      Failure failure = failures.get(address);
      return failure == null ? "no answer yet" : failure.message();
    }

    /**
     * The failure to report at once: everybody was asked, somebody answered, and everybody who did
     * gave one. Once a primary has been served, silence is a reason to wait: it may be restarting
     * while a node that never lets us in is all that answers.
     */
    private @Nullable Failure incurable() {
      if (!answers.isEmpty() || !seeds.stream().allMatch(this::wasAsked)) {
        return null;
      }
      List<Failure> said = failures.values().stream().filter(Failure::isAnswer).toList();
      if (term != null && said.size() < failures.size()) {
        return null;
      }
      return !said.isEmpty() && said.stream().allMatch(Failure::isIncurable) ? said.get(0) : null;
    }
  }

  private static boolean isOf(Term term, Answer answer) {
    return answer.systemIdentifier() == term.systemIdentifier()
        && answer.timeline() >= term.timeline();
  }
}
