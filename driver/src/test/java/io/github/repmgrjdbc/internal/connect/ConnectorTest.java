package io.github.repmgrjdbc.internal.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.internal.monitor.ThreadTasks;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import io.github.repmgrjdbc.internal.wire.Network;
import java.net.InetAddress;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What a server that has not been started since it was seen may still be by now. */
class ConnectorTest {

  private static final Term TERM = new Term(42, 1, 1);

  private final FakeServer server = new FakeServer(1);
  private final ThreadTasks tasks = new ThreadTasks("connector-test");
  private final SocketRegistry registry =
      new SocketRegistry(
          new Network(Runnable::run, InetAddress::getAllByName, AllowedHosts.ANY), Runnable::run);
  private final Connector connector = new Connector("app", registry, tasks);

  @BeforeEach
  void allow() {
    registry.allow(TERM, "");
  }

  @AfterEach
  void close() {
    connector.close();
    tasks.close();
    server.close();
  }

  @Test
  void whatWasSeenAsAStandbyIsAskedWhatItIsNow() {
    server.standby(2, 1);
    Answer seen = seen(true);
    server.primary(2);

    assertEquals(
        server.address() + " is timeline 2, not the primary on timeline 1",
        assertThrows(SQLException.class, () -> open(seen)).getMessage());
  }

  /** A process of it has crashed, and somebody had put a standby.signal there. */
  @Test
  void whatWasSeenAsThePrimaryAndSaysThatItIsAStandbyIsAsked() {
    Answer seen = seen(false);
    server.tellApplicationsInRecovery(true);

    assertEquals(
        server.address() + " is a standby, not the primary on timeline 1",
        assertThrows(SQLException.class, () -> open(seen)).getMessage());
  }

  @Test
  void ofWhomNothingWasSeenIsAsked() throws SQLException {
    open(null);
    assertEquals(1, server.questions());
    assertEquals(0, server.called());
  }

  private Answer seen(boolean inRecovery) {
    return new Answer(1, inRecovery, 1, 42, server.startedAt(), 0, null, List.of(), null, 0);
  }

  private void open(@Nullable Answer seen) throws SQLException {
    long deadline = tasks.nanoTime() + Duration.ofSeconds(5).toNanos();
    connector.open(server.address(), seen, TERM, Map.of("user", "app"), deadline).close();
  }
}
