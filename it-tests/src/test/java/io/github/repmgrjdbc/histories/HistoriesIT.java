package io.github.repmgrjdbc.histories;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The short form of {@code it-tests/histories --sync}: each kind of fault once. */
class HistoriesIT {

  private static final Path LOGS = Path.of("target", "histories-it");

  @Test
  void nothingIsThatMustNotBe() throws SQLException, IOException {
    long seed = Long.getLong("histories.seed", System.nanoTime() & 0xffff);
    System.out.printf("histories: -Dhistories.seed=%d%n", seed);
    try (RepmgrCluster cluster =
        RepmgrCluster.builder().environment("SYNC_MODE", "quorum").start()) {
      try {
        Histories.Result result =
            new Histories(cluster, List.of(), seed).run(Nemesis.Blow.values().length);
        System.out.print(HistoriesMain.table(result));
        assertEquals(List.of(), result.violations());
      } finally {
        cluster.saveLogs(LOGS.resolve(cluster.name()));
      }
    }
  }
}
