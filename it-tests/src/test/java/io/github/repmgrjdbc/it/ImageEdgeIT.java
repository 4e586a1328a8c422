package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;

/** What the image shows to those around it: health, log, events, and TLS. */
class ImageEdgeIT {

  private static final Duration FAILOVER = Duration.ofMinutes(1);
  private static final Duration ANSWER = Duration.ofSeconds(5);

  private static final Pattern LOG_LINE =
      Pattern.compile(
          "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3} UTC \\[[^]]+] [A-Z]+: \\S.*");

  private static final String HOOK =
      """
      #!/bin/bash
      echo "event $2 of node $1 ($3): $5"
      """;

  private static final String MAKE_CERTIFICATE =
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=node"
          + " -keyout %1$s/key -out %1$s/crt 2>&1 && chmod 600 %1$s/key";

  /** An authority, and a certificate of its for the three nodes of a cluster. */
  private static final String MAKE_CERTIFICATES =
      """
      set -e
      cd %1$s
      request='openssl req -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1'
      $request -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
      $request -subj /CN=node -keyout key -out csr
      echo 'subjectAltName=DNS:%2$s-1,DNS:%2$s-2,DNS:%2$s-3' > names
      openssl x509 -req -days 2 -CA ca.crt -CAkey ca.key -extfile names -in csr -out crt
      """;

  @RegisterExtension final Clusters clusters = new Clusters();

  private final HttpClient http = HttpClient.newBuilder().connectTimeout(ANSWER).build();

  /** No two nodes say that they are the primary, at each look. */
  @Test
  void healthFollowsTheRolesAndTheLogHasOneFormat(@TempDir Path directory) throws IOException {
    hook(directory, "10-tell", HOOK);
    hook(directory, "20-fail", "#!/bin/bash\nexit 3\n");
    RepmgrCluster cluster =
        clusters.start(RepmgrCluster.builder().mount(directory, "/docker-entrypoint-events.d"));
    RepmgrNode old = cluster.primary();
    awaitRoles(cluster, old);
    assertEquals(404, status(old, "/nonesuch"));
    assertEquals(400, status(old, "/replica?lag=much"));
    assertEquals(200, status(cluster.standbys().get(0), "/replica?lag=16MB"));

    old.kill();
    await("the promoted node to be asked for")
        .pollInterval(Duration.ofMillis(10))
        .atMost(FAILOVER)
        .until(() -> !primaries(cluster).isEmpty());
    RepmgrNode promoted = cluster.primary();
    assertEquals(Set.of(promoted), primaries(cluster));

    old.start();
    await("the old primary to be a replica")
        .pollInterval(Duration.ofMillis(10))
        .atMost(FAILOVER)
        .until(() -> primaries(cluster).equals(Set.of(promoted)) && status(old, "/replica") == 200);
    awaitRoles(cluster, promoted);
    String event = "[event 10-tell] INFO: event standby_promote of node ";
    await("the event of the promotion").until(() -> promoted.logs().contains(event));
    await("what is said of the program that fails")
        .until(() -> promoted.logs().contains("[node] WARNING: 20-fail has failed at the event"));

    old.stop();
    for (RepmgrNode node : cluster.nodes()) {
      List<String> lines = node.logs().lines().toList();
      assertEquals(
          List.of(), lines.stream().filter(line -> !LOG_LINE.matcher(line).matches()).toList());
    }
    assertTrue(
        old.logs().strip().endsWith("database system is shut down"),
        "the last line of a node that was stopped");
  }

  @Test
  void nodesReplicateByTlsOnly(@TempDir Path directory) throws Exception {
    make(MAKE_CERTIFICATE.formatted(directory));
    RepmgrCluster cluster =
        clusters.start(
            RepmgrCluster.builder()
                .mount(directory, "/certificates")
                .environment("TLS_CERT_FILE", "/certificates/crt")
                .environment("TLS_KEY_FILE", "/certificates/key"));
    RepmgrNode old = cluster.primary();
    assertEquals(Set.of("2 true"), encrypted(old));
    SQLException refused =
        assertThrows(SQLException.class, () -> connectAsRepmgrWithoutTls(old).close());
    assertTrue(String.valueOf(refused.getMessage()).contains("no encryption"), refused::toString);

    old.kill();
    RepmgrNode promoted = cluster.awaitPrimary(FAILOVER, old);
    old.start();
    await("two standbys of the new primary, by TLS")
        .atMost(FAILOVER)
        .until(() -> encrypted(promoted), Set.of("2 true")::equals);
  }

  /** What one node is told of its part, it plays: here the third, and certificates are checked. */
  @Test
  void theThirdNodeIsPreferredAndLeadsAlone(@TempDir Path directory) throws Exception {
    String name = "repmgr-edge-" + Long.toHexString(System.nanoTime() & 0xffffff);
    make(MAKE_CERTIFICATES.formatted(directory, name));
    RepmgrCluster cluster =
        clusters.start(
            RepmgrCluster.builder()
                .name(name)
                .mount(directory, "/certificates")
                .environment("TLS_CERT_FILE", "/certificates/crt")
                .environment("TLS_KEY_FILE", "/certificates/key")
                .environment("TLS_CA_FILE", "/certificates/ca.crt")
                .environment("NODE_LOCATION", "east")
                // Of two that have as much, and the same priority, the lower one would be promoted.
                .environment(2, "NODE_ID", "2")
                .environment(3, "NODE_ID", "3")
                .environment(3, "NODE_PRIORITY", "200")
                .environment(3, "ALONE", "allow"));
    RepmgrNode old = cluster.awaitHealthy(FAILOVER);
    RepmgrNode second = cluster.nodes().get(1);
    RepmgrNode third = cluster.nodes().get(2);
    old.kill();
    assertEquals(third, cluster.awaitPrimary(FAILOVER, old));
    int logged = old.logs().length();
    old.start();
    cluster.awaitHealthy(FAILOVER);
    String log = old.logs().substring(logged);
    assertTrue(log.contains("rewinding from last common checkpoint"), log);
    assertFalse(log.contains("copying all of it"), log);
    assertEquals(Set.of("2 true"), encrypted(third));
    assertEquals(
        Set.of("east 100 verify-full", "east 200 verify-full"),
        texts(
            second,
            "SELECT format('%s %s %s', location, priority, substring(conninfo, 'sslmode=(\\S*)'))"
                + " FROM repmgr.nodes"));

    cluster.nodes().forEach(RepmgrNode::kill);
    third.start();
    cluster.awaitPrimary(FAILOVER);
    // Any other would have stopped by then.
    await("it to go on")
        .during(Duration.ofSeconds(6))
        .atMost(ANSWER.plusSeconds(6))
        .until(() -> cluster.primary().equals(third));
    old.start();
    second.start();
    assertEquals(third, cluster.awaitHealthy(FAILOVER));
  }

  private static void make(String script) throws IOException, InterruptedException {
    Process make = new ProcessBuilder("bash", "-c", script).redirectErrorStream(true).start();
    String output = new String(make.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, make.waitFor(), output);
  }

  private static void hook(Path directory, String name, String text) throws IOException {
    Path file = Files.writeString(directory.resolve(name), text);
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  /** Until that one is the primary and all others are its replicas, to whoever asks. */
  private void awaitRoles(RepmgrCluster cluster, RepmgrNode primary) {
    Set<RepmgrNode> all = Set.copyOf(cluster.nodes());
    Set<RepmgrNode> others =
        all.stream().filter(node -> node != primary).collect(Collectors.toSet());
    await(primary + " to be the primary, and the others its replicas")
        .atMost(FAILOVER)
        .until(
            () ->
                yes(cluster, "/primary").equals(Set.of(primary))
                    && yes(cluster, "/").equals(Set.of(primary))
                    && yes(cluster, "/replica").equals(others)
                    && yes(cluster, "/readiness").equals(all)
                    && yes(cluster, "/member").equals(all)
                    && yes(cluster, "/liveness").equals(all));
  }

  private Set<RepmgrNode> primaries(RepmgrCluster cluster) {
    Set<RepmgrNode> primaries = yes(cluster, "/primary");
    assertTrue(primaries.size() < 2, primaries::toString);
    return primaries;
  }

  /** The nodes that say yes. */
  private Set<RepmgrNode> yes(RepmgrCluster cluster, String question) {
    return cluster.nodes().stream()
        .filter(node -> node.isRunning() && status(node, question) == 200)
        .collect(Collectors.toSet());
  }

  /** The HTTP status, 0 if there is no answer. */
  private int status(RepmgrNode node, String question) {
    URI uri = URI.create("http://" + node.containerAddress().host() + ":8008" + question);
    try {
      return http.send(
              HttpRequest.newBuilder(uri).timeout(ANSWER).build(), BodyHandlers.discarding())
          .statusCode();
    } catch (IOException e) {
      return 0;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  /** How many sessions replicate from a node, and whether by TLS. */
  private static Set<String> encrypted(RepmgrNode node) throws SQLException {
    return texts(
        node,
        "SELECT count(*) || ' ' || coalesce(bool_and(ssl), false)"
            + " FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)");
  }

  private static Set<String> texts(RepmgrNode node, String sql) throws SQLException {
    Set<String> texts = new TreeSet<>();
    try (Connection connection = node.connect("repmgr");
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      while (row.next()) {
        texts.add(row.getString(1));
      }
    }
    return texts;
  }

  /** It is refused before a password is asked for. */
  private static Connection connectAsRepmgrWithoutTls(RepmgrNode node) throws SQLException {
    return DriverManager.getConnection(
        "jdbc:postgresql://%s/repmgr?user=repmgr&password=none&sslmode=disable"
            .formatted(node.address()));
  }
}
