package io.github.repmgrjdbc.internal.monitor;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Decision;
import io.github.repmgrjdbc.internal.topology.Observation;
import io.github.repmgrjdbc.internal.topology.Probe;
import io.github.repmgrjdbc.internal.topology.Resolver;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Probes every address, each in a loop of its own, so that a silent node slows nobody, and has the
 * resolver decide whenever there is something new.
 *
 * <p>Everything but the probes' questions happens in steps (see {@link Tasks}); the public methods
 * may be called by any thread.
 */
public final class TopologyMonitor implements AutoCloseable {

  /** How often a hunting probe reads the node table, however often it asks. */
  static final Duration TABLE_INTERVAL = Duration.ofSeconds(1);

  private final List<HostAndPort> seeds;
  private final Duration probeTimeout;
  private final Resolver resolver;
  private final Function<HostAndPort, Probe> probes;
  private final Tasks tasks;
  private final Consumer<Decision> decided;
  private final Pace pace;
  private final ObservationCache observations;
  private final Map<HostAndPort, Loop> loops =
      new TreeMap<>(Comparator.comparing(HostAndPort::toString));
  private final Set<HostAndPort> suspects = new HashSet<>();
  private Decision decision = Decision.NONE;
  private @Nullable Long huntingSince;
  private Runnable cancelRecheck = () -> {};
  private boolean closed;

  /** The probe of one address and where it is in its loop: asking, listening or waiting. */
  private static final class Loop {
    final HostAndPort address;
    final Probe probe;
    int question;
    int probes;
    @Nullable Long tableReadAt;
    long askedAt;
    boolean asking;
    boolean outdated;
    boolean listening;
    boolean lastListenFailed;
    Runnable cancelWait = () -> {};

    Loop(HostAndPort address, Probe probe) {
      this.address = address;
      this.probe = probe;
    }
  }

  /**
   * Makes a monitor; {@link #start} starts it.
   *
   * @param probes makes the probe of an address
   * @param decided told of every decision, in a step
   */
  public TopologyMonitor(
      List<HostAndPort> seeds,
      Duration steadyInterval,
      Duration huntInterval,
      Duration probeTimeout,
      Resolver resolver,
      Function<HostAndPort, Probe> probes,
      Tasks tasks,
      Consumer<Decision> decided) {
    this.seeds = List.copyOf(seeds);
    this.probeTimeout = probeTimeout;
    this.resolver = resolver;
    this.probes = probes;
    this.tasks = tasks;
    this.decided = decided;
    this.pace =
        new Pace(steadyInterval, huntInterval, () -> ThreadLocalRandom.current().nextDouble());
    // In time, each probe renews its observation or replaces it by a failure. One that has done
    // neither by then is stuck, in a name look-up, say.
    Duration maxAge = probeTimeout.plus(steadyInterval.multipliedBy(2)).plusSeconds(1);
    this.observations = new ObservationCache(maxAge, tasks::nanoTime);
  }

  /**
   * Starts probing the seeds.
   *
   * @param memory the last decision of an earlier monitor, or {@link Decision#NONE}
   */
  public void start(Decision memory) {
    tasks.step(
        () -> {
          decision = memory;
          follow();
        });
  }

  /** What is known of each address. */
  public ObservationCache observations() {
    return observations;
  }

  /** Somebody met trouble there: look soon, and hunt until it has answered again. */
  public void suspect(HostAndPort address) {
    tasks.step(
        () -> {
          if (!closed && loops.containsKey(address)) {
            suspects.add(address);
            // Many threads may say so, again and again: no reason to ask quicker than a hunt does.
            hurry(loop -> pace.hunting(Duration.ZERO, loop.probes));
          }
        });
  }

  /** Asks every node now. */
  public void refresh() {
    tasks.step(this::hurry);
  }

  /** Forgets everything but the seeds, the memory of earlier primaries included. */
  public void forget() {
    tasks.step(
        () -> {
          decision = Decision.NONE;
          observations.clear();
          decide();
          hurry();
        });
  }

  /** Whether some node refuses the probes' login. Any thread may ask. */
  public boolean isRefused() {
    return observations.all().stream().anyMatch(TopologyMonitor::isRefused);
  }

  private static boolean isRefused(Observation observation) {
    return observation.failure() != null && observation.failure().isOfLogin();
  }

  /**
   * The probes log in with something else from now on: forgets which nodes refused what they had,
   * and asks.
   *
   * @param done run, in a step, when that is so
   */
  public void loginChanged(Runnable done) {
    tasks.step(
        () -> {
          for (Loop loop : loops.values()) {
            loop.outdated = loop.asking;
            Observation last = observations.get(loop.address);
            if (last != null && isRefused(last)) {
              observations.remove(loop.address);
            }
          }
          try {
            decide();
          } finally {
            done.run();
          }
          hurry();
        });
  }

  /** Ends all probes. */
  @Override
  public void close() {
    tasks.step(
        () -> {
          closed = true;
          loops.values().forEach(this::end);
          loops.clear();
        });
  }

  private void decide() {
    if (closed) {
      return;
    }
    long now = tasks.nanoTime();
    decision = resolver.resolve(decision, observations.all(), now);
    cancelRecheck.run();
    Long again = decision.recheckAt();
    cancelRecheck =
        again == null
            ? () -> {}
            : tasks.stepAfter(Duration.ofNanos(Math.max(again - now, 0)), this::decide);
    decided.accept(decision);
    follow();
    if (decision.calm() && suspects.isEmpty()) {
      huntingSince = null;
    } else if (huntingSince == null) {
      huntingSince = now;
      hurry();
    }
  }

  /** Starts and ends loops as the members' addresses come and go. */
  private void follow() {
    Set<HostAndPort> wanted = new LinkedHashSet<>(seeds);
    wanted.addAll(decision.addresses());
    loops
        .values()
        .removeIf(
            loop -> {
              boolean gone = !wanted.contains(loop.address);
              if (gone) {
                observations.remove(loop.address);
                suspects.remove(loop.address);
                end(loop);
              }
              return gone;
            });
    for (HostAndPort address : wanted) {
      if (!loops.containsKey(address)) {
        Loop loop = new Loop(address, probes.apply(address));
        loops.put(address, loop);
        ask(loop);
      }
    }
  }

  private void end(Loop loop) {
    loop.cancelWait.run();
    // Not as work: what closes it frees a worker, and after the end there are no workers.
    loop.probe.close();
  }

  private void ask(Loop loop) {
    if (loop.asking || loops.get(loop.address) != loop) {
      return;
    }
    loop.asking = true;
    loop.outdated = false;
    suspects.remove(loop.address);
    long now = tasks.nanoTime();
    loop.askedAt = now;
    Long readAt = loop.tableReadAt;
    boolean readTable =
        huntingSince == null || readAt == null || now - readAt >= TABLE_INTERVAL.toNanos();
    if (readTable) {
      loop.tableReadAt = now;
    }
    int question = ++loop.question;
    Runnable cancelDeadline = cutAfter(probeTimeout, loop);
    work(
        loop,
        () -> {
          Observation observation = ask(loop, question, readTable);
          tasks.step(
              () -> {
                cancelDeadline.run();
                try {
                  if (loops.get(loop.address) == loop
                      && !(loop.outdated && isRefused(observation))) {
                    observations.put(observation);
                    if (observation.answer() != null) {
                      // Remembered: a node that is lost and found has its clients still.
                      loop.probes = observation.answer().probes();
                    }
                    decide();
                  }
                } finally {
                  // Only now: a hunt that this answer has begun need not ask it again.
                  loop.asking = false;
                  waitForNext(loop);
                }
              });
        });
  }

  /** Where no thread can be had at the moment, it is tried again: the loop must not end. */
  private void work(Loop loop, Runnable work) {
    try {
      tasks.work(work);
    } catch (OutOfMemoryError e) {
      loop.asking = false;
      loop.listening = false;
      loop.cancelWait = tasks.stepAfter(pace.steady(), () -> ask(loop));
      throw e;
    }
  }

  private Runnable cutAfter(Duration atMost, Loop loop) {
    int question = loop.question;
    String late = "no answer within " + probeTimeout.toMillis() + " ms";
    return tasks.stepAfter(atMost, () -> tasks.work(() -> loop.probe.cut(question, late)));
  }

  /** A bug in there, or in a socket factory of the user's, must not end the loop. */
  private static Observation ask(Loop loop, int question, boolean readTable) {
    try {
      return loop.probe.ask(question, readTable);
    } catch (RuntimeException | Error e) {
      return Observation.failed(loop.address, null, "the probe failed: " + e);
    }
  }

  /** Nor may one here. True: the connection is of no more use. */
  private static boolean listen(Loop loop, int question, Duration atMost) {
    try {
      return loop.probe.listen(question, atMost);
    } catch (RuntimeException | Error e) {
      return true;
    }
  }

  private void waitForNext(Loop loop) {
    if (loops.get(loop.address) != loop) {
      return;
    }
    Long since = huntingSince;
    Observation last = observations.get(loop.address);
    boolean hopeless = last != null && last.failure() != null && last.failure().isIncurable();
    if (since != null && hopeless) {
      // Not hammered, but not left alone either: somebody may be mending it.
      Duration wait = pace.steady();
      loop.cancelWait =
          tasks.stepAfter(
              wait.compareTo(TABLE_INTERVAL) < 0 ? wait : TABLE_INTERVAL, () -> ask(loop));
    } else if (since != null) {
      Duration soFar = Duration.ofNanos(tasks.nanoTime() - since);
      Duration wait = pace.hunting(soFar, loop.probes);
      loop.cancelWait = tasks.stepAfter(wait, () -> ask(loop));
    } else if (isPrimary(loop.address)
        && last != null
        && last.answer() != null
        && !loop.lastListenFailed) {
      loop.listening = true;
      Duration wait = pace.steady();
      int question = ++loop.question;
      // Half a message would keep it for ever.
      Runnable cancelDeadline = cutAfter(wait.plus(probeTimeout), loop);
      work(
          loop,
          () -> {
            boolean ended = listen(loop, question, wait);
            tasks.step(
                () -> {
                  cancelDeadline.run();
                  loop.listening = false;
                  loop.lastListenFailed = ended;
                  ask(loop);
                });
          });
    } else {
      // Also a primary that answers but then ends the connection: no login after login.
      loop.lastListenFailed = false;
      loop.cancelWait = tasks.stepAfter(pace.steady(), () -> ask(loop));
    }
  }

  private boolean isPrimary(HostAndPort address) {
    return decision.term() != null
        && decision.nodes().stream()
            .anyMatch(
                node -> node.id() == decision.term().primaryId() && address.equals(node.address()));
  }

  /** Has every loop ask now that is not asking already. */
  private void hurry() {
    hurry(loop -> Duration.ZERO);
  }

  /**
   * Has every loop ask that is not asking already.
   *
   * @param sinceLast how long after it was asked last
   */
  private void hurry(Function<Loop, Duration> sinceLast) {
    long now = tasks.nanoTime();
    if (huntingSince == null && !suspects.isEmpty()) {
      huntingSince = now;
    }
    for (Loop loop : List.copyOf(loops.values())) {
      if (!loop.asking) {
        loop.cancelWait.run();
        long wait = loop.askedAt + sinceLast.apply(loop).toNanos() - now;
        if (wait <= 0) {
          askOrWake(loop);
        } else {
          loop.cancelWait = tasks.stepAfter(Duration.ofNanos(wait), () -> askOrWake(loop));
        }
      }
    }
  }

  private void askOrWake(Loop loop) {
    if (loop.listening) {
      loop.probe.wake();
      cutAfter(probeTimeout, loop);
    } else {
      ask(loop);
    }
  }
}
