package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.PrimaryPolicy;
import io.github.repmgrjdbc.internal.topology.ClusterModel.Node;
import io.github.repmgrjdbc.internal.topology.ClusterModel.Told;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.constraints.IntRange;
import org.jspecify.annotations.Nullable;

/** Whatever happens to a {@link ClusterModel}, and in whatever order the client hears of it. */
class ResolverHistoriesTest {

  /** How long a rightful primary may have to wait: a contest, and a few looks. */
  private static final Duration SERVED_WITHIN = Resolver.CONTEST.plus(Duration.ofSeconds(4));

  /** How old an observation may be (see {@code TopologyMonitor}). */
  private static final Duration MAX_AGE = Duration.ofSeconds(5);

  /**
   * The same histories each time: a build that has nothing to do with them must not find a new one.
   * Without it, and with more tries, it looks for others.
   */
  private static final String SEED = "20261126";

  private enum Kind {
    KILL,
    START,
    FREEZE,
    THAW,
    CUT,
    HEAL,
    CUT_FROM_CLIENT,
    HEAL_TO_CLIENT,
    PROMOTE_BY_REPMGRD,
    PROMOTE_BY_HAND,
    RECORD,
    FOLLOW,
    REJOIN,
    SYNC_WITNESSES,
    UNREGISTER,
    LOOK,
    LOOK_ROUND,
    PASS
  }

  /** Something happens to a node, perhaps with another one; then time passes. */
  private record Step(Kind kind, int node, int other, int millis) {}

  @Provide
  Arbitrary<List<Step>> histories() {
    // The client looks often, and most things happen to a cluster that somebody looks at.
    Arbitrary<Kind> kinds =
        Arbitraries.frequencyOf(
            net.jqwik.api.Tuple.of(3, Arbitraries.of(Kind.class)),
            net.jqwik.api.Tuple.of(
                2,
                Arbitraries.of(
                    Kind.LOOK, Kind.LOOK_ROUND, Kind.PASS, Kind.PROMOTE_BY_REPMGRD, Kind.RECORD)));
    return Combinators.combine(
            kinds,
            Arbitraries.integers().between(1, 5),
            Arbitraries.integers().between(1, 5),
            Arbitraries.integers().between(0, 3_000))
        .as(Step::new)
        .list()
        .ofMinSize(1)
        .ofMaxSize(60);
  }

  @Property(tries = 3_000, seed = SEED)
  void latest(
      @ForAll("histories") List<Step> history,
      @ForAll @IntRange(min = 2, max = 4) int dataNodes,
      @ForAll boolean witness) {
    new Run(PrimaryPolicy.LATEST, dataNodes, witness).play(history);
  }

  @Property(tries = 3_000, seed = SEED)
  void quorum(
      @ForAll("histories") List<Step> history,
      @ForAll @IntRange(min = 2, max = 4) int dataNodes,
      @ForAll boolean witness) {
    new Run(PrimaryPolicy.QUORUM, dataNodes, witness).play(history);
  }

  /** A client that watches a model. */
  private static final class Run {

    private final ClusterModel model;
    private final PrimaryPolicy policy;
    private final Resolver resolver;
    private final Map<HostAndPort, Told> told = new HashMap<>();
    private final Map<HostAndPort, Long> toldAt = new HashMap<>();

    /** What was served on the newest timeline. */
    private @Nullable Term newest;

    /** Who was seen to be superseded, and not seen demoted since, by id. */
    private final Map<Integer, Loss> superseded = new HashMap<>();

    private Decision decision = Decision.NONE;

    /** Since when the primary served last has been without most of the nodes, or null. */
    private @Nullable Long unsupportedSince;

    /** A node on that timeline has lost its role, said another one. */
    private record Loss(int timeline, int teller) {}

    Run(PrimaryPolicy policy, int dataNodes, boolean witness) {
      this.policy = policy;
      model = new ClusterModel(dataNodes, witness);
      List<HostAndPort> seeds = new ArrayList<>();
      for (int id = 1; id <= model.size(); id++) {
        seeds.add(ClusterModel.address(id));
      }
      resolver = new Resolver(seeds, (name, address) -> null, policy);
    }

    void play(List<Step> history) {
      lookRound();
      for (Step step : history) {
        happen(step);
        pass(Duration.ofMillis(step.millis));
      }
      Node rightful = model.endFaults();
      for (Duration waited = Duration.ZERO;
          waited.compareTo(SERVED_WITHIN) < 0;
          waited = waited.plusMillis(500)) {
        pass(Duration.ofMillis(500));
        model.syncWitnesses();
        lookRound();
      }
      assertTrue(decision.available(), () -> "the rightful n" + rightful.id + ": " + decision);
      assertEquals(rightful.id, term().primaryId(), decision::reason);
      assertEquals(rightful.timeline, term().timeline(), decision::reason);
    }

    private void pass(Duration time) {
      model.pass(time);
      toldAt
          .entrySet()
          .removeIf(
              entry -> {
                boolean old = model.now() - entry.getValue() > MAX_AGE.toNanos();
                if (old) {
                  told.remove(entry.getKey());
                }
                return old;
              });
      decide();
    }

    private void happen(Step step) {
      Node node = model.node(1 + step.node % model.size());
      Node other = model.node(1 + step.other % model.size());
      switch (step.kind) {
        case KILL -> model.kill(node);
        case START -> model.start(node);
        case FREEZE -> model.freeze(node);
        case THAW -> model.thaw(node);
        case CUT -> model.cut(node, other);
        case HEAL -> model.heal(node, other);
        case CUT_FROM_CLIENT -> model.cutFromClient(node);
        case HEAL_TO_CLIENT -> model.healToClient(node);
        case PROMOTE_BY_REPMGRD -> model.promoteByRepmgrd(node);
        case PROMOTE_BY_HAND -> model.promoteByHand(node);
        case RECORD -> model.record(node);
        case FOLLOW -> model.follow(node, other);
        case REJOIN -> model.rejoin(node, other);
        case SYNC_WITNESSES -> model.syncWitnesses();
        case UNREGISTER -> model.unregister(node, other);
        case LOOK -> look(node.id);
        case LOOK_ROUND -> lookRound();
        case PASS -> pass(Duration.ofSeconds(step.node));
      }
    }

    private void lookRound() {
      for (int id = 1; id <= model.size(); id++) {
        look(id);
      }
    }

    private void look(int id) {
      HostAndPort address = ClusterModel.address(id);
      told.put(address, model.ask(model.node(id)));
      toldAt.put(address, model.now());
      decide();
    }

    // ---- what must always be so ----------------------------------------------------------------

    private void decide() {
      List<Observation> observations =
          new ArrayList<>(told.values().stream().map(Told::observation).toList());
      Decision next = resolver.resolve(decision, observations, model.now());
      Collections.shuffle(observations, new Random(model.now()));
      assertEquals(next, resolver.resolve(decision, observations, model.now()), "another order");
      assertTrue(resolver.resolve(next, observations, model.now()).looksLike(next), "once more");
      noteSuperseded();
      decision = next;
      checkWords();
      if (decision.available()) {
        checkServed();
      }
      checkFenced();
    }

    /** Who is refused keeps no connection, nor, for long, who has lost most of the nodes. */
    private void checkFenced() {
      Term term = decision.term();
      if (term == null) {
        return;
      }
      if (policy == PrimaryPolicy.LATEST) {
        Answer answer = answerOf(term.primaryId());
        Loss loss = superseded.get(term.primaryId());
        assertTrue(
            loss == null
                || answer == null
                || answer.row(loss.teller).isEmpty()
                || decision.fenced(),
            () -> "not fenced, though superseded, " + loss + ": " + decision.reason());
        return;
      }
      boolean supported =
          decision.available()
              || 2 * followersThatSawLately(term.primaryId()) > decision.memory().members().size();
      unsupportedSince =
          supported ? null : unsupportedSince == null ? (Long) model.now() : unsupportedSince;
      assertTrue(
          unsupportedSince == null
              || model.now() - unsupportedSince < Resolver.UNSUPPORTED.toNanos()
              || decision.fenced(),
          () -> "not fenced, though without most of the nodes: " + decision.reason());
    }

    private long followersThatSawLately(int id) {
      return told.values().stream()
          .map(one -> one.observation().answer())
          .filter(answer -> answer != null && answer.upstreamId() == id)
          .map(Answer::upstreamSeenAt)
          .filter(
              seenAt -> seenAt != null && model.now() - seenAt <= Resolver.SEEN_LATELY.toNanos())
          .count();
    }

    private void checkWords() {
      assertFalse(decision.reason().isBlank());
      for (ClusterView.Node node : decision.nodes()) {
        if (node.state() == State.SUPERSEDED) {
          assertFalse(node.detail().isBlank(), node::toString);
        }
      }
      long up =
          decision.nodes().stream()
              .filter(node -> node.role() == Role.PRIMARY && node.state() == State.UP)
              .count();
      assertTrue(!decision.available() || up == 1, decision::toString);
    }

    private void checkServed() {
      Term term = term();
      Answer answer = answerOf(term.primaryId());
      assertTrue(answer != null && !answer.inRecovery(), decision::reason);
      // Whom its own table no longer knows is gone for good: somebody has said so.
      Term before = newest;
      assertTrue(
          before == null
              || term.timeline() >= before.timeline()
              || answer.row(before.primaryId()).isEmpty(),
          () -> "older than " + before + ": " + decision);
      newest = term;
      if (policy == PrimaryPolicy.LATEST) {
        Loss loss = superseded.get(term.primaryId());
        assertTrue(
            loss == null || answer.row(loss.teller).isEmpty(),
            () -> "was seen to be superseded, " + loss + ": " + decision.reason());
      } else {
        checkMajority(term, answer);
      }
    }

    /** By the truth of when they were asked, whatever they said. */
    private void checkMajority(Term term, Answer answer) {
      long votes =
          1
              + told.entrySet().stream()
                  .filter(entry -> !entry.getKey().equals(ClusterModel.address(term.primaryId())))
                  .map(Map.Entry::getValue)
                  .filter(
                      one ->
                          one.upstream() == term.primaryId()
                              && one.seenTimeline() == term.timeline())
                  .count();
      assertTrue(
          2 * votes > answer.copy().size(),
          () -> votes + " of " + answer.copy().size() + ": " + decision.reason());
    }

    private void noteSuperseded() {
      for (Told one : told.values()) {
        Answer answer = one.observation().answer();
        if (answer == null) {
          continue;
        }
        Loss loss = superseded.get(answer.nodeId());
        if (loss != null && (answer.inRecovery() || answer.timeline() > loss.timeline)) {
          superseded.remove(answer.nodeId());
        }
      }
      for (Told one : told.values()) {
        Answer teller = one.observation().answer();
        if (teller == null || teller.systemIdentifier() != ClusterModel.CLUSTER) {
          continue;
        }
        for (Member row : teller.copy()) {
          Answer node = answerOf(row.nodeId());
          if (node != null
              && row.nodeId() != teller.nodeId()
              && !node.inRecovery()
              && row.type().equals("primary")
              && !row.active()
              && teller.namesPrimaryOtherThan(row.nodeId())
              && teller.timeline() >= node.timeline()) {
            superseded.put(row.nodeId(), new Loss(node.timeline(), teller.nodeId()));
          }
        }
      }
    }

    private @Nullable Answer answerOf(int id) {
      Told one = told.get(ClusterModel.address(id));
      return one == null ? null : one.observation().answer();
    }

    private Term term() {
      Term term = decision.term();
      assertTrue(term != null, decision::reason);
      return java.util.Objects.requireNonNull(term);
    }
  }
}
