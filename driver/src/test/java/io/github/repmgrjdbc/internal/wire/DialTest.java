package io.github.repmgrjdbc.internal.wire;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.FakeServer.End;
import io.github.repmgrjdbc.FakeServer.Mode;
import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.lang.ref.WeakReference;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.channels.SocketChannel;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DialTest {

  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Map<String, String> USER = Map.of("user", "app");
  private static final Network NETWORK =
      new Network(DialTest::run, InetAddress::getAllByName, AllowedHosts.ANY);

  private final FakeServer server = new FakeServer(1);
  private final AtomicInteger closed = new AtomicInteger();
  private final Dial dial = new Dial(server.address(), null, NETWORK, closed::incrementAndGet);

  @AfterEach
  void closeServer() {
    server.close();
  }

  // ---- cut -----------------------------------------------------------------------------------

  @Test
  void whatIsCutBeforeItsSocketExistsIsNotOpened() {
    dial.cut("the term has passed");

    assertThrows(SQLException.class, () -> dial.open("app", USER));

    assertEquals("the term has passed", dial.cutReason());
    assertEquals(0, server.accepted());
    assertTrue(dial.hasEnded());
  }

  @ParameterizedTest
  @EnumSource(
      value = Mode.class,
      names = {"SILENT", "HANG_IN_LOGIN"})
  void aCutFreesALogin(Mode mode) throws Exception {
    server.mode(mode);
    Blocked<Connection> login = new Blocked<>(() -> dial.open("app", USER));
    login.awaitIn("implRead");

    dial.cut("the term has passed");

    login.fails();
    assertTrue(dial.hasEnded());
  }

  @Test
  void aCutFreesARead() throws Exception {
    Connection connection = dial.open("app", USER);
    Blocked<Boolean> read = new Blocked<>(() -> execute(connection, "select pg_sleep(1000)"));
    read.awaitIn("implRead");
    await().atMost(SOON).until(() -> server.sleepers() == 1);

    dial.cut("the term has passed");

    read.fails();
    await().atMost(SOON).until(() -> server.connections() == 0);
  }

  @Test
  void aCutFreesAWrite() throws Exception {
    Connection connection = dial.open("app", USER);
    server.mode(Mode.SILENT);
    // More than all the buffers on the way hold.
    String statement = "select '" + "x".repeat(64 * 1024 * 1024) + "'";
    Blocked<Boolean> write = new Blocked<>(() -> execute(connection, statement));
    write.awaitIn("implWrite");

    dial.cut("the term has passed");

    write.fails();
  }

  @Test
  void aCutFreesAConnect() throws Exception {
    // Its backlog is full, so that the kernel drops what else knocks.
    List<SocketChannel> knocking = new ArrayList<>();
    try (ServerSocket full = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      for (int i = 0; i < 8; i++) {
        SocketChannel channel = SocketChannel.open();
        knocking.add(channel);
        channel.configureBlocking(false);
        channel.connect(full.getLocalSocketAddress());
      }
      Dial hopeless =
          new Dial(new HostAndPort("127.0.0.1", full.getLocalPort()), null, NETWORK, () -> {});
      Blocked<Connection> connect = new Blocked<>(() -> hopeless.open("app", USER));
      connect.awaitIn("connect");
      assertNull(hopeless.connectedTo());

      hopeless.cut("the term has passed");

      connect.fails();
      assertTrue(hopeless.hasEnded());
    } finally {
      for (SocketChannel channel : knocking) {
        channel.close();
      }
    }
  }

  @Test
  void aCutResets() throws Exception {
    Connection connection = dial.open("app", USER);

    dial.cut("the term has passed");

    await().atMost(SOON).until(() -> server.ends().size() == 1);
    assertEquals(End.RESET, server.ends().get(0));
    assertThrows(SQLException.class, () -> execute(connection, "select 1"));
  }

  @Test
  void hangingUpLetsThePeerReadToTheEnd() throws Exception {
    dial.open("app", USER);

    dial.hangUp("the data source has been closed");

    await().atMost(SOON).until(() -> server.ends().size() == 1);
    assertEquals(End.FIN, server.ends().get(0));
    assertEquals("the data source has been closed", dial.cutReason());
  }

  @Test
  void theFirstReasonStays() {
    dial.cut("the first");
    dial.cut("the second");
    dial.hangUp("the third");

    assertEquals("the first", dial.cutReason());
  }

  /** The race of a socket's creation against a cut: it never survives. */
  @Test
  void aSocketCreatedDuringACutDoesNotSurvive() throws Exception {
    CyclicBarrier start = new CyclicBarrier(2);
    for (int i = 0; i < 5_000; i++) {
      Dial racing = new Dial(server.address(), null, NETWORK, () -> {});
      Future<?> cut =
          new Blocked<>(
                  () -> {
                    start.await();
                    racing.cut("the term has passed");
                    return true;
                  })
              .task;
      start.await();
      try (Socket socket = racing.createSocket()) {
        cut.get(5, SECONDS);
        assertTrue(socket.isClosed(), "in round " + i);
      } catch (IOException e) {
        cut.get(5, SECONDS);
        assertEquals("the term has passed", e.getMessage());
      }
    }
  }

  // ---- where it goes -------------------------------------------------------------------------

  @Test
  void itDialsWhatTheProbeWasConnectedTo() throws Exception {
    InetSocketAddress peer = new InetSocketAddress(InetAddress.getLoopbackAddress(), server.port());
    Dial elsewhere = new Dial(new HostAndPort("127.0.0.1", closedPort()), peer, NETWORK, () -> {});

    try (Connection connection = elsewhere.open("app", USER)) {
      assertTrue(connection.isValid(1));
    }

    assertEquals(peer, elsewhere.connectedTo());
  }

  @Test
  void aCancelRequestGoesThroughTheSameDial() throws Exception {
    // Only the dial knows where the server is.
    InetSocketAddress peer = new InetSocketAddress(InetAddress.getLoopbackAddress(), server.port());
    Dial elsewhere =
        new Dial(
            new HostAndPort("127.0.0.1", closedPort()), peer, NETWORK, closed::incrementAndGet);
    try (Connection connection = elsewhere.open("app", USER);
        Statement statement = connection.createStatement()) {
      Blocked<Boolean> sleep = new Blocked<>(() -> statement.execute("select pg_sleep(1000)"));
      await().atMost(SOON).until(() -> server.sleepers() == 1);

      statement.cancel();

      SQLException e = sleep.fails();
      assertEquals("57014", e.getSQLState());
      assertEquals(1, server.canceled());
      assertEquals(0, closed.get());
      assertTrue(connection.isValid(1));
      assertFalse(elsewhere.hasEnded());
    }
    assertEquals(1, closed.get());
  }

  // ---- its end -------------------------------------------------------------------------------

  @Test
  void itTellsOnceWhenTheConnectionIsClosed() throws Exception {
    Connection connection = dial.open("app", USER);
    assertFalse(dial.hasEnded());

    connection.close();
    connection.close();

    assertEquals(1, closed.get());
    assertTrue(dial.hasEnded());
  }

  @ParameterizedTest
  @EnumSource(
      value = Mode.class,
      names = {"NORMAL", "RUBBISH"})
  void aLoginThatFailsLeavesNoSocket(Mode mode) {
    server.mode(mode).failLogins("53300");

    assertThrows(SQLException.class, () -> dial.open("app", USER));

    assertTrue(dial.hasEnded());
    await().atMost(SOON).until(() -> server.connections() == 0);
  }

  @Test
  void aTokenIsGoodOnlyWhileItsConnectionIsOpened() throws IOException {
    String token = DialSocketFactory.announce(dial);
    Properties properties = new Properties();
    properties.setProperty("socketFactoryArg", token);
    new DialSocketFactory(properties).createSocket().close();

    DialSocketFactory.withdraw(token);

    assertThrows(IllegalStateException.class, () -> new DialSocketFactory(properties));
  }

  /** The one static map of the driver holds no dial that has been opened, or failed to. */
  @Test
  void noTokenKeepsADial() throws Exception {
    List<WeakReference<Dial>> dials = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      Dial passing = new Dial(server.address(), null, NETWORK, () -> {});
      dials.add(new WeakReference<>(passing));
      server.failLogins(i % 2 == 0 ? null : "53300");
      try {
        passing.open("app", USER).close();
      } catch (SQLException e) {
        assertEquals("53300", e.getSQLState());
      }
    }

    await()
        .atMost(Duration.ofSeconds(15))
        .until(
            () -> {
              System.gc();
              return dials.stream().allMatch(ref -> ref.get() == null);
            });
  }

  // ---- helpers -------------------------------------------------------------------------------

  private static boolean execute(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      return statement.execute(sql);
    }
  }

  /** As the workers of a cluster: nothing waits for anything else. */
  private static void run(Runnable work) {
    Thread thread = new Thread(work, "worker");
    thread.setDaemon(true);
    thread.start();
  }

  private static int closedPort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  /** Something that blocks, in a thread of its own. */
  private static final class Blocked<T> {
    final FutureTask<T> task;
    final Thread thread;

    Blocked(Callable<T> call) {
      task = new FutureTask<>(call);
      thread = new Thread(task, "blocked");
      thread.setDaemon(true);
      thread.start();
    }

    /** Waits until the kernel has it, in that method of the JDK's sockets. */
    void awaitIn(String method) {
      await("the thread blocks in " + method)
          .atMost(SOON)
          .until(
              () -> {
                StackTraceElement[] stack = thread.getStackTrace();
                return stack.length > 0
                    // Without a socket timeout, which old pgJDBC does not set, it is the other two.
                    && List.of("poll", "read0", "write0").contains(stack[0].getMethodName())
                    && Arrays.stream(stack)
                        .anyMatch(
                            frame ->
                                frame.getClassName().equals("sun.nio.ch.NioSocketImpl")
                                    && frame.getMethodName().equals(method));
              });
      assertFalse(task.isDone());
    }

    SQLException fails() throws Exception {
      ExecutionException e =
          assertThrows(ExecutionException.class, () -> task.get(SOON.toSeconds(), SECONDS));
      if (e.getCause() instanceof SQLException cause) {
        return cause;
      }
      throw e;
    }
  }
}
