package io.github.repmgrjdbc;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.FakeServer.Mode;
import io.github.repmgrjdbc.FakeServer.Row;
import java.io.IOException;
import java.io.OutputStream;
import java.net.Socket;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.FutureTask;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.awaitility.core.ConditionFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every way in which one server may be bad, and what the driver makes of the others. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HostileServersTest {

  private static final Duration SOON = Duration.ofSeconds(4);

  /** A probe's deadline where none is set. */
  private static final Duration ONE_PROBE = Duration.ofSeconds(2);

  /** What a server does to whoever connects, and what an error says of it. */
  enum Badness {
    REFUSES("Connection refused", FakeServer::kill, FakeServer::restart),
    SILENT("no answer within", Mode.SILENT),
    HANGS_IN_LOGIN("no answer within", Mode.HANG_IN_LOGIN),
    HANGS_IN_TLS("no answer within", Mode.HANG_IN_TLS),
    TRICKLES_IN_LOGIN("no answer within", Mode.TRICKLE_IN_LOGIN),
    TRICKLES_IN_AN_ANSWER("no answer within", Mode.TRICKLE_IN_ANSWER),
    CLOSES_AT_ONCE("closed the connection|Connection reset|Broken pipe", Mode.CLOSE_AT_ONCE),
    CLOSES_IN_AN_ANSWER("closed the connection", Mode.CLOSE_IN_ANSWER),
    RUBBISH("SSL connection", Mode.RUBBISH),
    ABSURD_LOGIN("no answer within", Mode.ABSURD_LOGIN),
    NEGATIVE_LOGIN("unusual", Mode.NEGATIVE_LOGIN),
    RUBBISH_IN_AN_ANSWER("Unexpected|Unknown|rubbish", Mode.RUBBISH_IN_ANSWER),
    NEGATIVE_LENGTH("NegativeArraySize", Mode.NEGATIVE_LENGTH),
    ABSURD_LENGTH("maxResultBuffer", Mode.ABSURD_LENGTH),
    WRONG_TYPES("abc", Mode.WRONG_TYPES),
    NULLS("NULL", Mode.NULLS),
    NO_ROWS("empty", Mode.NO_ROWS),
    ANOTHER_CLUSTER(
        "another database cluster", s -> s.systemIdentifier(4242), s -> s.systemIdentifier(42)),
    TOO_MANY_CONNECTIONS("53300", s -> s.failLogins("53300"), s -> s.failLogins(null)),
    STARTING_UP("57P03", s -> s.failLogins("57P03"), s -> s.failLogins(null)),
    SHUTTING_DOWN("57P01", s -> s.failQueries("57P01"), s -> s.failQueries(null)),
    WRONG_PASSWORD("28P01", s -> s.failLogins("28P01"), s -> s.failLogins(null)),
    INTERNAL_ERROR("XX000", s -> s.failQueries("XX000"), s -> s.failQueries(null));

    final Pattern met;

    @SuppressWarnings("ImmutableEnumChecker") // method references and lambdas without state
    private final Consumer<FakeServer> strike;

    @SuppressWarnings("ImmutableEnumChecker")
    private final Consumer<FakeServer> heal;

    Badness(String met, Mode mode) {
      this(met, server -> server.mode(mode), server -> server.mode(Mode.NORMAL));
    }

    Badness(String met, Consumer<FakeServer> strike, Consumer<FakeServer> heal) {
      this.met = Pattern.compile(met);
      this.strike = strike;
      this.heal = heal;
    }

    /** Open sessions end where the badness is for new ones only. */
    void strike(FakeServer server) {
      strike.accept(server);
      if (!name().contains("ANSWER") && this != SILENT) {
        server.endSessions();
      }
    }

    void heal(FakeServer server) {
      heal.accept(server);
    }
  }

  private final FakeServer n1 = new FakeServer(1);
  private final FakeServer n2 = new FakeServer(2).standby(1, 1);
  private final FakeServer n3 = new FakeServer(3).standby(1, 1);
  private final FakeServer bad = new FakeServer(9);
  private final List<AutoCloseable> toClose = new ArrayList<>(List.of(n1, n2, n3, bad));

  @BeforeEach
  void introduce() {
    FakeServer.introduce(1, n1, n2, n3);
    FakeServer.introduce(9, bad.standby(8, 1));
  }

  @AfterEach
  void closeAll() throws Exception {
    for (int i = toClose.size() - 1; i >= 0; i--) {
      toClose.get(i).close();
    }
  }

  @ParameterizedTest
  @EnumSource
  void aBadSeedDelaysTheFirstConnectionByLessThanOneProbe(Badness badness) throws Exception {
    badness.strike(bad);
    RepmgrDataSource dataSource = dataSource("probeTimeout=2s", bad, n3, n2, n1);

    long start = System.nanoTime();
    Connection connection = dataSource.getConnection();
    Duration took = Duration.ofNanos(System.nanoTime() - start);

    assertEquals(n1.port(), portOf(connection));
    assertTrue(took.compareTo(ONE_PROBE) < 0, "it took " + took);
  }

  @ParameterizedTest
  @EnumSource
  void whatStrikesAStandbyDisturbsNobody(Badness badness) throws Exception {
    RepmgrDataSource dataSource = dataSource("probeTimeout=300ms", n1, n2, n3);
    Connection before = dataSource.getConnection();
    soon().until(() -> stateOf(dataSource, 3) == State.UP);
    List<ClusterView> without = new CopyOnWriteArrayList<>();
    dataSource.addListener(
        (was, is) -> {
          if (is.primary().isEmpty()) {
            without.add(is);
          }
        });

    badness.strike(n3);

    soon().until(() -> stateOf(dataSource, 3) != State.UP);
    assertMet(badness, node(dataSource, 3).detail());
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    assertEquals(n1.port(), portOf(before));
    badness.heal(n3);
    soon().until(() -> stateOf(dataSource, 3) == State.UP);
    assertEquals(List.of(), without);
  }

  /** But for a wrong password, which ends the call if it comes before the change. */
  @ParameterizedTest
  @EnumSource(mode = EnumSource.Mode.EXCLUDE, names = "WRONG_PASSWORD")
  void whatStrikesThePrimaryDoesNotHideItsSuccessor(Badness badness) throws Exception {
    RepmgrDataSource dataSource = dataSource("probeTimeout=300ms", n1, n2, n3);
    dataSource.getConnection().close();
    soon().until(() -> stateOf(dataSource, 3) == State.UP);

    badness.strike(n1);
    FutureTask<Connection> next = new FutureTask<>(dataSource::getConnection);
    Thread thread = new Thread(next, "test");
    thread.setDaemon(true);
    thread.start();
    n2.primary(2);
    n3.standby(2, 2);

    // Far less than what is left of an attempt on the old one.
    long start = System.nanoTime();
    assertEquals(n2.port(), portOf(next.get(SOON.toSeconds(), SECONDS)));
    Duration took = Duration.ofNanos(System.nanoTime() - start);
    assertTrue(took.compareTo(SOON) < 0, "it took " + took);
    badness.heal(n1);
    soon().until(() -> stateOf(dataSource, 1) == State.SUPERSEDED);
    assertEquals(n2.port(), portOf(dataSource.getConnection()));
  }

  @ParameterizedTest
  @EnumSource
  void whatStrikesThePrimaryIsNamedInTheErrorAndForgottenWhenItIsOver(Badness badness)
      throws Exception {
    RepmgrDataSource dataSource =
        dataSource("probeTimeout=200ms&failoverTimeout=500ms", n1, n2, n3);
    soon().until(() -> dataSource.view().primary().isPresent());
    dataSource.getConnection().close();

    badness.strike(n1);

    soon().until(() -> dataSource.view().primary().isEmpty());
    long start = System.nanoTime();
    SQLException e = assertThrows(NoSuitableNodeException.class, dataSource::getConnection);
    Duration took = Duration.ofNanos(System.nanoTime() - start);
    assertTrue(took.compareTo(Duration.ofSeconds(1)) < 0, "it took " + took);
    String message = String.valueOf(e.getMessage());
    int said = message.indexOf("n1 at " + n1.address() + ": ");
    assertTrue(said > 0, message);
    assertMet(badness, message.substring(said));
    assertTrue(n1.connections() <= 5, n1.connections() + " connections are open to it");
    badness.heal(n1);
    soon().until(() -> dataSource.view().primary().isPresent());
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  /** A pause in the middle of a message looks to pgJDBC as if the rest were on its way. */
  @Test
  void aPrimaryThatStopsInTheMiddleOfAMessageIsAskedAnew() throws Exception {
    RepmgrDataSource dataSource = dataSource("probeTimeout=300ms&steadyInterval=500ms", n1, n2, n3);
    dataSource.getConnection().close();
    soon().until(() -> n1.users().equals(List.of("monitor")));
    int before = n1.accepted();

    n1.sendHalfAMessage();

    soon().until(() -> n1.accepted() > before);
    soon().until(() -> dataSource.view().primary().isPresent());
    assertEquals(n1.port(), portOf(dataSource.getConnection()));
  }

  @Test
  void aNodeTableOfAThousandRowsDelaysNobody() throws Exception {
    List<Row> table = new ArrayList<>();
    for (int i = 1; i <= 1000; i++) {
      String host = "127.1." + i / 250 + "." + (1 + i % 250);
      table.add(new Row(100 + i, "x" + i, "standby", true, 1, "host=" + host + " port=1"));
    }
    bad.table(table);
    RepmgrDataSource dataSource = dataSource("probeTimeout=2s", bad, n3, n2, n1);

    long start = System.nanoTime();
    Connection connection = dataSource.getConnection();
    Duration took = Duration.ofNanos(System.nanoTime() - start);

    assertEquals(n1.port(), portOf(connection));
    assertTrue(took.compareTo(ONE_PROBE) < 0, "it took " + took);
  }

  // ---- nodes of two clusters among the seeds -------------------------------------------------

  /** Clusters number their nodes alike, and whose address comes first must not matter. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aStandbyOfAnotherClusterDoesNotHideThePrimaryOfTheSameId(boolean first) throws Exception {
    FakeServer[] twins = twins(first);
    FakeServer foreign = twins[0].systemIdentifier(4242).standby(2, 1);
    FakeServer primary = twins[1];
    FakeServer.introduce(2, foreign, bad);
    FakeServer.introduce(1, primary, n2, n3);
    RepmgrDataSource dataSource = dataSource("failoverTimeout=2s", foreign, n3, n2, primary);

    assertEquals(primary.port(), portOf(dataSource.getConnection()));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void ofTwoClustersPrimariesTheOneWithMoreNodesIsServed(boolean first) throws Exception {
    FakeServer[] twins = twins(first);
    FakeServer foreign = twins[0].systemIdentifier(4242);
    FakeServer primary = twins[1];
    FakeServer.introduce(1, foreign);
    FakeServer.introduce(1, primary, n2, n3);
    RepmgrDataSource dataSource = dataSource("failoverTimeout=2s", foreign, n3, n2, primary);

    assertEquals(primary.port(), portOf(dataSource.getConnection()));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void primariesOfTwoClustersOfOneSizeAreNobodysChoice(boolean first) throws Exception {
    FakeServer[] twins = twins(first);
    FakeServer foreign = twins[0].systemIdentifier(4242);
    FakeServer primary = twins[1];
    FakeServer.introduce(1, foreign);
    FakeServer.introduce(1, primary);
    RepmgrDataSource dataSource = dataSource("failoverTimeout=1500ms", foreign, primary);

    SQLException e = assertThrows(NoSuitableNodeException.class, dataSource::getConnection);

    assertTrue(String.valueOf(e.getMessage()).contains("several database clusters"), e.toString());
  }

  /** Two nodes of one id; the first one's address comes first in the order of addresses, or not. */
  private FakeServer[] twins(boolean first) {
    FakeServer a = new FakeServer(1);
    FakeServer b = new FakeServer(1);
    toClose.addAll(List.of(a, b));
    boolean inOrder = a.address().toString().compareTo(b.address().toString()) < 0;
    return inOrder == first ? new FakeServer[] {a, b} : new FakeServer[] {b, a};
  }

  // ---- what is worse than an exception -------------------------------------------------------

  /** A class that is missing, or no memory left: what is thrown need not be an exception. */
  @Test
  void anErrorThrownWhileConnectingEndsNoProbe() throws Exception {
    RepmgrDataSource dataSource =
        dataSource("socketFactory=" + FailingSocketFactory.class.getName(), n1, n2, n3);
    dataSource.setLoginTimeout(1);
    dataSource.getConnection().close();
    soon().until(() -> stateOf(dataSource, 3) == State.UP);
    FailingSocketFactory.fails = true;
    try {
      SQLException e = assertThrows(SQLException.class, dataSource::getConnection);
      assertTrue(String.valueOf(e.getMessage()).contains("as this test has it"), e.getMessage());
      n1.endSessions();
      n3.endSessions();
      soon().until(() -> stateOf(dataSource, 1) == State.SILENT);
      soon().until(() -> stateOf(dataSource, 3) == State.SILENT);
    } finally {
      FailingSocketFactory.fails = false;
    }

    assertEquals(n1.port(), portOf(dataSource.getConnection()));
    soon().until(() -> stateOf(dataSource, 3) == State.UP);
  }

  /** pgJDBC closes what it has opened when an exception is thrown, but not so with an error. */
  @Test
  void anErrorThrownWhileLoggingInLeavesNoSocket() throws Exception {
    RepmgrDataSource dataSource =
        dataSource("socketFactory=" + FailingSocketFactory.class.getName(), n1);
    dataSource.setLoginTimeout(1);
    dataSource.getConnection().close();
    soon().until(() -> n1.connections() == 1);
    FailingSocketFactory.failsToWrite = true;
    try {
      assertThrows(InternalError.class, dataSource::getConnection);
    } finally {
      FailingSocketFactory.failsToWrite = false;
    }

    soon().until(() -> n1.connections() == 1);
  }

  /** Makes sockets, or fails as badly as it can. */
  public static final class FailingSocketFactory extends UnconnectedSockets {

    static volatile boolean fails;
    static volatile boolean failsToWrite;

    @Override
    public Socket createSocket() {
      if (fails) {
        throw new NoClassDefFoundError("thrown as this test has it");
      }
      return new Socket() {
        @Override
        public OutputStream getOutputStream() throws IOException {
          if (failsToWrite) {
            throw new InternalError("thrown as this test has it");
          }
          return super.getOutputStream();
        }
      };
    }
  }

  // ---- helpers -------------------------------------------------------------------------------

  private static ConditionFactory soon() {
    return await().atMost(SOON).pollInterval(Duration.ofMillis(10));
  }

  private static void assertMet(Badness badness, String text) {
    assertTrue(badness.met.matcher(text).find(), text);
  }

  private RepmgrDataSource dataSource(String parameters, FakeServer... seeds) {
    RepmgrDataSource dataSource = new RepmgrDataSource();
    String hosts =
        Arrays.stream(seeds).map(seed -> "" + seed.address()).collect(Collectors.joining(","));
    dataSource.setUrl(
        "jdbc:repmgr://"
            + hosts
            + "/app?user=app&repmgrUser=monitor&huntInterval=10ms&steadyInterval=100ms&"
            + parameters);
    toClose.add(dataSource);
    return dataSource;
  }

  private static State stateOf(RepmgrDataSource dataSource, int id) throws SQLException {
    return node(dataSource, id).state();
  }

  private static ClusterView.Node node(RepmgrDataSource dataSource, int id) throws SQLException {
    return dataSource.view().nodes().stream()
        .filter(node -> node.id() == id)
        .findFirst()
        .orElseThrow();
  }

  private static int portOf(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("select inet_server_port()")) {
      row.next();
      return row.getInt(1);
    }
  }
}
