package io.github.repmgrjdbc.internal.monitor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.PrimaryPolicy;
import io.github.repmgrjdbc.internal.topology.Decision;
import io.github.repmgrjdbc.internal.topology.Member;
import io.github.repmgrjdbc.internal.topology.Observation;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Probe;
import io.github.repmgrjdbc.internal.topology.Resolver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** When the monitor looks, on a virtual time line: three fake nodes, no thread, no waiting. */
class TopologyMonitorTest {

  private static final Duration STEADY = Duration.ofSeconds(1);
  private static final Duration HUNT = Duration.ofMillis(20);
  private static final Duration PROBE_TIMEOUT = Duration.ofSeconds(2);
  private static final Duration SOON = Duration.ofMillis(1);

  private final VirtualTasks tasks = new VirtualTasks();
  private final Map<HostAndPort, FakeProbe> probes = new HashMap<>();
  private final List<Decision> decisions = new ArrayList<>();
  private List<Member> table =
      List.of(row(1, "primary", 0), row(2, "standby", 1), row(3, "standby", 1));
  private final TopologyMonitor monitor =
      new TopologyMonitor(
          List.of(address(1), address(2), address(3)),
          STEADY,
          HUNT,
          PROBE_TIMEOUT,
          new Resolver(
              List.of(address(1), address(2), address(3)),
              (name, address) -> null,
              PrimaryPolicy.LATEST),
          address -> {
            FakeProbe probe = probes.computeIfAbsent(address, FakeProbe::new);
            probe.open = true;
            return probe;
          },
          tasks,
          decisions::add);

  TopologyMonitorTest() {
    for (int id = 1; id <= 3; id++) {
      probes.put(address(id), new FakeProbe(address(id)));
    }
    node(1).becomesPrimary(1);
  }

  @Test
  void findsThePrimaryWithTheFirstAnswers() {
    monitor.start(Decision.NONE);
    tasks.pass(SOON);
    assertServes(1);
    assertEquals(1, node(1).asked);
  }

  /** A container's limit of threads, reached for a moment. */
  @Test
  void aThreadThatCannotBeMadeEndsNoLoop() {
    startSteady();
    tasks.noThreads = true;
    for (int i = 0; i < 200; i++) {
      try {
        tasks.pass(Duration.ofMillis(20));
      } catch (OutOfMemoryError e) {
        // In real life it is logged.
      }
    }
    tasks.noThreads = false;
    int askedPrimary = node(1).asked;
    int askedStandby = node(2).asked;
    tasks.pass(STEADY.multipliedBy(10));
    assertTrue(node(1).asked > askedPrimary, "the primary is never asked again");
    assertTrue(node(2).asked > askedStandby, "the standby is never asked again");
  }

  @Test
  void isSteadyWhenAllIsWell() {
    startSteady();
    tasks.pass(Duration.ofSeconds(60));
    for (int id = 1; id <= 3; id++) {
      int asked = node(id).asked;
      assertTrue(asked >= 60 && asked <= 76, "node " + id + " was asked " + asked + " times");
    }
  }

  @Test
  void noticesTheDeathOfThePrimarysConnectionAtOnceAndHunts() {
    startSteady();
    tasks.pass(Duration.ofMillis(300));
    node(1).dies();
    tasks.pass(SOON);
    assertFalse(last().available());
    // The others were waiting for their next turn, up to a second away.
    int before = node(2).asked;
    tasks.pass(Duration.ofMillis(100));
    assertTrue(node(2).asked - before >= 5, "asked " + (node(2).asked - before) + " times");
  }

  @Test
  void aPrimaryThatEndsTheConnectionAfterEachAnswerIsNotHammered() {
    startSteady();
    node(1).hangsUp = true;
    tasks.pass(STEADY);
    int before = node(1).asked;
    tasks.pass(STEADY.multipliedBy(10));
    int asked = node(1).asked - before;
    assertTrue(asked >= 10 && asked <= 30, "asked " + asked + " times");
    assertServes(1);
  }

  @Test
  void promotionIsSeenWithinOneHuntingInterval() {
    startSteady();
    node(1).dies();
    tasks.pass(Duration.ofSeconds(3));
    node(2).becomesPrimary(2);
    tasks.pass(HUNT.plus(SOON));
    assertServes(2);
  }

  @Test
  void inACrowdEachHuntsSlower() {
    for (int id = 1; id <= 3; id++) {
      node(id).probes = 1_000;
    }
    startSteady();
    node(1).dies();
    tasks.pass(Duration.ofSeconds(1));
    int before = node(2).asked;
    tasks.pass(Duration.ofSeconds(10));
    int asked = node(2).asked - before;
    assertTrue(asked >= 17 && asked <= 23, "asked " + asked + " times in 10 s, of 1,000 clients");
  }

  @Test
  void aSilentNodeSlowsNobody() {
    startSteady();
    node(3).hangs();
    node(1).dies();
    tasks.pass(Duration.ofMillis(200));
    int before = node(2).asked;
    tasks.pass(Duration.ofMillis(200));
    assertTrue(node(2).asked - before >= 10, "asked " + (node(2).asked - before) + " times");
    assertFalse(last().available());
    node(2).becomesPrimary(2);
    tasks.pass(HUNT.plus(SOON));
    assertServes(2);
  }

  @Test
  void aFrozenPrimaryIsInDoubtWhenItsProbeIsLate() {
    startSteady();
    node(1).hangs();
    tasks.pass(STEADY.plus(PROBE_TIMEOUT).plus(SOON));
    assertFalse(last().available());
    assertTrue(last().reason().contains("n1 is silent: no answer within 2000 ms"), last().reason());
  }

  @Test
  void aPrimaryThatComesBackIsServedAndThePaceIsSteadyAgain() {
    startSteady();
    node(1).dies();
    tasks.pass(Duration.ofMillis(500));
    node(1).becomesPrimary(1);
    tasks.pass(HUNT.plus(SOON));
    assertServes(1);
    int before = node(2).asked;
    tasks.pass(Duration.ofSeconds(10));
    assertTrue(node(2).asked - before <= 14, "asked " + (node(2).asked - before) + " times");
  }

  @Test
  void huntingReadsTheNodeTableOnceASecondOnly() {
    startSteady();
    node(1).dies();
    int asked = node(2).asked;
    int read = node(2).tablesRead;
    tasks.pass(Duration.ofSeconds(10));
    assertTrue(node(2).asked - asked > 400, "asked " + (node(2).asked - asked) + " times");
    int reads = node(2).tablesRead - read;
    assertTrue(reads >= 9 && reads <= 11, "read " + reads + " times");
  }

  @Test
  void aLongHuntBacksOff() {
    startSteady();
    node(1).dies();
    tasks.pass(Duration.ofSeconds(150));
    int before = node(2).asked;
    tasks.pass(Duration.ofSeconds(10));
    int asked = node(2).asked - before;
    assertTrue(asked >= 50 && asked <= 65, "asked " + asked + " times");
  }

  @Test
  void afterMinutesWithoutAnybodyThePrimarysReturnIsSeenWithinOneHuntingInterval() {
    startSteady();
    for (int id = 1; id <= 3; id++) {
      node(id).dies();
    }
    tasks.pass(Duration.ofMinutes(1));
    int pending = tasks.pending();
    tasks.pass(Duration.ofMinutes(10));
    assertFalse(last().available());
    assertTrue(tasks.pending() <= pending, "what is planned has grown to " + tasks.pending());

    node(1).becomesPrimary(1);

    tasks.pass(HUNT.multipliedBy(Pace.SLOWEST).plus(SOON));
    assertServes(1);
  }

  @Test
  void suspicionAsksAtOnceAndTheAnswerEndsIt() {
    startSteady();
    tasks.pass(Duration.ofMillis(100));
    int before = node(1).asked;
    monitor.suspect(address(1));
    tasks.pass(SOON);
    assertEquals(before + 1, node(1).asked);
    int others = node(2).asked;
    tasks.pass(Duration.ofSeconds(10));
    assertTrue(node(2).asked - others <= 14, "asked " + (node(2).asked - others) + " times");
  }

  @Test
  void suspicionDuringAQuestionAsksOnceMore() {
    startSteady();
    tasks.pass(Duration.ofMillis(100));
    node(1).takes(Duration.ofMillis(500));
    tasks.pass(STEADY);
    int before = node(1).asked;
    monitor.suspect(address(1));
    tasks.pass(SOON);
    assertEquals(before, node(1).asked);
    tasks.pass(Duration.ofMillis(500).plus(HUNT));
    assertEquals(before + 1, node(1).asked);
  }

  /** Many threads that wait for a connection meet the same trouble. */
  @Test
  void manySuspicionsAskNoQuickerThanAHunt() {
    startSteady();
    tasks.pass(Duration.ofMillis(100));
    int suspect = node(1).asked;
    int other = node(2).asked;
    for (int i = 0; i < 1_000; i++) {
      monitor.suspect(address(1));
      tasks.pass(Duration.ofMillis(1));
    }
    suspect = node(1).asked - suspect;
    other = node(2).asked - other;
    assertTrue(suspect >= 45 && suspect <= 65, "asked " + suspect + " times in a second");
    assertTrue(other >= 45 && other <= 65, "the other one was asked " + other + " times");
  }

  @Test
  void aWrongPasswordIsNotHammered() {
    for (int id = 1; id <= 3; id++) {
      node(id).failure = Observation.failed(address(id), "28P01", "password authentication failed");
    }
    monitor.start(Decision.NONE);
    tasks.pass(Duration.ofSeconds(10));
    assertTrue(node(1).asked <= 14, "asked " + node(1).asked + " times");
  }

  @Test
  void aPrimaryThatRefusesTheLoginIsNotHammeredEither() {
    startSteady();
    node(1).failure = Observation.failed(address(1), "28P01", "password authentication failed");
    tasks.pass(STEADY);
    int before = node(1).asked;
    tasks.pass(Duration.ofSeconds(10));
    assertTrue(node(1).asked - before <= 14, "asked " + (node(1).asked - before) + " times");
  }

  @Test
  void aProbeThatThrowsIsAskedAgain() {
    startSteady();
    node(1).bug = new IllegalStateException("a bug");
    tasks.pass(STEADY.plus(SOON));
    assertTrue(last().reason().contains("a bug"), last().reason());
    node(1).bug = null;
    tasks.pass(HUNT.plus(SOON));
    assertServes(1);
  }

  @Test
  void aProbeThatThrowsWhileItListensIsAskedAgain() {
    node(1).bugInListening = new AssertionError("a bug");
    startSteady();
    int before = node(1).asked;
    tasks.pass(STEADY.multipliedBy(10));
    int asked = node(1).asked - before;
    assertTrue(asked >= 10 && asked <= 30, "asked " + asked + " times");
    assertServes(1);
  }

  @Test
  void membersAreProbedAsTheyComeAndNoLongerWhenTheyAreGone() {
    startSteady();
    table =
        List.of(
            row(1, "primary", 0), row(2, "standby", 1), row(3, "standby", 1), row(4, "standby", 1));
    tasks.pass(STEADY.plus(SOON));
    assertTrue(node(4).open);
    assertTrue(node(4).asked > 0);
    table = List.of(row(1, "primary", 0), row(2, "standby", 1), row(3, "standby", 1));
    tasks.pass(STEADY.plus(SOON));
    assertFalse(node(4).open);
    int before = node(4).asked;
    tasks.pass(Duration.ofSeconds(10));
    assertEquals(before, node(4).asked);
  }

  @Test
  void closeClosesEveryProbeAndNothingGoesOn() {
    startSteady();
    node(3).hangs();
    tasks.pass(STEADY);
    monitor.close();
    tasks.pass(SOON);
    for (int id = 1; id <= 3; id++) {
      assertFalse(node(id).open);
    }
    int asked = node(1).asked + node(2).asked + node(3).asked;
    int decided = decisions.size();
    tasks.pass(Duration.ofMinutes(1));
    assertEquals(asked, node(1).asked + node(2).asked + node(3).asked);
    assertEquals(decided, decisions.size());
  }

  @Test
  void forgetAcceptsAnOlderTimelineAgain() {
    node(1).becomesPrimary(5);
    startSteady();
    node(3).dies();
    tasks.pass(STEADY);
    node(1).becomesPrimary(1);
    tasks.pass(STEADY);
    assertFalse(last().available());
    monitor.forget();
    tasks.pass(HUNT.plus(SOON));
    assertServes(1);
  }

  private void startSteady() {
    monitor.start(Decision.NONE);
    tasks.pass(SOON);
    assertServes(1);
  }

  private void assertServes(int id) {
    assertTrue(last().available(), last().reason());
    assertEquals(id, last().term() == null ? 0 : last().term().primaryId(), last().reason());
  }

  private Decision last() {
    return decisions.get(decisions.size() - 1);
  }

  private FakeProbe node(int id) {
    return probes.computeIfAbsent(address(id), FakeProbe::new);
  }

  private static HostAndPort address(int id) {
    return new HostAndPort("n" + id, 5432);
  }

  private static Member row(int id, String type, int upstream) {
    return new Member(id, "n" + id, type, true, upstream, "host=n" + id);
  }

  /** A node and its probe in one. */
  private final class FakeProbe implements Probe {
    private final HostAndPort address;
    private final int id;
    int asked;
    int tablesRead;
    boolean open;
    @Nullable Observation failure;
    @Nullable RuntimeException bug;
    @Nullable Error bugInListening;
    private boolean hanging;
    private boolean hangsUp;
    private boolean busy;
    private Duration delay = Duration.ZERO;
    private int timeline;
    private int probes;
    private List<Member> copy = List.of();
    private Runnable wake = () -> {};
    private String cut = "";
    private int asking;

    FakeProbe(HostAndPort address) {
      this.address = address;
      this.id = Integer.parseInt(address.host().substring(1));
    }

    void becomesPrimary(int newTimeline) {
      timeline = newTimeline;
      failure = null;
      hanging = false;
    }

    void dies() {
      failure = Observation.failed(address, "08001", "Connection refused");
      wake.run();
    }

    void takes(Duration time) {
      delay = time;
    }

    void hangs() {
      hanging = true;
    }

    @Override
    public Observation ask(int question, boolean readTable) {
      asked++;
      asking = question;
      cut = "";
      if (bug != null) {
        throw bug;
      }
      if (!delay.isZero()) {
        block(delay);
      }
      if (hanging) {
        block(Duration.ofDays(1));
        return Observation.failed(address, "08006", cut);
      }
      assertFalse(busy, "asked while listening: node " + id);
      if (failure != null) {
        return failure;
      }
      if (readTable) {
        tablesRead++;
        copy = table;
      }
      boolean primary = timeline > 0;
      return Observation.of(
          address,
          new Answer(
              id,
              !primary,
              primary ? timeline : 1,
              7L,
              1,
              primary ? 0 : 1,
              null,
              copy,
              null,
              probes));
    }

    @Override
    public boolean listen(int question, Duration atMost) {
      asking = question;
      if (bugInListening != null) {
        throw bugInListening;
      }
      if (!hangsUp) {
        block(atMost);
      }
      return hangsUp || failure != null;
    }

    /** A probe is one connection: only one thing may go on there at a time. */
    private void block(Duration atMost) {
      assertFalse(busy, "two things at once on the probe of node " + id);
      busy = true;
      tasks.block(atMost, waker -> wake = waker);
      busy = false;
    }

    @Override
    public void wake() {
      wake.run();
    }

    @Override
    public void cut(int question, String reason) {
      if (question == asking) {
        cut = reason;
        wake.run();
      }
    }

    @Override
    public void close() {
      open = false;
      cut(asking, "closed");
    }
  }
}
