package io.github.repmgrjdbc.internal.connect;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.wire.Dial;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetSocketAddress;
import java.sql.SQLException;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/**
 * Every connection given to the application or being opened for it, and the term it is for, so that
 * a change of term can end what it made pointless. Safe for use by several threads.
 */
public final class SocketRegistry {

  private final Map<Dial, Term> dials = new ConcurrentHashMap<>();

  /** Those that are opened before it is known for which term. */
  private final Set<Dial> ahead = ConcurrentHashMap.newKeySet();

  private final Network network;
  private final Executor cutters;

  /** The one term whose connections may live; null: none. */
  private volatile @Nullable Term allowed;

  private volatile boolean closed;

  private volatile String refusal = "no primary is served yet";

  /**
   * Makes an empty registry.
   *
   * @param network where its connections find their way
   * @param cutters runs cuts; they must not wait for one another
   */
  public SocketRegistry(Network network, Executor cutters) {
    this.network = network;
    this.cutters = cutters;
  }

  /** Registers a connection before its socket exists. It is cut at once if its term has passed. */
  Dial register(HostAndPort address, @Nullable InetSocketAddress peer, Term term) {
    Dial dial = dial(address, peer);
    adopt(dial, term);
    return dial;
  }

  /** Registers a connection that may live until it is known whose it is, or this is closed. */
  Dial registerAhead(HostAndPort address, @Nullable InetSocketAddress peer) {
    Dial dial = dial(address, peer);
    // In this order, as below.
    ahead.add(dial);
    if (closed) {
      dial.cut(refusal);
    }
    return dial;
  }

  /** From now on the connection is for this term. It is cut at once if that has passed. */
  void adopt(Dial dial, Term term) {
    // Register first, look second: allow() does it the other way round, so that one of the two
    // sees what the other did.
    dials.put(dial, term);
    ahead.remove(dial);
    if (closed || !term.equals(allowed)) {
      dial.cut(refusal);
    }
  }

  /**
   * Ends the opening of a connection: from here on it is the application's.
   *
   * @throws SQLException with state 08001 if it was cut, or its term has passed meanwhile: then it
   *     is cut soon, and is not to be given to anybody
   */
  void handOver(Dial dial, Term term) throws SQLException {
    if (closed || !term.equals(allowed) || !dial.handOver()) {
      String cut = dial.cutReason();
      throw new SQLException(cut == null ? refusal : cut, "08001");
    }
  }

  private Dial dial(HostAndPort address, @Nullable InetSocketAddress peer) {
    Dial[] self = new Dial[1];
    self[0] = new Dial(address, peer, network, () -> withdraw(self[0]));
    return self[0];
  }

  /** Takes back a connection that did not come about, or has ended. */
  void withdraw(Dial dial) {
    dials.remove(dial);
    ahead.remove(dial);
  }

  /**
   * Lets only connections of this term live from now on, and cuts all others, each on its own.
   *
   * @param term null for no term at all
   * @param reason why the others are cut
   * @return how many were cut
   */
  public int allow(@Nullable Term term, String reason) {
    if (closed) {
      return 0;
    }
    refusal = reason;
    allowed = term;
    int cut = 0;
    for (Map.Entry<Dial, Term> entry : dials.entrySet()) {
      if (!entry.getValue().equals(term)) {
        Dial dial = entry.getKey();
        cutters.execute(
            () -> {
              dial.cut(reason);
              dials.remove(dial);
            });
        cut++;
      }
    }
    return cut;
  }

  /** Lets no connection live from now on, and ends all without losing what they have sent. */
  public void close(String reason) {
    refusal = reason;
    closed = true;
    dials.keySet().forEach(dial -> dial.hangUp(reason));
    ahead.forEach(dial -> dial.hangUp(reason));
  }

  /** Whether no connection is open; drops those whose end could not be noticed. */
  public boolean isEmpty() {
    dials.keySet().removeIf(Dial::hasEnded);
    return dials.isEmpty();
  }
}
