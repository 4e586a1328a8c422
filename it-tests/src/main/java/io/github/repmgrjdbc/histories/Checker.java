package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.histories.Ledger.Transfer;
import io.github.repmgrjdbc.histories.Operation.Kind;
import io.github.repmgrjdbc.histories.Operation.Outcome;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** Compares what clients were told with what is there. A pure function. */
final class Checker {

  private static final String LOCK_NOT_AVAILABLE = "55P03";

  private final List<Operation> operations;
  private final Ledger ledger;
  private final List<Reign> reigns;

  /**
   * Takes a history that is over.
   *
   * @param operations each once
   * @param ledger what the primary has at the end
   * @param reigns who took writes on which timeline, as somebody saw who sees all
   */
  Checker(List<Operation> operations, Ledger ledger, List<Reign> reigns) {
    this.operations = List.copyOf(operations);
    this.ledger = ledger;
    this.reigns = List.copyOf(reigns);
  }

  /** What came of each group's operations. */
  List<Findings> findings() {
    Map<String, List<Operation>> groups =
        operations.stream()
            .collect(Collectors.groupingBy(Operation::group, TreeMap::new, Collectors.toList()));
    return groups.entrySet().stream()
        .map(group -> findings(group.getKey(), group.getValue()))
        .toList();
  }

  /**
   * What is wrong with the database whoever wrote to it, in words: accounts that do not add up, and
   * what nobody has ever tried to write.
   */
  List<String> faults() {
    List<String> faults = new ArrayList<>();
    Map<Integer, Long> expected = new TreeMap<>();
    for (int account = 0; account < ledger.accounts(); account++) {
      expected.put(account, Ledger.OPENING_BALANCE);
    }
    for (Transfer transfer : ledger.transfers().values()) {
      expected.merge(transfer.source(), (long) -transfer.amount(), Long::sum);
      expected.merge(transfer.target(), (long) transfer.amount(), Long::sum);
    }
    expected.forEach(
        (account, balance) -> {
          Long found = ledger.balances().get(account);
          if (!Objects.equals(found, balance)) {
            faults.add("account %d has %s, by its transfers %d".formatted(account, found, balance));
          }
        });
    Set<Long> tried = operations.stream().map(Operation::id).collect(Collectors.toSet());
    ledger.items().stream()
        .filter(id -> !tried.contains(id))
        .forEach(id -> faults.add("nobody has appended " + id));
    ledger.transfers().keySet().stream()
        .filter(id -> !tried.contains(id))
        .forEach(id -> faults.add("nobody has made transfer " + id));
    return faults;
  }

  private Findings findings(String group, List<Operation> all) {
    List<Operation> rejected = new ArrayList<>();
    Map<String, Integer> errors = new TreeMap<>();
    List<Operation> lostBefore = new ArrayList<>();
    List<Operation> lostBeside = new ArrayList<>();
    List<Operation> lostForNoReason = new ArrayList<>();
    List<Operation> foundThoughFailed = new ArrayList<>();
    List<Operation> stale = new ArrayList<>();
    List<Operation> staleInView = new ArrayList<>();
    double lastStaleMillis = 0;
    for (Operation one : all) {
      if (one.outcome() != Outcome.ACKNOWLEDGED) {
        errors.merge(one.error() + " " + one.outcome(), 1, Integer::sum);
        if (one.outcome() != Outcome.UNKNOWN && isThere(one)) {
          foundThoughFailed.add(one);
        }
        if (one.outcome() == Outcome.REJECTED && !one.error().equals(LOCK_NOT_AVAILABLE)) {
          rejected.add(one);
        }
        continue;
      }
      Reign successor = successorOf(one).orElse(null);
      if (!isThere(one)) {
        (successor == null
                ? lostForNoReason
                : one.ended() - successor.since() <= 0 ? lostBefore : lostBeside)
            .add(one);
      }
      if (successor != null && one.ended() - successor.since() > 0) {
        lastStaleMillis = Math.max(lastStaleMillis, (one.ended() - successor.since()) / 1e6);
        if (one.ordered() - successor.since() > 0) {
          stale.add(one);
        }
      }
      if (one.inView() > one.timeline()) {
        staleInView.add(one);
      }
    }
    return new Findings(
        group,
        count(all, Outcome.ACKNOWLEDGED),
        count(all, Outcome.FAILED) + count(all, Outcome.REJECTED),
        count(all, Outcome.UNKNOWN),
        rejected,
        errors,
        lostBefore,
        lostBeside,
        lostForNoReason,
        foundThoughFailed,
        stale,
        staleInView,
        lastStaleMillis);
  }

  private static int count(List<Operation> all, Outcome outcome) {
    return (int) all.stream().filter(one -> one.outcome() == outcome).count();
  }

  private boolean isThere(Operation one) {
    return one.kind() == Kind.APPEND
        ? ledger.items().contains(one.id())
        : ledger.transfers().containsKey(one.id());
  }

  /**
   * The first to be promoted to a newer timeline than the one that the operation was done on; or,
   * after its own server, to the same: two that do not know of each other may be.
   */
  private Optional<Reign> successorOf(Operation one) {
    Reign own =
        reigns.stream()
            .filter(
                reign -> reign.timeline() == one.timeline() && reign.server().equals(one.server()))
            .findFirst()
            .orElse(null);
    return reigns.stream()
        .filter(
            reign ->
                reign.timeline() > one.timeline()
                    || (own != null
                        && reign.timeline() == one.timeline()
                        && !reign.node().equals(own.node())
                        && reign.since() - own.since() > 0))
        .min((a, b) -> Long.signum(a.since() - b.since()));
  }
}
