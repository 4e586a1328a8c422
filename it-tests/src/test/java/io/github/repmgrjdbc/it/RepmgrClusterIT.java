package io.github.repmgrjdbc.it;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.github.dockerjava.api.DockerClient;
import com.github.dockerjava.api.exception.NotFoundException;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;
import org.testcontainers.DockerClientFactory;

/** The fixture keeps its promises: without that no other test here means anything. */
class RepmgrClusterIT {

  @RegisterExtension final Clusters clusters = new Clusters();

  @Test
  void faultsHappenAndAreUndone(@TempDir Path directory) throws SQLException, IOException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode first = cluster.nodes().get(0);
    assertEquals(first, cluster.primary());
    assertEquals(cluster.nodes().subList(1, 3), cluster.standbys());

    RepmgrNode standby = cluster.nodes().get(2);
    standby.pause();
    assertThrows(SQLException.class, () -> standby.connect("postgres"), "a frozen node answered");
    standby.unpause();
    try (Connection connection = standby.connect("postgres")) {
      assertTrue(connection.isValid(2));
    }

    HostAndPort before = standby.address();
    standby.restart();
    assertNotEquals(before, standby.address(), "the engine gives another port: no test without");
    assertTrue(cluster.jdbcUrl().contains(standby.address().toString()), cluster.jdbcUrl());
    try (Connection connection = standby.connect("postgres")) {
      assertTrue(connection.isValid(2));
    }

    first.kill();
    RepmgrNode promoted = cluster.awaitPrimary(Duration.ofSeconds(30), first);
    assertNotEquals(first, promoted);
    assertFalse(first.isRunning());

    first.start();
    assertEquals(promoted, cluster.primary());
    assertTrue(cluster.standbys().contains(first), "the old primary takes writes again");

    cluster.saveLogs(directory);
    for (RepmgrNode node : cluster.nodes()) {
      String log = Files.readString(directory.resolve(node.name() + ".log"));
      assertTrue(log.contains("this is " + node.name()), log);
    }
  }

  @Test
  void nodesAreCutOffAndReconnected() throws SQLException {
    RepmgrCluster cluster = clusters.start();
    RepmgrNode primary = cluster.awaitHealthy(Duration.ofMinutes(1));
    RepmgrNode standby = cluster.standbys().get(0);
    String[] reach = {"pg_isready", "-q", "-t", "1", "-h", primary.containerAddress().host()};
    assertEquals(0, standby.exec(reach).exitCode());

    standby.cutOffFrom(primary);
    assertEquals(2, standby.exec(reach).exitCode(), "the primary is reached");
    standby.connect("postgres").close();

    standby.cutOff();
    assertThrows(SQLException.class, () -> standby.connect("postgres"), "clients reach it");
    assertFalse(cluster.isHealthy());

    standby.reconnect();
    standby.connect("postgres").close();
    assertEquals(0, standby.exec(reach).exitCode());
    standby.cutOff();
    standby.kill();
    standby.reconnect();
    standby.start();
    standby.reconnect();
    assertEquals(primary, cluster.awaitHealthy(Duration.ofMinutes(1)));
  }

  @Test
  void closeLeavesNothing() {
    RepmgrCluster cluster = clusters.start();
    List<String> volumes = volumes(cluster);
    assertEquals(3, volumes.size(), "nodes without volumes: nothing to leave");
    cluster.nodes().get(1).pause();
    cluster.nodes().get(2).kill();
    cluster.close();
    assertEquals(List.of(), left(cluster));
    for (String volume : volumes) {
      assertThrows(NotFoundException.class, () -> docker().inspectVolumeCmd(volume).exec(), volume);
    }
    cluster.close();
  }

  @Test
  void anImageThatIsNotThereIsNamed() {
    RepmgrCluster.Builder builder = RepmgrCluster.builder().image("postgres-repmgr-misspelt");
    IllegalStateException e = assertThrows(IllegalStateException.class, builder::start);
    assertTrue(String.valueOf(e.getCause()).contains("'postgres-repmgr-misspelt'"), e.toString());
  }

  private static List<String> left(RepmgrCluster cluster) {
    List<String> left = new ArrayList<>(containers(cluster));
    docker().listNetworksCmd().withNameFilter(cluster.name()).exec().stream()
        .map(network -> network.getName())
        .forEach(left::add);
    return left;
  }

  private static List<String> volumes(RepmgrCluster cluster) {
    return containers(cluster).stream()
        .flatMap(id -> docker().inspectContainerCmd(id).exec().getMounts().stream())
        .map(mount -> String.valueOf(mount.getName()))
        .toList();
  }

  private static List<String> containers(RepmgrCluster cluster) {
    return docker()
        .listContainersCmd()
        .withShowAll(true)
        .withLabelFilter(Map.of(RepmgrCluster.LABEL, cluster.name()))
        .exec()
        .stream()
        .map(container -> container.getId())
        .toList();
  }

  private static DockerClient docker() {
    return DockerClientFactory.instance().client();
  }
}
