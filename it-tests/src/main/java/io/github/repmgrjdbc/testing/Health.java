package io.github.repmgrjdbc.testing;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** What is wrong with a cluster, node by node, as the nodes themselves have it. */
final class Health {

  private static final String NODE =
      """
      SELECT pg_is_in_recovery(),
             CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
                  ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
             (SELECT status || ' from ' || sender_host FROM pg_stat_wal_receiver),
             repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused(),
             (SELECT count(*) FROM public.nodes_away) > 0 OR (pg_stat_file('../left', true)).size IS NOT NULL,
             current_setting('synchronous_standby_names')
      """;

  private static final String FOLLOWERS =
      "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";

  private static final String TABLE =
      """
      SELECT format('%s is %s %s, %s', n.node_name, CASE WHEN n.active THEN 'active' ELSE 'inactive' END,
                    n.type, coalesce('follows ' || u.node_name, 'follows nobody'))
        FROM repmgr.nodes n LEFT JOIN repmgr.nodes u ON u.node_id = n.upstream_node_id
      """;

  private Health() {}

  /** What a node said of itself. */
  private record Answer(
      boolean standby,
      int timeline,
      @Nullable String stream,
      boolean repmgrdRuns,
      boolean repmgrdPaused,
      boolean incomplete,
      String synchronous,
      Set<String> followers,
      Set<String> table) {}

  /**
   * Lines of what is not as it should be, each with a node's name; none if the cluster is at full
   * strength: one primary, all others streaming from it and watched over by a repmgrd, and every
   * node knowing exactly that.
   *
   * @param quorum whether the primary's commits wait for the others
   */
  static List<String> complaints(List<RepmgrNode> nodes, boolean quorum) {
    List<String> complaints = new ArrayList<>();
    Map<RepmgrNode, Answer> answers = new LinkedHashMap<>();
    for (RepmgrNode node : nodes) {
      try {
        if (node.isRunning()) {
          answers.put(node, ask(node));
        } else {
          complaints.add(node + " does not run");
        }
      } catch (SQLException e) {
        complaints.add(node + " does not answer: " + e.getMessage());
      }
    }
    List<RepmgrNode> primaries =
        answers.entrySet().stream()
            .filter(answer -> !answer.getKey().isWitness() && !answer.getValue().standby)
            .map(Map.Entry::getKey)
            .toList();
    Optional<RepmgrNode> primary =
        primaries.size() == 1 ? Optional.of(primaries.get(0)) : Optional.empty();
    if (primary.isEmpty()) {
      complaints.add(
          primaries.isEmpty() ? "no node takes writes" : "several nodes take writes: " + primaries);
    }
    answers.forEach(
        (node, answer) -> {
          complaints.addAll(complaintsOfRepmgrd(node, answer));
          primary.ifPresent(
              leader -> {
                Answer leaders = answers.get(leader);
                if (quorum) {
                  complaints.addAll(complaintsOfWaiting(node, leader, leaders));
                }
                complaints.addAll(complaintsOfStreaming(node, answer, leader, leaders));
                complaints.addAll(complaintsOfTable(node, answer, nodes, leader));
              });
        });
    return complaints;
  }

  private static List<String> complaintsOfRepmgrd(RepmgrNode node, Answer answer) {
    if (!answer.repmgrdRuns) {
      return List.of(node + ": repmgrd does not run");
    }
    if (answer.incomplete) {
      return List.of(node + ": somebody who was away does not count yet");
    }
    return answer.repmgrdPaused ? List.of(node + ": repmgrd is paused") : List.of();
  }

  private static List<String> complaintsOfStreaming(
      RepmgrNode node, Answer answer, RepmgrNode primary, @Nullable Answer primarys) {
    if (!answer.standby || primarys == null) {
      return List.of();
    }
    List<String> complaints = new ArrayList<>();
    if (!("streaming from " + primary).equals(answer.stream)) {
      complaints.add(
          "%s: its WAL receiver is %s, not streaming from %s"
              .formatted(node, answer.stream == null ? "not there" : answer.stream, primary));
    } else if (answer.timeline != primarys.timeline) {
      complaints.add(
          "%s streams timeline %d, %s writes %d"
              .formatted(node, answer.timeline, primary, primarys.timeline));
    }
    if (!primarys.followers.contains(node.name())) {
      complaints.add("%s does not stream to %s".formatted(primary, node));
    }
    return complaints;
  }

  private static List<String> complaintsOfWaiting(
      RepmgrNode node, RepmgrNode primary, @Nullable Answer primarys) {
    if (primarys == null
        || node == primary
        || node.isWitness()
        || primarys.synchronous.contains('"' + node.name() + '"')) {
      return List.of();
    }
    return List.of(
        "%s does not wait for %s, but for %s".formatted(primary, node, primarys.synchronous));
  }

  private static List<String> complaintsOfTable(
      RepmgrNode node, Answer answer, List<RepmgrNode> nodes, RepmgrNode primary) {
    Set<String> wanted = new TreeSet<>();
    for (RepmgrNode each : nodes) {
      if (each == primary) {
        wanted.add(each + " is active primary, follows nobody");
      } else {
        String type = each.isWitness() ? "witness" : "standby";
        wanted.add("%s is active %s, follows %s".formatted(each, type, primary));
      }
    }
    List<String> complaints = new ArrayList<>();
    for (String row : wanted) {
      if (!answer.table.contains(row)) {
        complaints.add(node + ": its table does not have that " + row);
      }
    }
    for (String row : answer.table) {
      if (!wanted.contains(row)) {
        complaints.add(node + ": its table has that " + row);
      }
    }
    return complaints;
  }

  private static Answer ask(RepmgrNode node) throws SQLException {
    try (Connection connection = node.connect("repmgr");
        Statement statement = connection.createStatement()) {
      Set<String> followers = texts(statement, FOLLOWERS);
      Set<String> table = texts(statement, TABLE);
      try (ResultSet row = statement.executeQuery(NODE)) {
        row.next();
        return new Answer(
            row.getBoolean(1),
            row.getInt(2),
            row.getString(3),
            row.getBoolean(4),
            row.getBoolean(5),
            row.getBoolean(6),
            row.getString(7),
            followers,
            table);
      }
    }
  }

  private static Set<String> texts(Statement statement, String sql) throws SQLException {
    Set<String> texts = new TreeSet<>();
    try (ResultSet row = statement.executeQuery(sql)) {
      while (row.next()) {
        texts.add(row.getString(1));
      }
    }
    return texts;
  }
}
