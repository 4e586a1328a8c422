package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.repmgrjdbc.FakeServer.Mode;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What is made ready on the standbys while there is no primary, and what becomes of it. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class OpenedAheadTest {

  private static final Duration SOON = Duration.ofSeconds(4);

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final FakeServer n3 = new FakeServer(3).standby(1, 1);
  private RepmgrDataSource dataSource = new RepmgrDataSource();
  private final ExecutorService threads = Executors.newCachedThreadPool();

  @BeforeEach
  void start() throws SQLException {
    FakeServer.introduce(1, n1, n2, n3);
    dataSource = new RepmgrDataSource();
    dataSource.setHosts(n1.address() + "," + n2.address() + "," + n3.address());
    dataSource.setDatabaseName("app");
    dataSource.setUser("app");
    dataSource.setPassword("secret");
    dataSource.setRepmgrUser("monitor");
    dataSource.setSteadyInterval("100ms");
    dataSource.setProbeTimeout("500ms");
    dataSource.setFailoverTimeout("20s");
    dataSource.getConnection().close();
  }

  @AfterEach
  void end() {
    dataSource.close();
    n1.close();
    for (FakeServer node : List.of(n2, n3)) {
      await().atMost(SOON).until(() -> node.sessions("app") == 0);
      node.close();
    }
    threads.shutdownNow();
  }

  @Test
  void theFirstConnectionIsThereAlready() throws Exception {
    Future<Connection> waiting = loseThePrimaryAndWait();
    int accepted = n2.accepted();

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
    assertEquals(accepted, n2.accepted(), "another connection was opened");
    await("what is not needed to be closed").atMost(SOON).until(() -> n3.sessions("app") == 0);
    assertEquals(1, n2.sessions("app"));
  }

  @Test
  void oneForEachNodeIsEnoughHoweverManyWait() throws Exception {
    Future<Connection> waiting = loseThePrimaryAndWait();
    List<Future<Connection>> more =
        List.of(
            threads.submit(() -> dataSource.getConnection()),
            threads.submit(() -> dataSource.getConnection()));
    await()
        .during(Duration.ofMillis(300))
        .atMost(SOON)
        .until(() -> n2.sessions("app") == 1 && n3.sessions("app") == 1);

    n3.primary(2);

    assertEquals(n3.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
    for (Future<Connection> other : more) {
      assertEquals(n3.port(), portOf(other.get(SOON.toSeconds(), SECONDS)));
    }
  }

  /** A pool whose threads are all stuck asks for nothing until they are freed. */
  @Test
  void whoIsStuckOnTheOldPrimaryWillNeedOne() throws Exception {
    Connection stuck = dataSource.getConnection();
    n1.mode(Mode.SILENT);
    Future<Integer> blocked = threads.submit(() -> portOf(stuck));
    await().atMost(SOON).until(() -> n2.sessions("app") == 1 && n3.sessions("app") == 1);
    int accepted = n2.accepted();

    n2.primary(2);

    assertThrows(ExecutionException.class, () -> blocked.get(SOON.toSeconds(), SECONDS));
    assertEquals(n2.port(), portOf(dataSource.getConnection()));
    assertEquals(accepted, n2.accepted(), "another connection was opened");
  }

  @Test
  void nobodyWaitsNothingIsOpened() {
    n1.kill();
    await()
        .during(Duration.ofMillis(300))
        .atMost(SOON)
        .until(() -> n2.sessions("app") == 0 && n3.sessions("app") == 0);
  }

  @Test
  void inACrowdNothingIsOpened() throws Exception {
    n2.probes(51);
    n3.probes(50);
    dataSource.close();
    // When it gives its first connection, everybody has been heard.
    start();
    n1.kill();
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n3.sessions("app") == 1);
    assertEquals(0, n2.sessions("app"));

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  @Test
  void whatHasEndedMeanwhileIsReplaced() throws Exception {
    Future<Connection> waiting = loseThePrimaryAndWait();
    n2.endSessions();
    await().atMost(SOON).until(() -> n2.sessions("app") == 0);

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  /** As after a cut that has healed: the connection is there, and nobody answers. */
  @Test
  void whatHangsIsReplaced() throws Exception {
    Future<Connection> waiting = loseThePrimaryAndWait();
    n2.muteSessions("app");

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  /** What the first hunt opened is not for the second, and its end does not end what that opens. */
  @Test
  void eachHuntHasItsOwn() throws Exception {
    Future<Connection> first = loseThePrimaryAndWait();
    n1.restart();
    assertEquals(n1.port(), portOf(first.get(SOON.toSeconds(), SECONDS)));
    int accepted = n2.accepted();
    n1.kill();
    Future<Connection> second = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n2.accepted() > accepted && n2.sessions("app") == 1);
    int opened = n2.accepted();
    await()
        .during(Duration.ofMillis(1_500))
        .atMost(SOON)
        .until(() -> n2.accepted() == opened && n2.sessions("app") == 1);
    n2.primary(2);
    assertEquals(n2.port(), portOf(second.get(SOON.toSeconds(), SECONDS)));
  }

  /** It is verified like any other. */
  @Test
  void whatLeadsElsewhereIsNotReturned() throws Exception {
    Future<Connection> waiting = loseThePrimaryAndWait();
    n2.tellApplicationsInRecovery(true);
    n2.primary(2);
    await().during(Duration.ofMillis(200)).atMost(SOON).until(() -> !waiting.isDone());

    n2.tellApplicationsInRecovery(null);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
  }

  @Test
  void aLoginThatHangsIsNotWaitedFor() throws Exception {
    n1.kill();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    n2.mode(Mode.HANG_IN_LOGIN);
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n2.pendingLogins() == 1);
    n2.mode(Mode.NORMAL);

    n2.primary(2);

    assertEquals(n2.port(), portOf(waiting.get(SOON.toSeconds(), SECONDS)));
    await("the one that hangs to be ended").atMost(SOON).until(() -> n2.pendingLogins() == 0);
  }

  private Future<Connection> loseThePrimaryAndWait() {
    n1.kill();
    Future<Connection> waiting = threads.submit(() -> dataSource.getConnection());
    await().atMost(SOON).until(() -> n2.sessions("app") == 1 && n3.sessions("app") == 1);
    return waiting;
  }

  private static int portOf(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("select inet_server_port()")) {
      row.next();
      return row.getInt(1);
    }
  }
}
