package io.github.repmgrjdbc.race;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import software.amazon.jdbc.Driver;

/** Who takes part: a driver and how it is configured. All use the same HikariCP, as it comes. */
public enum Contender {
  REPMGR_JDBC("repmgr-jdbc", "jdbc:repmgr://") {
    @Override
    String query(Field field) {
      return field.parameters();
    }
  },

  PGJDBC("pgJDBC multi-host", "jdbc:postgresql://", "targetServerType=primary"),

  PGJDBC_TUNED(
      "pgJDBC multi-host, tuned",
      "jdbc:postgresql://",
      "targetServerType=primary",
      "hostRecheckSeconds=1",
      "connectTimeout=2",
      "loginTimeout=3",
      "socketTimeout=5",
      "tcpKeepAlive=true"),

  AWS("AWS wrapper", Texts.AWS_PREFIX),

  /** With a dialect that knows repmgr, and time-outs as short as sense allows. */
  AWS_DIALECT("AWS wrapper with a repmgr dialect, tuned", Texts.AWS_PREFIX, Texts.AWS_TUNED) {
    @Override
    HikariConfig pool(Field field) {
      return withDialect(super.pool(field), new RepmgrDialect(field.hosts(), true));
    }
  },

  /** The same, and it does not wait for the node table. */
  AWS_RECOVERY(
      "the same, the writer is who is not in recovery", Texts.AWS_PREFIX, Texts.AWS_TUNED) {
    @Override
    HikariConfig pool(Field field) {
      return withDialect(super.pool(field), new RepmgrDialect(field.hosts(), false));
    }
  };

  private static final int POOL_SIZE = 10;

  private final String title;
  private final String prefix;
  private final String query;

  Contender(String title, String prefix, String... parameters) {
    this.title = title;
    this.prefix = prefix;
    this.query = String.join("&", parameters);
  }

  /** What it is called in a report. */
  public String title() {
    return title;
  }

  /** An enum's constants cannot use its own static fields. */
  private static final class Texts {
    static final String AWS_PREFIX = "jdbc:aws-wrapper:postgresql://";

    static final String AWS_TUNED =
        String.join(
            "&",
            "wrapperPlugins=auroraConnectionTracker,failover2,efm2",
            "clusterInstanceHostPattern=?",
            "failoverMode=strict-writer",
            "enableConnectFailover=true",
            "clusterTopologyRefreshRateMs=1000",
            "clusterTopologyHighRefreshRateMs=100",
            "connectTimeout=1000",
            "failureDetectionTime=1000",
            "failureDetectionInterval=500",
            "failureDetectionCount=2",
            "monitoring-connectTimeout=1000",
            "monitoring-socketTimeout=1000",
            "topology-monitoring-connectTimeout=1000",
            "topology-monitoring-socketTimeout=1000");
  }

  private static HikariConfig withDialect(HikariConfig config, RepmgrDialect dialect) {
    Driver.setCustomDialect(dialect);
    config.setExceptionOverrideClassName("software.amazon.jdbc.util.HikariCPSQLException");
    return config;
  }

  public HikariDataSource open(Field field) {
    return new HikariDataSource(pool(field));
  }

  HikariConfig pool(Field field) {
    HikariConfig config = new HikariConfig();
    config.setPoolName(name());
    config.setMaximumPoolSize(POOL_SIZE);
    // It must not give up: a contender whose first host is a standby is to be seen as well.
    config.setInitializationFailTimeout(-1);
    config.setJdbcUrl(url(field));
    config.setUsername(field.user());
    config.setPassword(field.password());
    return config;
  }

  private String url(Field field) {
    return prefix
        + String.join(",", field.addresses())
        + "/"
        + field.database()
        + "?"
        + query(field);
  }

  String query(Field field) {
    return query;
  }
}
