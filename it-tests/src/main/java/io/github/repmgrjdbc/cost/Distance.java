package io.github.repmgrjdbc.cost;

import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;

/**
 * A network between here and a server: what is sent arrives later, both ways. Beside a server on
 * the same machine a round trip costs next to nothing, and elsewhere it is most of what an opening
 * costs.
 *
 * <p>What is sent while something is still on its way waits for that: good enough for clients that
 * ask and wait for the answer.
 */
final class Distance implements AutoCloseable {

  private final HostAndPort server;
  private final Duration oneWay;
  private final ServerSocket listener;

  private Distance(HostAndPort server, Duration oneWay) throws IOException {
    this.server = server;
    this.oneWay = oneWay;
    listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    start(this::accept);
  }

  static Distance to(HostAndPort server, Duration oneWay) throws IOException {
    return new Distance(server, oneWay);
  }

  /** Where to connect in order to be that far from the server. */
  HostAndPort address() {
    return new HostAndPort("127.0.0.1", listener.getLocalPort());
  }

  private void accept() throws IOException {
    while (true) {
      Socket client = listener.accept();
      Socket onward = new Socket(server.host(), server.port());
      client.setTcpNoDelay(true);
      onward.setTcpNoDelay(true);
      start(() -> carry(client, onward));
      start(() -> carry(onward, client));
    }
  }

  private void carry(Socket from, Socket to) throws IOException {
    try (from;
        to) {
      InputStream in = from.getInputStream();
      OutputStream out = to.getOutputStream();
      byte[] buffer = new byte[1 << 16];
      for (int length = in.read(buffer); length >= 0; length = in.read(buffer)) {
        LockSupport.parkNanos(oneWay.toNanos());
        out.write(buffer, 0, length);
      }
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
            "distance");
    thread.setDaemon(true);
    thread.start();
  }

  /** Lets nobody in any more; who is connected stays so. */
  @Override
  public void close() throws IOException {
    listener.close();
  }
}
