package io.github.repmgrjdbc.race;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.checkerframework.checker.nullness.qual.Nullable;
import software.amazon.jdbc.dialect.HostListProviderSupplier;
import software.amazon.jdbc.dialect.PgDialect;
import software.amazon.jdbc.dialect.TopologyDialect;
import software.amazon.jdbc.hostlistprovider.AuroraTopologyUtils;
import software.amazon.jdbc.hostlistprovider.RdsHostListProvider;
import software.amazon.jdbc.util.Pair;

/**
 * What a team could write for the AWS wrapper that has a repmgr cluster: the topology is the node
 * table, and a node is the writer if its own copy has it as the active primary.
 */
final class RepmgrDialect extends PgDialect implements TopologyDialect {

  /** Node names, as the node table has them, and addresses: what a DNS would do for a team. */
  private final String addresses;

  RepmgrDialect(Map<String, String> addressesByName) {
    addresses =
        addressesByName.entrySet().stream()
            .map(host -> "('%s', '%s')".formatted(host.getKey(), host.getValue()))
            .collect(Collectors.joining(", ", "(values ", ") as address (name, host)"));
  }

  @Override
  public List<String> getDialectUpdateCandidates() {
    return List.of();
  }

  @Override
  public HostListProviderSupplier getHostListProviderSupplier() {
    return (properties, initialUrl, services) ->
        new RdsHostListProvider(
            new AuroraTopologyUtils(this, services.getPluginService().getHostSpecBuilder()),
            properties,
            initialUrl,
            services);
  }

  @Override
  public String getTopologyQuery() {
    return "select host, active and type = 'primary', 0::float8, 0::float8, clock_timestamp()"
        + " from repmgr.nodes join %s on name = node_name where type <> 'witness'"
            .formatted(addresses);
  }

  @Override
  public String getWriterIdQuery() {
    return own() + " and type = 'primary' and active and not pg_catalog.pg_is_in_recovery()";
  }

  @Override
  public @Nullable Pair<@Nullable String, @Nullable String> getHostId(Connection connection)
      throws SQLException {
    return dialectUtils.getInstanceId(connection, own());
  }

  private String own() {
    return "select host, host from repmgr.nodes join %s on name = node_name".formatted(addresses)
        + " where node_id = repmgr.get_local_node_id()";
  }
}
