package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.FakeServer.Mode;
import java.lang.ref.WeakReference;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.stream.Stream;
import org.awaitility.core.ConditionFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What many data sources, many users and rude listeners leave behind: nothing. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ManyDataSourcesTest {

  private static final Duration SOON = Duration.ofSeconds(4);
  private static final String DATABASE = "many-test";
  private static final int MANY = 100;

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final FakeServer n3 = new FakeServer(3).standby(1, 1);

  @BeforeEach
  void introduce() {
    FakeServer.introduce(1, n1, n2, n3);
  }

  @AfterEach
  void closeAll() {
    Stream.of(n1, n2, n3).forEach(FakeServer::close);
  }

  // ---- opened and closed ---------------------------------------------------------------------

  /** In which state a data source is when it is closed. */
  enum When {
    NEVER_USED,
    ONLY_LOOKED_AT,
    IN_USE,
    WAITING,
    CONNECTING
  }

  @ParameterizedTest
  @EnumSource
  void aHundredDataSourcesLeaveNothing(When when) throws Exception {
    List<WeakReference<?>> left = new ArrayList<>();
    if (when == When.WAITING) {
      n1.standby(0, 1);
    }
    for (int i = 0; i < MANY; i++) {
      openAndClose(when, left);
    }

    soon().untilAsserted(() -> assertEquals(List.of(), driverThreads()));
    soon().until(() -> Stream.of(n1, n2, n3).allMatch(node -> node.connections() == 0));
    soon()
        .until(
            () -> {
              System.gc();
              return left.stream().allMatch(reference -> reference.get() == null);
            });
  }

  private void openAndClose(When when, List<WeakReference<?>> left) throws Exception {
    RepmgrDataSource dataSource = dataSource();
    left.add(new WeakReference<>(dataSource));
    try (dataSource) {
      switch (when) {
        case NEVER_USED -> {}
        case ONLY_LOOKED_AT -> left.add(new WeakReference<>(dataSource.view()));
        case IN_USE -> {
          dataSource.addListener((before, after) -> {});
          left.add(new WeakReference<>(dataSource.getConnection()));
          left.add(new WeakReference<>(dataSource.view()));
        }
        case WAITING -> {
          FutureTask<Connection> waiting = started(dataSource);
          int before = n1.accepted();
          soon().until(() -> n1.accepted() > before || n1.connections() > 0);
          dataSource.close();
          assertClosed(waiting);
        }
        case CONNECTING -> {
          // The probes' sessions go on; who logs in hangs.
          dataSource.getConnection().close();
          n1.mode(Mode.HANG_IN_LOGIN);
          FutureTask<Connection> connecting = started(dataSource);
          soon().until(() -> n1.pendingLogins() > 0);
          dataSource.close();
          assertClosed(connecting);
          n1.mode(Mode.NORMAL);
        }
      }
    }
  }

  private static FutureTask<Connection> started(RepmgrDataSource dataSource) {
    FutureTask<Connection> call = new FutureTask<>(dataSource::getConnection);
    Thread thread = new Thread(call, "test");
    thread.setDaemon(true);
    thread.start();
    return call;
  }

  private static void assertClosed(FutureTask<Connection> call) {
    ExecutionException e =
        assertThrows(ExecutionException.class, () -> call.get(SOON.toSeconds(), SECONDS));
    assertTrue(
        e.getCause() instanceof SQLException cause && "08003".equals(cause.getSQLState()),
        "" + e.getCause());
  }

  // ---- users ---------------------------------------------------------------------------------

  @Test
  void twoUsersOfOneDataSourceStayStrictlyApart() throws Exception {
    Stream.of(n1, n2, n3).forEach(node -> node.password("one", "1").password("two", "2"));
    try (RepmgrDataSource dataSource = dataSource()) {
      List<Connection> open = new ArrayList<>();
      for (int i = 0; i < 5; i++) {
        for (String user : List.of("one", "two")) {
          Connection connection = dataSource.getConnection(user, user.equals("one") ? "1" : "2");
          assertEquals(user, connection.getMetaData().getUserName());
          open.add(connection);
        }
      }

      soon()
          .until(
              () ->
                  n1.users().equals(repeated(6, 6))
                      && n2.users().equals(repeated(1, 1))
                      && n3.users().equals(repeated(1, 1)));
      for (Connection connection : open) {
        connection.close();
      }
      soon().until(() -> n1.users().equals(repeated(1, 1)));
    }
  }

  @Test
  void aWrongPasswordOfOneUserDoesNotAffectAnother() throws Exception {
    Stream.of(n1, n2, n3).forEach(node -> node.password("one", "1").password("two", "2"));
    try (RepmgrDataSource dataSource = dataSource()) {
      for (int i = 0; i < 3; i++) {
        assertEquals(
            "28P01",
            assertThrows(SQLException.class, () -> dataSource.getConnection("one", "wrong"))
                .getSQLState());
        dataSource.getConnection("two", "2").close();
        dataSource.getConnection("one", "1").close();
        assertEquals(
            "28P01",
            assertThrows(SQLException.class, () -> dataSource.getConnection("two", "1"))
                .getSQLState());
      }
    }
  }

  private static List<String> repeated(int ones, int twos) {
    List<String> users = new ArrayList<>();
    for (int i = 0; i < ones + twos; i++) {
      users.add(i < ones ? "one" : "two");
    }
    return users;
  }

  // ---- listeners -----------------------------------------------------------------------------

  /** One that throws is in ClusterTest. */
  @Test
  void aListenerThatBlocksHoldsNeitherConnectionsNorTheEnd() throws Exception {
    CountDownLatch called = new CountDownLatch(1);
    CountDownLatch released = new CountDownLatch(1);
    try (RepmgrDataSource dataSource = dataSource()) {
      dataSource.addListener(
          (before, after) -> {
            called.countDown();
            try {
              released.await();
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
            }
          });
      dataSource.getConnection().close();
      assertTrue(called.await(SOON.toSeconds(), SECONDS));

      n1.kill();
      n2.primary(2);
      n3.standby(2, 2);

      soon().until(() -> dataSource.view().primary().stream().anyMatch(node -> node.id() == 2));
      dataSource.getConnection().close();
    } finally {
      soon().until(() -> Stream.of(n1, n2, n3).allMatch(node -> node.connections() == 0));
      released.countDown();
    }
    soon().untilAsserted(() -> assertEquals(List.of(), driverThreads()));
  }

  @Test
  void aListenerMayRemoveItself() throws Exception {
    List<Long> told = new CopyOnWriteArrayList<>();
    List<Long> others = new CopyOnWriteArrayList<>();
    try (RepmgrDataSource dataSource = dataSource()) {
      dataSource.addListener(
          new RepmgrListener() {
            @Override
            public void viewChanged(ClusterView before, ClusterView after) {
              told.add(after.epoch());
              dataSource.removeListener(this);
            }
          });
      dataSource.addListener((before, after) -> others.add(after.epoch()));
      dataSource.getConnection().close();
      n1.kill();
      soon().until(() -> dataSource.view().primary().isEmpty());

      soon().until(() -> others.contains(dataSource.view().epoch()));
      assertEquals(List.of(others.get(0)), told);
      assertTrue(others.size() > 1);
    }
  }

  // ---- helpers -------------------------------------------------------------------------------

  private RepmgrDataSource dataSource() {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setUrl(
        "jdbc:repmgr://%s,%s,%s/%s?huntInterval=10ms&steadyInterval=100ms"
            .formatted(n1.address(), n2.address(), n3.address(), DATABASE));
    return dataSource;
  }

  private static List<String> driverThreads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith("repmgr-jdbc " + DATABASE))
        .map(thread -> thread + " at " + Arrays.toString(thread.getStackTrace()))
        .toList();
  }

  private static ConditionFactory soon() {
    return await().atMost(SOON).pollInterval(Duration.ofMillis(10));
  }
}
