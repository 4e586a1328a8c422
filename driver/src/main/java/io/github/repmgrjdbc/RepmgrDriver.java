package io.github.repmgrjdbc;

import io.github.repmgrjdbc.internal.Clusters;
import java.sql.Connection;
import java.sql.Driver;
import java.sql.DriverManager;
import java.sql.DriverPropertyInfo;
import java.sql.SQLException;
import java.sql.SQLNonTransientException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.logging.Logger;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * The driver for {@code jdbc:repmgr://host[:port][,host[:port]...]/database[?name=value&...]}.
 *
 * <p>Registers itself with {@link DriverManager}, by {@code META-INF/services} or when its class is
 * loaded. Connections with equal URL and properties share one monitor of the cluster; it ends 30 s
 * after the last of them, or when the driver is deregistered and none is open.
 *
 * <p>The parameters are those of {@link RepmgrConfig} and pgJDBC's. {@link #connect} waits up to
 * {@code failoverTimeout} for a primary, or up to {@link DriverManager#getLoginTimeout()} or the
 * URL's {@code loginTimeout} if those are shorter.
 *
 * <p>Safe for use by several threads.
 */
public final class RepmgrDriver implements Driver {

  /** Static, since some pools (Tomcat's) make a new driver object for each connection. */
  private static final Clusters CLUSTERS = new Clusters();

  static {
    try {
      // A web application's driver is deregistered when the application ends: its threads end too.
      DriverManager.registerDriver(new RepmgrDriver(), CLUSTERS::endUnused);
    } catch (SQLException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** Makes a driver; all driver objects are alike. */
  public RepmgrDriver() {}

  /**
   * Gives a connection to the primary, verified to be on it; pgJDBC's own object.
   *
   * @return null if the URL does not begin with {@code jdbc:repmgr:}
   * @throws NoSuitableNodeException if there is no primary in time
   * @throws SQLException with state 22023 if the URL or a property is not as it must be; 28P01,
   *     28000, 3D000, 42501 and the like, at once, if a password is wrong, or a database or right
   *     is missing: the README lists them
   */
  @Override
  public @Nullable Connection connect(String url, @Nullable Properties info) throws SQLException {
    if (!acceptsURL(url)) {
      return null;
    }
    RepmgrConfig config = parse(url, info);
    Duration login = Duration.ofSeconds(DriverManager.getLoginTimeout());
    return CLUSTERS.connect(config, config.user(), config.password(), loginTimeout(config, login));
  }

  @Override
  public boolean acceptsURL(String url) throws SQLException {
    if (url == null) {
      throw new SQLNonTransientException("The URL is null", "22023");
    }
    return url.startsWith(RepmgrConfig.URL_PREFIX);
  }

  @Override
  public DriverPropertyInfo[] getPropertyInfo(String url, @Nullable Properties info) {
    List<DriverPropertyInfo> properties = new ArrayList<>();
    RepmgrConfig.OWN_PARAMETERS.forEach(
        (name, defaultValue) -> properties.add(new DriverPropertyInfo(name, defaultValue)));
    Properties given = info == null ? new Properties() : info;
    Arrays.stream(PGProperty.values())
        .filter(property -> !RepmgrConfig.OWN_PARAMETERS.containsKey(property.getName()))
        .map(property -> property.toDriverPropertyInfo(given))
        .forEach(properties::add);
    for (DriverPropertyInfo property : properties) {
      property.value = given.getProperty(property.name, property.value);
    }
    return properties.toArray(new DriverPropertyInfo[0]);
  }

  @Override
  public int getMajorVersion() {
    return 0;
  }

  @Override
  public int getMinorVersion() {
    return 1;
  }

  /** False, as pgJDBC has it. */
  @Override
  public boolean jdbcCompliant() {
    return false;
  }

  @Override
  public Logger getParentLogger() {
    return Logger.getLogger("io.github.repmgrjdbc");
  }

  /**
   * Forgets which primaries were served, for all URLs, so that an older timeline or another
   * database cluster is accepted again: for after a restore that the driver cannot tell from a
   * stale primary.
   */
  public static void forget() {
    CLUSTERS.forget();
  }

  static RepmgrConfig parse(String url, @Nullable Properties info) throws SQLException {
    try {
      return RepmgrConfig.parse(url, info == null ? new Properties() : info);
    } catch (IllegalArgumentException e) {
      throw new SQLNonTransientException(e.getMessage(), "22023", e);
    }
  }

  /** The shorter of the two login timeouts, or the one that is set, or zero. */
  static Duration loginTimeout(RepmgrConfig config, Duration other) {
    Duration own = config.loginTimeout();
    return own.isZero() || (!other.isZero() && other.compareTo(own) < 0) ? other : own;
  }
}
