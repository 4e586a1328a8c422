package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.ClusterView.Node;
import io.github.repmgrjdbc.ClusterView.Role;
import io.github.repmgrjdbc.ClusterView.State;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.PrimaryPolicy;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

/**
 * The truth table of the decision, one row a test. A {@link Scenario} plays a history of
 * observations; after each the decision is also made from the same observations in another order
 * and once more, which must not matter.
 */
class ResolverTest {

  private static final long CLUSTER = 7_001L;
  private static final long OTHER_CLUSTER = 7_002L;
  private static final long WITNESS_CLUSTER = 7_009L;

  /** n1 is the primary, n2 and n3 follow it; what every copy says in a healthy cluster. */
  private static final List<Member> N1_LEADS = table(primary(1), standby(2, 1), standby(3, 1));

  /** n2 was promoted when n1 failed; n3 has not followed yet. */
  private static final List<Member> N2_PROMOTED = table(failed(1), primary(2), standby(3, 1));

  private static final List<Member> N2_LEADS = table(failed(1), primary(2), standby(3, 2));

  @Nested
  class Healthy {

    @Test
    void thePrimaryIsServed() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .says("n1 is the primary (timeline 1, supported by n2, n3)")
          .isCalm()
          .doesNotWarn()
          .needsNoRecheck()
          .hasNode(1, Role.PRIMARY, State.UP)
          .hasNode(2, Role.STANDBY, State.UP)
          .hasNode(3, Role.STANDBY, State.UP)
          .hasDetail(1, "takes writes")
          .hasDetail(2, "follows n1");
    }

    @Test
    void withOneStandbyDownToo() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .isCalm()
          .hasNode(3, Role.STANDBY, State.SILENT)
          .hasDetail(3, "no answer within 2000 ms")
          .hasNodes(3);
    }

    @Test
    void aSingleRegisteredNodeNeedsNoSupport() {
      scenario()
          .sees(takesWrites(1, 1, table(primary(1))))
          .serves(1, 1)
          .says("n1 is the primary (timeline 1)")
          .isCalm();
    }

    @Test
    void aStandbyMayNotSayWhomItFollows() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 0, N1_LEADS), silent(3))
          .serves(1, 1)
          .hasDetail(2, "in recovery");
    }

    @Test
    void activeFalseOfAStandbySaysNothing() {
      List<Member> oneMarkedDown = table(primary(1), row(2, "standby", false, 1), standby(3, 1));
      scenario()
          .sees(takesWrites(1, 1, oneMarkedDown), follows(2, 1, 1, oneMarkedDown), silent(3))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.UP);
    }
  }

  @Nested
  class Failover {

    @Test
    void primaryDeadAndNobodyPromotedServesNobody() {
      healthy()
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent: Connection refused")
          .keepsTerm(1, 1)
          .hunts()
          .needsNoRecheck()
          .hasNode(1, Role.PRIMARY, State.SILENT);
    }

    @Test
    void promotedNodeIsServedWhileEveryCopyStillNamesTheOldOne() {
      healthy()
          .sees(refused(1), takesWrites(2, 2, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .serves(2, 2)
          .isCalm();
    }

    @Test
    void lateSiblingDoesNotMatter() {
      healthy()
          .sees(silent(1), takesWrites(2, 2, N2_PROMOTED), follows(3, 1, 1, N1_LEADS))
          .serves(2, 2)
          .sees(silent(1), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2);
    }

    /** Its name look-up hangs, and what was seen of it is too old to count. */
    @Test
    void aNodeThatIsNoLongerHeardOfIsNotWaitedFor() {
      healthy()
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("no successor yet")
          .after(100)
          .sees(refused(1), takesWrites(2, 2, N2_PROMOTED))
          .serves(2, 2);
    }

    @Test
    void samePrimaryBackOnItsTimelineIsServedAgain() {
      healthy()
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent")
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .serves(1, 1);
    }

    @Test
    void plannedSwitchover() {
      List<Member> swapped = table(standby(1, 2), primary(2), standby(3, 2));
      healthy()
          .sees(follows(1, 2, 2, swapped), takesWrites(2, 2, swapped), follows(3, 2, 2, swapped))
          .serves(2, 2)
          .hasNode(1, Role.STANDBY, State.UP);
    }

    @Test
    void allSilentKeepsTheMemory() {
      healthy().sees().servesNobody("n1 is silent").keepsTerm(1, 1);
    }
  }

  @Nested
  class OldPrimaryBack {

    @Test
    void isSupersededByTheNewerTimeline() {
      failedOver()
          .sees(
              takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2)
          .isCalm()
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    /** Two failovers went unseen: whoever answers first may be the one in between. */
    @Test
    void isNotServedAfterAPauseBeforeTheOthersWereHeard() {
      List<Member> n3Leads = table(failed(1), failed(2), primary(3));
      healthy()
          .afterAPause()
          .sees(takesWrites(2, 2, N2_LEADS))
          .servesNobody("waiting for the other nodes")
          .sees(silent(1), takesWrites(2, 2, N2_LEADS), takesWrites(3, 3, n3Leads))
          .serves(3, 3);
    }

    @Test
    void isNotServedAfterAPauseThoughItWasTheLastOneSeen() {
      healthy()
          .afterAPause()
          .sees(takesWrites(1, 1, N1_LEADS))
          .servesNobody("n1 was the primary when somebody looked last")
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), silent(3))
          .serves(2, 2);
    }

    @Test
    void afterAPauseTheLastOneSeenIsServedWhenTheOthersHadTheirTime() {
      healthy()
          .afterAPause()
          .sees(takesWrites(1, 1, N1_LEADS))
          .rechecksIn(1_000)
          .after(999)
          .again()
          .servesNobody("waiting for the other nodes")
          .rechecksIn(1)
          .after(1)
          .again()
          .serves(1, 1);
    }

    @Test
    void isNotServedThoughNobodyElseAnswers() {
      failedOver()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("n2 is silent")
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void isNotServedThoughALateSiblingStillFollowsIt() {
      failedOver()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n2 is silent");
    }

    @Test
    void isRefusedOnAColdStartByTheNewPrimarysCopy() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2)
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void isNotServedOnAColdStartBeforeTheOthersWereHeard() {
      // It came back before n3 followed n2, so that n3 follows it again; n2 answers last.
      scenario()
          .starts(address(1), address(2), address(3))
          .sees(takesWrites(1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("waiting for the other nodes")
          .after(20)
          .sees(
              takesWrites(1, 1, N1_LEADS),
              takesWrites(2, 2, N2_PROMOTED),
              follows(3, 1, 1, N1_LEADS))
          .servesNobody("no other node supports it yet")
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED)
          .after(980)
          .again()
          .serves(2, 2);
    }

    @Test
    void isRefusedOnAColdStartByASiblingsCopyAlone() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 2, 2, N2_LEADS))
          .servesNobody("no node answers as the primary")
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void isRefusedByASiblingWhoseTimelineLags() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 1, 2, N2_LEADS))
          .servesNobody("no node answers as the primary")
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void anIncumbentThatASiblingKnowsToBeReplacedIsSaidToBeThat() {
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 2, 2, N2_LEADS))
          .servesNobody("n1 is superseded: n3's node table has it as a failed primary")
          .hasDetail(1, "n3's node table has it as a failed primary")
          .sees(refused(1), silent(2), follows(3, 2, 2, N2_LEADS))
          .servesNobody("n1 is silent: Connection refused");
    }

    @Test
    void onceRefusedStaysRefusedWhenTheEvidenceFallsSilent() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 2, 2, N2_LEADS))
          .servesNobody("no node answers as the primary")
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .after(60_000)
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("no node answers as the primary");
    }

    @Test
    void isAcceptedAgainOnceItWasSeenInRecovery() {
      List<Member> n1LeadsAgain = table(primary(1), failed(2), standby(3, 1));
      failedOver()
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), silent(3))
          .serves(2, 2)
          .sees(follows(1, 2, 2, N2_LEADS), takesWrites(2, 2, N2_LEADS), silent(3))
          .hasNode(1, Role.STANDBY, State.UP)
          .sees(takesWrites(1, 3, n1LeadsAgain), silent(2), silent(3))
          .serves(1, 3);
    }

    @Test
    void aSiblingsLateCopyDoesNotRefuseANodeThatLeadsAgain() {
      List<Member> n1LeadsAgain = table(primary(1), failed(2), standby(3, 2));
      scenario()
          .sees(takesWrites(1, 3, n1LeadsAgain), silent(2), follows(3, 2, 2, N2_LEADS))
          .after(1_000)
          .again()
          .after(1_000)
          .again()
          .serves(1, 3);
    }

    @Test
    void isAcceptedOnANewerTimelineThoughItsRecoveryWentUnseen() {
      failedOver()
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), silent(3))
          .serves(2, 2)
          .sees(takesWrites(1, 3, N2_LEADS), silent(2), silent(3))
          .serves(1, 3);
    }
  }

  /** Watching ends when nobody needs it, and begins again with what was decided last. */
  @Nested
  class AfterAPause {

    private final Observation[] n3Challenges = {
      takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), takesWrites(3, 2, N1_LEADS)
    };

    @Test
    void theOthersHaveTheirTimeHoweverLongThePrimaryWasGoneBefore() {
      healthy()
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent")
          .afterAPause()
          .after(60_000)
          .sees(takesWrites(1, 1, N1_LEADS))
          .servesNobody("waiting for the other nodes")
          .rechecksIn(1_000);
    }

    @Test
    void whoStartsColdWaitsOnce() {
      scenario()
          .afterAPause()
          .starts(address(1), address(2), address(3))
          .sees(takesWrites(1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("waiting for the other nodes")
          .after(1_000)
          .again()
          .serves(1, 1)
          .again()
          .serves(1, 1);
    }

    @Test
    void aChallengeIsWaitedOutAnew() {
      healthy()
          .sees(n3Challenges)
          .servesNobody("n3 was promoted beside n1")
          .afterAPause()
          .after(60_000)
          .again()
          .servesNobody("n3 was promoted beside n1")
          .rechecksIn(5_000);
    }

    @Test
    void whoWasPassedOverStaysSo() {
      healthy()
          .sees(n3Challenges)
          .after(5_000)
          .again()
          .serves(1, 1)
          .afterAPause()
          .after(60_000)
          .again()
          .serves(1, 1)
          .says("beside n3")
          .warns();
    }

    /** Who has told of the successor is silent now. */
    @Test
    void whoWasSupersededStaysSo() {
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 1, 2, N2_LEADS))
          .servesNobody("n1 is superseded")
          .afterAPause()
          .after(60_000)
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("n1 is superseded")
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void nodesAreDialledWhereTheyWereMet() {
      HostAndPort mapped = new HostAndPort("localhost", 32_768);
      scenario()
          .sees(
              at(mapped, takesWrites(1, 1, N1_LEADS)),
              follows(2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .afterAPause()
          .sees(follows(2, 1, 1, N1_LEADS))
          .dials(1, mapped);
    }
  }

  @Nested
  class Witness {

    private final List<Member> table = table(primary(1), standby(2, 1), row(4, "witness", true, 1));

    @Test
    void isNoCandidateThoughItIsNotInRecovery() {
      scenario()
          .sees(silent(1), follows(2, 1, 1, table), witness(4, table))
          .servesNobody("no node answers as the primary")
          .hasNode(4, Role.WITNESS, State.UP);
    }

    @Test
    void supportsAPrimaryByItsCopyThoughItsIdentifierDiffers() {
      scenario().sees(takesWrites(1, 1, table), silent(2), witness(4, table)).serves(1, 1).isCalm();
    }

    @Test
    void itsLateCopyRefusesNobody() {
      // n1 failed, n2 led, n1 leads again on timeline 3; the witness has not synchronised since.
      List<Member> late = table(failed(1), primary(2), row(4, "witness", true, 2));
      List<Member> now = table(primary(1), failed(2), row(4, "witness", true, 1));
      scenario()
          .sees(takesWrites(1, 3, now), silent(2), witness(4, late))
          .servesNobody("no other node supports it yet")
          .after(1_000)
          .again()
          .serves(1, 3);
    }

    @Test
    void itsLateCopyLosesToEveryOther() {
      List<Member> late = table(failed(1), standby(2, 3), primary(3), row(4, "witness", true, 3));
      scenario()
          .sees(silent(1), follows(2, 1, 1, with(N1_LEADS, row(4, "witness", true, 1))))
          .sees(
              silent(1),
              follows(2, 1, 1, with(N1_LEADS, row(4, "witness", true, 1))),
              silent(3),
              witness(4, late))
          .servesNobody("no node answers as the primary")
          .hasNode(3, Role.STANDBY, State.SILENT);
    }

    @Test
    void isNoStrangerThoughItIsDialledElsewhere() {
      HostAndPort configured = new HostAndPort("proxy", 6_000);
      scenario((name, address) -> name.equals("n4") ? configured : null)
          .sees(takesWrites(1, 1, table), follows(2, 1, 1, table), witness(4, table))
          .serves(1, 1)
          .hasNode(4, Role.WITNESS, State.UP)
          .hasNodes(3);
    }

    @Test
    void isNoPrimaryOfAnotherClusterThoughItDoesNotKnowItself() {
      scenario()
          .sees(takesWrites(1, 1, table), follows(2, 1, 1, table), anonymous(witness(4, table)))
          .serves(1, 1)
          .hasNode(4, Role.WITNESS, State.UP);
    }

    @Test
    void thatForgotItselfIsKnownAndSupportsStill() {
      scenario()
          .sees(takesWrites(1, 1, table), follows(2, 1, 1, table), witness(4, table))
          .serves(1, 1)
          .sees(takesWrites(1, 1, table), silent(2), anonymous(witness(4, table)))
          .serves(1, 1)
          .says("supported by n4")
          .hasNode(4, Role.WITNESS, State.UP);
    }

    @Test
    void isOneByThePrimarysCopyIfItsOwnIsEmpty() {
      scenario()
          .sees(takesWrites(1, 1, table), follows(2, 1, 1, table), witness(4, List.of()))
          .serves(1, 1)
          .hasNode(4, Role.WITNESS, State.UP);
    }

    @Test
    void anotherClustersNodeWithItsIdIsNone() {
      scenario()
          .sees(
              takesWrites(1, 1, table),
              follows(2, 1, 1, table),
              followsIn(OTHER_CLUSTER, 4, 1, 1, table(primary(1), standby(4, 1))))
          .serves(1, 1)
          .hasNode(4, Role.WITNESS, State.FOREIGN);
    }

    @Test
    void unidentifiedWitnessIsNotTakenForAPrimary() {
      Observation unidentified =
          Observation.of(address(4), answer(0, false, 9, WITNESS_CLUSTER, 0, table));
      HostAndPort mapped = new HostAndPort("localhost", 32_768);
      scenario()
          .sees(new Observation(mapped, unidentified.answer(), null))
          .servesNobody("no node answers as the primary")
          .after(10_000)
          .again()
          .servesNobody("no node answers as the primary");
    }
  }

  @Nested
  class PromotedBesideALivePrimary {

    /** By pg_ctl: nothing but its timeline tells; its copy still names n1. */
    private final Observation rescue = takesWrites(3, 2, N1_LEADS);

    private final Observation[] all = {
      takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), rescue
    };

    @Test
    void withoutSupportItOnlyDelaysNewConnections() {
      healthy()
          .sees(all)
          .servesNobody("n3 was promoted beside n1")
          .hasNode(1, Role.PRIMARY, State.UP)
          .hasNode(3, Role.PRIMARY, State.CHALLENGER)
          .hunts()
          .rechecksIn(5_000)
          .after(4_999)
          .again()
          .servesNobody("n3 was promoted beside n1")
          .rechecksIn(1)
          .after(1)
          .again()
          .serves(1, 1)
          .says("beside n3")
          .warns()
          .isCalm()
          .after(60_000)
          .again()
          .serves(1, 1)
          .says("beside n3")
          .warns();
    }

    @Test
    void onceItWasPassedOverItsSilenceChangesNothing() {
      healthy()
          .sees(all)
          .after(5_000)
          .again()
          .serves(1, 1)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .doesNotWarn()
          .sees(all)
          .serves(1, 1)
          .warns();
    }

    @Test
    void promotedAnewItIsWaitedForAnew() {
      healthy()
          .sees(all)
          .after(5_000)
          .again()
          .serves(1, 1)
          .sees(
              takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), takesWrites(3, 3, N1_LEADS))
          .servesNobody("n3 was promoted beside n1")
          .rechecksIn(5_000);
    }

    @Test
    void oneLostProbeOfTheIncumbentDoesNotHandOverToIt() {
      healthy()
          .sees(all)
          .after(5_000)
          .again()
          .serves(1, 1)
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), rescue)
          .servesNobody("n1 is silent")
          .sees(all)
          .serves(1, 1);
    }

    @Test
    void norWhileTheContestIsRunning() {
      healthy()
          .sees(all)
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), rescue)
          .servesNobody("n1 is silent")
          .rechecksIn(5_000)
          .again()
          .servesNobody("n1 is silent")
          .after(4_999)
          .again()
          .servesNobody("n1 is silent")
          .after(1)
          .again()
          .serves(3, 2);
    }

    @Test
    void itIsServedWhenTheIncumbentIsGoneForGood() {
      healthy()
          .sees(all)
          .after(5_000)
          .again()
          .serves(1, 1)
          .sees(silent(1), silent(2), rescue)
          .servesNobody("n1 is silent")
          .after(5_000)
          .again()
          .serves(3, 2);
    }

    @Test
    void withItsOwnCopyItTakesOver() {
      List<Member> promotedByRepmgr = table(failed(1), standby(2, 1), primary(3));
      healthy()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              takesWrites(3, 2, promotedByRepmgr))
          .serves(3, 2)
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void withAFollowerItTakesOver() {
      healthy().sees(takesWrites(1, 1, N1_LEADS), follows(2, 2, 3, N1_LEADS), rescue).serves(3, 2);
    }

    @Test
    void healedBlackHole() {
      // n1 was only cut off from us and the rest. Its copy names itself, n2's has the promotion.
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N1_LEADS), silent(3))
          .servesNobody("n2 was promoted beside n1")
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_PROMOTED), silent(3))
          .serves(2, 2)
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED);
    }

    @Test
    void onAColdStartTooItDelaysOnly() {
      scenario()
          .sees(all)
          .servesNobody("n3 was promoted beside n1")
          .after(5_000)
          .again()
          .serves(1, 1);
    }
  }

  @Nested
  class Membership {

    @Test
    void anUnregisteredNodeIsNoCandidate() {
      List<Member> without1 = table(primary(2), standby(3, 2));
      failedOver()
          .sees(silent(1), takesWrites(2, 2, without1), follows(3, 2, 2, without1))
          .serves(2, 2)
          .sees(takesWrites(1, 5, N1_LEADS), silent(2), follows(3, 2, 2, without1))
          .servesNobody("n2 is silent");
    }

    @Test
    void anewNodeBecomesAMember() {
      List<Member> four = table(primary(1), standby(2, 1), standby(3, 1), standby(4, 1));
      healthy()
          .sees(takesWrites(1, 1, four), follows(2, 1, 1, four), follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .hasNode(4, Role.STANDBY, State.SILENT);
    }

    @Test
    void thePrimarysCopyRulesOverALateSiblings() {
      List<Member> without3 = table(primary(1), standby(2, 1));
      scenario()
          .sees(takesWrites(1, 1, without3), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.UP)
          .hasStranger(address(3), Role.UNKNOWN, State.SILENT, "no answer within 2000 ms");
    }

    @Test
    void aPrimaryWithAnEmptyTableDoesNotTakeTheOthersAway() {
      scenario()
          .sees(takesWrites(1, 1, List.of()), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.UP)
          .hasNode(3, Role.STANDBY, State.SILENT)
          .again()
          .serves(1, 1)
          .hasNode(3, Role.STANDBY, State.SILENT);
    }

    @Test
    void anAddressThatBelongsToNoMemberIsShownWithWhatItSays() {
      HostAndPort[] strange = {
        new HostAndPort("s", 1), new HostAndPort("s", 2), new HostAndPort("s", 3),
        new HostAndPort("s", 4), new HostAndPort("s", 5), new HostAndPort("s", 6)
      };
      healthy()
          .starts(strange)
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS),
              at(strange[0], follows(9, 1, 1, N1_LEADS)),
              at(strange[1], anonymous(follows(9, 1, 1, N1_LEADS))),
              at(strange[2], takesWrites(9, 1, List.of())),
              at(strange[3], takesWritesOf(OTHER_CLUSTER, 2, 1, N1_LEADS)),
              at(strange[4], refused(9)))
          .serves(1, 1)
          .hasStranger(strange[0], Role.STANDBY, State.UP, "node 9, which is not registered")
          .hasStranger(strange[1], Role.STANDBY, State.UP, "does not know its node_id")
          .hasStranger(strange[2], Role.UNKNOWN, State.UP, "its repmgr.nodes is empty")
          .hasStranger(strange[3], Role.UNKNOWN, State.FOREIGN, "another database cluster")
          .hasStranger(strange[4], Role.UNKNOWN, State.SILENT, "Connection refused")
          .hasStranger(strange[5], Role.UNKNOWN, State.SILENT, "no answer yet")
          .hasNodes(9);
    }

    @Test
    void aMemberThatListensOnASocketOnlyIsSaidToHaveNoAddress() {
      Member local = new Member(2, "n2", "standby", true, 1, "host=/var/run/postgresql");
      scenario()
          .sees(takesWrites(1, 1, table(primary(1), local)))
          .servesNobody("no other node supports it yet")
          .hasDetail(
              2, "its conninfo is of no use, it has no host and port that can be reached over TCP");
    }

    @Test
    void anotherClustersNodeAtAKnownAddressIsIgnored() {
      Observation foreign =
          Observation.of(
              address(2), answer(1, false, 9, OTHER_CLUSTER, 0, table(primary(1), standby(2, 1))));
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), foreign, follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.FOREIGN)
          .sees(silent(1), foreign, follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent");
    }

    @Test
    void twoClustersOnAColdStartServeNobody() {
      scenario()
          .sees(
              takesWrites(1, 1, table(primary(1), standby(3, 1))),
              Observation.of(address(2), answer(2, false, 9, OTHER_CLUSTER, 0, table(primary(2)))))
          .servesNobody("several database clusters");
    }

    @Test
    void rebuiltClusterIsAcceptedOnceEveryDataNodeBelongsToIt() {
      healthy()
          .sees(silent(1), takesWritesOf(OTHER_CLUSTER, 2, 1, table(primary(2))), silent(3))
          .servesNobody("n1 is silent")
          .sees(
              takesWritesOf(OTHER_CLUSTER, 1, 1, N1_LEADS),
              followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS))
          .servesNobody("a node of another database cluster")
          .sees(
              takesWritesOf(OTHER_CLUSTER, 1, 1, N1_LEADS),
              followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS),
              followsIn(OTHER_CLUSTER, 3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .belongsTo(OTHER_CLUSTER);
    }

    /** Of the same database cluster, from a backup: its timeline is older. Node 1 is left out. */
    @Test
    void restoredClusterIsAcceptedOnceEveryNodeThatItStillHasIsOfIt() {
      List<Member> without1 = table(primary(2), standby(3, 2));
      scenario()
          .sees(takesWrites(1, 3, N1_LEADS), follows(2, 3, 1, N1_LEADS), follows(3, 3, 1, N1_LEADS))
          .serves(1, 3)
          .sees(refused(1), takesWrites(2, 1, without1), silent(3))
          .servesNobody("n1 is silent")
          .sees(
              takesWrites(1, 3, N1_LEADS), takesWrites(2, 1, without1), follows(3, 1, 2, without1))
          .serves(1, 3)
          .sees(refused(1), takesWrites(2, 1, without1), follows(3, 3, 2, without1))
          .servesNobody("n1 is silent")
          .sees(refused(1), takesWrites(2, 1, without1), follows(3, 1, 2, without1))
          .serves(2, 1);
    }

    @Test
    void aSupersededPrimaryWithoutATableStaysThat() {
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), follows(3, 1, 0, N2_LEADS))
          .servesNobody("n1 is superseded")
          .sees(takesWrites(1, 1, List.of()), silent(2), silent(3))
          .servesNobody("n1 is superseded");
    }

    @Test
    void rebuiltClusterBehindMappedPortsIsAcceptedToo() {
      HostAndPort[] mapped = {
        new HostAndPort("localhost", 32_001),
        new HostAndPort("localhost", 32_002),
        new HostAndPort("localhost", 32_003)
      };
      scenario()
          .sees(
              at(mapped[0], takesWrites(1, 1, N1_LEADS)),
              at(mapped[1], follows(2, 1, 1, N1_LEADS)),
              at(mapped[2], follows(3, 1, 1, N1_LEADS)))
          .serves(1, 1)
          .sees(
              at(mapped[0], takesWritesOf(OTHER_CLUSTER, 1, 1, N1_LEADS)),
              at(mapped[1], follows(2, 1, 1, N1_LEADS)),
              at(mapped[2], followsIn(OTHER_CLUSTER, 3, 1, 1, N1_LEADS)))
          .servesNobody("n1 is silent")
          .sees(
              at(mapped[0], takesWritesOf(OTHER_CLUSTER, 1, 1, N1_LEADS)),
              at(mapped[1], followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS)),
              at(mapped[2], followsIn(OTHER_CLUSTER, 3, 1, 1, N1_LEADS)))
          .serves(1, 1)
          .belongsTo(OTHER_CLUSTER);
    }

    @Test
    void rebuiltClusterWhoseNodesHaveSharedTheAddressesOutAnewIsAcceptedToo() {
      HostAndPort[] mapped = {
        new HostAndPort("localhost", 32_001),
        new HostAndPort("localhost", 32_002),
        new HostAndPort("localhost", 32_003)
      };
      scenario()
          .sees(
              at(mapped[0], takesWrites(1, 1, N1_LEADS)),
              at(mapped[1], follows(2, 1, 1, N1_LEADS)),
              at(mapped[2], follows(3, 1, 1, N1_LEADS)))
          .serves(1, 1)
          .sees(
              at(mapped[0], followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS)),
              at(mapped[1], followsIn(OTHER_CLUSTER, 3, 1, 1, N1_LEADS)),
              at(mapped[2], takesWritesOf(OTHER_CLUSTER, 1, 1, N1_LEADS)))
          .serves(1, 1)
          .belongsTo(OTHER_CLUSTER);
    }

    @Test
    void anIncumbentThatIsNoLongerRegisteredIsSaidToBeThat() {
      List<Member> without1 = table(standby(2, 1), standby(3, 1));
      healthy()
          .sees(takesWrites(1, 1, without1), follows(2, 1, 1, without1), silent(3))
          .servesNobody("node 1 is no longer registered");
    }

    @Test
    void restoredClusterIsAcceptedOnceEveryDataNodeIsOnIt() {
      failedOver()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .servesNobody("")
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .serves(1, 1);
    }

    @Test
    void allInRecoveryWithLateTimelinesIsNoRebuild() {
      failedOver()
          .sees(follows(1, 1, 0, N2_LEADS), follows(2, 1, 0, N2_LEADS), follows(3, 1, 0, N2_LEADS))
          .servesNobody("n2 is a standby")
          .keepsTerm(2, 2);
    }
  }

  @Nested
  class ColdStart {

    @Test
    void nothingAnswers() {
      scenario()
          .sees(refused(1), silent(2), silent(3))
          .servesNobody("no node answers as the primary")
          .hunts();
    }

    @Test
    void withoutSupportItWaitsAndThenServesWithAWarning() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("no other node supports it yet")
          .rechecksIn(1_000)
          .after(999)
          .again()
          .servesNobody("no other node supports it yet")
          .rechecksIn(1)
          .after(1)
          .again()
          .serves(1, 1)
          .says("no other node supports it")
          .warns();
    }

    @Test
    void membersThatNobodyNamedAreAskedFirst() {
      scenario()
          .starts(address(1), address(2))
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS))
          .servesNobody("waiting for the other nodes")
          .rechecksIn(1_000)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1);
    }

    @Test
    void whoHasAnsweredNeedsNotBeAskedAtAnotherAddress() {
      HostAndPort configured = new HostAndPort("proxy", 6_000);
      scenario((name, address) -> name.equals("n2") ? configured : null)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1);
    }

    @Test
    void aNodeThatIsNotIdentifiedSupportsNobody() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              at(new HostAndPort("s", 1), anonymous(follows(2, 1, 1, N1_LEADS))),
              silent(2),
              silent(3))
          .servesNobody("no other node supports it yet");
    }

    @Test
    void aTieServesNobody() {
      List<Member> both = table(primary(1), primary(2));
      scenario()
          .sees(takesWrites(1, 1, both), takesWrites(2, 1, both))
          .servesNobody("equal support")
          .after(60_000)
          .again()
          .servesNobody("equal support");
    }

    @Test
    void ofTwoOnOneTimelineTheOneWithMoreSupportersIsServed() {
      scenario()
          .sees(
              takesWrites(1, 1, table(primary(1), standby(2, 1), standby(3, 1))),
              takesWrites(2, 1, table(primary(2), standby(3, 2))),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1);
    }

    @Test
    void supportersAreCounted() {
      scenario()
          .sees(
              takesWrites(1, 1, table(primary(1))),
              takesWrites(2, 1, table(primary(2))),
              follows(3, 1, 1, with(N1_LEADS, standby(4, 1), standby(5, 2))),
              follows(4, 1, 1, List.of()),
              follows(5, 1, 2, List.of()))
          .serves(1, 1)
          .says("supported by n3, n4");
    }

    @Test
    void onATieTheIncumbentKeepsIt() {
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .hasNode(2, Role.PRIMARY, State.CHALLENGER);
    }

    @Test
    void anEmptyTableServesNobodyAndSaysSo() {
      Decision decision =
          scenario()
              .sees(Observation.of(address(1), answer(1, false, 1, CLUSTER, 0, List.of())))
              .decision;
      assertFalse(decision.available());
      assertTrue(
          decision.nodes().stream().anyMatch(node -> node.detail().contains("is empty")),
          decision.toString());
    }
  }

  @Nested
  class Addresses {

    private final HostAndPort mapped1 = new HostAndPort("localhost", 32_001);
    private final HostAndPort mapped2 = new HostAndPort("localhost", 32_002);

    @Test
    void nodesAreRecognisedBehindMappedPorts() {
      scenario()
          .sees(
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              at(mapped2, follows(2, 1, 1, N1_LEADS)),
              silent(3))
          .serves(1, 1)
          .dials(1, mapped1)
          .dials(2, mapped2)
          .dials(3, address(3));
    }

    @Test
    void anAddressMapWinsOverWhereANodeWasMet() {
      HostAndPort configured = new HostAndPort("proxy", 6_000);
      scenario((name, address) -> name.equals("n1") ? configured : null)
          .sees(at(mapped1, takesWrites(1, 1, N1_LEADS)), follows(2, 1, 1, N1_LEADS))
          .dials(1, configured);
    }

    @Test
    void aNodeThatDoesNotKnowItselfIsKnownByItsAddress() {
      scenario()
          .sees(
              anonymous(takesWrites(1, 1, N1_LEADS)),
              anonymous(follows(2, 1, 1, N1_LEADS)),
              silent(3))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.UP);
    }

    @Test
    void aNodeThatForgotItselfIsRememberedAtItsAddress() {
      scenario()
          .sees(
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              at(mapped2, follows(2, 1, 1, N1_LEADS)),
              silent(3))
          .serves(1, 1)
          .sees(
              anonymous(at(mapped1, takesWrites(1, 1, N1_LEADS))),
              anonymous(at(mapped2, follows(2, 1, 1, N1_LEADS))))
          .serves(1, 1)
          .dials(1, mapped1)
          .hasNode(2, Role.STANDBY, State.UP);
    }

    @Test
    void aNodeThatForgotItselfIsRememberedThoughItIsDialledElsewhere() {
      HostAndPort configured = new HostAndPort("proxy", 6_000);
      scenario((name, address) -> name.equals("n2") ? configured : null)
          .sees(takesWrites(1, 1, N1_LEADS), at(mapped2, follows(2, 1, 1, N1_LEADS)), silent(3))
          .serves(1, 1)
          .sees(takesWrites(1, 1, N1_LEADS), anonymous(at(mapped2, follows(2, 1, 1, N1_LEADS))))
          .hasNode(2, Role.STANDBY, State.UP);
    }

    @Test
    void aStrangerWhereANodeWasMetIsNotTakenForThatNode() {
      scenario()
          .sees(takesWrites(1, 1, N1_LEADS), at(mapped2, follows(2, 1, 1, N1_LEADS)), silent(3))
          .serves(1, 1)
          .sees(
              takesWrites(1, 1, N1_LEADS),
              anonymous(at(mapped2, followsIn(OTHER_CLUSTER, 2, 1, 1, List.of()))))
          .hasNode(2, Role.STANDBY, State.SILENT)
          .dials(2, address(2))
          .hasStranger(mapped2, Role.STANDBY, State.FOREIGN, "another database cluster");
    }

    @Test
    void aPrimaryThatDoesNotKnowItselfIsTheOneOfItsTable() {
      scenario()
          .sees(
              anonymous(at(mapped1, takesWrites(1, 1, N1_LEADS))),
              at(mapped2, follows(2, 1, 1, N1_LEADS)),
              silent(3))
          .serves(1, 1)
          .dials(1, mapped1);
    }

    @Test
    void unlessItsTableHasTwo() {
      List<Member> both = table(primary(1), primary(2));
      scenario()
          .sees(anonymous(at(mapped1, takesWrites(1, 1, both))))
          .servesNobody("no node answers as the primary")
          .hasNode(1, Role.PRIMARY, State.SILENT);
    }

    @Test
    void aStandbyThatDoesNotKnowItselfIsNotTakenForThePrimary() {
      scenario()
          .sees(anonymous(at(mapped2, follows(2, 1, 1, N1_LEADS))), silent(1))
          .hasNode(1, Role.PRIMARY, State.SILENT)
          .dials(1, address(1));
    }

    @Test
    void ofTwoAddressesOfOneNodeTheOneThatAnswersIsDialled() {
      scenario()
          .sees(
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              at(mapped2, takesWrites(1, 1, N1_LEADS)),
              follows(2, 1, 1, N1_LEADS),
              silent(3))
          .serves(1, 1)
          .sees(
              at(mapped1, refused(1)),
              at(mapped2, takesWrites(1, 1, N1_LEADS)),
              follows(2, 1, 1, N1_LEADS))
          .serves(1, 1)
          .dials(1, mapped2)
          .sees(
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              at(mapped2, refused(1)),
              follows(2, 1, 1, N1_LEADS))
          .serves(1, 1)
          .dials(1, mapped1);
    }

    @Test
    void anAddressThatIsReusedByAnotherNodeMovesToThatNode() {
      scenario()
          .sees(
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              at(mapped2, follows(2, 1, 1, N1_LEADS)),
              silent(3))
          .serves(1, 1)
          .sees(at(mapped1, takesWrites(2, 2, N2_PROMOTED)))
          .serves(2, 2)
          .dials(2, mapped1);
    }

    @Test
    void twoAddressesOfOneNodeAreOneNode() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              at(mapped1, takesWrites(1, 1, N1_LEADS)),
              follows(2, 1, 1, N1_LEADS),
              silent(3))
          .serves(1, 1);
    }
  }

  @Nested
  class AnotherCluster {

    /** Sorts before every address of ours, so that it is looked at first. */
    private final HostAndPort strange = new HostAndPort("a", 1);

    @Test
    void itsStandbyWithOneOfOurIdsIsIgnoredOnAColdStart() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              silent(3),
              at(strange, followsIn(OTHER_CLUSTER, 2, 9, 3, with(N1_LEADS, standby(7, 1)))))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.UP)
          .hasDetail(2, "follows n1")
          .dials(2, address(2))
          .hasStranger(strange, Role.STANDBY, State.FOREIGN, "another database cluster")
          .hasNodes(4);
    }

    @Test
    void asManyOfAnotherClusterAsOfOursServeNobody() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              silent(2),
              silent(3),
              at(strange, followsIn(OTHER_CLUSTER, 2, 9, 1, with(N1_LEADS, standby(7, 1)))))
          .servesNobody("none with a primary has most of the nodes that answer");
    }

    @Test
    void itsPrimaryIsNotServedWhileOursIsDown() {
      Observation foreign =
          at(strange, Observation.of(address(1), answer(1, false, 9, OTHER_CLUSTER, 0, N1_LEADS)));
      scenario()
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS), foreign)
          .servesNobody("none with a primary has most of the nodes that answer")
          .after(5000)
          .again()
          .servesNobody("none with a primary has most of the nodes that answer")
          .sees(silent(1), silent(2), follows(3, 1, 1, N1_LEADS), foreign)
          .servesNobody("none with a primary has most of the nodes that answer");
    }

    @Test
    void itsStandbyAtTheAddressOfOneOfOursIsSaidToBeThere() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.FOREIGN)
          .hasDetail(2, "a node of another database cluster answers at its address");
    }

    @Test
    void whoAnsweredBeforeAnyPrimaryDidIsIgnoredOnceOneDoes() {
      scenario()
          .starts(strange, address(1), address(2))
          .sees(at(strange, followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS)))
          .servesNobody("no node answers as the primary")
          .sees(
              at(strange, followsIn(OTHER_CLUSTER, 2, 1, 1, N1_LEADS)),
              takesWrites(1, 1, N1_LEADS),
              silent(2),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .hasNode(2, Role.STANDBY, State.SILENT)
          .dials(2, address(2));
    }

    @Test
    void itsPrimaryWithAnEmptyTableDoesNotBlockAColdStart() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              silent(3),
              at(strange, takesWritesOf(OTHER_CLUSTER, 1, 9, List.of())))
          .serves(1, 1)
          .belongsTo(CLUSTER)
          .hasStranger(strange, Role.UNKNOWN, State.FOREIGN, "another database cluster");
    }

    @Test
    void norWithATableInWhichItIsNot() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              silent(3),
              at(strange, takesWritesOf(OTHER_CLUSTER, 1, 9, table(standby(2, 1)))))
          .serves(1, 1)
          .belongsTo(CLUSTER);
    }

    @Test
    void norWithoutATableAndWithoutAnId() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              silent(3),
              at(strange, anonymous(takesWritesOf(OTHER_CLUSTER, 1, 9, List.of()))))
          .serves(1, 1)
          .belongsTo(CLUSTER);
    }

    @Test
    void norDoesItsWitness() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              silent(3),
              at(strange, witness(9, table(primary(1), row(9, "witness", true, 1)))))
          .serves(1, 1);
    }

    @Test
    void twoRegisteredPrimariesServeNobodyAndAreNamed() {
      for (int id : new int[] {1, 7}) {
        scenario()
            .sees(
                takesWrites(1, 1, N1_LEADS),
                at(new HostAndPort("b", 1), follows(2, 1, 1, N1_LEADS)),
                at(
                    new HostAndPort("c", 1),
                    followsIn(OTHER_CLUSTER, 8, 1, id, table(primary(id), standby(8, id)))),
                at(
                    strange,
                    takesWritesOf(OTHER_CLUSTER, id, 1, table(primary(id), standby(8, id)))))
            .servesNobody("primaries are at a:1 and n1:5432")
            .hunts()
            .needsNoRecheck();
      }
    }

    @Test
    void ofTwoPrimariesTheOneWithMoreNodesIsServed() {
      for (int id : new int[] {1, 7}) {
        scenario()
            .sees(
                takesWrites(1, 1, N1_LEADS),
                follows(2, 1, 1, N1_LEADS),
                silent(3),
                at(strange, takesWritesOf(OTHER_CLUSTER, id, 9, table(primary(id)))))
            .serves(1, 1)
            .belongsTo(CLUSTER);
      }
    }

    @Test
    void aPrimaryThatDoesNotKnowItselfCountsToo() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              silent(2),
              silent(3),
              at(strange, anonymous(takesWritesOf(OTHER_CLUSTER, 7, 1, table(primary(7))))))
          .servesNobody("primaries are at a:1 and n1:5432");
    }

    @Test
    void itsPrimaryWithOneOfOurIdsHidesNobodyLaterEither() {
      Observation foreign = at(strange, takesWritesOf(OTHER_CLUSTER, 1, 9, table(primary(1))));
      healthy()
          .starts(address(1), address(2), address(3), strange)
          .sees(
              foreign,
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .dials(1, address(1))
          .hasStranger(strange, Role.UNKNOWN, State.FOREIGN, "another database cluster")
          .sees(foreign, refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent: Connection refused")
          .dials(1, address(1));
    }

    @Test
    void itsStandbyDoesNotSupportOurs() {
      Observation foreign = at(strange, followsIn(OTHER_CLUSTER, 3, 1, 2, N2_LEADS));
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N1_LEADS), silent(3), foreign)
          .servesNobody("n2 was promoted beside n1");
    }
  }

  @Nested
  class Moved {

    private final HostAndPort mapped3 = new HostAndPort("localhost", 32_003);
    private final HostAndPort elsewhere = new HostAndPort("elsewhere", 5_432);
    private final List<Member> n1Moved = table(moved(primary(1)), standby(2, 1), standby(3, 1));
    private final List<Member> n3Moved = table(primary(1), standby(2, 1), moved(standby(3, 1)));

    @Test
    void whereANodeStillAnswersItIsDialledThoughItsConninfoHasChanged() {
      healthy()
          .sees(takesWrites(1, 1, n3Moved), follows(2, 1, 1, n3Moved), follows(3, 1, 1, n3Moved))
          .serves(1, 1)
          .dials(3, address(3));
    }

    @Test
    void onceItIsSilentThereItIsDialledAtItsNewConninfo() {
      healthy()
          .sees(takesWrites(1, 1, n3Moved), follows(2, 1, 1, n3Moved), follows(3, 1, 1, n3Moved))
          .sees(takesWrites(1, 1, n3Moved), follows(2, 1, 1, n3Moved), silent(3))
          .serves(1, 1)
          .dials(3, elsewhere)
          .sees(
              takesWrites(1, 1, n3Moved),
              follows(2, 1, 1, n3Moved),
              at(elsewhere, follows(3, 1, 1, n3Moved)))
          .hasNode(3, Role.STANDBY, State.UP)
          .dials(3, elsewhere)
          .sees(takesWrites(1, 1, n3Moved), follows(2, 1, 1, n3Moved), at(elsewhere, refused(3)))
          .dials(3, elsewhere);
    }

    @Test
    void whileItsConninfoIsTheSameItIsDialledWhereItWasMet() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              at(mapped3, follows(3, 1, 1, N1_LEADS)))
          .dials(3, mapped3)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), at(mapped3, refused(3)))
          .serves(1, 1)
          .dials(3, mapped3)
          .hasDetail(3, "Connection refused");
    }

    @Test
    void whereItWasMetBeforeItWasRegisteredIsNoLessGood() {
      List<Member> without3 = table(primary(1), standby(2, 1));
      scenario()
          .sees(
              takesWrites(1, 1, without3),
              follows(2, 1, 1, without3),
              at(mapped3, follows(3, 1, 1, without3)))
          .serves(1, 1)
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              at(mapped3, follows(3, 1, 1, N1_LEADS)))
          .again()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), at(mapped3, refused(3)))
          .dials(3, mapped3);
    }

    @Test
    void whereItAnswersAgainItIsDialledAgain() {
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              at(mapped3, follows(3, 1, 1, N1_LEADS)))
          .sees(takesWrites(1, 1, n3Moved), follows(2, 1, 1, n3Moved), at(mapped3, refused(3)))
          .dials(3, elsewhere)
          .sees(
              takesWrites(1, 1, n3Moved),
              follows(2, 1, 1, n3Moved),
              at(elsewhere, silent(3)),
              at(mapped3, follows(3, 1, 1, n3Moved)))
          .dials(3, mapped3)
          .hasNode(3, Role.STANDBY, State.UP);
    }

    @Test
    void whoMovesBackIsDialledWhereItWasAtFirst() {
      healthy()
          .sees(
              takesWrites(1, 1, n3Moved),
              follows(2, 1, 1, n3Moved),
              at(elsewhere, follows(3, 1, 1, n3Moved)))
          .dials(3, elsewhere)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .dials(3, address(3));
    }

    @Test
    void twoThatSwapTheirAddressesAreEachDialledAtTheNewOne() {
      List<Member> swapped = table(primary(1), standby(2, 1, "host=n3"), standby(3, 1, "host=n2"));
      healthy()
          .sees(
              takesWrites(1, 1, swapped),
              at(address(3), follows(2, 1, 1, swapped)),
              at(address(2), follows(3, 1, 1, swapped)))
          .dials(2, address(3))
          .dials(3, address(2))
          .sees(takesWrites(1, 1, swapped), at(address(3), refused(2)), silent(2))
          .dials(2, address(3))
          .dials(3, address(2));
    }

    @Test
    void aSilentPrimaryIsFollowedByTheOthersCopies() {
      healthy()
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, n1Moved))
          .servesNobody("n1 is silent")
          .dials(1, elsewhere)
          .sees(
              refused(1),
              at(elsewhere, takesWrites(1, 1, n1Moved)),
              follows(2, 1, 1, n1Moved),
              follows(3, 1, 1, n1Moved))
          .serves(1, 1)
          .dials(1, elsewhere);
    }

    @Test
    void soIsAnotherThatIsSilentMeanwhile() {
      healthy()
          .sees(refused(1), follows(2, 1, 1, n3Moved), silent(3))
          .dials(1, address(1))
          .dials(3, elsewhere);
    }

    @Test
    void whatTheOthersSayOfANodeThatAnswersOrIsNoMemberDoesNotCount() {
      List<Member> changed =
          with(
              table(primary(1), new Member(2, "renamed", "standby", true, 1, "host=n2")),
              standby(4, 1));
      healthy()
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, changed))
          .servesNobody("n1 is silent")
          .isCalled(2, "n2")
          .hasNodes(3);
    }

    @Test
    void whileThePrimaryAnswersItsCopyAloneSaysWhoMoved() {
      healthy()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, n3Moved), silent(3))
          .serves(1, 1)
          .dials(3, address(3));
    }

    @Test
    void aWitnessesCopyMovesNobody() {
      List<Member> four = with(N1_LEADS, row(4, "witness", true, 1));
      List<Member> late = with(n1Moved, row(4, "witness", true, 1));
      scenario()
          .sees(takesWrites(1, 1, four), follows(2, 1, 1, four), silent(3), witness(4, four))
          .serves(1, 1)
          .sees(refused(1), silent(2), witness(4, late))
          .servesNobody("n1 is silent")
          .dials(1, address(1))
          .sees(refused(1), follows(2, 1, 1, late), witness(4, four))
          .dials(1, elsewhere);
    }

    @Test
    void aStalePrimarysCopyMovesNobody() {
      List<Member> n2Moved = table(failed(1), moved(primary(2)), standby(3, 2));
      failedOver()
          .sees(silent(1), at(elsewhere, takesWrites(2, 2, n2Moved)), follows(3, 2, 2, n2Moved))
          .serves(2, 2)
          .sees(takesWrites(1, 1, N1_LEADS), at(elsewhere, refused(2)), silent(2), silent(3))
          .servesNobody("n2 is silent")
          .dials(2, elsewhere);
    }

    /** Its replication is broken, say: that copy will never be right. */
    @Test
    void anOldCopyDoesNotLeadAwayFromAPrimaryThatMissedOneProbe() {
      scenario()
          .starts(address(2), address(3))
          .sees(
              at(elsewhere, takesWrites(1, 1, n1Moved)),
              follows(2, 1, 1, n1Moved),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .dials(1, elsewhere)
          .sees(at(elsewhere, silent(1)), follows(2, 1, 1, n1Moved), follows(3, 1, 1, N1_LEADS))
          .asksToo(elsewhere)
          .sees(
              at(elsewhere, takesWrites(1, 1, n1Moved)),
              follows(2, 1, 1, n1Moved),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .dials(1, elsewhere);
    }

    /** Docker gives addresses anew: the stale primary is back, at its successor's address. */
    @Test
    void aStalePrimaryAtItsSuccessorsAddressIsNoRebuiltCluster() {
      List<Member> before = table(primary(1), standby(2, 1));
      List<Member> after = table(failed(1), primary(2));
      scenario()
          .sees(takesWrites(1, 1, before), follows(2, 1, 1, before))
          .serves(1, 1)
          .sees(refused(1), takesWrites(2, 2, after))
          .serves(2, 2)
          .sees(refused(1), at(address(2), takesWrites(1, 1, before)))
          .servesNobody("n2")
          .keepsTerm(2, 2);
    }

    @Test
    void membersAreAskedThoughTheyAreNoSeeds() {
      scenario()
          .starts(address(1))
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .asks(address(1), address(2), address(3));
    }

    /** While nobody is served, where a standby was once is of no interest. */
    @Test
    void whereAStandbyWasBeforeItMovedIsNotAsked() {
      scenario()
          .starts(address(1))
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .sees(
              takesWrites(1, 1, n3Moved),
              follows(2, 1, 1, n3Moved),
              at(elsewhere, follows(3, 1, 1, n3Moved)))
          .serves(1, 1)
          .sees(refused(1), follows(2, 1, 1, n3Moved), at(elsewhere, follows(3, 1, 1, n3Moved)))
          .servesNobody("n1 is silent")
          .asks(address(1), address(2), elsewhere);
    }

    /** It was met before it was known which cluster counts. */
    @Test
    void whereAnotherClustersNodeOfTheSameIdWasMetIsNotItsAddress() {
      HostAndPort foreign = new HostAndPort("a", 5432);
      List<Member> alone = table(primary(1));
      scenario()
          .starts(address(1), foreign)
          .sees(takesWrites(1, 1, alone), at(foreign, takesWritesOf(OTHER_CLUSTER, 1, 1, alone)))
          .servesNobody("several database clusters")
          .sees(takesWrites(1, 1, alone), at(foreign, silent(1)))
          .serves(1, 1)
          .sees(silent(1), at(foreign, silent(1)))
          .dials(1, address(1));
    }

    @Test
    void onAColdStartANodeThatIsMetAtTwoAddressesCountsOnce() {
      List<Member> both = table(primary(1), standby(2, 1));
      List<Member> alone = table(primary(1));
      scenario()
          .sees(
              takesWrites(1, 1, both),
              follows(2, 1, 1, both),
              at(elsewhere, takesWritesOf(OTHER_CLUSTER, 1, 1, alone)),
              at(mapped3, takesWritesOf(OTHER_CLUSTER, 1, 1, alone)))
          .serves(1, 1);
    }

    @Test
    void onAColdStartNodesThatDoNotKnowThemselvesCountEach() {
      List<Member> foreign = table(primary(1), standby(2, 1));
      scenario()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              anonymous(follows(2, 1, 1, N1_LEADS)),
              anonymous(follows(3, 1, 1, N1_LEADS)),
              at(elsewhere, takesWritesOf(OTHER_CLUSTER, 1, 1, foreign)),
              at(mapped3, followsIn(OTHER_CLUSTER, 2, 1, 1, foreign)))
          .serves(1, 1);
    }

    /** Two clusters among the seeds, numbered alike; the one that was served goes down. */
    @Test
    void anotherWholeClusterAmongTheSeedsIsNoRebuiltOne() {
      HostAndPort[] green = {new HostAndPort("g1", 5432), new HostAndPort("g2", 5432)};
      List<Member> table = table(primary(1), standby(2, 1));
      scenario()
          .starts(address(1), address(2), green[0], green[1])
          .sees(
              takesWrites(1, 1, table),
              follows(2, 1, 1, table),
              at(green[0], refused(1)),
              at(green[1], refused(2)))
          .serves(1, 1)
          .sees(
              refused(1),
              refused(2),
              at(green[0], takesWritesOf(OTHER_CLUSTER, 1, 1, table)),
              at(green[1], followsIn(OTHER_CLUSTER, 2, 1, 1, table)))
          .servesNobody("n1 is silent")
          .keepsTerm(1, 1);
    }

    @Test
    void aStrangerWithTheOnlyNodesIdIsNoRebuiltCluster() {
      List<Member> alone = table(primary(1));
      scenario()
          .starts(address(1), elsewhere)
          .sees(takesWrites(1, 1, alone), at(elsewhere, refused(1)))
          .serves(1, 1)
          .sees(refused(1), at(elsewhere, takesWritesOf(OTHER_CLUSTER, 1, 1, alone)))
          .servesNobody("n1 is silent")
          .keepsTerm(1, 1);
    }

    @Test
    void ofTwoCopiesTheOneOfTheNewerTimelineCounts() {
      List<Member> n1LeadsAgain = table(moved(primary(1)), standby(2, 1), standby(3, 1));
      scenario()
          .sees(takesWrites(1, 3, N1_LEADS), follows(2, 3, 1, N1_LEADS), silent(3))
          .serves(1, 3)
          .sees(refused(1), follows(2, 3, 1, n1LeadsAgain), follows(3, 1, 1, N1_LEADS))
          .dials(1, elsewhere)
          .sees(refused(1), follows(2, 1, 1, N1_LEADS), follows(3, 3, 1, n1LeadsAgain))
          .dials(1, elsewhere);
    }
  }

  @Nested
  class Incurable {

    @Test
    void isReportedWhenEverybodyWhoAnsweredSaysSo() {
      Decision decision =
          scenario()
              .sees(
                  Observation.failed(address(1), "28P01", "password authentication failed"),
                  Observation.failed(address(2), "28P01", "password authentication failed"),
                  refused(3))
              .decision;
      assertNotNull(decision.incurable());
    }

    /** It may be restarting while all that answers is a node that never lets us in. */
    @Test
    void isWaitedOutWhileANodeIsSilentOnceAPrimaryWasServed() {
      Observation closedDoor = Observation.failed(address(3), "28000", "no pg_hba.conf entry");
      Decision decision =
          healthy()
              .sees(silent(1), refused(2), closedDoor)
              .servesNobody("n1 is silent: no answer")
              .decision;
      assertNull(decision.incurable());
    }

    @Test
    void isReportedWhenEverybodyRefusesUsOnceAPrimaryWasServed() {
      Observation first = Observation.failed(address(1), "28P01", "password authentication failed");
      Observation second =
          Observation.failed(address(2), "28P01", "password authentication failed");
      Observation third = Observation.failed(address(3), "28000", "no pg_hba.conf entry");
      Decision decision =
          healthy()
              .sees(first, second, third)
              .servesNobody("n1 refuses us: password authentication failed")
              .decision;
      assertNotNull(decision.incurable());
    }

    @Test
    void isWaitedOutWhenSomebodySaysOtherwise() {
      Decision decision =
          scenario()
              .sees(
                  Observation.failed(address(1), "28P01", "password authentication failed"),
                  Observation.failed(address(2), "57P03", "the database system is starting up"))
              .decision;
      assertNull(decision.incurable());
    }

    @Test
    void isNoneWhileSomebodyHasNotBeenAskedYet() {
      assertNull(
          scenario()
              .starts(address(1), address(2), address(3))
              .sees(
                  Observation.failed(address(1), "28P01", "password authentication failed"),
                  refused(2))
              .decision
              .incurable());
    }

    @Test
    void isNoneWhileAMemberHasNotBeenAskedYetOnceAPrimaryWasServed() {
      assertNull(
          scenario()
              .starts(address(1))
              .sees(
                  takesWrites(1, 1, N1_LEADS),
                  follows(2, 1, 1, N1_LEADS),
                  follows(3, 1, 1, N1_LEADS))
              .serves(1, 1)
              .sees(Observation.failed(address(1), "28P01", "password authentication failed"))
              .decision
              .incurable());
    }

    @Test
    void isNoneWhenNobodyAnswers() {
      assertNull(scenario().sees(refused(1), silent(2), silent(3)).decision.incurable());
    }
  }

  /** With {@code primaryPolicy=quorum}. What nodes follow, they saw a second ago. */
  @Nested
  class Quorum {

    private final List<Member> twoAndWitness =
        table(primary(1), standby(2, 1), row(3, "witness", true, 1));

    @Test
    void aMajorityThatFollowsIsEnoughAtOnce() {
      quorum()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .isCalm()
          .isNotFenced();
    }

    @Test
    void onAColdStartNobodyIsServedWithoutIt() {
      quorum()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("n1 is supported by 1 of 3 nodes, which is no majority")
          .after(3_600_000)
          .again()
          .servesNobody("no majority");
    }

    @Test
    void halfIsNoMajority() {
      List<Member> four = table(primary(1), standby(2, 1), standby(3, 1), standby(4, 1));
      quorum()
          .sees(takesWrites(1, 1, four), follows(2, 1, 1, four), silent(3), silent(4))
          .servesNobody("n1 is supported by 2 of 4 nodes")
          .sees(takesWrites(1, 1, four), follows(2, 1, 1, four), follows(3, 1, 1, four), silent(4))
          .serves(1, 1);
    }

    @Test
    void aSingleRegisteredNodeIsItsOwnMajority() {
      quorum().sees(takesWrites(1, 1, table(primary(1)))).serves(1, 1);
    }

    @Test
    void aLateCopySupportsNobody() {
      quorum()
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 0, N1_LEADS), follows(3, 1, 2, N1_LEADS))
          .servesNobody("n1 is supported by 1 of 3 nodes");
    }

    @Test
    void whoHasNotSeenItForLongSupportsNobody() {
      quorum()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              seenAgo(follows(2, 1, 1, N1_LEADS), 6_001),
              seenAgo(follows(3, 1, 1, N1_LEADS), 60_000))
          .servesNobody("n1 is supported by 1 of 3 nodes")
          .sees(
              takesWrites(1, 1, N1_LEADS),
              seenAgo(follows(2, 1, 1, N1_LEADS), 6_000),
              seenAgo(follows(3, 1, 1, N1_LEADS), 60_000))
          .serves(1, 1);
    }

    @Test
    void whoseRepmgrdHasSeenNobodySupportsNobody() {
      quorum()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              neverSeen(follows(2, 1, 1, N1_LEADS)),
              neverSeen(follows(3, 1, 1, N1_LEADS)))
          .servesNobody("n1 is supported by 1 of 3 nodes");
    }

    /** What was said stays what it is while nothing new is heard, but it grows old. */
    @Test
    void supportGrowsOld() {
      quorumOfThree().after(5_100).again().servesNobody("no majority");
    }

    @Test
    void aWitnessVotes() {
      quorum()
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), followingWitness(3, 1, twoAndWitness))
          .servesNobody("n1 is supported by 1 of 3 nodes")
          .after(1_000)
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), followingWitness(3, 1, twoAndWitness))
          .serves(1, 1)
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), silent(3))
          .servesNobody("n1 is supported by 1 of 3 nodes");
    }

    /** The witness need not see it anew: it was on that timeline before, too. */
    @Test
    void aPrimaryThatMissesAProbeKeepsItsWitness() {
      quorum()
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), followingWitness(3, 1, twoAndWitness))
          .after(1_000)
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), followingWitness(3, 1, twoAndWitness))
          .serves(1, 1)
          .sees(silent(1), silent(2), followingWitness(3, 1, twoAndWitness))
          .servesNobody("n1 is silent")
          .after(100)
          .sees(takesWrites(1, 1, twoAndWitness), silent(2), followingWitness(3, 1, twoAndWitness))
          .serves(1, 1);
    }

    @Test
    void anEmptyTableMakesNobodyAMajority() {
      quorumOfThree()
          .sees(takesWrites(1, 1, List.of()), silent(2), silent(3))
          .servesNobody("n1 is supported by 1 of 3 nodes");
    }

    @Test
    void aPromotedNodeIsServedOnceAMajorityFollows() {
      quorumOfThree()
          .sees(silent(1), takesWrites(2, 2, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent: no answer within 2000 ms; n2 is supported by 1 of 3 nodes")
          .after(1_500)
          .sees(silent(1), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2)
          .isNotFenced();
    }

    /** A standby of a standby follows it before it was promoted; that proves nothing. */
    @Test
    void whoSawItOnlyBeforeItsPromotionDoesNotSupportIt() {
      List<Member> chain = table(primary(1), standby(2, 1), standby(3, 2));
      quorum()
          .sees(takesWrites(1, 1, chain), follows(2, 1, 1, chain), follows(3, 1, 2, chain))
          .serves(1, 1)
          .sees(silent(1), takesWrites(2, 2, chain), follows(3, 1, 2, chain))
          .servesNobody("n2 is supported by 1 of 3 nodes")
          .after(1_000)
          .sees(silent(1), takesWrites(2, 2, chain), follows(3, 1, 2, chain))
          .serves(2, 2);
    }

    @Test
    void connectionsAreCutThreeSecondsAfterTheMajorityIsLost() {
      quorumOfThree()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("n1 is supported by 1 of 3 nodes")
          .isNotFenced()
          .rechecksIn(3_000)
          .after(2_999)
          .again()
          .isNotFenced()
          .after(1)
          .again()
          .isFenced()
          .keepsTerm(1, 1)
          .needsNoRecheck();
    }

    @Test
    void aMajorityThatIsBackInTimeKeepsThem() {
      quorumOfThree()
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .after(2_000)
          .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), silent(3))
          .serves(1, 1)
          .after(2_000)
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .isNotFenced();
    }

    /** A cut between it and us only: the cluster goes on with it, and so may who is connected. */
    @Test
    void whomTheOthersSeeIsNotFencedForBeingSilentToUs() {
      quorumOfThree()
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .servesNobody("n1 is silent")
          .after(10_000)
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
          .isNotFenced();
    }

    @Test
    void whoIsSupersededStaysRefusedWhenItsSuccessorIsSilent() {
      quorumOfThree()
          .sees(
              takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2)
          .hasNode(1, Role.PRIMARY, State.SUPERSEDED)
          .sees(takesWrites(1, 1, N1_LEADS), silent(2), silent(3))
          .servesNobody("n2 is silent");
    }

    /** Somebody promoted it to rescue data; the cluster has not gone over to it. */
    @Test
    void aChallengerWithoutAMajorityDisturbsNobody() {
      quorumOfThree()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              takesWrites(2, 2, N2_PROMOTED),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1)
          .hasNode(2, Role.PRIMARY, State.CHALLENGER);
    }

    @Test
    void whoHasLostItsMajorityToAnotherOneIsLeft() {
      quorumOfThree()
          .sees(
              takesWrites(1, 1, N1_LEADS), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
          .serves(2, 2)
          .says("is the primary now; n1 is supported by 1 of 3 nodes, which is no majority");
    }

    @Test
    void whoDoesNotAnswerIsSaidToBeThat() {
      quorum()
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), silent(3))
          .servesNobody("no node answers as the primary");
      quorumOfThree()
          .sees(silent(1), follows(2, 1, 1, N1_LEADS), silent(3))
          .servesNobody("n1 is silent: no answer within 2000 ms; no successor yet");
    }

    /** Somebody has promoted it and unregistered all others there. */
    @Test
    void ofTwoMajoritiesTheIncumbentsCounts() {
      quorumOfThree()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              takesWrites(2, 2, table(primary(2))),
              follows(3, 1, 1, N1_LEADS))
          .serves(1, 1);
    }

    @Test
    void twoMajoritiesOnOneTimelineAreNobodysChoice() {
      quorum()
          .sees(takesWrites(1, 1, table(primary(1))), takesWrites(2, 1, table(primary(2))))
          .servesNobody("answer as primaries on one timeline with equal support");
    }

    @Test
    void whoIsNotRegisteredThereSupportsNobody() {
      List<Member> two = table(primary(1), standby(2, 1));
      quorum()
          .sees(takesWrites(1, 1, two), silent(2), follows(3, 1, 1, two))
          .servesNobody("n1 is supported by 1 of 2 nodes");
    }

    @Test
    void severalClustersAreNobodysChoiceOnAColdStartOnly() {
      Observation stranger =
          at(
              new HostAndPort("elsewhere", 5432),
              takesWritesOf(OTHER_CLUSTER, 1, 1, table(primary(1))));
      quorum()
          .sees(takesWrites(1, 1, table(primary(1))), stranger)
          .servesNobody("several database clusters");
      quorumOfThree()
          .sees(
              takesWrites(1, 1, N1_LEADS),
              follows(2, 1, 1, N1_LEADS),
              follows(3, 1, 1, N1_LEADS),
              stranger)
          .serves(1, 1);
    }

    @Test
    void whoIsLeftIsServedOnceTheOthersAreUnregistered() {
      quorumOfThree()
          .sees(
              silent(1), silent(2), takesWrites(3, 2, table(failed(1), standby(2, 1), primary(3))))
          .servesNobody("n3 is supported by 1 of 3 nodes")
          .sees(silent(1), silent(2), takesWrites(3, 2, table(primary(3))))
          .serves(3, 2);
    }
  }

  // ---- how to write a row of the table -------------------------------------------------------

  /** A history and what was decided last. */
  private static final class Scenario {
    private final AddressTranslator translator;
    private final PrimaryPolicy policy;
    private List<HostAndPort> seeds = List.of();
    private Observation[] last = {};
    private long now = -5_000_000_000L;
    private Decision decision = Decision.NONE;

    Scenario(AddressTranslator translator, PrimaryPolicy policy) {
      this.translator = translator;
      this.policy = policy;
    }

    /** Without it, the seeds are the addresses that are seen first. */
    Scenario starts(HostAndPort... addresses) {
      seeds = List.of(addresses);
      return this;
    }

    Scenario sees(Observation... relative) {
      return seesAt(
          Arrays.stream(relative)
              .map(observation -> ago(observation, now))
              .toArray(Observation[]::new));
    }

    private Scenario seesAt(Observation... observations) {
      last = observations;
      if (seeds.isEmpty()) {
        seeds = Arrays.stream(observations).map(Observation::address).toList();
      }
      Resolver resolver = new Resolver(seeds, translator, policy);
      Decision next = resolver.resolve(decision, Arrays.asList(observations), now);
      List<Observation> shuffled = new ArrayList<>(Arrays.asList(observations));
      Collections.shuffle(shuffled, new Random(observations.length));
      assertEquals(next, resolver.resolve(decision, shuffled, now), "the order must not matter");
      Decision repeated = resolver.resolve(next, shuffled, now);
      assertTrue(repeated.looksLike(next), "twice the same: " + next + " and " + repeated);
      decision = next;
      return this;
    }

    Scenario again() {
      return seesAt(last);
    }

    Scenario after(long millis) {
      now += millis * 1_000_000;
      return this;
    }

    Scenario afterAPause() {
      decision = decision.resumed();
      return this;
    }

    Scenario serves(int id, int timeline) {
      assertTrue(decision.available(), decision.reason());
      return keepsTerm(id, timeline);
    }

    Scenario keepsTerm(int id, int timeline) {
      Term term = decision.term();
      assertNotNull(term, decision.reason());
      assertEquals(id, term.primaryId(), decision.reason());
      assertEquals(timeline, term.timeline(), decision.reason());
      return this;
    }

    Scenario belongsTo(long systemIdentifier) {
      Term term = decision.term();
      assertNotNull(term);
      assertEquals(systemIdentifier, term.systemIdentifier());
      return this;
    }

    Scenario servesNobody(String why) {
      assertFalse(decision.available(), decision.reason());
      return says(why);
    }

    Scenario says(String why) {
      assertTrue(decision.reason().contains(why), decision.reason());
      return this;
    }

    Scenario isCalm() {
      assertTrue(decision.calm(), decision.reason());
      return this;
    }

    Scenario warns() {
      assertTrue(decision.warning(), decision.reason());
      return this;
    }

    Scenario doesNotWarn() {
      assertFalse(decision.warning(), decision.reason());
      return this;
    }

    Scenario rechecksIn(long millis) {
      assertEquals(now + millis * 1_000_000, decision.recheckAt());
      return this;
    }

    Scenario needsNoRecheck() {
      assertNull(decision.recheckAt());
      return this;
    }

    Scenario isFenced() {
      assertTrue(decision.fenced(), decision.reason());
      return this;
    }

    Scenario isNotFenced() {
      assertFalse(decision.fenced(), decision.reason());
      return this;
    }

    Scenario hunts() {
      assertFalse(decision.calm(), decision.reason());
      return this;
    }

    Scenario hasNode(int id, Role role, State state) {
      Node node = node(id);
      assertEquals(role, node.role(), node.toString());
      assertEquals(state, node.state(), node.toString());
      return this;
    }

    Scenario hasDetail(int id, String detail) {
      assertTrue(node(id).detail().contains(detail), node(id).toString());
      return this;
    }

    Scenario hasNodes(int number) {
      assertEquals(number, decision.nodes().size(), decision.nodes().toString());
      return this;
    }

    Scenario hasStranger(HostAndPort address, Role role, State state, String detail) {
      Node stranger =
          decision.nodes().stream()
              .filter(node -> address.equals(node.address()))
              .findFirst()
              .orElseThrow();
      assertEquals(0, stranger.id(), stranger.toString());
      assertEquals(role, stranger.role(), stranger.toString());
      assertEquals(state, stranger.state(), stranger.toString());
      assertTrue(stranger.detail().contains(detail), stranger.toString());
      return this;
    }

    Scenario asks(HostAndPort... addresses) {
      assertEquals(Set.of(addresses), decision.addresses());
      return this;
    }

    Scenario asksToo(HostAndPort address) {
      assertTrue(decision.addresses().contains(address), () -> "asks " + decision.addresses());
      return this;
    }

    Scenario dials(int id, HostAndPort address) {
      assertEquals(address, node(id).address());
      return this;
    }

    Scenario isCalled(int id, String name) {
      assertEquals(name, node(id).name());
      return this;
    }

    private Node node(int id) {
      return decision.nodes().stream().filter(node -> node.id() == id).findFirst().orElseThrow();
    }
  }

  private static Scenario scenario() {
    return scenario((name, address) -> null);
  }

  private static Scenario scenario(AddressTranslator translator) {
    return new Scenario(translator, PrimaryPolicy.LATEST);
  }

  private static Scenario quorum() {
    return new Scenario((name, address) -> null, PrimaryPolicy.QUORUM);
  }

  private static Scenario quorumOfThree() {
    return quorum()
        .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
        .serves(1, 1);
  }

  private static Scenario healthy() {
    return scenario()
        .sees(takesWrites(1, 1, N1_LEADS), follows(2, 1, 1, N1_LEADS), follows(3, 1, 1, N1_LEADS))
        .serves(1, 1);
  }

  private static Scenario failedOver() {
    return healthy()
        .sees(silent(1), takesWrites(2, 2, N2_LEADS), follows(3, 2, 2, N2_LEADS))
        .serves(2, 2);
  }

  private static HostAndPort address(int id) {
    return new HostAndPort("n" + id, 5_432);
  }

  private static Observation takesWrites(int id, int timeline, List<Member> copy) {
    return takesWritesOf(CLUSTER, id, timeline, copy);
  }

  private static Observation takesWritesOf(
      long systemIdentifier, int id, int timeline, List<Member> copy) {
    return Observation.of(address(id), answer(id, false, timeline, systemIdentifier, 0, copy));
  }

  private static Observation follows(int id, int timeline, int upstream, List<Member> copy) {
    return followsIn(CLUSTER, id, timeline, upstream, copy);
  }

  private static Observation followsIn(
      long systemIdentifier, int id, int timeline, int upstream, List<Member> copy) {
    return Observation.of(
        address(id), answer(id, true, timeline, systemIdentifier, upstream, copy));
  }

  private static Observation witness(int id, List<Member> copy) {
    return Observation.of(address(id), answer(id, false, 9, WITNESS_CLUSTER, 0, copy));
  }

  private static Observation followingWitness(int id, int upstream, List<Member> copy) {
    return Observation.of(address(id), answer(id, false, 9, WITNESS_CLUSTER, upstream, copy));
  }

  /** Its repmgrd saw the upstream so long ago. */
  private static Observation seenAgo(Observation observation, long millis) {
    return seen(observation, -millis);
  }

  /** Its repmgrd has not seen the upstream since it was started. */
  private static Observation neverSeen(Observation observation) {
    return seen(observation, null);
  }

  private static Observation seen(Observation observation, @Nullable Long at) {
    Answer a = observation.answer();
    assertNotNull(a);
    return Observation.of(
        observation.address(),
        new Answer(
            a.nodeId(),
            a.inRecovery(),
            a.timeline(),
            a.systemIdentifier(),
            a.startedAt(),
            a.upstreamId(),
            at,
            a.copy(),
            null,
            0));
  }

  /** The same with a time of the clock instead of so many milliseconds ago. */
  private static Observation ago(Observation observation, long now) {
    Long millis = observation.answer() == null ? null : observation.answer().upstreamSeenAt();
    return millis == null ? observation : seen(observation, now + millis * 1_000_000);
  }

  private static Observation silent(int id) {
    return Observation.failed(address(id), "08006", "no answer within 2000 ms");
  }

  private static Observation refused(int id) {
    return Observation.failed(address(id), "08001", "Connection refused");
  }

  private static Observation at(HostAndPort address, Observation observation) {
    return new Observation(address, observation.answer(), observation.failure());
  }

  private static Observation anonymous(Observation observation) {
    Answer a = observation.answer();
    assertNotNull(a);
    return Observation.of(
        observation.address(),
        answer(0, a.inRecovery(), a.timeline(), a.systemIdentifier(), 0, a.copy()));
  }

  private static Answer answer(
      int id, boolean inRecovery, int timeline, long cluster, int upstream, List<Member> copy) {
    Long seenAgo = upstream > 0 ? Long.valueOf(-1_000) : null;
    return new Answer(id, inRecovery, timeline, cluster, 1, upstream, seenAgo, copy, null, 0);
  }

  private static List<Member> table(Member... rows) {
    return List.of(rows);
  }

  private static List<Member> with(List<Member> table, Member... rows) {
    return Stream.concat(table.stream(), Stream.of(rows)).toList();
  }

  private static Member primary(int id) {
    return row(id, "primary", true, 0);
  }

  private static Member failed(int id) {
    return row(id, "primary", false, 0);
  }

  private static Member standby(int id, int upstream) {
    return row(id, "standby", true, upstream);
  }

  private static Member standby(int id, int upstream, String conninfo) {
    return new Member(id, "n" + id, "standby", true, upstream, conninfo);
  }

  /** Registered anew, at another address. */
  private static Member moved(Member member) {
    return new Member(
        member.nodeId(),
        member.name(),
        member.type(),
        member.active(),
        member.upstreamId(),
        "host=elsewhere user=repmgr");
  }

  private static Member row(int id, String type, boolean active, int upstream) {
    return new Member(id, "n" + id, type, active, upstream, "host=n" + id + " user=repmgr");
  }
}
