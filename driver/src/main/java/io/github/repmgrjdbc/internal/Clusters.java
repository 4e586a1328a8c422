package io.github.repmgrjdbc.internal;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.RepmgrConfig;
import io.github.repmgrjdbc.RepmgrListener;
import io.github.repmgrjdbc.internal.topology.Decision;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The clusters of one owner, one for each configuration but for passwords, shared by all who ask
 * with it.
 *
 * <p>They end when the owner closes them. Where nobody does (a driver has no end, a pool that made
 * its data source by class name never closes it), a cluster ends by itself: when it has had no user
 * and no open connection for {@link #IDLE}, and no listener hears of it (listeners keep the one
 * that was asked for last). It starts again when it is asked, and remembers which primary it served
 * last.
 *
 * <p>Safe for use by several threads.
 */
public final class Clusters implements AutoCloseable {

  /** How long a cluster that nobody uses goes on watching. */
  static final Duration IDLE = Duration.ofSeconds(30);

  private final Map<RepmgrConfig, Shared> shared = new ConcurrentHashMap<>();
  private final List<RepmgrListener> listeners = new CopyOnWriteArrayList<>();

  /** What ended clusters knew: a stale primary must not become acceptable by a pause. */
  private final Cache<RepmgrConfig, Decision> memories =
      Caffeine.newBuilder().maximumSize(100).executor(Runnable::run).build();

  /** Of all views, so that they never go back, whichever cluster they are of. */
  private final AtomicLong epochs = new AtomicLong();

  private final Duration idle;
  private volatile @Nullable RepmgrConfig lastAsked;
  private volatile boolean closed;

  /** A cluster and how many calls are using it. */
  private static final class Shared {
    final Cluster cluster;
    int users;
    boolean ended;

    /** What was remembered when it began. */
    final Decision startedWith;

    long idleSince = System.nanoTime();

    Shared(Cluster cluster, Decision startedWith) {
      this.cluster = cluster;
      this.startedWith = startedWith;
    }

    synchronized boolean enter() {
      users += ended ? 0 : 1;
      return !ended;
    }

    synchronized void leave() {
      users--;
      idleSince = System.nanoTime();
    }

    synchronized boolean endIfUnused() {
      ended |= users == 0 && cluster.isIdle();
      return ended;
    }

    synchronized boolean endIfIdle(boolean watched, Duration idle) {
      boolean unused = cluster.isIdle();
      if (watched || users > 0 || !unused) {
        idleSince = System.nanoTime();
      }
      ended |= System.nanoTime() - idleSince >= idle.toNanos();
      return ended;
    }
  }

  /** Makes an empty set. */
  public Clusters() {
    this(IDLE);
  }

  Clusters(Duration idle) {
    this.idle = idle;
  }

  /** Gives a connection to the primary; see {@link Cluster#connect}. */
  public Connection connect(
      RepmgrConfig config, @Nullable String user, @Nullable String password, Duration loginTimeout)
      throws SQLException {
    Login login = new Login(user, password);
    while (true) {
      Shared entry = get(config);
      if (entry.enter()) {
        try {
          return entry.cluster.connect(config, login, loginTimeout);
        } finally {
          entry.leave();
        }
      }
    }
  }

  /** The probes of that cluster, if it is watched, log in as this has it from now on. */
  public void changeLogin(RepmgrConfig config) {
    Shared entry = shared.get(withoutPasswords(config));
    if (entry != null) {
      entry.cluster.probeAs(Login.ofProbes(config));
    }
  }

  /** The view of that cluster; starts watching it if need be. */
  public ClusterView view(RepmgrConfig config) throws SQLException {
    return get(config).cluster.view();
  }

  /** Told of changes in all these clusters. */
  public void addListener(RepmgrListener listener) {
    listeners.add(listener);
  }

  /** No longer told. */
  public void removeListener(RepmgrListener listener) {
    listeners.remove(listener);
  }

  /** Has every node asked now. */
  public void refresh() {
    forEach(Cluster::refresh);
  }

  /** Has every cluster forget which primaries it has served. */
  public void forget() {
    memories.invalidateAll();
    forEach(Cluster::forget);
  }

  /** Ends what nobody uses, at once. */
  public void endUnused() {
    shared.forEach(
        (key, entry) -> {
          if (entry.endIfUnused()) {
            end(key, entry);
          }
        });
  }

  @Override
  public void close() {
    closed = true;
    forEach(Cluster::close);
    shared.clear();
  }

  private void forEach(Consumer<Cluster> action) {
    shared.values().forEach(entry -> action.accept(entry.cluster));
  }

  private Shared get(RepmgrConfig config) throws SQLException {
    if (!closed) {
      RepmgrConfig key = withoutPasswords(config);
      lastAsked = key;
      Shared entry = shared.computeIfAbsent(key, k -> start(k, config));
      // Looked at again: close() may have passed over what was not there yet.
      if (!closed) {
        return entry;
      }
      shared.remove(key, entry);
      entry.cluster.close();
    }
    throw Errors.closed();
  }

  private Shared start(RepmgrConfig key, RepmgrConfig config) {
    Decision memory = memory(key);
    Shared entry = new Shared(new Cluster(config, listeners, memory, epochs), memory);
    entry.cluster.everySecond(
        () -> {
          if (entry.endIfIdle(!listeners.isEmpty() && key.equals(lastAsked), idle)) {
            end(key, entry);
          }
        });
    return entry;
  }

  @SuppressWarnings("ReferenceEquality") // it is what this one began with that it replaces
  private void end(RepmgrConfig key, Shared entry) {
    Decision last = entry.cluster.decision();
    if (last.term() != null) {
      // What it began with is outdated, even if a rebuilt cluster's timeline is older than that.
      memories
          .asMap()
          .merge(
              withoutUsers(key),
              last,
              (old, mine) -> old == entry.startedWith ? mine : newer(old, mine));
    }
    shared.remove(key, entry);
    entry.cluster.end();
  }

  /** What is known of that cluster: by the probes of another user, or of an earlier one. */
  private Decision memory(RepmgrConfig key) {
    RepmgrConfig cluster = withoutUsers(key);
    Decision remembered = memories.getIfPresent(cluster);
    Decision best = remembered == null ? Decision.NONE : remembered;
    for (Map.Entry<RepmgrConfig, Shared> other : shared.entrySet()) {
      if (withoutUsers(other.getKey()).equals(cluster)) {
        best = newer(best, other.getValue().cluster.decision());
      }
    }
    return best;
  }

  /** The one that may know more: by timeline, if both are of one database cluster. */
  private static Decision newer(Decision a, Decision b) {
    ClusterView.Term ofA = a.term();
    ClusterView.Term ofB = b.term();
    if (ofA == null || ofB == null) {
      return ofB == null ? a : b;
    }
    return ofA.systemIdentifier() == ofB.systemIdentifier() && ofA.timeline() > ofB.timeline()
        ? a
        : b;
  }

  /** A password may change while a cluster is watched; its users are apart, each with probes. */
  private static RepmgrConfig withoutPasswords(RepmgrConfig config) {
    return config
        .withCredentials(config.user(), null)
        .withRepmgrCredentials(config.repmgrUser(), null);
  }

  private static RepmgrConfig withoutUsers(RepmgrConfig config) {
    return config.withCredentials(null, null).withRepmgrCredentials(null, null);
  }
}
