package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.TransactionOutcome;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * The README's loop: through a failover each transfer is made once, and nobody is told otherwise.
 */
class RetryIT {

  private static final int THREADS = 4;
  private static final int TRANSFERS = 300;

  @RegisterExtension final Clusters clusters = new Clusters();

  private final AtomicInteger made = new AtomicInteger();

  @Test
  void eachTransferIsMadeOnce() throws Exception {
    RepmgrCluster cluster =
        clusters.start(RepmgrCluster.builder().environment("SYNC_MODE", "quorum"));
    RepmgrNode old = cluster.awaitHealthy(Duration.ofMinutes(1));
    ExecutorService threads = Executors.newFixedThreadPool(THREADS);
    try (HikariDataSource pool =
        new HikariDataSource(PoolKind.JDBC_URL.config(cluster.directJdbcUrl()))) {
      try (Connection connection = pool.getConnection();
          Statement statement = connection.createStatement()) {
        statement.execute("CREATE TABLE balance (amount int NOT NULL)");
        statement.execute("INSERT INTO balance VALUES (0)");
        statement.execute("CREATE TABLE transfer (id uuid PRIMARY KEY)");
      }
      List<Future<?>> all = new ArrayList<>();
      for (int i = 0; i < THREADS; i++) {
        all.add(threads.submit(() -> transfers(pool)));
      }
      await("some").atMost(Duration.ofMinutes(1)).until(() -> made.get() > THREADS * TRANSFERS / 4);
      assertTrue(made.get() < THREADS * TRANSFERS, "too many for a failover to meet some");
      old.kill();
      for (Future<?> one : all) {
        one.get(2, TimeUnit.MINUTES);
      }
      assertTrue(made.get() == THREADS * TRANSFERS, made::toString);
      try (Connection connection = pool.getConnection();
          Statement statement = connection.createStatement();
          ResultSet row =
              statement.executeQuery(
                  "SELECT amount, (SELECT count(*) FROM transfer) FROM balance")) {
        row.next();
        assertEquals(THREADS * TRANSFERS, row.getInt(1), "the sum");
        assertEquals(THREADS * TRANSFERS, row.getInt(2), "transfers");
      }
    } finally {
      threads.shutdownNow();
    }
  }

  /** What stands in the README is what is run here. */
  @Test
  void theLoopIsTheReadmes() throws IOException {
    Path module = Path.of("").toAbsolutePath();
    String readme = Files.readString(module.resolveSibling("README.md"));
    String here =
        Files.readString(
            module
                .resolve("src/test/java")
                .resolve(RetryIT.class.getName().replace('.', '/') + ".java"));
    String loop = readme.substring(readme.indexOf("static void transfer("));
    loop = loop.substring(0, loop.indexOf("```"));
    // The formatter breaks lines otherwise.
    assertTrue(words(here).contains(words(loop)), loop);
  }

  private static String words(String text) {
    return text.replaceAll("\\s+", "");
  }

  private Void transfers(DataSource pool) throws SQLException, InterruptedException {
    for (int i = 0; i < TRANSFERS; i++) {
      transfer(pool, UUID.randomUUID(), 1);
      made.incrementAndGet();
    }
    return null;
  }

  static void transfer(DataSource dataSource, UUID id, int amount)
      throws SQLException, InterruptedException {
    Instant giveUp = Instant.now().plusSeconds(60);
    boolean unknown = false;
    while (true) {
      boolean committing = false;
      try (Connection connection = dataSource.getConnection()) {
        connection.setAutoCommit(false);
        // What may have been committed has left its id.
        if (!unknown || !isDone(connection, id)) {
          move(connection, id, amount);
        }
        committing = true;
        connection.commit();
        return;
      } catch (SQLException e) {
        TransactionOutcome outcome = TransactionOutcome.of(e, committing);
        unknown |= outcome == TransactionOutcome.UNKNOWN;
        // The first commit may have come after the look: the next one will see it.
        boolean again =
            outcome != TransactionOutcome.NOT_CONNECTION_RELATED
                || (unknown && "23505".equals(e.getSQLState()));
        if (!again || Instant.now().isAfter(giveUp)) {
          throw unknown
              ? new SQLException("transfer " + id + " may have been made", "08007", e)
              : e;
        }
        TimeUnit.MILLISECONDS.sleep(20);
      }
    }
  }

  private static boolean isDone(Connection connection, UUID id) throws SQLException {
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT 1 FROM transfer WHERE id = ?")) {
      statement.setObject(1, id);
      try (ResultSet row = statement.executeQuery()) {
        return row.next();
      }
    }
  }

  private static void move(Connection connection, UUID id, int amount) throws SQLException {
    try (PreparedStatement statement =
        connection.prepareStatement("INSERT INTO transfer VALUES (?)")) {
      statement.setObject(1, id);
      statement.executeUpdate();
    }
    try (PreparedStatement statement =
        connection.prepareStatement("UPDATE balance SET amount = amount + ?")) {
      statement.setInt(1, amount);
      statement.executeUpdate();
    }
  }
}
