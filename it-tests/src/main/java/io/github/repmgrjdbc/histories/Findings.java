package io.github.repmgrjdbc.histories;

import java.util.List;
import java.util.Map;

/**
 * What came of one group's operations.
 *
 * @param acknowledged operations that the client was told are done
 * @param failed that it was told are not
 * @param unknown of which it was told neither
 * @param rejected failed for a reason that is not the connection's, but for a lock that was not to
 *     be had: a client that was cut off may have left it behind
 * @param errors how often each SQLSTATE, with what it was taken for
 * @param lostBefore acknowledged and not there; the answer came before the next promotion: what an
 *     asynchronous standby had not got
 * @param lostBeside the same, the answer came after it: taken by the old primary beside the new one
 * @param lostForNoReason the same, and there was no promotion after it
 * @param foundThoughFailed failed, but there
 * @param stale acknowledged by a server after another one had been promoted; ordered after it, too
 * @param staleInView the same, the successor being in the client's view when it was ordered
 * @param lastStaleMillis from a promotion to the last acknowledgement by a server of before it; 0
 *     if there was none
 */
record Findings(
    String group,
    int acknowledged,
    int failed,
    int unknown,
    List<Operation> rejected,
    Map<String, Integer> errors,
    List<Operation> lostBefore,
    List<Operation> lostBeside,
    List<Operation> lostForNoReason,
    List<Operation> foundThoughFailed,
    List<Operation> stale,
    List<Operation> staleInView,
    double lastStaleMillis) {}
