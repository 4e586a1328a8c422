package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Decision.Contest;
import io.github.repmgrjdbc.internal.topology.Decision.Memory;
import io.github.repmgrjdbc.internal.topology.Decision.Refusal;
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
    Roster roster = roster(previous.term(), previous.memory(), observations);
    return roster.isRebuilt()
        ? new Round(null, Memory.NONE, roster(null, Memory.NONE, observations), now).decide()
        : new Round(previous.term(), previous.memory(), roster, now).decide();
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

    private final Roster roster;
    private final @Nullable Term term;
    private final Memory memory;
    private final long now;
    private final Map<Integer, Refusal> refused = new TreeMap<>();
    private final Map<Integer, Seen> candidates = new TreeMap<>();
    private final Map<Integer, Integer> passedOver = new TreeMap<>();
    private @Nullable Contest contest;
    private @Nullable Long goneSince;
    private @Nullable Long candidatesSince;
    private boolean settled;

    Round(@Nullable Term term, Memory memory, Roster roster, long now) {
      this.term = term;
      this.memory = memory;
      this.roster = roster;
      this.settled = memory.settled();
      this.now = now;
    }

    Decision decide() {
      refuse();
      findCandidates();
      Choice choice = term == null ? startCold() : goOn(term);
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
      return new Decision(
          next,
          primary != null,
          new NodeReport(roster, refused).nodes(next),
          choice.reason,
          primary != null,
          choice.warning,
          choice.again,
          roster.incurable(),
          new Memory(
              next == null ? Map.of() : roster.members(),
              roster.identities(),
              refused,
              contest,
              passedOver,
              goneSince,
              candidatesSince,
              primary != null || settled));
    }

    // ---- who is superseded -------------------------------------------------------------------

    private void refuse() {
      memory
          .refused()
          .forEach(
              (id, refusal) -> {
                Seen node = roster.seen().get(id);
                // In recovery, or promoted anew since: it has been demoted in between.
                boolean demoted =
                    node != null
                        && (node.answer().inRecovery() || node.timeline() > refusal.timeline());
                if (!demoted) {
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
          if (other.id() != node.id() && hasSeenSuccessorOf(other, node)) {
            refused.putIfAbsent(
                node.id(),
                new Refusal(
                    node.timeline(),
                    name(other) + "'s node table has it as a failed primary beside another one"));
          }
        }
      }
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
      for (Seen node : roster.seen().values()) {
        if (roster.members().containsKey(node.id()) && mayServe(node)) {
          candidates.put(node.id(), node);
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

    private Choice startCold() {
      if (roster.isOfSeveralClusters()) {
        return Choice.nobody(
            "the addresses lead to several database clusters, and none with a primary has most of"
                + " the nodes that answer; primaries are at "
                + roster.primaries().stream()
                    .map(HostAndPort::toString)
                    .collect(Collectors.joining(" and ")),
            null);
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
          Comparator.comparingInt(Seen::timeline).thenComparing(node -> supporters(node).size());
      Seen best = nodes.stream().max(order).orElseThrow();
      return nodes.stream().filter(node -> order.compare(node, best) == 0).count() == 1
          ? best
          : null;
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
