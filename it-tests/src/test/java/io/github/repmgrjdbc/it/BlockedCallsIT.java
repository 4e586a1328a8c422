package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.Fault;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Who waits for a primary that is gone is told as soon as it has a successor, with pgJDBC's own
 * time-outs, which are none: whoever reads, and whoever writes more than the network takes.
 */
class BlockedCallsIT {

  private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(90);
  private static final Duration PROMOTION_TIMEOUT = Duration.ofSeconds(60);

  /** From the promotion: the driver has to hear of it, and to cut. */
  private static final Duration BOUND = Duration.ofMillis(100);

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();
  @TempDir static Path directory;

  private static RepmgrCluster shared;

  @BeforeAll
  static void start() throws SQLException {
    shared = CLUSTERS.startShared();
    Tls.enable(shared, directory);
  }

  @ParameterizedTest
  @CsvSource({
    "FREEZE, disable",
    "FREEZE, require",
    "CUT_OFF, disable",
    "CUT_OFF, require",
    "KILL, disable",
    "KILL, require"
  })
  void endWithThePromotion(Fault fault, String sslmode) throws Exception {
    RepmgrNode primary = shared.awaitHealthy(HEALTH_TIMEOUT);
    List<Caller> callers = new ArrayList<>();
    Promotion promotion;
    try (RepmgrDataSource dataSource = new RepmgrDataSource();
        PromotionWatch watch = PromotionWatch.start(shared.standbys())) {
      dataSource.setUrl(shared.directJdbcUrl());
      dataSource.setProperty("sslmode", sslmode);
      for (int i = 0; i < 4; i++) {
        callers.add(
            new Caller("reads " + i, dataSource.getConnection(), "SELECT pg_sleep(600)", 0));
        callers.add(
            new Caller("writes " + i, dataSource.getConnection(), "SELECT length(?)", 32 << 20));
      }
      callers.forEach(Thread::start);
      await("all to be at it").until(() -> callers.stream().allMatch(caller -> caller.calling));
      long struck = fault.strike(primary);
      promotion =
          await("a promotion")
              .pollInSameThread()
              .pollInterval(Duration.ofMillis(2))
              .atMost(PROMOTION_TIMEOUT)
              .until(watch::promotion, Optional::isPresent)
              .orElseThrow();
      for (Caller caller : callers) {
        caller.join(10_000);
      }
      for (Caller caller : callers) {
        assertTrue(!caller.isAlive(), () -> caller.getName() + " hangs");
        Duration lag = Duration.ofNanos(caller.ended - promotion.nanoTime());
        System.out.printf(
            "blocked: %s, sslmode=%s: %s for %s, until %d ms after the promotion%n",
            fault,
            sslmode,
            caller.getName(),
            Duration.ofNanos(caller.ended - struck),
            lag.toMillis());
      }
      for (Caller caller : callers) {
        assertEquals("08006", caller.state, caller.getName());
        assertTrue(caller.ended - struck > 0, () -> caller.getName() + " did not wait");
        Duration lag = Duration.ofNanos(caller.ended - promotion.nanoTime());
        assertTrue(lag.compareTo(BOUND) < 0, () -> caller.getName() + " waited for " + lag);
      }
    } finally {
      fault.undo(primary);
    }
    shared.awaitHealthy(HEALTH_TIMEOUT);
  }

  /** Calls, one after the other, until one fails. */
  private static final class Caller extends Thread {

    private final Connection connection;
    private final String sql;
    private final byte[] parameter;
    private volatile boolean calling;
    private volatile long ended;
    private volatile String state = "none";

    Caller(String name, Connection connection, String sql, int parameterBytes) {
      super(name);
      this.connection = connection;
      this.sql = sql;
      this.parameter = new byte[parameterBytes];
      setDaemon(true);
    }

    @Override
    public void run() {
      try (connection;
          PreparedStatement statement = connection.prepareStatement(sql)) {
        if (parameter.length > 0) {
          statement.setBytes(1, parameter);
        }
        calling = true;
        while (true) {
          statement.execute();
        }
      } catch (SQLException e) {
        ended = System.nanoTime();
        state = String.valueOf(e.getSQLState());
      }
    }
  }
}
