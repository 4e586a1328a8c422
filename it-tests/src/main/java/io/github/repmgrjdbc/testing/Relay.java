package io.github.repmgrjdbc.testing;

import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;

/**
 * A network between a client and a server: what is sent arrives later, both ways, or never. For
 * clients that are to be far from a server, or cut off from it while others are not.
 *
 * <p>What is sent while something is still on its way waits for that: good enough for clients that
 * ask and wait for the answer. Safe for use by several threads.
 */
public final class Relay implements AutoCloseable {

  private static final int CONNECT_MILLIS = 2_000;

  private final Supplier<HostAndPort> server;
  private final Duration oneWay;
  private final ServerSocket listener;
  private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
  private volatile boolean cut;

  private Relay(Supplier<HostAndPort> server, Duration oneWay) throws IOException {
    this.server = server;
    this.oneWay = oneWay;
    listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    start(this::accept);
  }

  /**
   * Begins to relay.
   *
   * @param server where to; asked for each connection
   * @param oneWay how long it takes each way; zero: nothing is added
   * @throws IOException if there is no port to be had
   */
  public static Relay to(Supplier<HostAndPort> server, Duration oneWay) throws IOException {
    return new Relay(server, oneWay);
  }

  /** Where to connect in order to be that far from the server. */
  public HostAndPort address() {
    return new HostAndPort("127.0.0.1", listener.getLocalPort());
  }

  /** A black hole from now on: connections are accepted, and nothing is passed on. */
  public void cut() {
    cut = true;
  }

  /**
   * Ends a cut: what was connected is ended, what comes now gets through. Does nothing without one.
   */
  public void heal() {
    if (!cut) {
      return;
    }
    cut = false;
    resetAll();
  }

  private void accept() throws IOException {
    while (true) {
      Socket client = listener.accept();
      sockets.add(client);
      if (!cut) {
        start(() -> connect(client));
      }
    }
  }

  private void connect(Socket client) throws IOException {
    Socket onward = new Socket();
    sockets.add(onward);
    try {
      client.setTcpNoDelay(true);
      HostAndPort to = server.get();
      onward.connect(new InetSocketAddress(to.host(), to.port()), CONNECT_MILLIS);
      onward.setTcpNoDelay(true);
    } catch (IOException | RuntimeException e) {
      reset(client);
      reset(onward);
      return;
    }
    start(() -> carry(client, onward));
    start(() -> carry(onward, client));
  }

  /** Its end is passed on as what it is: a reset is no farewell. */
  private void carry(Socket from, Socket to) {
    try {
      InputStream in = from.getInputStream();
      OutputStream out = to.getOutputStream();
      byte[] buffer = new byte[1 << 16];
      for (int length = in.read(buffer); length >= 0; length = in.read(buffer)) {
        if (!oneWay.isZero()) {
          LockSupport.parkNanos(oneWay.toNanos());
        }
        if (cut) {
          // Nobody hears of the end, either.
          return;
        }
        out.write(buffer, 0, length);
      }
      if (!cut) {
        close(from);
        close(to);
      }
    } catch (IOException e) {
      if (!cut) {
        reset(from);
        reset(to);
      }
    }
  }

  private void resetAll() {
    sockets.forEach(this::reset);
  }

  private void reset(Socket socket) {
    try {
      socket.setSoLinger(true, 0);
    } catch (IOException e) {
      // It is closed already.
    }
    close(socket);
  }

  private void close(Socket socket) {
    sockets.remove(socket);
    try {
      socket.close();
    } catch (IOException e) {
      // It is of no use any more either way.
    }
  }

  private interface Work {
    void run() throws IOException;
  }

  private static void start(Work work) {
    Thread thread =
        new Thread(
            () -> {
              try {
                work.run();
              } catch (IOException e) {
                // One of the two ends has closed it.
              }
            },
            "relay");
    thread.setDaemon(true);
    thread.start();
  }

  /** Ends it and what is connected. */
  @Override
  public void close() throws IOException {
    listener.close();
    resetAll();
  }
}
