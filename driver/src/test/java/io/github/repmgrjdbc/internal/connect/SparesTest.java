package io.github.repmgrjdbc.internal.connect;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.internal.connect.Spares.Spare;
import io.github.repmgrjdbc.internal.monitor.Tasks;
import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetAddress;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class SparesTest {

  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Map<String, String> USER = Map.of("user", "app");

  private final FakeServer server = new FakeServer(1).standby(2, 1);
  private final SocketRegistry registry =
      new SocketRegistry(
          new Network(Runnable::run, InetAddress::getAllByName, AllowedHosts.ANY), Runnable::run);

  private boolean works = true;

  /** What is to be run later; the test says when that is. */
  private final List<Runnable> later = new ArrayList<>();

  private final Spares spares = new Spares("app", registry, new Inline());

  @AfterEach
  void closeServer() {
    server.close();
  }

  @Test
  void theOneThatTakesItHasIt() throws SQLException {
    open(USER);
    Spare spare = spares.take(server.address(), USER);
    assertNotNull(spare);
    assertNull(spares.take(server.address(), USER));
    try (Connection connection = spare.connection();
        Statement statement = connection.createStatement()) {
      assertThrows(SQLException.class, spare::connection, "it is held on to");
      later.forEach(Runnable::run);
      spares.clear();
      assertTrue(statement.execute("select 1"), "it was closed");
    }
  }

  @Test
  void whatNobodyNeedsDoesNotLast() {
    open(USER);
    assertEquals(1, server.sessions("app"));
    later.forEach(Runnable::run);
    awaitSessions(0);
    assertNull(spares.take(server.address(), USER));
    open(USER);
    assertEquals(0, server.sessions("app"), "it was opened again in the same hunt");
    spares.clear();
    open(USER);
    assertEquals(1, server.sessions("app"));
  }

  @Test
  void howeverManyLogInThereAreFew() {
    for (int i = 0; i < 2 * Spares.MOST; i++) {
      open(Map.of("user", "user " + i));
    }
    assertEquals(Spares.MOST, server.sessions("app"));
  }

  @Test
  void theEndOfAllEndsThemToo() {
    open(USER);
    registry.close("the data source has been closed");
    awaitSessions(0);
    spares.clear();
    open(USER);
    assertEquals(0, server.sessions("app"));
  }

  /** At the end there may be no thread that could close them. */
  @Test
  void closingClosesThemItself() {
    open(USER);
    works = false;
    spares.close();
    awaitSessions(0);
  }

  private void open(Map<String, String> parameters) {
    spares.open(server.address(), null, parameters);
  }

  private void awaitSessions(int count) {
    await().atMost(SOON).until(() -> server.sessions("app") == count);
  }

  private final class Inline implements Tasks {

    @Override
    public long nanoTime() {
      return 0;
    }

    @Override
    public void step(Runnable step) {
      step.run();
    }

    @Override
    public Runnable stepAfter(Duration delay, Runnable step) {
      assertEquals(Spares.KEPT, delay);
      later.add(step);
      return () -> later.remove(step);
    }

    @Override
    public void work(Runnable work) {
      if (works) {
        work.run();
      }
    }
  }
}
