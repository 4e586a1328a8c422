package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.PromotionWatch;
import io.github.repmgrjdbc.testing.PromotionWatch.Promotion;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.lang.ref.Cleaner;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.net.SocketFactory;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.Oid;
import org.postgresql.ssl.NonValidatingFactory;
import org.slf4j.LoggerFactory;

/**
 * pgJDBC's own parameters, and TLS: what the application asks for is what it and the probes get.
 */
class PassThroughIT {

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();
  @TempDir static Path directory;

  private static RepmgrCluster cluster;
  private static Tls tls;

  @BeforeAll
  static void start() throws SQLException {
    cluster = CLUSTERS.startShared();
    tls = Tls.enable(cluster, directory);
  }

  @AfterAll
  static void leavesNothing() {
    Leaks.awaitNone(cluster);
  }

  // ---------------------------------------------------------------------------------- sockets

  /** Keeps what it has made, by the argument that it was given. */
  public static final class OwnSockets extends SocketFactory {

    static final Map<String, List<Socket>> MADE = new ConcurrentHashMap<>();

    private final List<Socket> made;

    public OwnSockets(String argument) {
      made = MADE.computeIfAbsent(argument, key -> new CopyOnWriteArrayList<>());
    }

    @Override
    public Socket createSocket() {
      Socket socket = new Socket();
      made.add(socket);
      return socket;
    }

    @Override
    public Socket createSocket(String host, int port) {
      throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress local, int localPort) {
      throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(InetAddress host, int port) {
      throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) {
      throw new UnsupportedOperationException();
    }
  }

  /** Also under TLS, and for the probes too; {@code tcpKeepAlive} is seen nowhere else. */
  @Test
  void socketFactoryAndTcpKeepAlive() throws SQLException {
    List<Socket> sockets = new CopyOnWriteArrayList<>();
    OwnSockets.MADE.put("of this test", sockets);
    String factory = OwnSockets.class.getName();
    String argument = "of this test";
    try (RepmgrDataSource dataSource =
            dataSource(
                "socketFactory",
                factory,
                "socketFactoryArg",
                argument,
                "tcpKeepAlive",
                "true",
                "sslmode",
                "require");
        Connection connection = dataSource.getConnection()) {
      int port = Integer.parseInt(ask(connection, "SELECT inet_client_port()"));
      Socket own =
          sockets.stream()
              .filter(socket -> socket.getLocalPort() == port)
              .findFirst()
              .orElseThrow(() -> new AssertionError("the connection's socket is not ours"));
      assertTrue(own.getKeepAlive());
      await("three probes and one connection")
          .until(() -> sockets.stream().filter(Socket::isConnected).count() == 4);
    } catch (SocketException e) {
      throw new AssertionError(e);
    }
    await("all sockets to be closed").until(() -> sockets.stream().allMatch(Socket::isClosed));
  }

  // ------------------------------------------------------------------------------------- TLS

  /** pgJDBC's own that believes everybody, and counts. */
  public static final class OwnTls extends NonValidatingFactory {

    static final AtomicInteger MADE = new AtomicInteger();

    public OwnTls(String argument) throws GeneralSecurityException {
      super(argument);
    }

    @Override
    public Socket createSocket(Socket socket, String host, int port, boolean autoClose)
        throws IOException {
      MADE.incrementAndGet();
      return super.createSocket(socket, host, port, autoClose);
    }
  }

  @Test
  void sslfactory() throws SQLException {
    try (RepmgrDataSource dataSource =
        dataSource("sslmode", "require", "sslfactory", OwnTls.class.getName())) {
      assertEquals("t", ask(dataSource, SSL));
      await("three probes and one connection").until(() -> OwnTls.MADE.get() == 4);
    }
  }

  private static final String SSL = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

  private static final String PROBES_SSL =
      "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
          + " WHERE usename = current_user AND application_name = 'repmgr-jdbc monitor'";

  @Test
  void sslmodeRequire() throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("sslmode", "disable")) {
      assertEquals("f", ask(dataSource, SSL), "it is not the server that insists");
    }
    try (RepmgrDataSource dataSource = dataSource("sslmode", "require");
        Connection connection = dataSource.getConnection()) {
      assertEquals("t", ask(connection, SSL));
      assertEquals("t", ask(connection, PROBES_SSL), "the probes");
    }
  }

  @Test
  void sslmodeVerifyFull() throws SQLException {
    try (RepmgrDataSource dataSource = dataSource(verifyFull("ca.crt"))) {
      assertEquals("t", ask(dataSource, SSL));
    }
  }

  /** The published ports are localhost's, and the certificate is not. */
  @Test
  void verifyFullRefusesAnotherHost() {
    Failure failure = fails(cluster.jdbcUrl(), "08006", verifyFull("ca.crt"));
    RepmgrNode node = cluster.nodes().get(0);
    assertSays(failure, node.address().toString(), "localhost could not be verified");
  }

  @Test
  void verifyFullRefusesAnUnknownAuthority() {
    Failure failure = fails(cluster.directJdbcUrl(), "08006", verifyFull("stranger.crt"));
    RepmgrNode node = cluster.nodes().get(0);
    assertSays(failure, node.containerAddress().toString(), "certification path");
  }

  @Test
  void aClientCertificateInsteadOfAPassword() throws SQLException {
    String url = "jdbc:repmgr://%s/app?user=%s".formatted(hosts(), Tls.CERTIFIED);
    String[] certificate = {"sslcert", tls.file("client.crt"), "sslkey", tls.file("client.pk8")};
    String[] parameters =
        Stream.of(verifyFull("ca.crt"), certificate).flatMap(Arrays::stream).toArray(String[]::new);
    try (RepmgrDataSource dataSource = dataSourceFor(url, parameters)) {
      assertEquals(
          "/CN=certified",
          ask(dataSource, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"));
    }
    Failure failure = fails(url, "28000", verifyFull("ca.crt"));
    assertSays(
        failure,
        cluster.nodes().get(0).containerAddress().toString(),
        "requires a valid client certificate");
  }

  /** pgJDBC ends what nobody has closed, and complains if it finds TLS on a socket that is cut. */
  @Test
  void closesWhatItHasOpenedUnderTls() throws SQLException {
    java.util.logging.Logger log =
        java.util.logging.Logger.getLogger("org.postgresql.util.LazyCleanerImpl");
    List<String> complaints = new CopyOnWriteArrayList<>();
    Handler handler =
        new Handler() {
          @Override
          public void publish(LogRecord record) {
            complaints.add(record.getMessage() + ": " + record.getThrown());
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    collectGarbage();
    log.addHandler(handler);
    try {
      try (RepmgrDataSource dataSource = dataSource("sslmode", "require")) {
        assertEquals("t", ask(dataSource, SSL));
        await("all probes to have answered")
            .until(() -> dataSource.view().nodes().stream().allMatch(node -> node.timeline() > 0));
      }
      Leaks.awaitNone(cluster);
      collectGarbage();
      assertEquals(List.of(), complaints);
    } finally {
      log.removeHandler(handler);
    }
  }

  /** Until a cleaner that is registered now has run, and with it those of all that went before. */
  private static void collectGarbage() {
    CountDownLatch cleaned = new CountDownLatch(1);
    Cleaner.create().register(new Object(), cleaned::countDown);
    await("the garbage to be collected")
        .until(
            () -> {
              System.gc();
              return cleaned.getCount() == 0;
            });
  }

  // ---------------------------------------------------------------------------------- log-in

  @Test
  void channelBindingRequire() throws SQLException {
    try (RepmgrDataSource dataSource =
        dataSource("sslmode", "require", "channelBinding", "require")) {
      assertEquals("t", ask(dataSource, SSL));
    }
    Failure failure =
        fails(cluster.directJdbcUrl(), "08004", "sslmode", "disable", "channelBinding", "require");
    assertSays(failure, cluster.nodes().get(0).containerAddress().toString(), "hannel");
  }

  @Test
  void requireAuth() throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("requireAuth", "scram-sha-256")) {
      assertEquals("1", ask(dataSource, "SELECT 1"));
    }
    Failure failure = fails(cluster.directJdbcUrl(), "08004", "requireAuth", "md5");
    assertSays(failure, cluster.nodes().get(0).containerAddress().toString(), "uth");
  }

  // --------------------------------------------------------------------------------- session

  @Test
  void optionsCurrentSchemaAndApplicationName() throws SQLException {
    try (RepmgrDataSource dataSource =
            dataSource(
                "options", "-c statement_timeout=12345",
                "currentSchema", "of_mine,public",
                "ApplicationName", "pass-through");
        Connection connection = dataSource.getConnection()) {
      assertEquals("12345ms", ask(connection, "SHOW statement_timeout"));
      assertEquals("of_mine,public", ask(connection, "SHOW search_path").replace(" ", ""));
      assertEquals("pass-through", ask(connection, "SHOW application_name"));
      assertEquals(
          "repmgr-jdbc monitor",
          ask(
              connection,
              "SELECT application_name FROM pg_stat_activity"
                  + " WHERE usename = 'app' AND datname = 'repmgr'"));
    }
  }

  @Test
  void prepareThreshold() throws SQLException {
    assertEquals("1", preparedOnTheServer("1"));
    assertEquals("0", preparedOnTheServer("0"));
  }

  private static String preparedOnTheServer(String threshold) throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("prepareThreshold", threshold);
        Connection connection = dataSource.getConnection();
        PreparedStatement statement = connection.prepareStatement("SELECT 4711")) {
      statement.executeQuery().close();
      return ask(
          connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%4711'");
    }
  }

  /** The server does not tell in which format it has sent something; pgJDBC does. */
  @Test
  void binaryTransfer() throws SQLException {
    assertTrue(wantsBinary("true"));
    assertFalse(wantsBinary("false"));
  }

  private static boolean wantsBinary(String binaryTransfer) throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("binaryTransfer", binaryTransfer);
        Connection connection = dataSource.getConnection()) {
      return connection
          .unwrap(BaseConnection.class)
          .getQueryExecutor()
          .useBinaryForReceive(Oid.INT4);
    }
  }

  /** Rows of one INSERT have one command id. */
  @Test
  void reWriteBatchedInserts() throws SQLException {
    assertEquals("1", commandsForABatch("true"));
    assertEquals("4", commandsForABatch("false"));
  }

  private static String commandsForABatch(String rewrite) throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("reWriteBatchedInserts", rewrite);
        Connection connection = dataSource.getConnection()) {
      connection.setAutoCommit(false);
      try (Statement statement = connection.createStatement()) {
        statement.execute("CREATE TEMPORARY TABLE batch (n int)");
      }
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO batch VALUES (?)")) {
        for (int i = 0; i < 4; i++) {
          insert.setInt(1, i);
          insert.addBatch();
        }
        insert.executeBatch();
      }
      String commands = ask(connection, "SELECT count(DISTINCT cmin::text) FROM batch");
      connection.rollback();
      return commands;
    }
  }

  /** A result that is not fetched whole has a cursor on the server. */
  @Test
  void defaultRowFetchSize() throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("defaultRowFetchSize", "7");
        Connection connection = dataSource.getConnection()) {
      connection.setAutoCommit(false);
      try (Statement statement = connection.createStatement();
          ResultSet rows = statement.executeQuery("SELECT generate_series(1, 100)")) {
        rows.next();
        assertEquals(
            "1", ask(connection, "SELECT count(*) FROM pg_cursors WHERE statement LIKE '%100)'"));
      }
      connection.rollback();
    }
  }

  // -------------------------------------------------------------------------------- time-outs

  @Test
  void socketTimeout() throws SQLException {
    try (RepmgrDataSource dataSource = dataSource("socketTimeout", "1");
        Connection connection = dataSource.getConnection()) {
      long began = System.nanoTime();
      SQLException e =
          assertThrows(SQLException.class, () -> ask(connection, "SELECT pg_sleep(20)"));
      assertEquals("08006", e.getSQLState());
      assertTookAbout(1_000, Duration.ofNanos(System.nanoTime() - began));
    }
  }

  /**
   * An address of the cluster's network that nobody has: packets to it get lost, for some seconds.
   */
  private static String nobody() {
    return cluster.nodes().get(0).containerAddress().host().replaceAll("[.]\\d+$", ".250");
  }

  @Test
  void connectTimeout() {
    Failure failure = fails(urlTo(nobody()), "08001", "connectTimeout", "1", "probeTimeout", "20s");
    assertSays(failure, nobody(), "onnect timed out");
  }

  @Test
  void loginTimeout() {
    Failure failure =
        fails(urlTo(nobody()), "08001", "loginTimeout", "1", "failoverTimeout", "20s");
    assertSays(failure, nobody());
    assertTookAbout(1_000, failure.took());
  }

  // ------------------------------------------------------------------------------- the cluster

  /** As a standby does, it refuses to write; but it is none. */
  @Test
  void aReadOnlyPrimaryIsServedWithOneWarning() throws SQLException {
    Logger log = (Logger) LoggerFactory.getLogger("io.github.repmgrjdbc");
    ListAppender<ILoggingEvent> heard = new ListAppender<>();
    heard.start();
    log.addAppender(heard);
    RepmgrNode primary = cluster.primary();
    defaultReadOnly(primary, "on");
    try (RepmgrDataSource dataSource = dataSource()) {
      for (int i = 0; i < 3; i++) {
        try (Connection connection = dataSource.getConnection()) {
          assertEquals("on", ask(connection, "SHOW transaction_read_only"));
          assertEquals(primary.containerAddress().host(), ask(connection, ADDRESS));
        }
      }
      List<String> warnings =
          heard.list.stream()
              .filter(event -> event.getLevel() == Level.WARN)
              .map(ILoggingEvent::getFormattedMessage)
              .toList();
      assertEquals(1, warnings.size(), warnings.toString());
      String warning = warnings.get(0);
      assertTrue(warning.contains(primary.containerAddress().toString()), warning);
      assertTrue(warning.contains("default_transaction_read_only"), warning);
    } finally {
      log.detachAppender(heard);
      defaultReadOnly(primary, "off");
    }
  }

  private static void defaultReadOnly(RepmgrNode node, String value) throws SQLException {
    try (Connection connection = node.connect("postgres");
        Statement statement = connection.createStatement()) {
      statement.execute("ALTER SYSTEM SET default_transaction_read_only = " + value);
      statement.execute("SELECT pg_reload_conf()");
    }
    await("new sessions to have it")
        .until(
            () -> {
              try (Connection connection = node.connect("postgres")) {
                return ask(connection, "SHOW default_transaction_read_only");
              }
            },
            value::equals);
  }

  /**
   * One thread waits for an answer, the other is stuck in writing a long statement: what TLS would
   * write at the end of a connection waits behind that.
   */
  @Test
  void threadsOnAFrozenPrimaryAreFreedUnderTls(@TempDir Path files) throws Exception {
    RepmgrCluster own = CLUSTERS.start();
    Tls ownTls = Tls.enable(own, files);
    RepmgrNode old = own.primary();
    try (RepmgrDataSource dataSource =
            dataSourceFor(
                own.directJdbcUrl(),
                "sslmode",
                "verify-full",
                "sslrootcert",
                ownTls.file("ca.crt"));
        Connection reading = dataSource.getConnection();
        Connection writing = dataSource.getConnection();
        PreparedStatement large = writing.prepareStatement("SELECT length(?)")) {
      try {
        large.setString(1, "x".repeat(32 << 20));
        AtomicInteger written = new AtomicInteger();
        CompletableFuture<Freed> reader = untilFreed(() -> ask(reading, "SELECT pg_sleep(300)"));
        CompletableFuture<Freed> writer =
            untilFreed(
                () -> {
                  large.executeQuery().close();
                  written.incrementAndGet();
                });
        await("large statements to pass").until(() -> written.get() > 1);
        Promotion promotion;
        try (PromotionWatch watch = PromotionWatch.start(own.standbys())) {
          old.pause();
          promotion =
              await("a standby to be promoted")
                  .atMost(Duration.ofMinutes(1))
                  .until(watch::promotion, Optional::isPresent)
                  .orElseThrow();
        }
        long readerFreed = reader.get(10, TimeUnit.SECONDS).nanoTime() - promotion.nanoTime();
        long writerFreed = writer.get(10, TimeUnit.SECONDS).nanoTime() - promotion.nanoTime();
        try (Connection connection = dataSource.getConnection()) {
          long connected = System.nanoTime() - promotion.nanoTime();
          assertEquals(promotion.node().containerAddress().host(), ask(connection, ADDRESS));
          assertEquals("t", ask(connection, SSL));
          System.out.printf(
              "frozen under TLS, after the promotion: reader freed %.1f ms, writer freed %.1f ms,"
                  + " connected by %.1f ms%n",
              readerFreed / 1e6, writerFreed / 1e6, connected / 1e6);
        }
        assertTrue(readerFreed < 2e9 && writerFreed < 2e9, "hung on after the promotion");
      } finally {
        // Also frees who hangs after all. Let go on instead, it would sleep out what it was asked.
        old.kill();
      }
    }
    Leaks.awaitNone(own);
  }

  private interface Work {
    void run() throws SQLException;
  }

  private record Freed(SQLException e, long nanoTime) {}

  private static CompletableFuture<Freed> untilFreed(Work work) {
    return CompletableFuture.supplyAsync(
        () -> {
          while (true) {
            try {
              work.run();
            } catch (SQLException e) {
              return new Freed(e, System.nanoTime());
            }
          }
        });
  }

  // ------------------------------------------------------------------------------------- tools

  private static final String ADDRESS = "SELECT host(inet_server_addr())";

  private record Failure(String message, Duration took) {}

  private static RepmgrDataSource dataSource(String... parameters) {
    return dataSourceFor(cluster.directJdbcUrl(), parameters);
  }

  /** Each name is followed by its value. */
  private static RepmgrDataSource dataSourceFor(String url, String... parameters) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setUrl(url);
    for (int i = 0; i < parameters.length; i += 2) {
      dataSource.setProperty(parameters[i], parameters[i + 1]);
    }
    return dataSource;
  }

  private static String[] verifyFull(String authority) {
    return new String[] {"sslmode", "verify-full", "sslrootcert", tls.file(authority)};
  }

  private static Failure fails(String url, String state, String... parameters) {
    try (RepmgrDataSource dataSource = dataSourceFor(url + "&failoverTimeout=5s", parameters)) {
      long began = System.nanoTime();
      SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
      Duration took = Duration.ofNanos(System.nanoTime() - began);
      System.out.printf(
          "%s: after %d ms, %s: %s%n",
          String.join(" ", parameters), took.toMillis(), e.getSQLState(), e.getMessage());
      assertEquals(state, e.getSQLState(), e.getMessage());
      return new Failure(String.valueOf(e.getMessage()), took);
    }
  }

  private static void assertSays(Failure failure, String... words) {
    assertAll(
        Arrays.stream(words)
            .map(
                word ->
                    () ->
                        assertTrue(
                            failure.message().contains(word), word + " in: " + failure.message())));
  }

  private static void assertTookAbout(long millis, Duration took) {
    assertTrue(took.toMillis() >= millis - 50 && took.toMillis() < millis + 2_000, took.toString());
  }

  private static String urlTo(String host) {
    return cluster.jdbcUrl(List.of(new HostAndPort(host, 5432)));
  }

  private static String hosts() {
    return cluster.nodes().stream()
        .map(node -> node.containerAddress().toString())
        .collect(Collectors.joining(","));
  }

  private static String ask(RepmgrDataSource dataSource, String sql) throws SQLException {
    try (Connection connection = dataSource.getConnection()) {
      return ask(connection, sql);
    }
  }

  private static String ask(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return row.getString(1);
    }
  }
}
