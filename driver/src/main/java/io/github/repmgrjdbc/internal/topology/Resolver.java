package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.PrimaryPolicy;
import io.github.repmgrjdbc.internal.topology.Decision.Contest;
import io.github.repmgrjdbc.internal.topology.Decision.Memory;
import io.github.repmgrjdbc.internal.topology.Decision.Refusal;
import io.github.repmgrjdbc.internal.topology.Decision.Sighting;
import io.github.repmgrjdbc.internal.topology.Roster.Seen;
import java.time.Duration;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
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

  /**
   * With {@code quorum}: how long connections outlive the majority that supported their primary.
   */
  static final Duration UNSUPPORTED = Duration.ofSeconds(3);

  /**
   * With {@code quorum}: how long a node supports whom its repmgrd has seen. repmgrd looks every 2
   * s (repmgr's default for {@code monitor_interval_secs}), and tells whole seconds.
   */
  static final Duration SEEN_LATELY = Duration.ofSeconds(6);

  private final List<HostAndPort> seeds;
  private final AddressTranslator translator;
  private final PrimaryPolicy policy;

  /**
   * Makes a resolver.
   *
   * @param seeds the configured addresses
   * @param translator where to dial a node, or null to leave that to the rest
   * @param policy what it takes to be served
   */
  public Resolver(List<HostAndPort> seeds, AddressTranslator translator, PrimaryPolicy policy) {
    this.seeds = List.copyOf(seeds);
    this.translator = translator;
    this.policy = policy;
  }

  /**
   * Decides.
   *
   * @param previous the last decision, {@link Decision#NONE} at first
   * @param observations the latest of each address, without those that are too old to count
   * @param now nanoseconds of a clock that only goes forward
   */
  public Decision resolve(Decision previous, Collection<Observation> observations, long now) {
    Roster roster = roster(previous.term(), previous.memory(), observations);
    return roster.isRebuilt()
        ? new Round(policy, null, Memory.NONE, roster(null, Memory.NONE, observations), now)
            .decide()
        : new Round(policy, previous.term(), previous.memory(), roster, now).decide();
  }

  private Roster roster(@Nullable Term term, Memory memory, Collection<Observation> observations) {
    return new Roster(seeds, translator, term, memory, observations);
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
  private static final class Round {

    private final PrimaryPolicy policy;
    private final Roster roster;
    private final @Nullable Term term;
    private final Memory memory;
    private final long now;
    private final Map<Integer, Sighting> sightings = new TreeMap<>();
    private final Map<Integer, Refusal> refused = new TreeMap<>();
    private final Map<Integer, Seen> candidates = new TreeMap<>();
    private final Map<Integer, Integer> passedOver = new TreeMap<>();
    private @Nullable Contest contest;
    private @Nullable Long goneSince;
    private @Nullable Long candidatesSince;
    private boolean settled;

    Round(PrimaryPolicy policy, @Nullable Term term, Memory memory, Roster roster, long now) {
      this.policy = policy;
      this.term = term;
      this.memory = memory;
      this.roster = roster;
      this.settled = memory.settled();
      this.now = now;
    }

    Decision decide() {
      refuse();
      findCandidates();
      Choice choice =
          policy == PrimaryPolicy.QUORUM ? byMajority() : term == null ? startCold() : goOn(term);
      Seen primary = choice.primary;
      Term next =
          primary == null
              ? term
              : new Term(primary.answer().systemIdentifier(), primary.timeline(), primary.id());
      if (primary != null) {
        roster.adopt(primary.answer().copy());
      }
      if (next != null && !next.equals(term)) {
        // What is served now makes older timelines superseded at once, not with the next probe.
        candidates.values().stream()
            .filter(other -> isOlder(other, next))
            .forEach(other -> refused.put(other.id(), olderThan(other, next)));
      }
      roster.noteConninfo();
      Long unsupportedSince =
          policy != PrimaryPolicy.QUORUM || next == null || isSupported(next)
              ? null
              : memory.unsupportedSince() == null ? (Long) now : memory.unsupportedSince();
      boolean unsupported =
          unsupportedSince != null && now - unsupportedSince >= UNSUPPORTED.toNanos();
      return new Decision(
          next,
          primary != null,
          unsupported || (next != null && refused.containsKey(next.primaryId())),
          new NodeReport(roster, refused).nodes(next),
          choice.reason,
          primary != null,
          choice.warning,
          unsupportedSince == null || unsupported
              ? choice.again
              : (Long) (unsupportedSince + UNSUPPORTED.toNanos()),
          roster.incurable(),
          new Memory(
              next == null ? Map.of() : roster.members(),
              roster.identities(),
              refused,
              contest,
              passedOver,
              goneSince,
              candidatesSince,
              sightings,
              unsupportedSince,
              primary != null || settled));
    }

    // ---- who is superseded -------------------------------------------------------------------

    private void refuse() {
      memory
          .refused()
          .forEach(
              (id, refusal) -> {
                Seen node = roster.seen().get(id);
                // In recovery, or promoted anew since: it was demoted in between. Or its successor
                // is gone for good: somebody has unregistered it there.
                boolean over =
                    node != null
                        && (node.answer().inRecovery()
                            || node.timeline() > refusal.timeline()
                            || hasUnregistered(node, refusal.successor()));
                if (!over) {
                  refused.put(id, refusal);
                }
              });
      for (Seen node : roster.seen().values()) {
        if (node.answer().inRecovery() || roster.isWitness(node)) {
          continue;
        }
        if (term != null && isOlder(node, term)) {
          refused.put(node.id(), olderThan(node, term));
        }
        for (Seen other : roster.seen().values()) {
          // Where the majority decides, a node that was promoted beside it settles nothing.
          if (policy == PrimaryPolicy.LATEST
              && other.id() != node.id()
              && hasSeenSuccessorOf(other, node)) {
            refused.putIfAbsent(
                node.id(),
                new Refusal(
                    node.timeline(),
                    other.id(),
                    name(other) + "'s node table has it as a failed primary beside another one"));
          }
        }
      }
    }

    private static boolean hasUnregistered(Seen node, int id) {
      return node.answer().row(node.id()).isPresent() && node.answer().row(id).isEmpty();
    }

    private boolean hasSeenSuccessorOf(Seen other, Seen node) {
      Member row = other.answer().row(node.id()).orElse(null);
      boolean replaced =
          row != null
              && row.isPrimary()
              && !row.active()
              && other.answer().namesPrimaryOtherThan(node.id());
      // A witness is a database cluster of its own: nothing says how old its copy is.
      return replaced && other.isOfClusterOf(node) && other.timeline() >= node.timeline();
    }

    private static boolean isOlder(Seen node, Term than) {
      return node.answer().systemIdentifier() == than.systemIdentifier()
          && node.timeline() < than.timeline();
    }

    private static Refusal olderThan(Seen node, Term served) {
      return new Refusal(
          node.timeline(),
          served.primaryId(),
          "timeline " + node.timeline() + " is older than " + served.timeline() + ", served since");
    }

    // ---- who may be served -------------------------------------------------------------------

    private void findCandidates() {
      if (term != null) {
        Seen incumbent = roster.seen().get(term.primaryId());
        if (incumbent != null && mayServe(incumbent)) {
          roster.adopt(incumbent.answer().copy());
        }
      }
      // Of who is silent: a lost probe must not make its supporters have to see it anew.
      memory
          .sightings()
          .forEach(
              (id, sighting) -> {
                if (!roster.seen().containsKey(id)) {
                  sightings.put(id, sighting);
                }
              });
      for (Seen node : roster.seen().values()) {
        if (roster.members().containsKey(node.id()) && mayServe(node)) {
          candidates.put(node.id(), node);
          Sighting before = memory.sightings().get(node.id());
          sightings.put(
              node.id(),
              before != null && before.timeline() == node.timeline()
                  ? before
                  : new Sighting(node.timeline(), now));
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
      return !node.answer().inRecovery()
          && !roster.isWitness(node)
          && !refused.containsKey(node.id());
    }

    // ---- quorum ------------------------------------------------------------------------------

    /**
     * Two cannot both have most of the nodes, where their tables agree on who is registered:
     * nothing has to be waited for.
     */
    private Choice byMajority() {
      if (term == null && roster.isOfSeveralClusters()) {
        return severalClusters();
      }
      List<Seen> supported = candidates.values().stream().filter(this::hasMajority).toList();
      String before =
          term == null || candidates.containsKey(term.primaryId())
              ? ""
              : new NodeReport(roster, refused).whyNot(term.primaryId());
      if (supported.isEmpty()) {
        String lacking =
            candidates.isEmpty()
                ? (before.isEmpty() ? "no node answers as the primary" : "no successor yet")
                : candidates.values().stream().map(this::votes).collect(Collectors.joining("; "));
        return Choice.nobody(before.isEmpty() ? lacking : before + "; " + lacking, null);
      }
      // Tables that differ in who is registered may give each of two a majority of its own.
      Seen incumbent = term == null ? null : candidates.get(term.primaryId());
      Seen best = incumbent != null && supported.contains(incumbent) ? incumbent : best(supported);
      if (best == null) {
        return tie(supported);
      }
      return serve(
          best,
          term == null || best.id() == term.primaryId()
              ? "is the primary"
              : "is the primary now; " + (incumbent == null ? before : votes(incumbent)));
    }

    private Choice severalClusters() {
      return Choice.nobody(
          "the addresses lead to several database clusters, and none with a primary has most of"
              + " the nodes that answer; primaries are at "
              + roster.primaries().stream()
                  .map(HostAndPort::toString)
                  .collect(Collectors.joining(" and ")),
          null);
    }

    private boolean hasMajority(Seen node) {
      return 2 * (1 + backers(node.id(), node).size()) > electorate(node).size();
    }

    /** Also while it is silent to us, if most of the nodes see it. */
    private boolean isSupported(Term served) {
      Seen node = candidates.get(served.primaryId());
      return node != null
          ? hasMajority(node)
          : !refused.containsKey(served.primaryId())
              && 2 * backers(served.primaryId(), null).size() > roster.members().size();
    }

    /**
     * Its own copy says who may vote: who is gone for good is unregistered there first. But not one
     * that lacks the node itself.
     */
    private Collection<Member> electorate(Seen node) {
      return node.answer().row(node.id()).isPresent()
          ? node.answer().copy()
          : roster.members().values();
    }

    private String votes(Seen node) {
      return name(node)
          + " is supported by "
          + (1 + backers(node.id(), node).size())
          + " of "
          + electorate(node).size()
          + " nodes, which is no majority";
    }

    /**
     * The others that follow it, and have seen it lately, as the primary that it is. A copy of the
     * table supports nobody: it may be late.
     */
    private Set<Integer> backers(int id, @Nullable Seen node) {
      return roster.seen().values().stream()
          .filter(other -> other.id() != id && other.answer().upstreamId() == id)
          .filter(other -> node == null || node.answer().row(other.id()).isPresent())
          .filter(other -> sawLately(other, node))
          .map(Seen::id)
          .collect(Collectors.toCollection(TreeSet::new));
    }

    private boolean sawLately(Seen other, @Nullable Seen node) {
      Long seenAt = other.answer().upstreamSeenAt();
      if (seenAt == null || now - seenAt > SEEN_LATELY.toNanos()) {
        return false;
      }
      // A standby of a standby that was promoted follows it before it knows of that. Its timeline
      // proves that it does, but lags; a witness has none of ours. What it has seen since we saw
      // the
      // promotion proves it, too.
      Sighting sighting = node == null ? null : sightings.get(node.id());
      boolean sawItSince = sighting != null && seenAt - sighting.since() >= 0;
      if (roster.isWitness(other)) {
        return node == null || sawItSince;
      }
      return other.answer().inRecovery()
          && (node == null
              || (other.isOfClusterOf(node)
                  && (other.timeline() >= node.timeline() || sawItSince)));
    }

    // ---- latest ------------------------------------------------------------------------------

    private Choice startCold() {
      if (roster.isOfSeveralClusters()) {
        return severalClusters();
      }
      if (candidates.isEmpty()) {
        return Choice.nobody("no node answers as the primary", null);
      }
      long since = memory.candidatesSince() == null ? now : memory.candidatesSince();
      candidatesSince = since;
      boolean inGrace = now - since < GRACE.toNanos();
      if (inGrace && !roster.everybodyWasAsked()) {
        // A stale primary with a late follower may be the first to answer.
        return Choice.nobody(
            names(candidates.values()) + " answers as a primary; waiting for the other nodes",
            since + GRACE.toNanos());
      }
      List<Seen> supported =
          candidates.values().stream()
              .filter(node -> roster.isAlone() || !supporters(node).isEmpty())
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

    private Choice goOn(Term served) {
      long since = memory.goneSince() == null ? now : memory.goneSince();
      settled |= roster.everybodyWasAsked() || now - since >= GRACE.toNanos();
      if (!settled) {
        // There may have been a failover or several since somebody looked, and a stale primary may
        // be the first to answer, as on a cold start.
        goneSince = since;
        return Choice.nobody(
            roster.name(served.primaryId())
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
      String why = new NodeReport(roster, refused).whyNot(served.primaryId());
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
      return passedOver.containsKey(node.id())
          || (running != null && running.nodeId() == node.id());
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
              .filter(other -> !passedOver.containsKey(other.id()))
              .max(Comparator.comparingInt(Seen::timeline))
              .orElse(null);
      if (challenger == null) {
        return challengers.isEmpty()
            ? serve(node, what)
            : serve(node, what + besides(challengers)).withWarning();
      }
      Contest running = memory.contest();
      if (running == null
          || running.nodeId() != challenger.id()
          || running.timeline() != challenger.timeline()) {
        running = new Contest(challenger.id(), challenger.timeline(), now);
      }
      if (now - running.since() >= CONTEST.toNanos()) {
        challengers.forEach(other -> passedOver.put(other.id(), other.timeline()));
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
      Set<Integer> supporters = support(node);
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
                      + supporters.stream().map(roster::name).collect(Collectors.joining(", "))
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
          Comparator.comparingInt(Seen::timeline).thenComparing(node -> support(node).size());
      Seen best = nodes.stream().max(order).orElseThrow();
      return nodes.stream().filter(node -> order.compare(node, best) == 0).count() == 1
          ? best
          : null;
    }

    private Set<Integer> support(Seen node) {
      return policy == PrimaryPolicy.QUORUM ? backers(node.id(), node) : supporters(node);
    }

    /** For a challenger its own copy counts too: a promotion through repmgr has written it. */
    private boolean hasSupport(Seen node) {
      return (node.answer().namesPrimary(node.id())
              && !node.answer().namesPrimaryOtherThan(node.id()))
          || !supporters(node).isEmpty();
    }

    /** The others that follow it, or whose copy names it as the active primary. */
    private Set<Integer> supporters(Seen node) {
      return roster.seen().values().stream()
          .filter(
              other ->
                  other.id() != node.id() && (roster.isWitness(other) || other.isOfClusterOf(node)))
          .filter(
              other ->
                  (other.answer().inRecovery() && other.answer().upstreamId() == node.id())
                      || other.answer().namesPrimary(node.id()))
          .map(other -> other.id())
          .collect(Collectors.toCollection(TreeSet::new));
    }

    private String names(Collection<Seen> nodes) {
      return nodes.stream().map(this::name).collect(Collectors.joining(" and "));
    }

    private String name(Seen node) {
      return roster.name(node.id());
    }
  }
}
