package io.github.repmgrjdbc.internal.connect;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.FakeServer.End;
import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import io.github.repmgrjdbc.internal.wire.Dial;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetAddress;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class SocketRegistryTest {

  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Map<String, String> USER = Map.of("user", "app");

  private final Term first = new Term(42, 1, 1);
  private final Term second = new Term(42, 2, 2);
  private final FakeServer server = new FakeServer(1);
  private static final Network NETWORK =
      new Network(Runnable::run, InetAddress::getAllByName, AllowedHosts.ANY);

  private final SocketRegistry registry = new SocketRegistry(NETWORK, Runnable::run);

  @AfterEach
  void closeServer() {
    server.close();
  }

  @Test
  void nothingMayBeOpenedBeforeThereIsATerm() {
    Dial dial = register(first);

    assertEquals("no primary is served yet", dial.cutReason());
    assertThrows(SQLException.class, () -> dial.open("app", USER));
    assertEquals(0, server.accepted());
  }

  @Test
  void whatIsRegisteredForAnOlderTermIsCut() {
    registry.allow(first, "n1 is the primary");
    registry.allow(second, "n2 is the primary");

    assertEquals("n2 is the primary", register(first).cutReason());
    assertNull(register(second).cutReason());
  }

  /** A decision that is still under way when the data source is closed must not reopen it. */
  @Test
  void closingIsFinal() {
    registry.allow(first, "n1 is the primary");
    registry.close("the data source has been closed");
    registry.allow(first, "n1 is still the primary");

    assertEquals("the data source has been closed", register(first).cutReason());
  }

  @Test
  void aChangeOfTermCutsTheOlderConnectionsAndNoOthers() throws SQLException {
    registry.allow(first, "n1 is the primary");
    open(register(first));
    open(register(first));
    registry.allow(second, "n2 is the primary");
    Connection young = open(register(second));

    assertEquals(0, registry.allow(second, "n2 is still the primary"));

    assertTrue(young.isValid(1));
    await().atMost(SOON).until(() -> server.sessions("app") == 1);
    assertEquals(List.of(End.RESET, End.RESET), server.ends());
    assertFalse(registry.isEmpty());
  }

  @Test
  void noTermAtAllCutsEverything() throws SQLException {
    registry.allow(first, "n1 is the primary");
    open(register(first));

    assertEquals(1, registry.allow(null, "n1 is superseded"));

    await().atMost(SOON).until(() -> server.connections() == 0);
    assertTrue(registry.isEmpty());
  }

  @Test
  void eachCutIsATaskOfItsOwn() {
    List<Runnable> tasks = new ArrayList<>();
    SocketRegistry deferred = new SocketRegistry(NETWORK, tasks::add);
    deferred.allow(first, "n1 is the primary");
    List<Dial> dials = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      dials.add(deferred.register(server.address(), null, first));
    }

    assertEquals(3, deferred.allow(second, "n2 is the primary"));

    assertEquals(3, tasks.size());
    tasks.get(1).run();
    assertEquals(1, dials.stream().filter(dial -> dial.cutReason() != null).count());
  }

  /** The race of register against cut: whichever comes first, the dial is cut. */
  @Test
  void aDialRegisteredWhileItsTermPassesIsCut() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(1);
    try {
      CyclicBarrier start = new CyclicBarrier(2);
      for (int i = 0; i < 20_000; i++) {
        registry.allow(first, "n1 is the primary");
        Future<Dial> registered =
            threads.submit(
                () -> {
                  start.await();
                  return register(first);
                });
        start.await();
        registry.allow(second, "n2 is the primary");
        Dial dial = registered.get(5, TimeUnit.SECONDS);
        assertNotNull(dial.cutReason(), "in round " + i);
        registry.withdraw(dial);
      }
    } finally {
      threads.shutdownNow();
    }
  }

  /** The race of verify against demotion: the cut may come later than the hand-over. */
  @Test
  void whatWasOpenedForATermThatHasPassedIsNotHandedOver() {
    SocketRegistry deferred = new SocketRegistry(NETWORK, task -> {});
    deferred.allow(first, "n1 is the primary");
    Dial dial = deferred.register(server.address(), null, first);
    deferred.allow(second, "n2 is the primary");
    assertNull(dial.cutReason(), "it is still to be cut");

    SQLException e = assertThrows(SQLException.class, () -> deferred.handOver(dial, first));

    assertEquals("n2 is the primary", e.getMessage());
    assertEquals("08001", e.getSQLState());
  }

  @Test
  void whatIsOpenedWhileAllIsClosedIsNotHandedOver() {
    registry.allow(first, "n1 is the primary");
    Dial dial = register(first);
    registry.close("the data source has been closed");

    SQLException e = assertThrows(SQLException.class, () -> registry.handOver(dial, first));

    assertEquals("the data source has been closed", e.getMessage());
  }

  @Test
  void closeHangsUpAndLetsNothingElseIn() throws SQLException {
    registry.allow(first, "n1 is the primary");
    open(register(first));

    registry.close("the data source has been closed");

    await().atMost(SOON).until(() -> server.connections() == 0);
    assertEquals(List.of(End.FIN), server.ends());
    assertTrue(registry.isEmpty());
    assertEquals("the data source has been closed", register(first).cutReason());
  }

  @Test
  void aClosedConnectionDisappears() throws SQLException {
    registry.allow(first, "n1 is the primary");
    Connection connection = open(register(first));
    assertFalse(registry.isEmpty());

    connection.close();

    assertEquals(0, registry.allow(second, "n2 is the primary"));
    assertTrue(registry.isEmpty());
  }

  @Test
  void aConnectionThatIsDroppedWithoutClosingIsCollectedAndDisappears() throws SQLException {
    registry.allow(first, "n1 is the primary");
    assertTrue(open(register(first)).isValid(1));

    await()
        .atMost(Duration.ofSeconds(15))
        .until(
            () -> {
              System.gc();
              return server.connections() == 0;
            });
    assertTrue(registry.isEmpty());
  }

  private Dial register(Term term) {
    return registry.register(server.address(), null, term);
  }

  private static Connection open(Dial dial) throws SQLException {
    return dial.open("app", USER);
  }
}
