package io.github.repmgrjdbc.internal.wire;

import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.net.SocketFactory;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;
import org.postgresql.core.SocketFactoryFactory;

/**
 * One physical connection from before its first socket exists until its last one is closed: what it
 * takes to end it at any moment, from any thread, without waiting for anything.
 *
 * <p>It holds the raw sockets, never the connection: an application that drops a connection without
 * closing it must not be kept from having it collected. The sockets are raw because closing a TLS
 * socket waits for a write that is blocked; closing the one beneath frees it.
 *
 * <p>Safe for use by several threads.
 */
public final class Dial {

  private static final org.postgresql.Driver PGJDBC = new org.postgresql.Driver();

  private final HostAndPort address;
  private final @Nullable InetSocketAddress peer;
  private final Runnable onClosed;
  private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
  private volatile @Nullable SocketFactory userFactory;
  private volatile @Nullable InetSocketAddress connectedTo;
  private volatile @Nullable String cutReason;
  private volatile boolean opened;

  /**
   * Makes a dial that has not begun.
   *
   * @param address the one server to connect to
   * @param peer what that address was resolved to when it last answered, or null to resolve it
   * @param onClosed run when the last socket of an opened connection has been closed
   */
  public Dial(HostAndPort address, @Nullable InetSocketAddress peer, Runnable onClosed) {
    this.address = address;
    this.peer = peer;
    this.onClosed = onClosed;
  }

  /**
   * Opens the connection in the calling thread. It has no deadline of its own but pgJDBC's; who
   * wants one calls {@link #cut} when it has passed.
   *
   * @param parameters pgJDBC's, with the user's own socket factory, if any, among them
   * @throws SQLException pgJDBC's; if {@link #cutReason} is set, the cut is the cause
   */
  public Connection open(String database, Map<String, String> parameters) throws SQLException {
    Properties properties = new Properties();
    properties.putAll(parameters);
    if (properties.containsKey(PGProperty.SOCKET_FACTORY.getName())) {
      userFactory = SocketFactoryFactory.getSocketFactory(properties);
    }
    String token = DialSocketFactory.announce(this);
    try {
      properties.setProperty(
          PGProperty.SOCKET_FACTORY.getName(), DialSocketFactory.class.getName());
      properties.setProperty(PGProperty.SOCKET_FACTORY_ARG.getName(), token);
      // pgJDBC would start a thread for its login timeout; ours is a cut.
      properties.setProperty(PGProperty.LOGIN_TIMEOUT.getName(), "0");
      Connection connection =
          PGJDBC.connect(
              "jdbc:postgresql://"
                  + address
                  + "/"
                  + URLEncoder.encode(database, StandardCharsets.UTF_8),
              properties);
      if (connection == null) {
        throw new SQLException("pgJDBC does not accept the address " + address, "08001");
      }
      return connection;
    } finally {
      opened = true;
      DialSocketFactory.withdraw(token);
    }
  }

  /**
   * Ends the connection now, and lets no further socket be opened for it. What the server has not
   * received yet is dropped (SO_LINGER 0): otherwise TCP would deliver it when a broken network
   * heals. Called again, it does nothing.
   */
  public void cut(String reason) {
    if (cutReason == null) {
      cutReason = reason;
    }
    for (Socket socket : sockets) {
      reset(socket);
    }
  }

  /**
   * As {@link #cut}, but what is on its way still arrives: the polite end of an idle connection.
   */
  public void hangUp(String reason) {
    if (cutReason == null) {
      cutReason = reason;
    }
    sockets.forEach(Dial::close);
  }

  /** Why it was ended from here, or null. */
  public @Nullable String cutReason() {
    return cutReason;
  }

  /** Whether it was opened, or failed to, and no socket of it is open any more. */
  public boolean hasEnded() {
    // A user's socket does not tell when it is closed.
    sockets.removeIf(Socket::isClosed);
    return opened && sockets.isEmpty();
  }

  /** What the address was resolved to, once a socket is connected; else null. */
  public @Nullable InetSocketAddress connectedTo() {
    return connectedTo;
  }

  Socket createSocket() throws IOException {
    SocketFactory factory = userFactory;
    Socket socket = factory == null ? new DialSocket() : factory.createSocket();
    // Register first, look second: a cut either finds the socket or is seen here.
    sockets.add(socket);
    String cut = cutReason;
    if (cut != null) {
      reset(socket);
      throw new SocketException(cut);
    }
    return socket;
  }

  private static void reset(Socket socket) {
    try {
      socket.setSoLinger(true, 0);
    } catch (IOException | RuntimeException e) {
      // Closed already, or not a TCP socket: closing is what matters.
    }
    close(socket);
  }

  private static void close(Socket socket) {
    try {
      socket.close();
    } catch (IOException | RuntimeException e) {
      // It is of no use any more either way.
    }
  }

  /** Goes where the probe went, and tells when it is closed. */
  private final class DialSocket extends Socket {

    @Override
    public void connect(SocketAddress endpoint, int timeout) throws IOException {
      InetSocketAddress target = peer != null ? peer : (InetSocketAddress) endpoint;
      super.connect(target, timeout);
      connectedTo = target;
    }

    @Override
    @SuppressWarnings("UnsynchronizedOverridesSynchronized") // onClosed must not run under its lock
    public void close() throws IOException {
      super.close();
      // While it opens, pgJDBC may close one socket to try another (sslmode=prefer).
      if (sockets.remove(this) && sockets.isEmpty() && opened) {
        onClosed.run();
      }
    }
  }
}
