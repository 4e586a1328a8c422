package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.ClusterView.Term;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Decision.Identity;
import io.github.repmgrjdbc.internal.topology.Decision.Memory;
import io.github.repmgrjdbc.internal.topology.Observation.Answer;
import io.github.repmgrjdbc.internal.topology.Observation.Failure;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Who is a member, and who answers where: what one round of observations says, put in order. */
final class Roster {

  /** An order that does not depend on who answered first. */
  private static final Comparator<HostAndPort> BY_TEXT =
      Comparator.comparing(HostAndPort::toString);

  private final List<HostAndPort> seeds;
  private final AddressTranslator translator;
  private final @Nullable Term term;
  private final Map<HostAndPort, Answer> answers = new TreeMap<>(BY_TEXT);
  private final Map<HostAndPort, Failure> failures = new TreeMap<>(BY_TEXT);
  private final Map<HostAndPort, Identity> identities = new TreeMap<>(BY_TEXT);

  /** The addresses at which a primary answers, of whatever database cluster. */
  private final Map<HostAndPort, Long> primaries = new TreeMap<>(BY_TEXT);

  /** The database cluster that counts, or null while none does. */
  private final @Nullable Long home;

  private final Map<Integer, Member> members = new TreeMap<>();
  private final Map<Integer, Seen> seen = new TreeMap<>();

  /** A member that answers. */
  record Seen(int id, HostAndPort address, Answer answer) {
    int timeline() {
      return answer.timeline();
    }

    boolean isOfClusterOf(Seen other) {
      return answer.systemIdentifier() == other.answer.systemIdentifier();
    }
  }

  /**
   * Puts what was seen in order.
   *
   * @param term the primary served last, or null before the first one
   * @param memory what was known then
   */
  Roster(
      List<HostAndPort> seeds,
      AddressTranslator translator,
      @Nullable Term term,
      Memory memory,
      Collection<Observation> observations) {
    this.seeds = seeds;
    this.translator = translator;
    this.term = term;
    for (Observation observation : observations) {
      Answer answer = observation.answer();
      Failure failure = observation.failure();
      if (answer != null) {
        answers.put(observation.address(), answer);
      } else if (failure != null) {
        failures.put(observation.address(), failure);
      }
    }
    identities.putAll(memory.identities());
    answers.forEach(
        (address, answer) -> {
          if (isRegisteredPrimary(answer)) {
            primaries.put(address, answer.systemIdentifier());
          }
        });
    home = term != null ? (Long) term.systemIdentifier() : clusterOfMost();
    members.putAll(term == null ? unionOfCopies() : memory.members());
    identify();
    if (term != null && !seen.containsKey(term.primaryId())) {
      followMoves(term);
    }
  }

  // ---- what there is ---------------------------------------------------------------------------

  List<HostAndPort> seeds() {
    return seeds;
  }

  Map<Integer, Member> members() {
    return members;
  }

  /** The members that answer, by id. */
  Map<Integer, Seen> seen() {
    return seen;
  }

  /** The addresses at which a primary answers, of whatever database cluster. */
  Set<HostAndPort> primaries() {
    return primaries.keySet();
  }

  @Nullable Answer answerAt(@Nullable HostAndPort address) {
    return address == null ? null : answers.get(address);
  }

  @Nullable Failure failureAt(@Nullable HostAndPort address) {
    return address == null ? null : failures.get(address);
  }

  /** Which node answered there last, or null. */
  @Nullable Identity identityAt(HostAndPort address) {
    return identities.get(address);
  }

  Map<HostAndPort, Identity> identities() {
    return identities;
  }

  /** A node's name, for people. */
  String name(int id) {
    Member member = members.get(id);
    return member == null ? "node " + id : member.name();
  }

  /** The primary's copy is what counts. */
  void adopt(List<Member> copy) {
    if (!copy.isEmpty()) {
      members.clear();
      copy.forEach(member -> members.put(member.nodeId(), member));
    }
  }

  /** Whether there are primaries, but none of the database clusters is the one that counts. */
  boolean isOfSeveralClusters() {
    return !primaries.isEmpty() && home == null;
  }

  /** Whether nobody else is registered who could support anybody. */
  boolean isAlone() {
    return members.size() == 1;
  }

  boolean everybodyWasAsked() {
    return seedsWereAsked()
        && members.values().stream()
            .filter(member -> !seen.containsKey(member.nodeId()))
            .map(this::addressOf)
            .allMatch(address -> address == null || wasAsked(address));
  }

  private boolean seedsWereAsked() {
    return seeds.stream().allMatch(this::wasAsked);
  }

  private boolean wasAsked(HostAndPort address) {
    return answers.containsKey(address) || failures.containsKey(address);
  }

  /**
   * The failure to report at once: everybody was asked, somebody answered, and everybody who did
   * gave one. Once a primary has been served, silence is a reason to wait: it may be restarting
   * while a node that never lets us in is all that answers.
   */
  @Nullable Failure incurable() {
    if (!answers.isEmpty() || !seedsWereAsked()) {
      return null;
    }
    List<Failure> said = failures.values().stream().filter(Failure::isAnswer).toList();
    if (term != null && (said.size() < failures.size() || !everybodyWasAsked())) {
      return null;
    }
    return !said.isEmpty() && said.stream().allMatch(Failure::isIncurable) ? said.get(0) : null;
  }

  /**
   * Whether all that is remembered is gone: every registered data node answers, none is on the
   * remembered timeline of the remembered cluster, and one of them is a primary. (Without one,
   * timelines prove nothing: a standby's lags.) Registered is also what a primary says that has the
   * one served last no longer in its table: somebody has taken that out for good.
   */
  boolean isRebuilt() {
    Term served = term;
    if (served == null) {
      return false;
    }
    if (isGone(served, members.values())) {
      return true;
    }
    // But not while somebody is still where the one served last was: then the table is wrong.
    return answers.values().stream().noneMatch(answer -> isOf(served, answer))
        && answers.values().stream()
            .filter(answer -> !answer.inRecovery() && !isForeign(answer.nodeId(), answer))
            .map(Answer::copy)
            .anyMatch(
                copy ->
                    copy.stream().noneMatch(row -> row.nodeId() == served.primaryId())
                        && isGone(served, copy));
  }

  private boolean isGone(Term served, Collection<Member> registered) {
    Set<Long> identifiers = new HashSet<>();
    boolean anyPrimary = false;
    boolean anyDataNode = false;
    for (Member member : registered) {
      if (member.isWitness()) {
        continue;
      }
      anyDataNode = true;
      HostAndPort address = addressOf(member);
      List<Answer> said =
          answers.entrySet().stream()
              .filter(entry -> speaksFor(member, served, entry.getKey().equals(address), entry))
              .map(Map.Entry::getValue)
              .toList();
      if (said.isEmpty() || said.stream().anyMatch(answer -> isOf(served, answer))) {
        return false;
      }
      said.forEach(answer -> identifiers.add(answer.systemIdentifier()));
      anyPrimary |= said.stream().anyMatch(answer -> !answer.inRecovery());
    }
    return anyDataNode && anyPrimary && identifiers.size() == 1;
  }

  /**
   * Whether an answer tells what has become of a member: by its id, where one of ours was met (new
   * nodes share the old ones' addresses out anew); or by its address, unless it is another one of
   * ours that has it now.
   */
  private boolean speaksFor(
      Member member, Term served, boolean atItsAddress, Map.Entry<HostAndPort, Answer> entry) {
    Answer answer = entry.getValue();
    boolean ofOurs = answer.systemIdentifier() == served.systemIdentifier();
    if (answer.nodeId() == member.nodeId()) {
      Identity met = identities.get(entry.getKey());
      return ofOurs
          || atItsAddress
          || (met != null && met.systemIdentifier() == served.systemIdentifier());
    }
    return atItsAddress && (answer.nodeId() == 0 || !ofOurs);
  }

  // ---- who answers where ---------------------------------------------------------------------

  /** The newest timeline's copy wins; a witness's, which is late, loses to all. */
  private Map<Integer, Member> unionOfCopies() {
    Map<Integer, Member> union = new TreeMap<>();
    answers.values().stream()
        .filter(answer -> !isForeign(answer.nodeId(), answer))
        .sorted(
            Comparator.comparing((Answer answer) -> !isWitness(answer.nodeId(), answer))
                .thenComparing(Answer::timeline))
        .forEach(answer -> answer.copy().forEach(row -> union.put(row.nodeId(), row)));
    return union;
  }

  private void identify() {
    answers.forEach(
        (address, answer) -> {
          int id = idOf(address, answer);
          // Another cluster's node may claim the id of one of ours, and be where ours was met.
          if (id <= 0 || isForeign(id, answer)) {
            return;
          }
          Identity known = identities.get(address);
          if (known == null
              || known.nodeId() != id
              || known.systemIdentifier() != answer.systemIdentifier()) {
            identities.put(address, new Identity(answer.systemIdentifier(), id, ""));
          }
          seen.putIfAbsent(id, new Seen(id, address, answer));
        });
  }

  /**
   * While the primary is silent, only the others' copies tell where a silent node has moved: it may
   * be the primary itself. A copy that does not name it is of an earlier time: a stale primary's,
   * say.
   */
  private void followMoves(Term served) {
    seen.values().stream()
        .filter(other -> !isWitness(other) && other.answer.namesPrimary(served.primaryId()))
        .sorted(Comparator.comparingInt(Seen::timeline))
        .flatMap(other -> other.answer.copy().stream())
        .filter(row -> members.containsKey(row.nodeId()) && !seen.containsKey(row.nodeId()))
        .forEach(row -> members.put(row.nodeId(), row));
  }

  /** What is said now of nodes that were first met just now, or before they were registered. */
  void noteConninfo() {
    identities.replaceAll(
        (address, identity) -> {
          Member row = members.get(identity.nodeId());
          return row == null || !identity.conninfo().isEmpty()
              ? identity
              : new Identity(identity.systemIdentifier(), identity.nodeId(), row.conninfo());
        });
  }

  private int idOf(HostAndPort address, Answer answer) {
    if (answer.nodeId() > 0) {
      return answer.nodeId();
    }
    Identity remembered = identities.get(address);
    if (remembered != null && remembered.systemIdentifier() == answer.systemIdentifier()) {
      return remembered.nodeId();
    }
    // It does not know itself, since repmgrd has not run there: its address may tell, ...
    for (Member member : members.values()) {
      if (address.equals(addressOf(member))) {
        return member.nodeId();
      }
    }
    // ... or that it is a primary, unless it might be a witness.
    List<Member> named = answer.copy().stream().filter(Member::isActivePrimary).toList();
    boolean mayBeWitness = answer.copy().stream().anyMatch(Member::isWitness);
    return !answer.inRecovery() && !mayBeWitness && named.size() == 1 ? named.get(0).nodeId() : 0;
  }

  /** Where to dial a node: what was configured, else where it was met, else its conninfo. */
  @Nullable HostAndPort addressOf(Member member) {
    HostAndPort registered = registeredAddress(member.conninfo());
    HostAndPort configured = translator.translate(member.name(), registered);
    if (configured != null) {
      return configured;
    }
    HostAndPort met = null;
    for (Map.Entry<HostAndPort, Identity> entry : identities.entrySet()) {
      Identity identity = entry.getValue();
      if (identity.nodeId() != member.nodeId() || !isKnown(identity, member)) {
        continue;
      }
      Answer here = answers.get(entry.getKey());
      boolean moved =
          here == null
              ? !Objects.equals(registeredAddress(identity.conninfo()), registered)
              : isForeign(member.nodeId(), here);
      if (!moved && (met == null || (here != null && !answers.containsKey(met)))) {
        met = entry.getKey();
      }
    }
    return met != null ? met : registered;
  }

  private static @Nullable HostAndPort registeredAddress(String conninfo) {
    try {
      return Conninfo.addresses(conninfo).get(0);
    } catch (IllegalArgumentException e) {
      // Nothing to dial there; it may be known from elsewhere.
      return null;
    }
  }

  private boolean isKnown(Identity identity, Member member) {
    return home == null || member.isWitness() || identity.systemIdentifier() == home;
  }

  boolean isWitness(Seen node) {
    return isWitness(node.id, node.answer);
  }

  /** By its own copy, or, if it is not in there, by what the others say. */
  private boolean isWitness(int id, Answer answer) {
    Member row = answer.row(id).orElse(members.get(id));
    return row != null && row.isWitness();
  }

  private static boolean isRegisteredPrimary(Answer answer) {
    // One that does not know itself may be the witness, if there is one.
    boolean registered =
        answer.nodeId() == 0
            ? !answer.copy().isEmpty() && answer.copy().stream().noneMatch(Member::isWitness)
            : answer.row(answer.nodeId()).filter(row -> !row.isWitness()).isPresent();
    return !answer.inRecovery() && registered;
  }

  /**
   * On a cold start, the cluster that has a primary and more of the data nodes that answer than any
   * other: ours may be without a primary at the moment, and one address lead to somebody else's.
   */
  private @Nullable Long clusterOfMost() {
    // A node that is met at two addresses counts once; one that does not know itself, each time.
    Map<Long, Long> sizes =
        answers.entrySet().stream()
            .filter(entry -> entry.getValue().inRecovery() || isRegisteredPrimary(entry.getValue()))
            .map(
                entry ->
                    Map.entry(
                        entry.getValue().systemIdentifier(),
                        entry.getValue().nodeId() > 0 ? entry.getValue().nodeId() : entry.getKey()))
            .distinct()
            .collect(Collectors.groupingBy(Map.Entry::getKey, Collectors.counting()));
    long most = sizes.values().stream().max(Comparator.naturalOrder()).orElse(0L);
    List<Long> largest =
        sizes.entrySet().stream()
            .filter(cluster -> cluster.getValue() == most)
            .map(Map.Entry::getKey)
            .toList();
    return largest.size() == 1 && primaries.containsValue(largest.get(0)) ? largest.get(0) : null;
  }

  /** Whether it is a data node of a database cluster that does not count. */
  boolean isForeign(int id, Answer answer) {
    return isOfAnotherCluster(answer) && !isWitness(id, answer);
  }

  /** Whether its database cluster is not the one that counts; a witness's never is. */
  boolean isOfAnotherCluster(Answer answer) {
    return home != null && answer.systemIdentifier() != home;
  }

  private static boolean isOf(Term term, Answer answer) {
    return answer.systemIdentifier() == term.systemIdentifier()
        && answer.timeline() >= term.timeline();
  }
}
