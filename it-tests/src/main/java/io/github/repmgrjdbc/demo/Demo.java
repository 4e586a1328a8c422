package io.github.repmgrjdbc.demo;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.race.Chart;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import io.github.repmgrjdbc.testing.Writers;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.function.BooleanSupplier;

/**
 * Starts a real cluster and an application that writes to it, kills the primary, and shows what
 * happens. Ends with 0 if the application recovered, 1 if not.
 */
public final class Demo {

  private static final int WRITERS = 8;
  private static final Duration STEADY = Duration.ofSeconds(8);
  private static final Duration AFTERWARDS = Duration.ofSeconds(10);
  private static final Duration RECOVERY_TIMEOUT = Duration.ofMinutes(1);
  private static final Duration TICK = Duration.ofMillis(100);

  private final Screen screen;
  private final boolean keep;
  private volatile boolean interrupted;

  private Demo(Screen screen, boolean keep) {
    this.screen = screen;
    this.keep = keep;
  }

  /** Called by the script {@code demo}, which knows the arguments; here only {@code --keep}. */
  public static void main(String[] arguments) throws Exception {
    Screen screen = Screen.create();
    Demo demo = new Demo(screen, List.of(arguments).contains("--keep"));
    // The cluster has a hook of its own that removes it.
    Thread hook = new Thread(demo::interrupted, "demo-interrupted");
    Runtime.getRuntime().addShutdownHook(hook);
    boolean recovered = false;
    try (screen) {
      recovered = demo.run();
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (Exception e) {
      if (demo.interrupted) {
        return;
      }
      throw e;
    }
    System.exit(recovered ? 0 : 1);
  }

  private void interrupted() {
    interrupted = true;
    screen.event("interrupted; removing what was started");
    screen.close();
  }

  private boolean run() throws SQLException {
    screen.event("starting three nodes of the image " + RepmgrCluster.DEFAULT_IMAGE);
    try (RepmgrCluster cluster = RepmgrCluster.builder().nodes(3).start()) {
      screen.event("the cluster " + cluster.name() + " is up: a primary and two standbys");
      boolean recovered = play(cluster);
      if (keep) {
        cluster.keep();
        screen.close();
        printHowToConnect(cluster);
      } else {
        screen.event("removing the cluster");
      }
      return recovered;
    }
  }

  private boolean play(RepmgrCluster cluster) throws SQLException {
    HikariConfig config = new HikariConfig();
    config.setPoolName("demo");
    config.setJdbcUrl(cluster.jdbcUrl());
    config.setMaximumPoolSize(WRITERS);
    try (HikariDataSource pool = new HikariDataSource(config);
        RepmgrDataSource onlooker = new RepmgrDataSource()) {
      onlooker.setUrl(cluster.jdbcUrl());
      onlooker.addListener(
          (before, after) -> {
            if (after.available() != before.available()) {
              screen.event("driver: " + after.reason());
            }
          });
      try (Writers writers = Writers.start("demo", pool, WRITERS)) {
        screen.event(
            "%d threads write through a HikariCP pool on jdbc:repmgr://%s/%s"
                .formatted(WRITERS, hosts(cluster), cluster.database()));
        return failover(cluster, new Status(onlooker, writers), writers);
      }
    }
  }

  private boolean failover(RepmgrCluster cluster, Status status, Writers writers)
      throws SQLException {
    RepmgrNode old = cluster.primary();
    try (PromotionWatch watch = PromotionWatch.start(cluster.standbys())) {
      watch(status, STEADY, () -> false);
      screen.event("KILL " + old.name() + ", the primary, gets SIGKILL");
      status.mark('K');
      long killed = System.nanoTime();
      old.kill();

      watch(status, RECOVERY_TIMEOUT, () -> watch.promotion().isPresent());
      if (watch.promotion().isEmpty()) {
        screen.event("no standby was promoted within " + RECOVERY_TIMEOUT.toSeconds() + " s");
        return false;
      }
      Promotion promotion = watch.promotion().get();
      status.mark('P');
      screen.event(
          "PROMOTED %s takes writes, %,d ms after the kill"
              .formatted(promotion.node().name(), millis(promotion.nanoTime() - killed)));

      String address = promotion.node().containerAddress().host();
      BooleanSupplier rerouted = () -> writers.firstAcknowledgedBy(address).isPresent();
      watch(status, RECOVERY_TIMEOUT, rerouted);
      if (!rerouted.getAsBoolean()) {
        screen.event("no row was written there within " + RECOVERY_TIMEOUT.toSeconds() + " s");
        return false;
      }
      long first = writers.firstAcknowledgedBy(address).getAsLong();
      screen.event(
          "REROUTED the first row is committed there, %,d ms after the promotion"
              .formatted(millis(first - promotion.nanoTime())));
      BooleanSupplier allBack = () -> writers.allWroteSince(promotion.nanoTime());
      watch(status, RECOVERY_TIMEOUT, allBack);
      watch(status, AFTERWARDS, () -> false);
      Path picture = picture(old, killed, promotion, writers);
      writers.close();

      Writers.Audit audit;
      try (Connection connection = promotion.node().connect(cluster.database())) {
        audit = writers.audit(connection);
      }
      screen.event("the picture of it is in " + picture);
      screen.close();
      return new Summary(cluster, old, killed, promotion, first, writers, audit)
          .print(System.out, allBack.getAsBoolean());
    }
  }

  /** Keeps the picture moving until the condition holds or the time is over. */
  private void watch(Status status, Duration atMost, BooleanSupplier condition) {
    long deadline = System.nanoTime() + atMost.toNanos();
    while (!condition.getAsBoolean() && System.nanoTime() - deadline < 0) {
      status.update();
      screen.show(status);
      try {
        Thread.sleep(TICK.toMillis());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted", e);
      }
    }
  }

  private static Path picture(RepmgrNode old, long killed, Promotion promotion, Writers writers) {
    Chart chart =
        new Chart(
            "The demo: the primary is killed",
            List.of(
                new Chart.Series(
                    "repmgr-jdbc",
                    true,
                    writers.acknowledgedBySteps(
                        killed + Duration.ofMillis(Chart.FIRST_STEP).toNanos(),
                        Duration.ofMillis(Chart.STEP)))),
            List.of(
                Chart.Mark.fault(old + " killed"),
                Chart.Mark.promoted(
                    (promotion.nanoTime() - killed) / 1e6, promotion.node().name())));
    try {
      Path file = Path.of(System.getProperty("demo.picture", "demo.svg"));
      return Files.writeString(file, chart.svg());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static long millis(long nanos) {
    return Math.round(nanos / 1e6);
  }

  private static String hosts(RepmgrCluster cluster) {
    return String.join(
        ",", cluster.nodes().stream().map(RepmgrNode::address).map(HostAndPort::toString).toList());
  }

  private static void printHowToConnect(RepmgrCluster cluster) {
    String name = cluster.primary().name();
    System.out.printf(
        """

        The cluster %1$s is still there; %2$s is its primary.
          psql      docker exec -it -u postgres %2$s psql %3$s
          JDBC      %4$s
          nodes     docker exec -it %2$s su -c "repmgr cluster show" - postgres
          remove    docker rm -f -v $(docker ps -aq --filter label=%5$s=%1$s)
                    docker network rm %1$s
        """,
        cluster.name(), name, cluster.database(), cluster.jdbcUrl(), RepmgrCluster.LABEL);
  }
}
