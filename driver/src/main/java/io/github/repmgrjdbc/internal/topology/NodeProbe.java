package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import io.github.repmgrjdbc.internal.wire.Dial;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetSocketAddress;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The real probe: a connection of its own to the metadata database, kept open, so that a question
 * costs one round trip and the server's death is seen at once.
 */
public final class NodeProbe implements Probe {

  /** What the server's administrator, and other probes, see of it. */
  public static final String APPLICATION_NAME = "repmgr-jdbc monitor";

  static final String INSUFFICIENT_PRIVILEGE = "42501";

  /** How long a wake-up may go unnoticed: pgJDBC's wait can only be ended by the server. */
  private static final Duration SLICE = Duration.ofMillis(50);

  private final HostAndPort address;
  private final String database;
  private final Supplier<Map<String, String>> parameters;
  private final Network network;

  /** The connection's, open or opening. */
  private volatile @Nullable Dial dial;

  /** The same while a question is under way: only then may a deadline cut it. Guarded by this. */
  private @Nullable Dial asking;

  /** The question under way, or 0. Guarded by this. */
  private int question;

  /** Why it is to be ended, also if it is just about to connect anew. Guarded by this. */
  private @Nullable String tooLate;

  /** The last question that was cut, and why. Guarded by this. */
  private int cutUpTo;

  private String cutReason = "";

  private volatile boolean awake;
  private volatile boolean closed;
  private volatile @Nullable NodeSession session;

  /**
   * Makes a probe; it connects when it is asked.
   *
   * @param address whom to ask
   * @param database where {@code repmgr.nodes} is
   * @param parameters pgJDBC's, with user and password; asked for each time it connects
   */
  public NodeProbe(
      HostAndPort address,
      String database,
      Supplier<Map<String, String>> parameters,
      Network network) {
    this.address = address;
    this.database = database;
    this.parameters = parameters;
    this.network = network;
  }

  @Override
  public Observation ask(int number, boolean readTable) {
    awake = false;
    begin(number);
    try {
      NodeSession kept = session;
      if (kept != null && kept.dial().cutReason() == null) {
        useFor(kept.dial());
        try {
          return Observation.of(address, kept.ask(readTable));
        } catch (SQLException e) {
          if (kept.dial().cutReason() != null) {
            return failure(kept.dial(), e, "");
          }
          // Ended while nobody looked, by a restart, say: a new one tells what is true now.
        }
      }
      return connectAndAsk();
    } finally {
      begin(0);
    }
  }

  private synchronized void begin(int number) {
    question = number;
    // The deadline may have passed before this thread came to run.
    tooLate = number > 0 && number <= cutUpTo ? cutReason : null;
    asking = null;
  }

  private synchronized void useFor(Dial current) {
    asking = current;
    if (tooLate != null) {
      current.cut(tooLate);
    }
  }

  private Observation connectAndAsk() {
    disconnect();
    Dial opening = new Dial(address, null, network, () -> {});
    dial = opening;
    useFor(opening);
    if (closed) {
      opening.hangUp("the probe is closed");
    }
    try {
      NodeSession opened = new NodeSession(opening, database, parameters.get());
      session = opened;
      return Observation.of(address, opened.ask(true));
    } catch (SQLException e) {
      String cure = INSUFFICIENT_PRIVILEGE.equals(e.getSQLState()) ? cure() : "";
      disconnect();
      InetSocketAddress peer = opening.connectedTo();
      if (peer != null) {
        network.avoid(peer);
      }
      return failure(opening, e, cure);
    }
  }

  /** The statements that would give the rights that are missing, if that can be told. */
  private String cure() {
    NodeSession open = session;
    List<String> grants = new ArrayList<>();
    String user = parameters.get().get("user");
    if (open != null) {
      grants.addAll(open.missingGrants());
    } else if (user != null) {
      // The login itself was refused: of all rights, that one is for the database.
      grants.add("GRANT CONNECT ON DATABASE " + quoted(database) + " TO " + quoted(user));
    }
    return grants.isEmpty() ? "" : "; the cure: " + String.join("; ", grants);
  }

  /** As {@code quote_ident} does, but for key words. */
  private static String quoted(String identifier) {
    return identifier.matches("[a-z_][a-z0-9_]*")
        ? identifier
        : '"' + identifier.replace("\"", "\"\"") + '"';
  }

  private Observation failure(Dial failed, SQLException e, String cure) {
    String cut = failed.cutReason();
    return cut != null
        ? Observation.failed(address, "08006", cut)
        : Observation.failed(address, e, Failure.describe(e) + cure);
  }

  @Override
  public boolean listen(int number, Duration atMost) {
    NodeSession open = session;
    if (open == null) {
      return true;
    }
    long end = System.nanoTime() + atMost.toNanos();
    begin(number);
    try {
      useFor(open.dial());
      while (!awake) {
        Duration left = Duration.ofNanos(end - System.nanoTime());
        if (left.toMillis() <= 0) {
          break;
        }
        open.awaitEnd(left.compareTo(SLICE) < 0 ? left : SLICE);
      }
      return false;
    } catch (SQLException e) {
      disconnect();
      return true;
    } finally {
      begin(0);
    }
  }

  @Override
  public void wake() {
    awake = true;
  }

  @Override
  public synchronized void cut(int number, String reason) {
    if (number > cutUpTo) {
      cutUpTo = number;
      cutReason = reason;
    }
    if (number == question) {
      tooLate = reason;
      if (asking != null) {
        asking.cut(reason);
      }
    }
  }

  private void disconnect() {
    NodeSession open = session;
    session = null;
    if (open != null) {
      open.close();
    }
  }

  @Override
  public void close() {
    closed = true;
    Dial current = dial;
    if (current != null) {
      current.hangUp("the probe is closed");
    }
    NodeSession open = session;
    if (open != null) {
      // Its socket is closed: this waits for nothing.
      open.close();
    }
  }
}
