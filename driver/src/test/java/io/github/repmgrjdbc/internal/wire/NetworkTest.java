package io.github.repmgrjdbc.internal.wire;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.UnconnectedSockets;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.channels.SocketChannel;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Names that are slow, gone, or have several addresses of which some are dead. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class NetworkTest {

  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Map<String, String> USER = Map.of("user", "app");

  private final FakeServer server = new FakeServer(1);
  private final HostAndPort name = new HostAndPort("pg", server.port());
  private final ExecutorService workers = Executors.newCachedThreadPool();
  private final AtomicInteger lookUps = new AtomicInteger();
  private final CountDownLatch resolverAnswers = new CountDownLatch(1);

  @AfterEach
  void end() {
    resolverAnswers.countDown();
    workers.shutdownNow();
    server.close();
  }

  @Test
  void ofSeveralAddressesTheOneThatAcceptsIsTaken() throws Exception {
    try (BlackHole hole = new BlackHole("127.0.0.3", server.port())) {
      Dial dial = dial("127.0.0.2", hole.host, "127.0.0.1");

      long start = System.nanoTime();
      try (Connection connection = dial.open("app", USER)) {
        assertTrue(connection.isValid(1));
      }

      // One stagger for the hole, none for the refusal.
      long millis = (System.nanoTime() - start) / 1_000_000;
      assertTrue(millis >= 250 && millis < 2000, "it took " + millis + " ms");
      assertEquals("127.0.0.1", hostOf(dial.connectedTo()));
      assertTrue(dial.hasEnded(), "the attempts that lost are closed");
    }
  }

  @Test
  void theNextIsNotTriedWhileTheFirstAccepts() throws Exception {
    try (ServerSocket next =
        new ServerSocket(server.port(), 5, InetAddress.getByName("127.0.0.2"))) {
      Dial dial = dial("127.0.0.1", "127.0.0.2");

      dial.open("app", USER).close();

      assertEquals("127.0.0.1", hostOf(dial.connectedTo()));
      next.setSoTimeout(10);
      assertThrows(SocketTimeoutException.class, next::accept);
    }
  }

  @Test
  void whenAllRefuseTheReasonIsTold() {
    Dial dial = dial("127.0.0.2", "127.0.0.3");

    SQLException e = assertThrows(SQLException.class, () -> dial.open("app", USER));

    assertInstanceOf(ConnectException.class, e.getCause());
    assertTrue(dial.hasEnded());
  }

  @Test
  void anAddressThatWasOfNoUseIsTriedLast() throws Exception {
    Network network = network("127.0.0.1", "127.0.0.2", "127.0.0.3");

    network.avoid(new InetSocketAddress(InetAddress.getLoopbackAddress(), 5432));

    assertEquals(
        List.of("127.0.0.2", "127.0.0.3", "127.0.0.1"),
        network.find("pg", 5432).get().stream().map(NetworkTest::hostOf).toList());
  }

  @Test
  void ofANamesAddressesOnlyThoseThatAreAllowedAreTried() throws Exception {
    Network network = network(AllowedHosts.of("127.0.0.2/31, 10.0.0.1"), "127.0.0.1", "127.0.0.3");

    assertEquals(
        List.of("127.0.0.3"),
        network.find("pg", 5432).get().stream().map(NetworkTest::hostOf).toList());
  }

  @Test
  void whereNothingIsAllowedTheErrorSaysWhat() {
    Network network = network(AllowedHosts.of("10.0.0.0/8"), "127.0.0.1", "127.0.0.3");
    Dial dial = new Dial(name, null, network, () -> {});

    SQLException e = assertThrows(SQLException.class, () -> dial.open("app", USER));

    assertEquals(
        name.host() + " (127.0.0.1, 127.0.0.3) is not among allowedHosts: 10.0.0.0/8",
        assertInstanceOf(IOException.class, e.getCause()).getMessage());
    assertEquals(0, server.accepted());
  }

  @Test
  void behindASocksProxyNamesAreTheProxysAndNothingIsTakenForAnAddress() throws Exception {
    Network network = network(AllowedHosts.of("pg.invalid"), "127.0.0.9");
    try (SocksProxy proxy = new SocksProxy(server.port())) {
      System.setProperty("socksProxyHost", "127.0.0.1");
      System.setProperty("socksProxyPort", "" + proxy.port());
      Dial dial = new Dial(new HostAndPort("pg.invalid", 5432), null, network, () -> {});
      Dial elsewhere = new Dial(new HostAndPort("else.invalid", 5432), null, network, () -> {});

      try (Connection connection = dial.open("app", USER)) {
        assertTrue(connection.isValid(1));
        // Java says 0.0.0.0, which is this machine.
        assertNull(dial.connectedTo());
      }
      SQLException e = assertThrows(SQLException.class, () -> elsewhere.open("app", USER));
      assertEquals(
          "else.invalid is not among allowedHosts: pg.invalid",
          assertInstanceOf(IOException.class, e.getCause()).getMessage());
    } finally {
      System.clearProperty("socksProxyHost");
      System.clearProperty("socksProxyPort");
    }
  }

  /**
   * Leads everything to one port of this machine, whatever the name (RFC 1928, without a login).
   */
  private final class SocksProxy implements AutoCloseable {

    private final List<Socket> sockets = new CopyOnWriteArrayList<>();

    private final ServerSocket listener = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());

    SocksProxy(int target) throws IOException {
      run(
          () -> {
            while (true) {
              Socket client = listener.accept();
              sockets.add(client);
              DataInputStream in = new DataInputStream(client.getInputStream());
              in.skipNBytes(1);
              in.skipNBytes(in.readUnsignedByte());
              client.getOutputStream().write(new byte[] {5, 0});
              in.skipNBytes(4);
              in.skipNBytes(in.readUnsignedByte() + 2L);
              client.getOutputStream().write(new byte[] {5, 0, 0, 1, 0, 0, 0, 0, 0, 0});
              Socket onward = new Socket(InetAddress.getLoopbackAddress(), target);
              sockets.add(onward);
              run(() -> client.getInputStream().transferTo(onward.getOutputStream()));
              run(() -> onward.getInputStream().transferTo(client.getOutputStream()));
            }
          });
    }

    int port() {
      return listener.getLocalPort();
    }

    private void run(Piping piping) {
      workers.execute(
          () -> {
            try {
              piping.run();
            } catch (IOException e) {
              // One of the ends has closed it.
            }
          });
    }

    @Override
    public void close() throws IOException {
      listener.close();
      for (Socket socket : sockets) {
        socket.close();
      }
    }
  }

  private interface Piping {
    void run() throws IOException;
  }

  /** It knows the way, but where that has led is looked at before anything is said there. */
  @Test
  void aSocketOfTheUsersFactoryThatIsConnectedElsewhereIsNotUsed() {
    Network network = network(AllowedHosts.of("10.0.0.0/8"), "10.0.0.1");
    Dial dial = new Dial(name, null, network, () -> {});
    ConnectedFactory.port = server.port();

    SQLException e =
        assertThrows(
            SQLException.class,
            () ->
                dial.open(
                    "app",
                    Map.of("user", "app", "socketFactory", ConnectedFactory.class.getName())));

    assertEquals(
        name.host() + " (127.0.0.1) is not among allowedHosts: 10.0.0.0/8",
        assertInstanceOf(IOException.class, e.getCause()).getMessage());
    assertTrue(dial.hasEnded());
  }

  /** Its sockets are connected when it gives them away. */
  public static final class ConnectedFactory extends UnconnectedSockets {
    private static volatile int port;

    @Override
    public Socket createSocket() {
      try {
        return new Socket(InetAddress.getLoopbackAddress(), port);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @Test
  void aNameThatIsGoneIsSaidToBeUnknown() {
    Network network =
        new Network(
            workers,
            host -> {
              throw new UnknownHostException(host);
            },
            AllowedHosts.ANY);
    Dial dial = new Dial(name, null, network, () -> {});

    SQLException e = assertThrows(SQLException.class, () -> dial.open("app", USER));

    assertInstanceOf(UnknownHostException.class, e.getCause());
  }

  @Test
  void callersThatWantTheSameNameShareOneLookUp() throws Exception {
    Network network = hangingNetwork();
    List<FutureTask<Connection>> logins = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      logins.add(inThread(new Dial(name, null, network, () -> {})));
    }
    await().atMost(SOON).until(() -> lookUps.get() == 1);

    resolverAnswers.countDown();

    for (FutureTask<Connection> login : logins) {
      login.get(SOON.toSeconds(), SECONDS).close();
    }
    assertEquals(1, lookUps.get());
  }

  @Test
  void aCutFreesWhoWaitsForALookUp() {
    Dial dial = new Dial(name, null, hangingNetwork(), () -> {});
    FutureTask<Connection> login = inThread(dial);
    await().atMost(SOON).until(() -> lookUps.get() == 1);

    dial.cut("the deadline has passed");

    assertFails(login);
    assertEquals(0, server.accepted());
  }

  @Test
  void aCutFreesARaceThoughNoSocketNoticesIt() throws Exception {
    Dial dial = dial("127.0.0.2", "127.0.0.3");
    FutureTask<Connection> login =
        inThread(dial, Map.of("user", "app", "socketFactory", DeafFactory.class.getName()));
    await().atMost(SOON).until(() -> DeafFactory.CONNECTING.get() == 2);

    dial.cut("the deadline has passed");

    assertFails(login);
    DeafFactory.RELEASE.countDown();
  }

  /** Its sockets connect for ever, closed or not. */
  public static final class DeafFactory extends UnconnectedSockets {
    static final AtomicInteger CONNECTING = new AtomicInteger();
    static final CountDownLatch RELEASE = new CountDownLatch(1);

    @Override
    public Socket createSocket() {
      return new Socket() {
        @Override
        public void connect(SocketAddress endpoint, int timeout) throws IOException {
          CONNECTING.incrementAndGet();
          try {
            RELEASE.await();
          } catch (InterruptedException e) {
            throw new IOException("the test is over", e);
          }
        }
      };
    }
  }

  @Test
  void anInterruptFreesWhoWaitsForALookUpAndIsKept() throws Exception {
    Dial dial = new Dial(name, null, hangingNetwork(), () -> {});
    AtomicInteger interrupted = new AtomicInteger();
    Thread thread =
        new Thread(
            () -> {
              assertThrows(SQLException.class, () -> dial.open("app", USER));
              interrupted.addAndGet(Thread.currentThread().isInterrupted() ? 1 : 0);
            });
    thread.start();
    await().atMost(SOON).until(() -> lookUps.get() == 1);

    thread.interrupt();

    thread.join(SOON.toMillis());
    assertEquals(1, interrupted.get());
  }

  /** The race of deadline against hand-over. */
  @Test
  void whatEndsAnOpeningDoesNotEndWhatWasHandedOver() throws Exception {
    Dial dial = dial("127.0.0.1");
    try (Connection connection = dial.open("app", USER)) {
      assertTrue(dial.handOver());

      dial.cutOpening("the deadline has passed");

      assertTrue(connection.isValid(1));
    }
  }

  @Test
  void whatWasCutWhileItOpenedIsNotHandedOver() throws Exception {
    Dial dial = dial("127.0.0.1");
    dial.open("app", USER);

    dial.cutOpening("the deadline has passed");

    assertEquals(false, dial.handOver());
    await().atMost(SOON).until(() -> server.connections() == 0);
  }

  @Test
  void anIpv6LiteralIsDialled() throws Exception {
    InetAddress loopback =
        InetAddress.getByAddress(new byte[] {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    try (ServerSocket listener = new ServerSocket()) {
      try {
        listener.bind(new InetSocketAddress(loopback, 0));
      } catch (IOException e) {
        assumeTrue(false, "no IPv6 here: " + e);
      }
      Dial dial =
          new Dial(
              HostAndPort.parse("[::1]:" + listener.getLocalPort()),
              null,
              new Network(workers, InetAddress::getAllByName, AllowedHosts.ANY),
              () -> {});
      workers.execute(() -> assertThrows(SQLException.class, () -> dial.open("app", USER)));

      try (Socket accepted = listener.accept()) {
        assertEquals(loopback, accepted.getInetAddress());
      }
    }
  }

  @Test
  void theLocalAddressIsBoundHere() throws Exception {
    try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      HostAndPort address = new HostAndPort("pg", listener.getLocalPort());
      Dial dial = new Dial(address, null, network("127.0.0.1"), () -> {});
      workers.execute(
          () ->
              assertThrows(
                  SQLException.class,
                  () ->
                      dial.open("app", Map.of("user", "app", "localSocketAddress", "127.0.0.9"))));

      try (Socket accepted = listener.accept()) {
        assertEquals("127.0.0.9", accepted.getInetAddress().getHostAddress());
      }
    }
  }

  private Dial dial(String... addresses) {
    return new Dial(name, null, network(addresses), () -> {});
  }

  private Network network(String... addresses) {
    return network(AllowedHosts.ANY, addresses);
  }

  private Network network(AllowedHosts allowed, String... addresses) {
    return new Network(
        workers,
        host -> {
          InetAddress[] found = new InetAddress[addresses.length];
          for (int i = 0; i < found.length; i++) {
            found[i] = InetAddress.getByName(addresses[i]);
          }
          return found;
        },
        allowed);
  }

  private Network hangingNetwork() {
    return new Network(
        workers,
        host -> {
          lookUps.incrementAndGet();
          try {
            resolverAnswers.await();
          } catch (InterruptedException e) {
            throw new UnknownHostException("the test is over");
          }
          return new InetAddress[] {InetAddress.getLoopbackAddress()};
        },
        AllowedHosts.ANY);
  }

  private static FutureTask<Connection> inThread(Dial dial) {
    return inThread(dial, USER);
  }

  private static FutureTask<Connection> inThread(Dial dial, Map<String, String> parameters) {
    FutureTask<Connection> login = new FutureTask<>(() -> dial.open("app", parameters));
    Thread thread = new Thread(login, "login");
    thread.setDaemon(true);
    thread.start();
    return login;
  }

  private static void assertFails(FutureTask<Connection> login) {
    ExecutionException e =
        assertThrows(ExecutionException.class, () -> login.get(SOON.toSeconds(), SECONDS));
    assertInstanceOf(SQLException.class, e.getCause());
  }

  private static String hostOf(@Nullable InetSocketAddress address) {
    return address == null ? "nowhere" : address.getAddress().getHostAddress();
  }

  /** An address whose backlog is full, so that the kernel drops what else knocks. */
  private static final class BlackHole implements AutoCloseable {
    final String host;
    private final ServerSocket full;
    private final List<SocketChannel> knocking = new ArrayList<>();

    BlackHole(String host, int port) throws IOException {
      this.host = host;
      full = new ServerSocket(port, 1, InetAddress.getByName(host));
      for (int i = 0; i < 8; i++) {
        SocketChannel channel = SocketChannel.open();
        knocking.add(channel);
        channel.configureBlocking(false);
        channel.connect(full.getLocalSocketAddress());
      }
    }

    @Override
    public void close() throws IOException {
      for (SocketChannel channel : knocking) {
        channel.close();
      }
      full.close();
    }
  }
}
