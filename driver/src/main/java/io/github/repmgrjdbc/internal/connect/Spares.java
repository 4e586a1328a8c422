package io.github.repmgrjdbc.internal.connect;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.monitor.Tasks;
import io.github.repmgrjdbc.internal.wire.Dial;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Connections that are opened ahead while there is no primary: on each node that may become it, one
 * that has logged in. A promotion keeps a standby's sessions, so the first connection to the new
 * primary costs no more than its verification.
 *
 * <p>One for each login is enough: whoever comes next finds out what a usual connection costs while
 * the first one is already at work. They cost the nodes a session each, so they do not last.
 *
 * <p>Safe for use by several threads.
 */
final class Spares {

  private static final Logger LOG = LoggerFactory.getLogger(Spares.class);

  /** Longer than a usual failover takes; who is not needed by then is closed. */
  static final Duration KEPT = Duration.ofSeconds(30);

  /** Of all nodes and logins together. */
  static final int MOST = 8;

  private final String database;
  private final SocketRegistry registry;
  private final Tasks tasks;

  /** Those that were taken or closed stay until {@link #clear}: they are not opened again. */
  private final Map<Key, Spare> spares = new ConcurrentHashMap<>();

  private record Key(HostAndPort address, Map<String, String> parameters) {}

  Spares(String database, SocketRegistry registry, Tasks tasks) {
    this.database = database;
    this.registry = registry;
    this.tasks = tasks;
  }

  /** Has one opened, unless that has been done since {@link #clear}. Does not wait for it. */
  void open(HostAndPort address, @Nullable InetSocketAddress peer, Map<String, String> parameters) {
    Key key = new Key(address, Map.copyOf(parameters));
    if (spares.size() >= MOST || spares.containsKey(key)) {
      return;
    }
    Spare spare = new Spare(registry.registerAhead(address, peer));
    if (spares.putIfAbsent(key, spare) != null) {
      registry.withdraw(spare.dial);
      return;
    }
    tasks.stepAfter(KEPT, () -> tasks.work(spare::end));
    tasks.work(() -> spare.open(key.parameters));
  }

  /** The one that was opened there with these parameters, if it is ready, once. */
  @Nullable Spare take(HostAndPort address, Map<String, String> parameters) {
    Spare spare = spares.isEmpty() ? null : spares.get(new Key(address, parameters));
    return spare != null && spare.take() ? spare : null;
  }

  /** Closes all that nobody has taken. */
  void clear() {
    spares
        .values()
        .removeIf(
            spare -> {
              tasks.work(spare::end);
              return true;
            });
  }

  /** As {@link #clear}, in the calling thread: for when there are none to do the work any more. */
  void close() {
    spares.values().forEach(Spare::end);
  }

  /** Also one whose socket is closed already: pgJDBC would warn of one that nobody closed. */
  private static void close(@Nullable Connection connection) {
    try {
      if (connection != null) {
        connection.close();
      }
    } catch (SQLException e) {
      LOG.debug("Closing a connection that was not needed failed", e);
    }
  }

  /** One of them. */
  final class Spare {

    private final Dial dial;

    /** Both guarded by this. */
    private @Nullable Connection ready;

    private boolean over;

    private Spare(Dial dial) {
      this.dial = dial;
    }

    Dial dial() {
      return dial;
    }

    /** The connection of one that was taken, once: it is the caller's, and not held here. */
    synchronized Connection connection() throws SQLException {
      Connection taken = ready;
      ready = null;
      if (taken == null) {
        throw new SQLException("the spare connection was given away", "08003");
      }
      return taken;
    }

    private void open(Map<String, String> parameters) {
      try {
        Connection opened = dial.open(database, parameters);
        if (!keep(opened)) {
          close(opened);
        }
      } catch (SQLException e) {
        // Whoever needs one opens it, and sees what is wrong.
        LOG.debug("No connection was opened ahead", e);
        registry.withdraw(dial);
      }
    }

    private synchronized boolean keep(Connection opened) {
      ready = over ? null : opened;
      return !over;
    }

    private synchronized boolean take() {
      boolean taken = !over && ready != null;
      over = over || taken;
      return taken;
    }

    private void end() {
      Connection unused;
      synchronized (this) {
        if (over) {
          return;
        }
        over = true;
        unused = ready;
        ready = null;
      }
      dial.hangUp("it was not needed");
      registry.withdraw(dial);
      close(unused);
    }
  }
}
