package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.FutureTask;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Passwords and users that change while a data source is in use. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PasswordChangeTest {

  private static final Duration SOON = Duration.ofSeconds(5);

  private final FakeServer server = new FakeServer(1).password("app", "old");
  private final RepmgrDataSource dataSource = new RepmgrDataSource();

  @BeforeEach
  void setUp() {
    FakeServer.introduce(1, server);
    dataSource.setUrl(
        "jdbc:repmgr://" + server.address() + "/app?huntInterval=10ms&failoverTimeout=5s");
  }

  @AfterEach
  void closeAll() {
    dataSource.close();
    server.close();
  }

  @Test
  void aNewPasswordIsForNewConnectionsAndNewProbes() throws SQLException {
    dataSource.setUser("app");
    dataSource.setPassword("old");
    try (Connection before = dataSource.getConnection()) {
      server.password("app", "new");

      dataSource.setPassword("new");

      try (Connection after = dataSource.getConnection()) {
        assertTrue(before.isValid(1) && after.isValid(1), "what is open stays");
        assertEquals(List.of("app", "app", "app"), server.users(), "and one probe serves all");
      }
    }
    endSessions();
    assertServed();
  }

  @Test
  void aNewPasswordEndsARefusalAtOnce() throws SQLException {
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.getConnection().close();
    server.password("app", "new");
    endSessions();
    await().atMost(SOON).until(() -> dataSource.view().primary().isEmpty());
    assertEquals("28P01", stateOf(assertThrows(SQLException.class, dataSource::getConnection)));

    dataSource.setPassword("new");

    dataSource.getConnection().close();
  }

  @Test
  void aPasswordForTheNodeTableAlone() throws SQLException {
    server.password("monitor", "1");
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.setRepmgrUser("monitor");
    dataSource.setRepmgrPassword("1");
    dataSource.getConnection().close();
    server.password("monitor", "2");

    dataSource.setRepmgrPassword("2");

    endSessions();
    assertServed();
    assertEquals(List.of("monitor"), server.users());
  }

  @Test
  void anotherUserTakesOver() throws SQLException {
    server.password("app2", "2");
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.getConnection().close();

    dataSource.setUser("app2");
    dataSource.setPassword("2");

    try (Connection connection = dataSource.getConnection()) {
      assertTrue(connection.isValid(1));
      assertEquals(2, server.users().stream().filter("app2"::equals).count());
    }
  }

  /** A stale primary must not become acceptable by a change of the user. */
  @Test
  void anotherUserInheritsWhatIsRemembered() throws SQLException {
    // One that is registered and does not answer, so that the cluster is not taken for rebuilt.
    FakeServer standby = new FakeServer(2).standby(1, 7);
    standby.close();
    FakeServer.introduce(1, server, standby);
    server.password("app2", "2").primary(7);
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.getConnection().close();
    server.primary(3);

    dataSource.setUser("app2");
    dataSource.setPassword("2");

    dataSource.setLoginTimeout(1);
    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
    assertTrue(String.valueOf(e.getMessage()).contains("timeline 3 is older than 7"), "" + e);
  }

  @Test
  void aPoolThatPassesANewPasswordNeedsNothingElse() throws SQLException {
    dataSource.getConnection("app", "old").close();
    server.password("app", "new");
    endSessions();
    int refused = server.accepted() + 2;
    await().atMost(SOON).until(() -> server.accepted() >= refused);

    dataSource.getConnection("app", "new").close();

    await().atMost(SOON).until(() -> server.users().equals(List.of("app")));
  }

  @Test
  void whatAPoolPassesCountsAlsoWhereAnOlderPasswordIsConfigured() throws SQLException {
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.getConnection("app", "old").close();
    server.password("app", "new");

    dataSource.getConnection("app", "new").close();

    endSessions();
    assertServed();
  }

  /** A node that refuses everybody has the probes look for another password. */
  @Test
  void aWrongPasswordOfOneDoesNotHarmTheOthers() throws SQLException {
    try (FakeServer closedDoor = new FakeServer(2).standby(1, 1)) {
      FakeServer.introduce(1, server, closedDoor);
      closedDoor.failLogins("28000");
      dataSource.getConnection("app", "old").close();
      await().atMost(SOON).until(() -> closedDoor.accepted() > 1);

      assertEquals(
          "28P01",
          stateOf(
              assertThrows(SQLException.class, () -> dataSource.getConnection("app", "guessed"))));

      endSessions();
      // Before somebody comes who has the right one: the probes have it still.
      await().atMost(SOON).until(() -> server.users().equals(List.of("app")));
      dataSource.getConnection("app", "old").close();
    }
  }

  @Test
  void aWrongPasswordThatCameFirstDoesNotHarmTheOthersEither() throws SQLException {
    assertEquals(
        "28P01",
        stateOf(
            assertThrows(SQLException.class, () -> dataSource.getConnection("app", "guessed"))));

    dataSource.getConnection("app", "old").close();

    endSessions();
    dataSource.getConnection("app", "old").close();
  }

  /**
   * Somebody who waits with the new one while all nodes are down must not be told of the old one.
   */
  @Test
  void whoWaitsWithANewPasswordGetsItTried() throws Exception {
    dataSource.getConnection("app", "old").close();
    server.password("app", "new");
    server.kill();
    FutureTask<Connection> waiting =
        Waiting.startCall(() -> dataSource.getConnection("app", "new"));

    restart();

    waiting.get(SOON.toSeconds(), SECONDS).close();
  }

  /** It never lets anybody in, nor refuses anybody; the primary's word is enough. */
  @Test
  void whoWaitsWithANewPasswordHasItTriedThoughAStandbyIsDown() throws Exception {
    FakeServer down = new FakeServer(2).standby(1, 1);
    down.close();
    FakeServer.introduce(1, server, down);
    dataSource.getConnection("app", "old").close();
    server.password("app", "new");
    server.kill();
    FutureTask<Connection> waiting =
        Waiting.startCall(() -> dataSource.getConnection("app", "new"));

    restart();

    waiting.get(SOON.toSeconds(), SECONDS).close();
  }

  /** One node refuses everybody, and the primary is dead: the right password is still right. */
  @Test
  void aWrongPasswordDoesNotHarmWhoWaitsWithTheRightOne() throws Exception {
    try (FakeServer next = new FakeServer(2).password("app", "old").standby(1, 1);
        FakeServer closedDoor = new FakeServer(3).standby(1, 1)) {
      FakeServer.introduce(1, server, next, closedDoor);
      closedDoor.failLogins("28000");
      dataSource.getConnection("app", "old").close();
      server.kill();
      FutureTask<Connection> waiting =
          Waiting.startCall(() -> dataSource.getConnection("app", "old"));
      dataSource.setLoginTimeout(1);

      assertThrows(SQLException.class, () -> dataSource.getConnection("app", "guessed"));
      next.endSessions();
      await().atMost(SOON).until(() -> next.users().equals(List.of("app")));
      next.primary(2);

      waiting.get(SOON.toSeconds(), SECONDS).close();
    }
  }

  /** Where the application's database trusts everybody, a login there proves no password. */
  @Test
  void aLoginWithoutAPasswordReplacesNone() throws SQLException {
    server.password("app", "old");
    dataSource.setUser("app");
    dataSource.setPassword("old");
    dataSource.getConnection().close();
    server.trust("app");
    dataSource.getConnection("app", null).close();
    // Only a refusal has the probes look for another password.
    server.password("app", "another");
    endSessions();
    int refused = server.accepted() + 2;
    await().atMost(SOON).until(() -> server.accepted() >= refused);

    server.password("app", "old");

    assertServed();
  }

  @Test
  void noPasswordIsInAnyText() {
    dataSource.setUser("app");
    dataSource.setPassword("guessed");

    SQLException e = assertThrows(SQLException.class, dataSource::getConnection);

    String text = e + " " + dataSource;
    assertTrue(text.contains("user app") && !text.contains("guessed"), text);
  }

  /** As a restart of the server does: the probe has to log in anew. */
  private void endSessions() {
    server.kill();
    restart();
  }

  private void restart() {
    // The kernel may hold the port for a moment.
    await()
        .atMost(SOON)
        .ignoreExceptions()
        .until(
            () -> {
              server.restart();
              return true;
            });
  }

  private void assertServed() {
    await()
        .atMost(SOON)
        .until(() -> server.users().size() == 1 && dataSource.view().primary().isPresent());
  }

  private static String stateOf(SQLException e) {
    return String.valueOf(e.getSQLState());
  }
}
