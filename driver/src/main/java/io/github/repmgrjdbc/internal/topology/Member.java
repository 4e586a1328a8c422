package io.github.repmgrjdbc.internal.topology;

/**
 * A row of {@code repmgr.nodes}, in somebody's copy of it.
 *
 * @param nodeId its {@code node_id}
 * @param name its {@code node_name}; not unique
 * @param type {@code primary}, {@code standby} or {@code witness}
 * @param active as repmgr has it; of a standby or witness it says nothing, since repmgrd marks
 *     those it cannot reach
 * @param upstreamId its {@code upstream_node_id}, or 0 for NULL
 * @param conninfo libpq's connection string, verbatim
 */
public record Member(
    int nodeId, String name, String type, boolean active, int upstreamId, String conninfo) {

  boolean isPrimary() {
    return type.equals("primary");
  }

  boolean isActivePrimary() {
    return active && isPrimary();
  }

  boolean isWitness() {
    return type.equals("witness");
  }
}
