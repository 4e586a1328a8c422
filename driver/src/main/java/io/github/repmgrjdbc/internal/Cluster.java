package io.github.repmgrjdbc.internal;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrConfig;
import io.github.repmgrjdbc.RepmgrListener;
import io.github.repmgrjdbc.internal.connect.Connector;
import io.github.repmgrjdbc.internal.connect.SocketRegistry;
import io.github.repmgrjdbc.internal.monitor.ThreadTasks;
import io.github.repmgrjdbc.internal.monitor.TopologyMonitor;
import io.github.repmgrjdbc.internal.topology.Decision;
import io.github.repmgrjdbc.internal.topology.NodeProbe;
import io.github.repmgrjdbc.internal.topology.Observation;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Resolver;
import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetAddress;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One cluster as one configuration sees it: the monitor, the published view, and the connections
 * that depend on it. It owns the threads, and it alone publishes the view.
 *
 * <p>Safe for use by several threads.
 */
final class Cluster implements AutoCloseable {

  private static final Logger LOG = LoggerFactory.getLogger("io.github.repmgrjdbc");

  /** Between two attempts to connect to one and the same primary; doubles up to the second one. */
  private static final Duration FIRST_RETRY = Duration.ofMillis(20);

  private static final Duration LAST_RETRY = Duration.ofMillis(500);

  /** What an attempt is given at least, where no login timeout says less; as pgJDBC has it. */
  private static final Duration ATTEMPT = Duration.ofSeconds(10);

  /** How long after a change of primary what was opened ahead is kept for those who wait. */
  private static final Duration AHEAD = Duration.ofSeconds(1);

  /**
   * Where a node has more clients than that, none of them opens connections ahead: their logins
   * would be a load in its worst moment.
   */
  private static final int CROWD = 50;

  private static final Duration CLOSE_WAIT = Duration.ofSeconds(2);

  private final RepmgrConfig config;
  private final List<RepmgrListener> listeners;
  private final ThreadTasks tasks;
  private final ExecutorService listenerThread;
  private final SocketRegistry registry;
  private final TopologyMonitor monitor;
  private final Connector connector;
  private final AddressMap addressMap;
  private final ProbeLogin probeLogin;

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final AtomicLong epochs;
  private volatile ClusterView view;
  private volatile Decision decision = Decision.NONE;
  private volatile boolean closed;

  /** What the last connection was opened with; who loses it will ask for another. */
  private volatile @Nullable Map<String, String> lastParameters;

  /** How many callers wait for any answer, be it the same as before. */
  private final AtomicInteger rechecks = new AtomicInteger();

  /**
   * Starts watching.
   *
   * @param listeners told of changes; may grow and shrink meanwhile
   * @param memory what an earlier one knew last, or {@link Decision#NONE}
   * @param epochs the last epoch of all views of this owner
   */
  Cluster(RepmgrConfig config, List<RepmgrListener> listeners, Decision memory, AtomicLong epochs) {
    this.config = config;
    this.epochs = epochs;
    this.view = new ClusterView(epochs.get(), null, false, List.of(), "nothing is known yet");
    this.listeners = listeners;
    String name = "repmgr-jdbc " + config.database();
    tasks = new ThreadTasks(name);
    listenerThread = listenerThread(name);
    Network network = new Network(tasks::work, InetAddress::getAllByName, allowedHosts(config));
    registry = new SocketRegistry(network, tasks::work);
    connector = new Connector(config.database(), registry, tasks);
    addressMap = new AddressMap(config);
    probeLogin = new ProbeLogin(Login.ofProbes(config));
    monitor =
        new TopologyMonitor(
            config.hosts(),
            config.steadyInterval(),
            config.huntInterval(),
            config.probeTimeout(),
            new Resolver(config.hosts(), addressMap, config.primaryPolicy()),
            address ->
                new NodeProbe(address, config.repmgrDatabase(), this::probeParameters, network),
            tasks,
            this::decided);
    monitor.start(memory.resumed());
  }

  /** Hosts that somebody has written down are trusted; what a translator makes of others is not. */
  private static AllowedHosts allowedHosts(RepmgrConfig config) {
    return AllowedHosts.of(config.allowedHosts())
        .and(
            Stream.concat(config.hosts().stream(), config.addressMap().values().stream())
                .map(HostAndPort::host)
                .toList());
  }

  ClusterView view() {
    return view;
  }

  /** The latest decision: what is known, and what has to be remembered. */
  Decision decision() {
    return decision;
  }

  void refresh() {
    monitor.refresh();
  }

  void forget() {
    monitor.forget();
  }

  /** Whether no connection of it is open. */
  boolean isIdle() {
    return registry.isEmpty();
  }

  void everySecond(Runnable step) {
    tasks.stepAfter(
        Duration.ofSeconds(1),
        () -> {
          step.run();
          everySecond(step);
        });
  }

  /**
   * Gives a connection to the primary; waits for one if need be.
   *
   * @param asked the configuration it is asked with: this cluster's, but for passwords
   * @param login who connects
   * @param loginTimeout how long all of it may take; zero: as long as the configuration's failover
   *     timeout and one more attempt
   */
  Connection connect(RepmgrConfig asked, Login login, Duration loginTimeout) throws SQLException {
    long start = tasks.nanoTime();
    boolean unlimited = loginTimeout.isZero();
    Duration failover = config.failoverTimeout();
    boolean shorter = !unlimited && loginTimeout.compareTo(failover) < 0;
    long giveUp = start + (shorter ? loginTimeout : failover).toNanos();
    Map<String, String> parameters = parameters(login);
    Login offered = probeLogin.offeredBy(asked, login);
    boolean hasOffered = false;
    List<Observation> refusals = null;
    Duration retry = FIRST_RETRY;
    SQLException lastFailure = null;
    while (true) {
      if (closed) {
        throw Errors.closed();
      }
      ClusterView now = view;
      Node primary = now.primary().orElse(null);
      Term term = now.term();
      long waitUntil = giveUp;
      if (primary != null && primary.address() != null && term != null) {
        long deadline =
            unlimited
                ? Math.max(giveUp - start, tasks.nanoTime() - start + ATTEMPT.toNanos()) + start
                : start + loginTimeout.toNanos();
        try {
          Connection connection =
              connector.open(
                  primary.address(), answerOf(primary.address()), term, parameters, deadline);
          if (login.equals(offered)) {
            // It is right here. The probes take it when a node refuses theirs.
            probeLogin.prove(login);
          }
          lastParameters = parameters;
          return connection;
        } catch (SQLException e) {
          lastFailure = e;
          boolean incurable = Observation.Failure.isIncurable(e);
          if (incurable && isStillThere(primary.address(), term, giveUp)) {
            throw Errors.refused(e, primary, config, login);
          }
          monitor.suspect(primary.address());
          long next = tasks.nanoTime() + retry.toNanos();
          waitUntil = next - giveUp < 0 ? next : giveUp;
          retry =
              retry.multipliedBy(2).compareTo(LAST_RETRY) < 0 ? retry.multipliedBy(2) : LAST_RETRY;
        }
      } else {
        // Read first: what was refused was refused to this one, or to an earlier one.
        Login tried = probeLogin.current();
        Observation.Failure failure = incurable();
        boolean refused = failure != null ? failure.isOfLogin() : primaryRefusesLogin();
        if (refusals == null) {
          refusals = refusals();
        }
        if (refused && !hasOffered && !offered.equals(tried)) {
          // Nobody who counts answers to what the probes have; this caller's may be newer.
          hasOffered = true;
          probeAs(offered);
        } else if (failure != null && areLatest(refusals)) {
          // Said before this call came, a second ago, perhaps: it may have been mended since.
          askAgain(refusals, giveUp);
          refusals = List.of();
          continue;
        } else if (failure != null) {
          throw Errors.unreadable(failure, decision, config, tried);
        } else if (!refused) {
          openAhead(now, parameters);
        }
      }
      boolean offers = !hasOffered && !offered.equals(probeLogin.current());
      await(
          () ->
              view.epoch() == now.epoch()
                  && incurable() == null
                  && !(offers && primaryRefusesLogin()),
          waitUntil);
      if (!closed && tasks.nanoTime() - giveUp >= 0) {
        Duration waited = Duration.ofNanos(tasks.nanoTime() - start);
        throw Errors.noPrimary(waited, decision, view, config, lastFailure);
      }
    }
  }

  /** For who waits for a successor: a connection is made ready on each node that may become it. */
  private void openAhead(ClusterView now, Map<String, String> parameters) {
    if (now.term() == null) {
      return;
    }
    for (Node node : now.nodes()) {
      HostAndPort address = node.address();
      if (address != null && node.role() == Role.STANDBY && node.state() == State.UP) {
        Observation last = monitor.observations().get(address);
        if (last != null && last.answer() != null && last.answer().probes() <= CROWD) {
          connector.openAhead(address, last.answer().peer(), parameters);
        }
      }
    }
  }

  /** Whether the primary served last does not let the probes in, whoever else is silent. */
  private boolean primaryRefusesLogin() {
    ClusterView now = view;
    Term term = now.term();
    return term != null
        && !now.available()
        && !probeLogin.isChanging()
        && now.nodes().stream()
            .filter(node -> node.id() == term.primaryId() && node.address() != null)
            .map(node -> monitor.observations().get(node.address()))
            .anyMatch(last -> last != null && last.failure() != null && last.failure().isOfLogin());
  }

  private void await(BooleanSupplier unchanged, long until) throws SQLException {
    try {
      lock.lockInterruptibly();
      try {
        long left = until - tasks.nanoTime();
        while (!closed && left > 0 && unchanged.getAsBoolean()) {
          left = changed.awaitNanos(left);
        }
      } finally {
        lock.unlock();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw Errors.interrupted(view, e);
    }
  }

  /**
   * Whether a probe that asks now still finds the primary there. If not, it may not have been the
   * primary that refused, but whoever has its address now.
   */
  @SuppressWarnings("ReferenceEquality") // it is another answer that counts, be it the same
  private boolean isStillThere(HostAndPort address, Term term, long giveUp) throws SQLException {
    Observation before = monitor.observations().get(address);
    long until = tasks.nanoTime() + config.probeTimeout().toNanos();
    rechecks.incrementAndGet();
    try {
      monitor.suspect(address);
      await(
          () -> before == monitor.observations().get(address), until - giveUp < 0 ? until : giveUp);
    } finally {
      rechecks.decrementAndGet();
    }
    Observation after = monitor.observations().get(address);
    return after != null && after != before && after.answer() != null && term.equals(view.term());
  }

  /** What nodes have said that waiting cannot cure. */
  private List<Observation> refusals() {
    return monitor.observations().all().stream()
        .filter(seen -> seen.failure() != null && seen.failure().isIncurable())
        .toList();
  }

  /** Whether one of these nodes has said nothing new since. */
  @SuppressWarnings("ReferenceEquality") // it is another answer that counts, be it the same
  private boolean areLatest(List<Observation> seen) {
    return seen.stream().anyMatch(one -> one == monitor.observations().get(one.address()));
  }

  /** Has everybody asked, and waits for what those say who refused, a probe's time at most. */
  private void askAgain(List<Observation> refusals, long giveUp) throws SQLException {
    long until = tasks.nanoTime() + config.probeTimeout().toNanos();
    rechecks.incrementAndGet();
    try {
      monitor.refresh();
      await(() -> incurable() != null && areLatest(refusals), until - giveUp < 0 ? until : giveUp);
    } finally {
      rechecks.decrementAndGet();
    }
  }

  private Observation.@Nullable Failure incurable() {
    return probeLogin.isChanging() ? null : decision.incurable();
  }

  /** Has the probes log in so from now on; what they were refused before counts no more. */
  void probeAs(Login login) {
    if (probeLogin.change(login)) {
      monitor.loginChanged(
          () -> {
            probeLogin.changeIsDone();
            signalChange();
          });
    }
  }

  private @Nullable Answer answerOf(HostAndPort address) {
    Observation observation = monitor.observations().get(address);
    return observation == null ? null : observation.answer();
  }

  /** In the monitor's thread, after each decision. */
  private void decided(Decision next) {
    Decision before = decision;
    decision = next;
    Login right = monitor.isRefused() ? probeLogin.takeProved() : null;
    if (right != null) {
      probeAs(right);
    }
    if (before.available() && !next.available()) {
      // Who saw the last failover late may have had some opened after its end.
      connector.endAhead();
    }
    Map<String, String> parameters = lastParameters;
    if (!next.available() && parameters != null && !registry.isEmpty()) {
      // Threads that are stuck on the old primary do not ask before they are freed.
      openAhead(view, parameters);
    }
    if (rechecks.get() > 0 || (!next.available() && monitor.isRefused())) {
      signalChange();
    }
    ClusterView old = view;
    if (!next.looksLike(before)) {
      ClusterView current =
          new ClusterView(
              epochs.incrementAndGet(), next.term(), next.available(), next.nodes(), next.reason());
      // The registry first: who reads the new view must be allowed to act on it. The view next:
      // what is cut finds it when it tries again. Then everybody else.
      // Without a term, after forget(), nobody is known to be superseded: what is open may live.
      int cut = next.term() == null ? 0 : registry.allow(allowed(next), current.reason());
      view = current;
      signalChange();
      if (next.warning()) {
        LOG.warn("{}", describeChange(old, current, cut));
      } else {
        LOG.info("{}", describeChange(old, current, cut));
      }
      if (next.available()) {
        addressMap.reportUnused();
        // Unless the hunt goes on: what is opened then is for its end.
        tasks.stepAfter(
            AHEAD,
            () -> {
              if (decision.available()) {
                connector.endAhead();
              }
            });
      }
      if (!listeners.isEmpty()) {
        listenerThread.execute(() -> listeners.forEach(listener -> tell(listener, old, current)));
      }
    } else {
      // Wording only: nobody needs to be told, but who looks should see the latest.
      view =
          new ClusterView(old.epoch(), next.term(), next.available(), next.nodes(), next.reason());
      if (next.incurable() != null && before.incurable() == null) {
        signalChange();
      }
    }
  }

  /** Connections of a primary that is silent may live; those of one that was refused may not. */
  private static @Nullable Term allowed(Decision decision) {
    return decision.fenced() ? null : decision.term();
  }

  private void signalChange() {
    lock.lock();
    try {
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  private String describeChange(ClusterView before, ClusterView after, int cut) {
    StringBuilder line = new StringBuilder(config.database()).append(": ").append(after.reason());
    Term last = before.term();
    Term next = after.term();
    if (last != null && next != null && last.systemIdentifier() != next.systemIdentifier()) {
      line.append("; it has been rebuilt: its system identifier is ")
          .append(next.systemIdentifier())
          .append(", and was ")
          .append(last.systemIdentifier());
    }
    Map<String, Node> old = new HashMap<>();
    before.nodes().forEach(node -> old.put(key(node), node));
    for (Node node : after.nodes()) {
      Node was = old.get(key(node));
      if (was == null || was.state() != node.state() || was.role() != node.role()) {
        line.append("; ").append(Errors.describe(List.of(node)));
      }
    }
    return line.append(cut == 0 ? "" : "; connections cut: " + cut).toString();
  }

  /** Who belongs to another cluster has no id here. */
  private static String key(Node node) {
    return node.id() == 0 ? String.valueOf(node.address()) : "node " + node.id();
  }

  private static void tell(RepmgrListener listener, ClusterView before, ClusterView after) {
    try {
      listener.viewChanged(before, after);
    } catch (RuntimeException e) {
      LOG.warn("A listener failed on a change of the view", e);
    }
  }

  /** Ends everything: probes, waiters, the connections that it gave, threads. */
  @Override
  public void close() {
    end();
    try {
      tasks.awaitEnd(CLOSE_WAIT);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** As {@link #close}, but does not wait for the threads' end. */
  void end() {
    closed = true;
    registry.close("the data source has been closed");
    connector.close();
    signalChange();
    monitor.close();
    tasks.step(tasks::close);
    listenerThread.shutdown();
  }

  private Map<String, String> probeParameters() {
    Map<String, String> parameters = parameters(probeLogin.current());
    parameters.put(PGProperty.APPLICATION_NAME.getName(), NodeProbe.APPLICATION_NAME);
    // A length that is rubbish must not take the application's memory. Ten thousand rows fit in.
    parameters.put(PGProperty.MAX_RESULT_BUFFER.getName(), "16M");
    // The application's settings are not for the probes, and a PgBouncer between refuses them.
    parameters.remove(PGProperty.OPTIONS.getName());
    parameters.remove(PGProperty.CURRENT_SCHEMA.getName());
    return parameters;
  }

  private Map<String, String> parameters(Login login) {
    Map<String, String> parameters = new HashMap<>(config.driverProperties());
    // Every server that repmgr 4 and later supports has it; it saves pgJDBC a round trip.
    parameters.putIfAbsent(PGProperty.ASSUME_MIN_SERVER_VERSION.getName(), "9.4");
    login.putInto(parameters);
    return parameters;
  }

  private static ExecutorService listenerThread(String name) {
    ThreadPoolExecutor executor =
        new ThreadPoolExecutor(
            1,
            1,
            10,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            ThreadTasks.threads(name + " listeners"),
            new ThreadPoolExecutor.DiscardPolicy());
    executor.allowCoreThreadTimeOut(true);
    return executor;
  }
}
