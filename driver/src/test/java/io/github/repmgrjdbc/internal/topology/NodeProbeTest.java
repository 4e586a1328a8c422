package io.github.repmgrjdbc.internal.topology;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.FakeServer;
import io.github.repmgrjdbc.FakeServer.End;
import io.github.repmgrjdbc.FakeServer.Mode;
import io.github.repmgrjdbc.FakeServer.Row;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.UnconnectedSockets;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import io.github.repmgrjdbc.internal.wire.Network;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.ref.WeakReference;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * One probe and one server. What other threads do meanwhile, they do when the probe's socket is at
 * a certain place, see {@link Wire}: so nothing has to be waited for.
 */
@Timeout(value = 20, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class NodeProbeTest {

  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Duration LONG = Duration.ofMinutes(1);

  private static final List<Row> TABLE =
      List.of(
          new Row(7, "n7", "standby", false, 3, "host=n7"),
          new Row(3, "n3", "primary", true, 0, "host=n3 port=5433"));

  private static final List<Member> COPY =
      List.of(
          new Member(7, "n7", "standby", false, 3, "host=n7"),
          new Member(3, "n3", "primary", true, 0, "host=n3 port=5433"));

  private final FakeServer server = new FakeServer(1);
  private final Map<String, String> parameters =
      new HashMap<>(
          Map.of("user", "monitor", "password", "secret", "socketFactory", Wire.class.getName()));
  private Runnable beforeConnecting = () -> {};
  private NodeProbe probe = probe("127.0.0.1", "repmgr");

  @AfterEach
  void end() {
    Wire.reset();
    probe.close();
    server.close();
  }

  // ---- the answer ----------------------------------------------------------------------------

  @Test
  void aStandbySaysWhoItIs() {
    server.nodeId(7).standby(3, 5).systemIdentifier(7_001_002_003_004L).table(TABLE);

    Answer answer = answer(probe.ask(1, true));

    assertEquals(
        new Answer(7, true, 5, 7_001_002_003_004L, server.startedAt(), 3, null, COPY, peer(), 1),
        answer);
  }

  /** repmgr's whole seconds leave out what is over. */
  @Test
  void aStandbySaysWhenItSawItsUpstreamAtTheEarliest() {
    server.standby(3, 5).upstreamSeen(4);
    long before = System.nanoTime();

    Long seenAt = answer(probe.ask(1, true)).upstreamSeenAt();

    assertNotNull(seenAt);
    assertTrue(seenAt - (before - 5_000_000_000L) >= 0, "before that");
    assertTrue(System.nanoTime() - 5_000_000_000L - seenAt >= 0, "after that");
  }

  @Test
  void aPrimarySaysWhoItIs() {
    server.primary(6);

    Answer answer = answer(probe.ask(1, true));

    assertEquals(
        new Answer(1, false, 6, 42, server.startedAt(), 0, null, List.of(), peer(), 1), answer);
  }

  /** The more seldom the more there are, but about once a minute. */
  @ParameterizedTest
  @CsvSource({"40, 10", "300, 15", "10000, 60"})
  void saysHowManyProbesThereAreNowAndThen(int probes, int tables) {
    server.probes(probes);
    assertEquals(probes, answer(probe.ask(1, true)).probes());
    server.probes(50);
    for (int question = 2; question <= tables; question++) {
      assertEquals(probes, answer(probe.ask(question, true)).probes());
    }
    assertEquals(50, answer(probe.ask(tables + 1, true)).probes());
  }

  @Test
  void whoMayNotCountProbesLearnsEverythingElse() {
    server.primary(6).failQueriesOf("pg_stat_get_activity", "42501");
    assertEquals(
        new Answer(1, false, 6, 42, server.startedAt(), 0, null, List.of(), peer(), 0),
        answer(probe.ask(1, true)));
  }

  @Test
  void anObservationIsOfTheAddressThatWasAsked() {
    assertEquals(server.address(), probe.ask(1, true).address());
    server.kill();
    assertEquals(server.address(), probe.ask(2, true).address());
  }

  @ParameterizedTest
  @ValueSource(ints = {-1, 0})
  void aNodeThatDoesNotKnowWhoItIsOrWhomItFollowsSaysZero(int unknown) {
    server.nodeId(unknown).standby(unknown, 1);

    Answer answer = answer(probe.ask(1, true));

    assertEquals(0, answer.nodeId());
    assertEquals(0, answer.upstreamId());
  }

  @Test
  void aRepmgrThatDoesNotTellTheUpstreamIsAskedForTheRest() {
    server.standby(3, 5).failQueriesOf("get_upstream_node_id", "42883");

    assertEquals(0, answer(probe.ask(1, true)).upstreamId());
    assertEquals(5, answer(probe.ask(2, true)).timeline());
    assertEquals(1, server.accepted());
  }

  // ---- the connection is kept ----------------------------------------------------------------

  @Test
  void aKeptConnectionIsAskedAgain() {
    probe.ask(1, true);
    server.primary(2);

    assertEquals(2, answer(probe.ask(2, true)).timeline());

    assertEquals(1, server.accepted());
  }

  @Test
  void theNodeTableIsReadAgainOnlyIfThatIsWanted() {
    server.table(TABLE);
    probe.ask(1, true);
    server.table(List.of());

    assertEquals(COPY, answer(probe.ask(2, false)).copy());
    assertEquals(List.of(), answer(probe.ask(3, true)).copy());
  }

  /** Not in repmgr's, but in some other table of that name. */
  @Test
  void aNullInANodeTableIsReadAsNothing() {
    server.table(List.of(new Row(3, FakeServer.NULL, "primary", true, 0, FakeServer.NULL)));

    assertEquals(
        List.of(new Member(3, "", "primary", true, 0, "")), answer(probe.ask(1, true)).copy());
  }

  @Test
  void aNewConnectionReadsTheNodeTableInAnyCase() {
    server.table(TABLE);
    assertEquals(COPY, answer(probe.ask(1, false)).copy());

    server.endSessions();
    server.table(List.of());

    assertEquals(List.of(), answer(probe.ask(2, false)).copy());
  }

  @Test
  void aKeptConnectionThatHasEndedIsReplacedAtOnce() {
    probe.ask(1, true);
    server.primary(2).endSessions();

    assertEquals(2, answer(probe.ask(2, true)).timeline());

    assertEquals(2, server.accepted());
  }

  @Test
  void aConnectionThatWasOfNoUseIsClosedAndReplaced() {
    server.mode(Mode.NO_ROWS);
    failure(probe.ask(1, true));
    assertTrue(Wire.latest.isClosed());
    server.mode(Mode.NORMAL);

    answer(probe.ask(2, true));

    assertEquals(2, server.accepted());
  }

  @Test
  void aKeptConnectionThatFailsIsClosedAndReplaced() {
    probe.ask(1, true);
    server.mode(Mode.NO_ROWS);

    failure(probe.ask(2, true));

    assertTrue(Wire.latest.isClosed());
    awaitEnds(End.TERMINATE, End.TERMINATE);
  }

  @Test
  void eachConnectionIsOpenedWithTheParametersOfThatTime() {
    server.password("monitor", "new");
    assertEquals("28P01", failure(probe.ask(1, true)).sqlState());

    parameters.put("password", "new");

    answer(probe.ask(2, true));
  }

  @Test
  void itConnectsToTheMetadataDatabase() {
    probe.ask(1, true);

    assertEquals(1, server.sessions("repmgr"));
  }

  // ---- what is said of a failure -------------------------------------------------------------

  @Test
  void aServerThatIsDownIsSaidToRefuse() {
    server.kill();

    assertEquals(new Failure("08001", "Connection refused", false), failure(probe.ask(1, true)));
  }

  @Test
  void aServerThatGoesDownIsSaidToRefuse() {
    probe.ask(1, true);
    server.kill();

    assertEquals(new Failure("08001", "Connection refused", false), failure(probe.ask(2, true)));
  }

  @ParameterizedTest
  @EnumSource(names = {"CLOSE_AT_ONCE", "CLOSE_IN_ANSWER"})
  void aServerThatClosesTheConnectionIsSaidTo(Mode mode) {
    server.mode(mode);

    Failure failure = failure(probe.ask(1, true));

    assertFalse(failure.isIncurable());
    assertTrue(
        failure
            .message()
            .matches("the server closed the connection|Connection reset|Broken pipe( .*)?"),
        failure.message());
  }

  @Test
  void aPasswordThatIsWrongIsSaidToBeThat() {
    server.password("monitor", "another");

    assertEquals(
        new Failure("28P01", "FATAL: password authentication failed for user \"monitor\"", true),
        failure(probe.ask(1, true)));
  }

  @ParameterizedTest
  @CsvSource({
    "NO_ROWS, the answer is empty",
    "NULLS, the answer has a NULL in it",
    "NULL_UPSTREAM, the answer has a NULL in it",
    "NEGATIVE_LENGTH, the answer makes no sense: java.lang.NegativeArraySizeException: -7"
  })
  void anAnswerThatIsNoneIsSaidToBeThat(Mode mode, String message) {
    server.mode(mode);

    assertEquals(new Failure("08P01", message, false), failure(probe.ask(1, true)));
  }

  // ---- with what cures it --------------------------------------------------------------------

  @Test
  void rightsThatAreMissingAreToldWithTheirGrants() {
    server
        .failQueriesOf("pg_control_recovery", "42501")
        .missingRights(
            "GRANT USAGE ON SCHEMA repmgr TO monitor", "GRANT SELECT ON repmgr.nodes TO monitor");

    assertEquals(
        new Failure(
            "42501",
            "ERROR: the script refuses pg_control_recovery; the cure:"
                + " GRANT USAGE ON SCHEMA repmgr TO monitor;"
                + " GRANT SELECT ON repmgr.nodes TO monitor",
            true),
        failure(probe.ask(1, true)));
  }

  @Test
  void whatIsNoMatterOfRightsHasNoCure() {
    server.failQueriesOf("pg_control_recovery", "42P01").missingRights("GRANT nothing TO monitor");

    assertEquals("ERROR: the script refuses pg_control_recovery", message(probe.ask(1, true)));
  }

  @Test
  void whereNoRightIsMissingThereIsNoCure() {
    server.failQueriesOf("pg_control_recovery", "42501");

    assertEquals("ERROR: the script refuses pg_control_recovery", message(probe.ask(1, true)));
  }

  @ParameterizedTest
  @EnumSource(names = {"CLOSE_IN_ANSWER", "NEGATIVE_LENGTH"})
  void whereItIsNotToldWhichRightsAreMissingThereIsNoCure(Mode mode) {
    server.failQueriesOf("pg_control_recovery", "42501").missingRights("GRANT").mode(mode);

    assertEquals("ERROR: the script refuses pg_control_recovery", message(probe.ask(1, true)));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\'',
      textBlock =
          """
          repmgr      | monitor   | repmgr          | monitor
          _db_2       | m2        | _db_2           | m2
          2db         | Monitor   | "2db"           | "Monitor"
          the "db" x  | mon-itor  | "the ""db"" x"  | "mon-itor"
          """)
  void aLoginThatIsRefusedForWantOfARightIsToldWithTheGrant(
      String database, String user, String quotedDatabase, String quotedUser) {
    probe = probe("127.0.0.1", database);
    parameters.put("user", user);
    server.failLogins("42501");

    assertEquals(
        "FATAL: refused by the script with 42501; the cure: GRANT CONNECT ON DATABASE "
            + quotedDatabase
            + " TO "
            + quotedUser,
        message(probe.ask(1, true)));
  }

  @Test
  void aLoginThatIsRefusedToNobodyKnowsWhomIsToldWithoutAGrant() {
    parameters.remove("user");
    server.failLogins("42501");

    assertEquals("FATAL: refused by the script with 42501", message(probe.ask(1, true)));
  }

  // ---- cut -----------------------------------------------------------------------------------

  @Test
  void aQuestionThatIsCutBeforeItConnectsDoesNotConnect() {
    beforeConnecting = () -> elsewhere(() -> probe.cut(1, "too late"));

    assertEquals(new Failure("08006", "too late", false), failure(probe.ask(1, true)));

    assertEquals(0, server.accepted());
  }

  @Test
  void aQuestionThatIsCutWhileItsAddressIsLookedUpFails() {
    probe =
        probe(
            new Network(
                Runnable::run,
                host -> {
                  elsewhere(() -> probe.cut(1, "too late"));
                  return new InetAddress[] {InetAddress.getLoopbackAddress()};
                },
                AllowedHosts.ANY));

    assertEquals(new Failure("08006", "too late", false), failure(probe.ask(1, true)));

    assertEquals(0, server.accepted());
  }

  @Test
  void aQuestionThatIsCutWhileItLogsInFails() {
    Wire.beforeRead = () -> probe.cut(1, "too late");

    assertEquals(new Failure("08006", "too late", false), failure(probe.ask(1, true)));
  }

  @Test
  void aQuestionThatIsCutWhileAKeptConnectionIsAskedFails() {
    probe.ask(1, true);
    Wire.beforeRead = () -> probe.cut(2, "too late");

    assertEquals(new Failure("08006", "too late", false), failure(probe.ask(2, true)));

    assertEquals(1, server.accepted());
  }

  /** The kept connection has been given up, the new one does not exist yet. */
  @Test
  void aQuestionThatIsCutBetweenTwoConnectionsDoesNotConnect() {
    answerTwiceAndCut();
    Wire.whenFoundClosed = () -> probe.cut(3, "too late");

    assertEquals(new Failure("08006", "too late", false), failure(probe.ask(3, true)));

    assertEquals(1, server.accepted());
  }

  @Test
  void aCutThatComesWhenTheAnswerIsThereIsNoReasonForTheNextQuestionToFail() {
    answerTwiceAndCut();

    answer(probe.ask(3, true));

    assertEquals(2, server.accepted());
  }

  @Test
  void aCutForAnotherQuestionIsIgnored() {
    probe.ask(1, true);
    Wire.beforeRead = () -> probe.cut(1, "too late");

    answer(probe.ask(2, true));
    answer(probe.ask(3, true));

    assertEquals(1, server.accepted());
  }

  /** Threads are short, and its own has not begun to run yet. */
  @Test
  void aCutThatComesBeforeTheQuestionHasBegunEndsItAllTheSame() {
    server.mode(Mode.SILENT);

    probe.cut(1, "too late");

    assertEquals("too late", message(probe.ask(1, true)));
  }

  @Test
  void aCutForAQuestionThatHasEndedIsIgnored() {
    probe.ask(1, true);

    probe.cut(1, "too late");

    answer(probe.ask(2, true));
    assertEquals(1, server.accepted());
  }

  @Test
  void whatWasCutIsAskedAnewNextTime() {
    Wire.beforeRead = () -> probe.cut(1, "too late");
    failure(probe.ask(1, true));

    answer(probe.ask(2, true));
  }

  // ---- listen --------------------------------------------------------------------------------

  @Test
  void withoutAConnectionThereIsNothingToListenTo() {
    assertTrue(probe.listen(1, LONG));
  }

  @Test
  void listeningLastsAsLongAsItMay() {
    probe.ask(1, true);

    long start = System.nanoTime();
    boolean ended = probe.listen(2, Duration.ofMillis(20));

    assertFalse(ended);
    // It counts in milliseconds.
    assertTrue(System.nanoTime() - start >= 19_000_000);
  }

  @Test
  void listeningMayLastNoTimeAtAll() {
    probe.ask(1, true);

    assertFalse(probe.listen(2, Duration.ZERO));
  }

  @Test
  void listeningLeavesTheConnectionOfUse() {
    probe.ask(1, true);
    probe.listen(2, Duration.ofMillis(1));

    answer(probe.ask(3, true));

    assertEquals(1, server.accepted());
  }

  @Test
  void listeningNoticesTheServersEnd() {
    probe.ask(1, true);
    server.endSessions();

    assertTrue(probe.listen(2, LONG));
    assertTrue(probe.listen(3, LONG));
  }

  @Test
  void listeningEndsWithWhatPgJdbcOrASocketOfTheUsersThrows() {
    probe.ask(1, true);
    Wire.beforeRead =
        () -> {
          throw new IllegalStateException("thrown as this test has it");
        };

    assertTrue(probe.listen(2, LONG));
  }

  @Test
  void whatEndedWhileListeningIsClosedOnThisSideToo() {
    probe.ask(1, true);
    server.endSessions();

    probe.listen(2, LONG);

    assertTrue(Wire.latest.isClosed());
  }

  @Test
  void afterTheServersEndItIsAskedByANewConnection() {
    probe.ask(1, true);
    server.endSessions();
    probe.listen(2, LONG);

    answer(probe.ask(3, true));

    assertEquals(2, server.accepted());
  }

  @Test
  void aWakeUpEndsListening() {
    probe.ask(1, true);
    Wire.beforeRead = probe::wake;

    assertFalse(probe.listen(2, LONG));
  }

  @Test
  void aWakeUpBetweenAskingAndListeningCounts() {
    probe.ask(1, true);
    probe.wake();

    assertFalse(probe.listen(2, LONG));
  }

  @Test
  void aWakeUpBeforeAskingIsForgotten() {
    probe.wake();
    probe.ask(1, true);
    server.endSessions();

    assertTrue(probe.listen(2, LONG));
  }

  @Test
  void listeningThatIsCutEnds() {
    probe.ask(1, true);
    Wire.beforeRead = () -> probe.cut(2, "too late");

    assertTrue(probe.listen(2, LONG));

    answer(probe.ask(3, true));
    assertEquals(2, server.accepted());
  }

  @Test
  void aCutForAnotherQuestionDoesNotEndListening() {
    probe.ask(1, true);
    Wire.beforeRead = () -> probe.cut(1, "too late");

    assertFalse(probe.listen(2, Duration.ofMillis(1)));
  }

  @Test
  void aCutForListeningThatHasEndedIsIgnored() {
    probe.ask(1, true);
    probe.listen(2, Duration.ofMillis(1));

    probe.cut(2, "too late");

    answer(probe.ask(3, true));
    assertEquals(1, server.accepted());
  }

  // ---- close ---------------------------------------------------------------------------------

  @Test
  void closingEndsTheConnection() {
    probe.ask(1, true);

    probe.close();
    probe.close();

    awaitEnds(End.FIN);
  }

  /** It warns of connections that nobody closed, when they are collected. */
  @Test
  void whatIsClosedIsClosedForPgJdbcToo() {
    parameters.put("logUnclosedConnections", "true");
    Logger logger = Logger.getLogger("org.postgresql");
    List<String> warnings = new CopyOnWriteArrayList<>();
    Handler handler = handler(warnings);
    logger.addHandler(handler);
    logger.setUseParentHandlers(false);
    try {
      probe.ask(1, true);
      probe.close();
      WeakReference<NodeProbe> closed = new WeakReference<>(probe);
      probe = probe("127.0.0.1", "repmgr");
      awaitCollected(() -> closed.get() == null);
      assertEquals(List.of(), warnings);

      // Another one, to have the first looked at: they are in order.
      probe.ask(1, true);
      probe = probe("127.0.0.1", "repmgr");
      awaitCollected(() -> !warnings.isEmpty());
      assertEquals(1, warnings.size(), warnings::toString);
    } finally {
      logger.setUseParentHandlers(true);
      logger.removeHandler(handler);
    }
  }

  @Test
  void whatIsClosedBeforeItsFirstQuestionNeverConnects() {
    probe.close();

    assertEquals(new Failure("08006", "the probe is closed", false), failure(probe.ask(1, true)));

    assertEquals(0, server.accepted());
  }

  @Test
  void whatIsClosedDoesNotConnectAgain() {
    probe.ask(1, true);
    probe.close();

    assertEquals(new Failure("08006", "the probe is closed", false), failure(probe.ask(2, true)));

    assertEquals(1, server.accepted());
  }

  @Test
  void closingEndsALogin() {
    Wire.beforeRead = probe::close;

    assertEquals(new Failure("08006", "the probe is closed", false), failure(probe.ask(1, true)));
  }

  @Test
  void closingEndsAQuestion() {
    probe.ask(1, true);
    Wire.beforeRead = probe::close;

    assertEquals(new Failure("08006", "the probe is closed", false), failure(probe.ask(2, true)));
  }

  @Test
  void closingEndsListening() {
    probe.ask(1, true);
    Wire.beforeRead = probe::close;

    assertTrue(probe.listen(2, LONG));
  }

  @Test
  void whatIsClosedHasNothingToListenTo() {
    probe.ask(1, true);
    probe.close();

    assertTrue(probe.listen(2, LONG));
  }

  // ---- several addresses ---------------------------------------------------------------------

  @Test
  void anAddressThatAcceptedAndWasOfNoUseIsTriedLastNextTime() throws Exception {
    probe =
        probe(
            new Network(
                Runnable::run,
                host ->
                    new InetAddress[] {
                      InetAddress.getByName("127.0.0.2"), InetAddress.getLoopbackAddress()
                    },
                AllowedHosts.ANY));
    // Its kernel accepts, nobody answers.
    try (ServerSocket dead =
        new ServerSocket(server.port(), 5, InetAddress.getByName("127.0.0.2"))) {
      assertTrue(dead.isBound());
      Wire.beforeRead = () -> probe.cut(1, "too late");
      assertEquals("too late", message(probe.ask(1, true)));
      Wire.reset();

      assertEquals(peer(), answer(probe.ask(2, true)).peer());
    }
  }

  // ---- helpers -------------------------------------------------------------------------------

  private NodeProbe probe(String host, String database) {
    return probe(
        host, database, new Network(Runnable::run, InetAddress::getAllByName, AllowedHosts.ANY));
  }

  private NodeProbe probe(Network network) {
    return probe("pg", "repmgr", network);
  }

  private NodeProbe probe(String host, String database, Network network) {
    return new NodeProbe(
        new HostAndPort(host, server.port()),
        database,
        () -> {
          beforeConnecting.run();
          return parameters;
        },
        network);
  }

  /** The cut comes when the second answer's last byte has been read, and nobody knows it yet. */
  private void answerTwiceAndCut() {
    probe.ask(1, true);
    Wire.afterRead = () -> probe.cut(2, "too late");
    answer(probe.ask(2, false));
    Wire.reset();
  }

  private static Answer answer(Observation observation) {
    Answer answer = observation.answer();
    if (answer == null) {
      throw new AssertionError("no answer: " + observation);
    }
    return answer;
  }

  private static Failure failure(Observation observation) {
    Failure failure = observation.failure();
    if (failure == null) {
      throw new AssertionError("no failure: " + observation);
    }
    return failure;
  }

  private static String message(Observation observation) {
    return failure(observation).message();
  }

  private InetSocketAddress peer() {
    return new InetSocketAddress(InetAddress.getLoopbackAddress(), server.port());
  }

  private void awaitEnds(End... ends) {
    await()
        .atMost(SOON)
        .pollDelay(Duration.ZERO)
        .pollInterval(Duration.ofMillis(1))
        .untilAsserted(() -> assertEquals(List.of(ends), server.ends()));
  }

  private static void awaitCollected(Callable<Boolean> collected) {
    await()
        .atMost(SOON)
        .pollDelay(Duration.ZERO)
        .pollInterval(Duration.ofMillis(1))
        .until(
            () -> {
              System.gc();
              return collected.call();
            });
  }

  private static Handler handler(List<String> messages) {
    return new Handler() {
      @Override
      public void publish(LogRecord log) {
        messages.add(log.getMessage());
      }

      @Override
      public void flush() {}

      @Override
      public void close() {}
    };
  }

  /** In another thread, until it is done there: nobody may wait for the one that asks. */
  private static void elsewhere(Runnable action) {
    CompletableFuture.runAsync(action, task -> new Thread(task, "elsewhere").start()).join();
  }

  /** Makes sockets that tell what happens to them. */
  public static final class Wire extends UnconnectedSockets {

    static volatile Runnable beforeRead = () -> {};
    static volatile Runnable afterRead = () -> {};
    static volatile Runnable whenFoundClosed = () -> {};
    static volatile Socket latest = new Socket();

    static void reset() {
      beforeRead = () -> {};
      afterRead = () -> {};
      whenFoundClosed = () -> {};
    }

    @Override
    public Socket createSocket() {
      latest =
          new Socket() {
            @Override
            public InputStream getInputStream() throws IOException {
              return new FilterInputStream(super.getInputStream()) {
                @Override
                public int read(byte[] bytes, int offset, int length) throws IOException {
                  elsewhere(beforeRead);
                  int read = super.read(bytes, offset, length);
                  elsewhere(afterRead);
                  return read;
                }
              };
            }

            @Override
            public boolean isClosed() {
              boolean is = super.isClosed();
              if (is) {
                elsewhere(whenFoundClosed);
              }
              return is;
            }
          };
      return latest;
    }
  }
}
