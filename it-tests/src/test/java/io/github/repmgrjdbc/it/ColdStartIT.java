package io.github.repmgrjdbc.it;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An application starts while the cluster is not whole. */
class ColdStartIT {

  @RegisterExtension final Clusters clusters = new Clusters();

  private RepmgrCluster cluster;
  private RepmgrNode primary;
  private RepmgrNode second;
  private RepmgrNode third;

  @BeforeEach
  void start() {
    cluster = clusters.start();
    primary = cluster.nodes().get(0);
    second = cluster.nodes().get(1);
    third = cluster.nodes().get(2);
  }

  /** The nodes in the URL are those that are down: nothing but the node table names the primary. */
  @Test
  void aNodeIsDown() throws SQLException {
    third.kill();
    String url = cluster.jdbcUrl(List.of(primary.address(), second.address(), third.address()));
    assertQuick("a standby is down", connect(url));
    assertQuick("a standby is down, its own address", connect(cluster.directJdbcUrl()));
    Leaks.awaitNone(cluster);
  }

  @Test
  void theFirstSeedRefuses() throws SQLException {
    third.kill();
    HostAndPort refusing = third.address();
    assertThrows(ConnectException.class, () -> dial(refusing), "no test of refusal");
    String url = cluster.jdbcUrl(List.of(refusing, second.address(), primary.address()));
    assertQuick("the first seed refuses", connect(url));
    Leaks.awaitNone(cluster);
  }

  /** It accepts, and says nothing. */
  @Test
  void theFirstSeedIsFrozen() throws SQLException {
    third.pause();
    HostAndPort frozen = third.containerAddress();
    assertThrows(SocketTimeoutException.class, () -> dial(frozen), "no test of silence");
    String url =
        cluster.jdbcUrl(List.of(frozen, second.containerAddress(), primary.containerAddress()));
    assertQuick("the first seed is frozen", connect(url));
    third.unpause();
    Leaks.awaitNone(cluster);
  }

  /** Only the node table leads to the primary: the one seed that there is, is a standby. */
  @Test
  void theOnlySeedIsAStandby() throws SQLException {
    String url = cluster.jdbcUrl(List.of(second.containerAddress()));
    String map =
        "&addressMap=%s=%s".formatted(primary.name(), primary.containerAddress().toString());
    assertQuick("the only seed is a standby", connect(url + map));
    Leaks.awaitNone(cluster);
  }

  @Test
  void thereIsNoPrimaryYet() throws SQLException {
    String url = cluster.jdbcUrl();
    primary.kill();
    Connected connected = connect(url);
    assertEquals(cluster.primary().containerAddress().host(), connected.address());
    System.out.printf(
        "cold start, no primary yet: a connection after %d ms%n", connected.took().toMillis());
    Leaks.awaitNone(cluster);
  }

  private record Connected(String address, Duration took) {}

  /** What a healthy cluster takes, and a good deal of slowness of the machine; no probe timeout. */
  private void assertQuick(String what, Connected connected) {
    System.out.printf(
        "cold start, %s: a connection after %d ms%n", what, connected.took().toMillis());
    assertEquals(primary.containerAddress().host(), connected.address());
    assertTrue(connected.took().toMillis() < 10_000, what + ": " + connected.took());
  }

  private static Connected connect(String url) throws SQLException {
    long began = System.nanoTime();
    try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
      dataSource.setUrl(url);
      try (Connection connection = dataSource.getConnection()) {
        Duration took = Duration.ofNanos(System.nanoTime() - began);
        try (Statement statement = connection.createStatement()) {
          statement.execute("CREATE TEMPORARY TABLE proof_of_writability ()");
          try (ResultSet row = statement.executeQuery("SELECT host(inet_server_addr())")) {
            row.next();
            return new Connected(row.getString(1), took);
          }
        }
      }
    }
  }

  /** Asks for TLS, as a client would, and waits half a second for the answer. */
  private static void dial(HostAndPort address) throws IOException {
    try (Socket socket = new Socket()) {
      socket.connect(new InetSocketAddress(address.host(), address.port()), 500);
      socket.setSoTimeout(500);
      socket.getOutputStream().write(new byte[] {0, 0, 0, 8, 4, (byte) 210, 22, 47});
      int answer = socket.getInputStream().read();
      throw new IOException("answered " + answer);
    }
  }
}
