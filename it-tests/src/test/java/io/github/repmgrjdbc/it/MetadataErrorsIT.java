package io.github.repmgrjdbc.it;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.RepmgrCluster;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The node table cannot be read, or holds what it should not: what the application is told. */
class MetadataErrorsIT {

  private static final String PASSWORD = "secret";

  /** All that repmgr 4.4 and later have of what the driver asks. */
  private static final String STUB =
      """
      CREATE SCHEMA repmgr;
      CREATE TABLE repmgr.nodes (
        node_id integer PRIMARY KEY, upstream_node_id integer, active boolean NOT NULL,
        node_name text NOT NULL, type text NOT NULL, conninfo text NOT NULL);
      CREATE FUNCTION repmgr.get_local_node_id() RETURNS integer LANGUAGE sql AS 'SELECT 1';
      CREATE FUNCTION repmgr.get_upstream_node_id() RETURNS integer LANGUAGE sql AS 'SELECT -1';
      CREATE FUNCTION repmgr.get_upstream_last_seen() RETURNS integer LANGUAGE sql AS 'SELECT -1';
      GRANT USAGE ON SCHEMA repmgr TO PUBLIC;
      GRANT SELECT ON repmgr.nodes TO PUBLIC;
      """;

  @RegisterExtension static final Clusters CLUSTERS = new Clusters();

  private static RepmgrCluster cluster;
  private static RepmgrNode node;

  @BeforeAll
  static void start() {
    cluster = CLUSTERS.startShared(1);
    node = cluster.nodes().get(0);
  }

  @AfterAll
  static void leavesNothing() {
    Leaks.awaitNone(cluster);
  }

  @Test
  void aWrongPassword() throws SQLException {
    role("forgetful");
    Failure failure = failsAtOnce("28P01", "forgetful", "repmgrPassword=wrong");
    assertSays(failure, "forgetful", "repmgr.nodes", "password authentication failed");
  }

  /** The table can be read, the application's database cannot be entered. */
  @Test
  void aWrongPasswordOfTheApplicationAlone() throws SQLException {
    Failure failure =
        failsAtOnce("28P01", "postgres", "repmgrUser=app&repmgrPassword=" + cluster.password());
    assertTrue(failure.message().contains("password authentication failed"), failure.message());
  }

  @Test
  void noEntryInPgHba() throws SQLException {
    role("unlisted");
    hba("sed -i.whole 's/^host *all *all /host all postgres /'");
    try {
      await("the rules to be read")
          .until(() -> plainly("unlisted", "postgres").startsWith("28000 "));
      Failure failure = failsAtOnce("28000", "unlisted", "");
      assertSays(failure, "unlisted", "no pg_hba.conf entry");
    } finally {
      hba("mv /var/lib/postgresql/data/pg_hba.conf.whole");
      await("the rules to be as before")
          .until(() -> plainly("unlisted", "postgres").equals("connected"));
    }
  }

  @Test
  void aMissingDatabase() throws SQLException {
    role("lost");
    Failure failure = failsAtOnce("3D000", "lost", "repmgrDatabase=nowhere");
    assertSays(failure, "\"nowhere\" does not exist", "repmgrDatabase");
  }

  @Test
  void aMissingDatabaseOfTheApplication() throws SQLException {
    role("homeless", "repmgr_metadata");
    String url = url("homeless", "").replace("/postgres?", "/nowhere?");
    Failure failure = failsAtOnce("3D000", url);
    assertSays(failure, "\"nowhere\" does not exist");
  }

  static Stream<Arguments> rights() {
    return Stream.of(
            "CONNECT ON DATABASE repmgr",
            "USAGE ON SCHEMA repmgr",
            "SELECT ON repmgr.nodes",
            "EXECUTE ON FUNCTION repmgr.get_local_node_id()",
            "EXECUTE ON FUNCTION repmgr.get_upstream_last_seen()",
            "EXECUTE ON FUNCTION repmgr.get_upstream_node_id()")
        .map(Arguments::of);
  }

  /** The message has the statement that is missing; executed, it cures. */
  @ParameterizedTest
  @MethodSource("rights")
  void aMissingRight(String missing) throws SQLException {
    String role = "lacks_" + missing.replaceAll("\\W+", "_").toLowerCase(Locale.ROOT);
    role(role);
    for (Object right : rights().map(arguments -> arguments.get()[0]).toList()) {
      if (!right.equals(missing)) {
        superuser("repmgr", "GRANT " + right + " TO " + role);
      }
    }
    Failure failure = failsAtOnce("42501", role, "");
    String cure = "GRANT " + missing + " TO " + role;
    assertSays(failure, "permission denied", cure);
    superuser("repmgr", cure);
    connects(url(role, "failoverTimeout=5s"));
  }

  /** Whoever does what the messages say, one after the other, gets there. */
  @Test
  void followingTheMessagesCuresAllMissingRights() throws SQLException {
    String quoted = "\"Odd \"\"Role\"\"\"";
    superuser("postgres", "CREATE ROLE %s LOGIN PASSWORD '%s'".formatted(quoted, PASSWORD));
    String url = url("Odd%20%22Role%22", "");
    Pattern statement = Pattern.compile("GRANT [^;]*? TO " + Pattern.quote(quoted));
    int rounds = 0;
    while (true) {
      try {
        connects(url);
        break;
      } catch (SQLException e) {
        System.out.println("rights, round " + rounds + ": " + e.getMessage());
        List<String> cures =
            statement
                .matcher(String.valueOf(e.getMessage()))
                .results()
                .map(MatchResult::group)
                .toList();
        assertFalse(cures.isEmpty() || ++rounds > 5, e.getMessage());
        for (String cure : cures) {
          superuser("repmgr", cure);
        }
      }
    }
    assertTrue(rounds > 0, "nothing was missing");
  }

  @Test
  void aDatabaseWithoutRepmgr() throws SQLException {
    role("elsewhere");
    Failure failure =
        failsAtOnce(List.of("42P01", "3F000"), url("elsewhere", "repmgrDatabase=postgres"));
    assertSays(failure, "database postgres", "repmgrDatabase");
  }

  /** Registered nodes may come, and until then nobody says who is primary. */
  @Test
  void anEmptyTableIsWaitedOut() throws SQLException {
    stub("empty", "");
    role("early");
    Failure failure = fails(url("early", "repmgrDatabase=empty&failoverTimeout=2s"));
    assertEquals("08001", failure.state(), failure.message());
    assertTrue(failure.took().toMillis() >= 2_000, "it did not wait: " + failure.took());
    assertTrue(failure.took().toMillis() < 10_000, failure.took().toString());
    assertSays(failure, "repmgr.nodes", "empty");
  }

  @Test
  void aTableThatWasEmptyIsReadAgain() throws Exception {
    stub("late", "");
    role("patient");
    try (RepmgrDataSource dataSource = dataSource(url("patient", "repmgrDatabase=late"))) {
      await("the driver to find the table empty")
          .until(() -> dataSource.view().toString().contains(node.containerAddress().host()));
      superuser("late", "INSERT INTO repmgr.nodes VALUES " + row(1, "primary", conninfo()));
      dataSource.getConnection().close();
    }
  }

  /** repmgr 4.0 to 4.3 have neither of the functions that tell of the upstream. */
  @Test
  void anOldSchemaWorks() throws SQLException {
    stub("old", row(1, "primary", conninfo()));
    superuser("old", "DROP FUNCTION repmgr.get_upstream_node_id()");
    superuser("old", "DROP FUNCTION repmgr.get_upstream_last_seen()");
    role("veteran");
    connects(url("veteran", "repmgrDatabase=old"));
  }

  @Test
  void twoRowsForOneHost() throws SQLException {
    stub("double", row(1, "primary", conninfo()), row(2, "standby", conninfo()));
    role("squinting");
    try (RepmgrDataSource dataSource = dataSource(url("squinting", "repmgrDatabase=double"))) {
      assertIsPrimary(dataSource.getConnection());
      assertEquals(1, primary(dataSource).id());
    }
  }

  /** repmgrd has never run: nothing but the rows tells who the node is. */
  @Test
  void twoRowsForOneHostThatDoesNotKnowItsId() throws SQLException {
    stub("twins", row(1, "standby", conninfo()), row(2, "primary", conninfo()));
    superuser(
        "twins",
        "CREATE OR REPLACE FUNCTION repmgr.get_local_node_id() RETURNS integer LANGUAGE sql"
            + " AS 'SELECT -1'");
    role("guessing");
    connects(url("guessing", "repmgrDatabase=twins"));
  }

  static Stream<Arguments> absurd() {
    return Stream.of(
            "",
            "= = '",
            "host='unclosed",
            "host=" + "x".repeat(1018),
            "host=\u0007 port=banana socketFactory=java.lang.String",
            "postgresql://[::1/repmgr?%zz")
        .map(Arguments::of);
  }

  /** The node itself says who it is; the other is named, and does no harm. */
  @ParameterizedTest
  @MethodSource("absurd")
  void anAbsurdConninfo(String conninfo) throws SQLException {
    String database = "absurd_" + Integer.toHexString(conninfo.hashCode());
    stub(database, row(1, "primary", conninfo), row(2, "standby", conninfo));
    role(database);
    try (RepmgrDataSource dataSource = dataSource(url(database, "repmgrDatabase=" + database))) {
      assertIsPrimary(dataSource.getConnection());
      assertEquals(1, primary(dataSource).id());
      assertEquals(
          List.of("stub-1", "stub-2"),
          dataSource.view().nodes().stream().map(ClusterView.Node::name).sorted().toList());
      System.out.println("absurd conninfo: " + dataSource.view().nodes());
    }
  }

  // ------------------------------------------------------------------------------------------------

  private record Failure(String state, String message, Duration took) {}

  private static Failure failsAtOnce(String state, String role, String parameters) {
    return failsAtOnce(state, url(role, parameters));
  }

  private static Failure failsAtOnce(String state, String url) {
    return failsAtOnce(List.of(state), url);
  }

  /** Well before the failover timeout. */
  private static Failure failsAtOnce(List<String> states, String url) {
    Failure failure = fails(url + "&failoverTimeout=20s");
    assertTrue(states.contains(failure.state()), failure.toString());
    assertTrue(failure.took().toMillis() < 5_000, "waited for a cure: " + failure.took());
    assertFalse(failure.message().contains(PASSWORD), failure.message());
    return failure;
  }

  private static Failure fails(String url) {
    try (RepmgrDataSource dataSource = dataSource(url)) {
      long began = System.nanoTime();
      SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
      Duration took = Duration.ofNanos(System.nanoTime() - began);
      Failure failure =
          new Failure(String.valueOf(e.getSQLState()), String.valueOf(e.getMessage()), took);
      System.out.printf(
          "after %d ms, %s: %s%n", took.toMillis(), failure.state(), failure.message());
      return failure;
    }
  }

  /** Who and where stand in every message. */
  private static void assertSays(Failure failure, String... words) {
    String message = failure.message();
    assertAll(
        Stream.concat(Stream.of(node.containerAddress().toString()), Arrays.stream(words))
            .map(word -> () -> assertTrue(message.contains(word), word + " in: " + message)));
  }

  private static void connects(String url) throws SQLException {
    try (RepmgrDataSource dataSource = dataSource(url)) {
      assertIsPrimary(dataSource.getConnection());
    }
  }

  private static void assertIsPrimary(Connection connection) throws SQLException {
    try (connection;
        Statement statement = connection.createStatement()) {
      statement.execute("CREATE TEMPORARY TABLE proof_of_writability ()");
    }
  }

  private static ClusterView.Node primary(RepmgrDataSource dataSource) throws SQLException {
    return dataSource.view().primary().orElseThrow();
  }

  private static RepmgrDataSource dataSource(String url) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    dataSource.setUrl(url);
    return dataSource;
  }

  private static String url(String role, String parameters) {
    return "jdbc:repmgr://%s/postgres?user=%s&password=%s&%s"
        .formatted(node.containerAddress(), role, PASSWORD, parameters);
  }

  private static String conninfo() {
    return "host=" + node.containerAddress().host() + " port=5432 user=repmgr dbname=repmgr";
  }

  private static String row(int id, String type, String conninfo) {
    return "(%d, NULL, true, 'stub-%d', '%s', '%s')"
        .formatted(id, id, type, conninfo.replace("'", "''"));
  }

  /** A database with a table of ours instead of repmgr's. */
  private static void stub(String database, String... rows) throws SQLException {
    superuser("postgres", "CREATE DATABASE " + database);
    superuser(database, STUB);
    for (String row : rows) {
      if (!row.isEmpty()) {
        superuser(database, "INSERT INTO repmgr.nodes VALUES " + row);
      }
    }
  }

  private static void role(String name, String... memberOf) throws SQLException {
    superuser("postgres", "CREATE ROLE %s LOGIN PASSWORD '%s'".formatted(name, PASSWORD));
    for (String group : memberOf) {
      superuser("postgres", "GRANT %s TO %s".formatted(group, name));
    }
  }

  private static void superuser(String database, String sql) throws SQLException {
    try (Connection connection = node.connect(database);
        Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  private static void hba(String command) throws SQLException {
    String file = "/var/lib/postgresql/data/pg_hba.conf";
    node.exec("sh", "-c", command + " " + file).orThrow();
    superuser("postgres", "SELECT pg_reload_conf()");
  }

  /** What pgJDBC alone meets there. */
  private static String plainly(String role, String database) {
    String url = "jdbc:postgresql://" + node.containerAddress() + "/" + database;
    try (Connection connection = DriverManager.getConnection(url, role, PASSWORD);
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT 1")) {
      return row.next() ? "connected" : "nothing";
    } catch (SQLException e) {
      return e.getSQLState() + " " + e.getMessage();
    }
  }
}
