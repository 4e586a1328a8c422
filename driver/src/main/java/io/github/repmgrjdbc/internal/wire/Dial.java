package io.github.repmgrjdbc.internal.wire;

import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
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

  /** Whether pgJDBC finds our socket factory by name; not if it is in a parent class loader. */
  private static final boolean PGJDBC_SEES_US = sees(PGJDBC.getClass().getClassLoader());

  /** By name: pgJDBC has no constant for it before 42.3.4. */
  private static final String LOCAL_SOCKET_ADDRESS = "localSocketAddress";

  /** Between the attempts at one name's addresses; RFC 8305 has it so. */
  private static final Duration STAGGER = Duration.ofMillis(250);

  private final HostAndPort address;
  private final @Nullable InetSocketAddress peer;
  private final Network network;
  private final Runnable onClosed;
  private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
  private volatile @Nullable SocketFactory userFactory;
  private volatile @Nullable String localAddress;
  private volatile int connectTimeout;
  private volatile int cancelTimeout;

  /** What the opening thread waits for, other than its socket. */
  private volatile @Nullable CompletableFuture<?> waitingFor;

  private volatile @Nullable InetSocketAddress connectedTo;
  private volatile @Nullable String cutReason;
  private volatile boolean opened;
  private boolean handedOver;

  /**
   * Makes a dial that has not begun.
   *
   * @param address the one server to connect to
   * @param peer what that address was resolved to when it last answered, or null to resolve it
   * @param onClosed run when the last socket of an opened connection has been closed
   */
  public Dial(
      HostAndPort address, @Nullable InetSocketAddress peer, Network network, Runnable onClosed) {
    this.address = address;
    this.peer = peer;
    this.network = network;
    this.onClosed = onClosed;
  }

  /**
   * Opens the connection in the calling thread. It has no deadline of its own but pgJDBC's; who
   * wants one calls {@link #cutOpening} when it has passed.
   *
   * @param parameters pgJDBC's, with the user's own socket factory, if any, among them
   * @throws SQLException pgJDBC's; if {@link #cutReason} is set, the cut is the cause
   */
  public Connection open(String database, Map<String, String> parameters) throws SQLException {
    Thread thread = Thread.currentThread();
    ClassLoader context = thread.getContextClassLoader();
    if (PGJDBC_SEES_US || sees(context)) {
      return openHere(database, parameters);
    }
    // pgJDBC 42.7.13 and later also look there; earlier ones must be beside this driver.
    thread.setContextClassLoader(Dial.class.getClassLoader());
    try {
      return openHere(database, parameters);
    } finally {
      thread.setContextClassLoader(context);
    }
  }

  private static boolean sees(@Nullable ClassLoader loader) {
    try {
      return Class.forName(DialSocketFactory.class.getName(), false, loader)
          == DialSocketFactory.class;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  private Connection openHere(String database, Map<String, String> parameters) throws SQLException {
    Properties properties = new Properties();
    properties.putAll(parameters);
    connectTimeout = PGProperty.CONNECT_TIMEOUT.getInt(properties) * 1000;
    cancelTimeout = PGProperty.CANCEL_SIGNAL_TIMEOUT.getInt(properties) * 1000;
    // The sockets are connected here, so they are bound here too.
    localAddress = (String) properties.remove(LOCAL_SOCKET_ADDRESS);
    String token = DialSocketFactory.announce(this);
    try {
      if (properties.containsKey(PGProperty.SOCKET_FACTORY.getName())) {
        userFactory = SocketFactoryFactory.getSocketFactory(properties);
      }
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
    } catch (RuntimeException | Error e) {
      // pgJDBC closes what it has opened when it fails by itself, but not so for these.
      sockets.forEach(Dial::close);
      if (e instanceof Error error && !(e instanceof LinkageError)) {
        throw error;
      }
      // Of a server that answers rubbish, or of a user's socket factory.
      throw new SQLException("Connecting failed with " + e, "08001", e);
    } finally {
      opened = true;
      DialSocketFactory.withdraw(token);
    }
  }

  // ---- the end -------------------------------------------------------------------------------

  /**
   * Ends the connection now, and lets no further socket be opened for it. What the server has not
   * received yet is dropped (SO_LINGER 0): otherwise TCP would deliver it when a broken network
   * heals. Called again, it does nothing.
   */
  public void cut(String reason) {
    refuse(reason);
    for (Socket socket : sockets) {
      reset(socket);
    }
  }

  /** As {@link #cut}, unless the connection has been handed over: what ends only its opening. */
  public synchronized void cutOpening(String reason) {
    if (!handedOver) {
      cut(reason);
    }
  }

  /** Ends the opening. False if it was cut before: then there is no connection to hand over. */
  public synchronized boolean handOver() {
    handedOver = cutReason == null;
    return handedOver;
  }

  /**
   * As {@link #cut}, but what is on its way still arrives: the polite end of an idle connection.
   */
  public void hangUp(String reason) {
    refuse(reason);
    sockets.forEach(Dial::close);
  }

  private void refuse(String reason) {
    if (cutReason == null) {
      cutReason = reason;
    }
    CompletableFuture<?> underWay = waitingFor;
    if (underWay != null) {
      underWay.cancel(false);
    }
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

  // ---- the way there -------------------------------------------------------------------------

  /**
   * Gives pgJDBC a connected socket: it would look the name up in the calling thread for as long as
   * that takes, and try but one of its addresses.
   */
  Socket createSocket() throws IOException {
    Socket socket = newSocket();
    try {
      if (socket.isConnected()) {
        // By the user's factory, which knows the way.
        network.check(address.host(), socket.getInetAddress());
        return socket;
      }
      List<InetSocketAddress> targets = targets();
      if (targets.size() == 1) {
        connect(socket, targets.get(0));
      } else {
        discard(socket);
        socket = race(targets);
      }
      // Behind a SOCKS proxy nobody here knows: Java then says 0.0.0.0.
      if (socket.getRemoteSocketAddress() instanceof InetSocketAddress remote
          && !remote.isUnresolved()
          && !remote.getAddress().isAnyLocalAddress()) {
        connectedTo = remote;
      }
      return socket;
    } catch (IOException | RuntimeException e) {
      discard(socket);
      String cut = cutReason;
      if (cut != null) {
        throw new SocketException(cut);
      }
      throw e;
    }
  }

  private Socket newSocket() throws IOException {
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

  private void discard(Socket socket) {
    close(socket);
    sockets.remove(socket);
  }

  private Socket connect(Socket socket, InetSocketAddress target) throws IOException {
    String local = localAddress;
    if (local != null) {
      socket.bind(new InetSocketAddress(InetAddress.getByName(local), 0));
    }
    socket.connect(target, opened ? cancelTimeout : connectTimeout);
    return socket;
  }

  /** Where this has been connected before, where its probe is, or where its name leads. */
  private List<InetSocketAddress> targets() throws IOException {
    InetSocketAddress known = connectedTo != null ? connectedTo : peer;
    if (known != null) {
      return List.of(known);
    }
    if (!System.getProperty("socksProxyHost", "").isBlank()) {
      // The name may mean something to the proxy only.
      network.check(address.host(), null);
      return List.of(InetSocketAddress.createUnresolved(address.host(), address.port()));
    }
    CompletableFuture<List<InetSocketAddress>> mine = network.find(address.host(), address.port());
    waitFor(mine);
    return await(mine);
  }

  /** A cut cancels it. Register first, look second, as with sockets. */
  private void waitFor(CompletableFuture<?> future) {
    waitingFor = future;
    if (cutReason != null) {
      future.cancel(false);
    }
  }

  /**
   * Tries one address after the other, without waiting for those that do not answer: the first that
   * is connected to is taken, the others are dropped.
   */
  private Socket race(List<InetSocketAddress> targets) throws IOException {
    CompletableFuture<Socket> winner = new CompletableFuture<>();
    AtomicInteger left = new AtomicInteger(targets.size());
    List<Socket> runners = new ArrayList<>();
    Socket kept = null;
    waitFor(winner);
    try {
      for (InetSocketAddress target : targets) {
        Socket socket = newSocket();
        runners.add(socket);
        CompletableFuture<Socket> failed = new CompletableFuture<>();
        network.run(
            () -> {
              try {
                winner.complete(connect(socket, target));
              } catch (IOException | RuntimeException | Error e) {
                if (left.decrementAndGet() == 0) {
                  winner.completeExceptionally(e);
                }
                failed.complete(socket);
              }
            });
        awaitTurn(winner, failed);
        if (winner.isDone()) {
          break;
        }
      }
      kept = await(winner);
      return kept;
    } finally {
      for (Socket runner : runners) {
        if (runner != kept) {
          discard(runner);
        }
      }
    }
  }

  /** Waits until there is a winner, or this one has failed, or it is time to start the next. */
  private static void awaitTurn(CompletableFuture<Socket> winner, CompletableFuture<Socket> failed)
      throws InterruptedIOException {
    try {
      CompletableFuture.anyOf(winner, failed).get(STAGGER.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException | ExecutionException e) {
      // Whether there is a winner is looked up.
    } catch (InterruptedException e) {
      throw interrupted();
    }
  }

  private static InterruptedIOException interrupted() {
    Thread.currentThread().interrupt();
    return new InterruptedIOException("interrupted");
  }

  private static <T> T await(CompletableFuture<T> future) throws IOException {
    try {
      return future.get();
    } catch (InterruptedException e) {
      throw interrupted();
    } catch (CancellationException e) {
      throw new SocketException("cut");
    } catch (ExecutionException e) {
      if (e.getCause() instanceof IOException cause) {
        throw cause;
      }
      throw new IOException(e.getCause());
    }
  }

  /** Tells when it is closed. */
  private final class DialSocket extends Socket {

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
