package io.github.repmgrjdbc.internal;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.NoSuitableNodeException;
import io.github.repmgrjdbc.RepmgrConfig;
import java.sql.SQLException;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A cluster that nobody closes ends by itself, and is there again when it is asked. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ClustersTest {

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final Clusters clusters = new Clusters(Duration.ofMillis(100));
  private final RepmgrConfig config =
      RepmgrConfig.builder()
          .hosts(n1.address() + "," + n2.address())
          .database("idle")
          .user("app")
          .failoverTimeout(Duration.ofSeconds(2))
          .build();

  @BeforeEach
  void introduce() {
    FakeServer.introduce(1, n1, n2);
  }

  @AfterEach
  void close() {
    clusters.close();
    n1.close();
    n2.close();
  }

  @Test
  void anUnusedClusterEndsAndStartsAgainWhenItIsAsked() throws SQLException {
    connectAndClose();
    awaitEnd();
    connectAndClose();
    awaitEnd();
  }

  @Test
  void anOpenConnectionKeepsItWatching() throws SQLException {
    try (var connection = clusters.connect(config, "app", null, Duration.ZERO)) {
      // It would end at the first look, after a second, if nothing kept it.
      long epoch = clusters.view(config).epoch();
      await().during(Duration.ofMillis(1_500)).until(() -> n2.connections() == 1);
      n2.kill();
      await().until(() -> clusters.view(config).epoch() > epoch);
      assertEquals(false, connection.isClosed());
    }
  }

  @Test
  void aListenerKeepsItWatching() throws SQLException {
    clusters.addListener((before, after) -> {});
    connectAndClose();
    await().during(Duration.ofMillis(1_500)).until(() -> n2.connections() == 1);
  }

  @Test
  void aStalePrimaryIsNotAcceptableAfterAPause() throws SQLException {
    n1.primary(5);
    connectAndClose();
    awaitEnd();
    n1.primary(1);
    n2.kill();
    assertThrows(NoSuitableNodeException.class, this::connectAndClose);
    clusters.forget();
    connectAndClose();
  }

  /** Rebuilt and accepted by itself; after a pause what was before that must not count again. */
  @Test
  void whatWasBeforeARebuildIsNotRememberedAfterAPause() throws SQLException {
    n1.primary(5);
    n2.standby(1, 5);
    connectAndClose();
    awaitEnd();
    n1.primary(1);
    n2.standby(1, 1);
    connectAndClose();
    awaitEnd();
    n2.kill();
    connectAndClose();
  }

  @Test
  void forgettingCutsNoConnection() throws SQLException {
    try (var connection = clusters.connect(config, "app", null, Duration.ZERO);
        var statement = connection.createStatement()) {
      long epoch = clusters.view(config).epoch();
      clusters.forget();
      await()
          .until(
              () ->
                  clusters.view(config).epoch() > epoch
                      && clusters.view(config).primary().isPresent());
      statement.execute("select 1");
    }
  }

  private void connectAndClose() throws SQLException {
    clusters.connect(config, "app", null, Duration.ZERO).close();
  }

  private void awaitEnd() {
    await().until(() -> n1.connections() + n2.connections() == 0);
  }
}
