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
 * table. Who is the writer is read there, too; or it is whoever is not in recovery, which is known
 * a second earlier: a promotion is written into the table after it.
 */
final class RepmgrDialect extends PgDialect implements TopologyDialect {

  /** Node names, as the node table has them, and addresses: what a DNS would do for a team. */
  private final String addresses;

  private final boolean byTable;

  /**
   * Makes one.
   *
   * @param byTable whether the node table says who is the writer
   */
  RepmgrDialect(Map<String, String> addressesByName, boolean byTable) {
    addresses =
        addressesByName.entrySet().stream()
            .map(host -> "('%s', '%s')".formatted(host.getKey(), host.getValue()))
            .collect(Collectors.joining(", ", "(values ", ") as address (name, host)"));
    this.byTable = byTable;
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
    String isWriter = "active and type = 'primary'";
    if (!byTable) {
      isWriter =
          "case when pg_catalog.pg_is_in_recovery() then %s else node_id = repmgr.get_local_node_id() end"
              .formatted(isWriter);
    }
    return "select host, %s, 0::float8, 0::float8, clock_timestamp() from repmgr.nodes join %s on name = node_name where type <> 'witness'"
        .formatted(isWriter, addresses);
  }

  @Override
  public String getWriterIdQuery() {
    return own()
        + " and not pg_catalog.pg_is_in_recovery()"
        + (byTable ? " and type = 'primary' and active" : "");
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
