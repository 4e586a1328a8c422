package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.testing.Fault;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.awaitility.core.ConditionTimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * Strikes nodes, one at a time, and gives them back; sometimes the next before the cluster is at
 * full strength again. A seed makes the same choices again; what is hit by them is another matter.
 */
final class Nemesis {

  private static final Duration PROMOTION_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration HEALTH_TIMEOUT = Duration.ofMinutes(3);

  /** A primary that does not hear the others, or the other way round, may rightly go on. */
  private static final Duration ONE_WAY_TIMEOUT = Duration.ofSeconds(20);

  /** What it does. */
  enum Blow {
    KILL(Fault.KILL),
    SHUTDOWN(Fault.SHUTDOWN),
    FREEZE(Fault.FREEZE),
    BLACK_HOLE(Fault.CUT_OFF),
    CUT_FROM_NODES(Fault.CUT_FROM_NODES),
    DEAFEN(Fault.DEAFEN),
    SILENCE(Fault.SILENCE),

    /** The node is alone with the clients in the east, the other nodes with those in the west. */
    SPLIT(Fault.CUT_FROM_NODES),

    /** The clients in the east do not reach it, and all is well with it. */
    CLIENTS_CUT(null),

    STOP(Fault.STOP),

    /** Handed over as by a stop, and back at once. */
    SWITCHOVER(Fault.STOP);

    private final @Nullable Fault fault;

    Blow(@Nullable Fault fault) {
      this.fault = fault;
    }

    private boolean isOneWay() {
      return this == DEAFEN || this == SILENCE;
    }
  }

  private final RepmgrCluster cluster;
  private final Side east;
  private final Side west;
  private final Random random;
  private final List<Strike> strikes = new ArrayList<>();

  /** What it did, and when it began, by {@link System#nanoTime()}. */
  record Strike(Blow blow, long began) {}

  /** Does nothing yet. */
  Nemesis(RepmgrCluster cluster, Side east, Side west, long seed) {
    this.cluster = cluster;
    this.east = east;
    this.west = west;
    this.random = new Random(seed);
  }

  /** What it has done, in that order. */
  List<Strike> strikes() {
    return List.copyOf(strikes);
  }

  /** Strikes so often, each kind as often as any other, and lets the cluster heal at the end. */
  void run(int times) {
    List<Blow> deck = new ArrayList<>();
    for (int i = 1; i <= times; i++) {
      if (deck.isEmpty()) {
        deck.addAll(List.of(Blow.values()));
        Collections.shuffle(deck, random);
      }
      // Each kind once at the primary: that matters most.
      boolean atPrimary = i <= Blow.values().length || random.nextInt(10) < 8;
      strike("%d of %d".formatted(i, times), deck.remove(0), atPrimary);
      if (random.nextBoolean()) {
        cluster.awaitHealthy(HEALTH_TIMEOUT);
      } else {
        pause(2_000);
      }
    }
    cluster.awaitHealthy(HEALTH_TIMEOUT);
  }

  private void strike(String number, Blow blow, boolean atPrimary) {
    RepmgrNode primary = cluster.awaitPrimary(PROMOTION_TIMEOUT);
    List<RepmgrNode> others = primary.others();
    RepmgrNode node = atPrimary ? primary : others.get(random.nextInt(others.size()));
    long began = System.nanoTime();
    strikes.add(new Strike(blow, began));
    if (blow == Blow.SPLIT) {
      east.cut(other -> other != node);
      west.cut(node::equals);
    } else if (blow == Blow.CLIENTS_CUT) {
      east.cut(node::equals);
    }
    String then = "";
    Fault fault = blow.fault;
    if (fault != null) {
      fault.strike(node);
      if (blow == Blow.SWITCHOVER) {
        node.startContainer();
      }
      if (atPrimary) {
        then = successor(node, blow.isOneWay() ? ONE_WAY_TIMEOUT : PROMOTION_TIMEOUT);
      }
    }
    pause(3_000);
    if (fault != null && blow != Blow.SWITCHOVER) {
      fault.undo(node);
    }
    east.heal();
    west.heal();
    System.out.printf(
        "%s: %s: %s%s%s; %.1f s%n",
        number,
        blow,
        node,
        atPrimary ? ", the primary" : "",
        then,
        (System.nanoTime() - began) / 1e9);
  }

  private String successor(RepmgrNode old, Duration timeout) {
    try {
      return ", then " + cluster.awaitPrimary(timeout, old);
    } catch (ConditionTimeoutException e) {
      return ", and no other";
    }
  }

  private void pause(int atMostMillis) {
    LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(500 + random.nextInt(atMostMillis)));
  }
}
