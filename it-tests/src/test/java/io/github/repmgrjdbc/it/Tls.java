package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Base64;
import java.util.stream.Collectors;

/**
 * TLS on all nodes of a cluster, with a certificate for the containers' own addresses and no other,
 * and what a client needs for it, in a directory here.
 */
final class Tls {

  /** Who may come with the client's certificate alone, to any database. */
  static final String CERTIFIED = "certified";

  private static final String DIRECTORY = "/var/lib/postgresql/tls";

  /** Elliptic curves: made in no time. One authority that the servers have, and a stranger. */
  private static final String MAKE =
      """
      set -e
      umask 077
      mkdir %1$s
      cd %1$s
      request='openssl req -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1'
      $request -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
      $request -x509 -days 2 -subj /CN=stranger -keyout stranger.key -out stranger.crt
      echo 'subjectAltName=%2$s' > names
      $request -subj /CN=server -keyout server.key -out server.csr
      openssl x509 -req -days 2 -CA ca.crt -CAkey ca.key -extfile names -in server.csr -out server.crt
      $request -subj /CN=%3$s -keyout client.key -out client.csr
      openssl x509 -req -days 2 -CA ca.crt -CAkey ca.key -in client.csr -out client.crt
      openssl pkcs8 -topk8 -nocrypt -outform DER -in client.key -out client.pk8
      """;

  private final Path local;

  private Tls(Path local) {
    this.local = local;
  }

  /** Switches it on everywhere; connections without it are taken as before. */
  static Tls enable(RepmgrCluster cluster, Path local) throws SQLException {
    Tls tls = new Tls(local);
    RepmgrNode first = cluster.nodes().get(0);
    String names =
        cluster.nodes().stream()
            .map(node -> "IP:" + node.containerAddress().host())
            .collect(Collectors.joining(","));
    first.exec("sh", "-c", MAKE.formatted(DIRECTORY, names, CERTIFIED)).orThrow();
    for (String file : new String[] {"ca.crt", "stranger.crt", "client.crt", "client.pk8"}) {
      tls.write(file, read(first, file));
    }
    for (RepmgrNode node : cluster.nodes()) {
      if (node != first) {
        node.exec("mkdir", DIRECTORY).orThrow();
        for (String file : new String[] {"ca.crt", "server.crt", "server.key"}) {
          String copy = "umask 077; echo %s | base64 -d > %s/%s";
          node.exec("sh", "-c", copy.formatted(read(first, file), DIRECTORY, file)).orThrow();
        }
      }
      String rule = "1i hostssl all %s all cert".formatted(CERTIFIED);
      node.exec("sed", "-i", rule, "/var/lib/postgresql/data/pg_hba.conf").orThrow();
      try (Connection connection = node.connect("postgres");
          Statement statement = connection.createStatement()) {
        statement.execute("ALTER SYSTEM SET ssl_ca_file = '%s/ca.crt'".formatted(DIRECTORY));
        statement.execute("ALTER SYSTEM SET ssl_cert_file = '%s/server.crt'".formatted(DIRECTORY));
        statement.execute("ALTER SYSTEM SET ssl_key_file = '%s/server.key'".formatted(DIRECTORY));
        statement.execute("ALTER SYSTEM SET ssl = on");
        statement.execute("SELECT pg_reload_conf()");
      }
    }
    try (Connection connection = cluster.primary().connect("postgres");
        Statement statement = connection.createStatement()) {
      statement.execute("CREATE ROLE %s LOGIN IN ROLE repmgr_metadata".formatted(CERTIFIED));
    }
    for (RepmgrNode node : cluster.nodes()) {
      await("TLS and the role on " + node).until(() -> isOn(node));
    }
    return tls;
  }

  /** A file for the client: ca.crt, stranger.crt (of another authority), client.crt, client.pk8. */
  String file(String name) {
    return local.resolve(name).toString();
  }

  private static boolean isOn(RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement();
        ResultSet row =
            statement.executeQuery(
                "SELECT current_setting('ssl')::bool AND count(*) = 1 FROM pg_roles"
                    + " WHERE rolname = '%s'".formatted(CERTIFIED))) {
      row.next();
      return row.getBoolean(1);
    }
  }

  private static String read(RepmgrNode node, String file) {
    return node.exec("base64", "-w0", DIRECTORY + "/" + file).orThrow().stdout().strip();
  }

  private void write(String file, String base64) {
    try {
      Path path = local.resolve(file);
      Files.write(path, Base64.getDecoder().decode(base64));
      // pgJDBC takes no key that others can read.
      Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
