package io.github.repmgrjdbc;

import io.github.repmgrjdbc.internal.Clusters;
import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientException;
import java.time.Duration;
import java.util.Objects;
import java.util.function.UnaryOperator;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * Gives connections to the primary of a repmgr cluster, also while and after repmgrd promotes a
 * standby. Every connection is pgJDBC's own, freshly opened, and was verified to be on the primary;
 * a pool belongs in front.
 *
 * <p>Set it up by its bean setters, by {@link #setUrl}, or from a {@link RepmgrConfig} and its
 * builder; what each parameter means stands in {@link RepmgrConfig}. The first call that needs the
 * cluster reads the set-up; after that only users and passwords can be changed: connections that
 * are opened from then on use the new ones, and so do the probes, while those that are open stay.
 * Where a pool passes user and password with each call, the probes use what the last call that
 * succeeded has proved to be right.
 *
 * <p>It watches the cluster from its first use until it is closed. Without a listener it also stops
 * 30 s after its last connection has ended, until it is used again: a pool that made it by class
 * name never closes it.
 *
 * <p>Safe for use by several threads, once set up.
 */
public final class RepmgrDataSource implements DataSource, AutoCloseable {

  private final RepmgrConfig.Builder setup = RepmgrConfig.builder();
  private final Clusters clusters = new Clusters();
  private volatile @Nullable RepmgrConfig config;
  private volatile int loginTimeout;
  private volatile @Nullable PrintWriter logWriter;

  /** Makes a data source with nothing set. */
  public RepmgrDataSource() {}

  /**
   * Makes a data source for a configuration.
   *
   * @see RepmgrConfig#builder()
   */
  public RepmgrDataSource(RepmgrConfig config) {
    this.config = config;
  }

  /**
   * Gives a connection as the configured user.
   *
   * <p>Waits for a primary up to {@code failoverTimeout}, or up to the login timeout if that is set
   * and shorter.
   *
   * @throws NoSuitableNodeException if there is no primary in time
   * @throws SQLException with state 22023 if the set-up is not as it must be, 08003 if the data
   *     source is closed; 28P01, 28000, 3D000, 42501 and the like, at once, if a password is wrong,
   *     or a database or right is missing: the README lists them
   */
  @Override
  public Connection getConnection() throws SQLException {
    RepmgrConfig current = config();
    return clusters.connect(current, current.user(), current.password(), loginTimeout(current));
  }

  /**
   * Gives a connection as this user. The nodes are probed as the configured {@code repmgrUser} or
   * {@code user}; if neither is set, as this user too, apart from the probes of any other.
   *
   * @throws SQLException as {@link #getConnection()}
   */
  @Override
  public Connection getConnection(@Nullable String user, @Nullable String password)
      throws SQLException {
    RepmgrConfig current = config();
    if (current.user() == null && current.repmgrUser() == null) {
      current = current.withCredentials(user, password);
    }
    return clusters.connect(current, user, password, loginTimeout(current));
  }

  /**
   * What is known of the cluster now. Starts watching it if need be; never waits.
   *
   * @throws SQLException as {@link #getConnection()} if the set-up is not as it must be
   */
  public ClusterView view() throws SQLException {
    return clusters.view(config());
  }

  /** Adds a listener to the changes of the view. */
  public void addListener(RepmgrListener listener) {
    clusters.addListener(listener);
  }

  /** Removes a listener. */
  public void removeListener(RepmgrListener listener) {
    clusters.removeListener(listener);
  }

  /** Has every node asked now, without waiting for the answers. */
  public void refresh() {
    clusters.refresh();
  }

  /**
   * Forgets which primaries were served, so that an older timeline or another database cluster is
   * accepted again: for after a restore that the driver cannot tell from a stale primary.
   */
  public void forget() {
    clusters.forget();
  }

  /**
   * Ends everything: the probes, the threads, calls that wait, and the connections that were given
   * and are still open. Called again, it does nothing.
   */
  @Override
  public void close() {
    clusters.close();
  }

  /** Sets hosts, database and parameters from a URL, {@code jdbc:repmgr://...}. */
  public void setUrl(@Nullable String url) {
    changing().url(url);
  }

  /** Sets the hosts, {@code host[:port]}, separated by commas. */
  public void setHosts(String hosts) {
    changing().hosts(hosts);
  }

  /** Sets the database that connections are for. */
  public void setDatabaseName(String database) {
    changing().database(database);
  }

  /** Sets the connection's user. May be changed at any time. */
  public void setUser(@Nullable String user) {
    setLogin(RepmgrConfig.USER, user, config -> config.withCredentials(user, config.password()));
  }

  /** Sets the connection's password. May be changed at any time. */
  public void setPassword(@Nullable String password) {
    setLogin(
        RepmgrConfig.PASSWORD, password, config -> config.withCredentials(config.user(), password));
  }

  /**
   * Sets both at once: no connection is opened with the one of before and the other of now. May be
   * called at any time.
   */
  public void setCredentials(@Nullable String user, @Nullable String password) {
    synchronized (setup) {
      if (config == null) {
        setUser(user);
        setPassword(password);
      } else {
        setLogin(RepmgrConfig.USER, user, config -> config.withCredentials(user, password));
      }
    }
  }

  /** Sets which kind of node connections are for; {@code primary}. */
  public void setTargetServerType(@Nullable String type) {
    setProperty(RepmgrConfig.TARGET_SERVER_TYPE, type);
  }

  /** Sets the database that has {@code repmgr.nodes}; default {@code repmgr}. */
  public void setRepmgrDatabase(@Nullable String database) {
    setProperty(RepmgrConfig.REPMGR_DATABASE, database);
  }

  /** Sets who reads it; default the connection's user. May be changed at any time. */
  public void setRepmgrUser(@Nullable String user) {
    setLogin(
        RepmgrConfig.REPMGR_USER,
        user,
        config -> config.withRepmgrCredentials(user, config.repmgrPassword()));
  }

  /** Sets that user's password; default the connection's. May be changed at any time. */
  public void setRepmgrPassword(@Nullable String password) {
    setLogin(
        RepmgrConfig.REPMGR_PASSWORD,
        password,
        config -> config.withRepmgrCredentials(config.repmgrUser(), password));
  }

  /** Sets where to dial nodes, {@code n1=host:port,n2=host:port}; default none. */
  public void setAddressMap(@Nullable String map) {
    setProperty(RepmgrConfig.ADDRESS_MAP, map);
  }

  /** Sets where connections may go: names, addresses, CIDR ranges; default anywhere. */
  public void setAllowedHosts(@Nullable String hosts) {
    setProperty(RepmgrConfig.ALLOWED_HOSTS, hosts);
  }

  /** Sets how long to wait for a primary, with its unit; default {@code 60s}. */
  public void setFailoverTimeout(@Nullable String timeout) {
    setProperty(RepmgrConfig.FAILOVER_TIMEOUT, timeout);
  }

  /** Sets the time between probes while all is well, with its unit; default {@code 1s}. */
  public void setSteadyInterval(@Nullable String interval) {
    setProperty(RepmgrConfig.STEADY_INTERVAL, interval);
  }

  /** Sets it for while the primary is in doubt; default {@code 20ms}. */
  public void setHuntInterval(@Nullable String interval) {
    setProperty(RepmgrConfig.HUNT_INTERVAL, interval);
  }

  /** Sets a probe's deadline, with its unit; default {@code 2s}. */
  public void setProbeTimeout(@Nullable String timeout) {
    setProperty(RepmgrConfig.PROBE_TIMEOUT, timeout);
  }

  /** Sets how the primary is decided; {@code latest}. */
  public void setPrimaryPolicy(@Nullable String policy) {
    setProperty(RepmgrConfig.PRIMARY_POLICY, policy);
  }

  /**
   * Sets any parameter, ours or pgJDBC's, by the name that it has in a URL; null: as if never set.
   */
  public void setProperty(String name, @Nullable String value) {
    changing().property(name, value);
  }

  /**
   * Sets the deadline of all that {@code getConnection} does, in seconds; zero, the default, leaves
   * it to {@code failoverTimeout}.
   */
  @Override
  public void setLoginTimeout(int seconds) throws SQLException {
    if (seconds < 0) {
      throw new SQLException(
          "The login timeout is " + seconds + ", allowed is 0 and more", "22023");
    }
    loginTimeout = seconds;
  }

  @Override
  public int getLoginTimeout() {
    return loginTimeout;
  }

  /** Kept, as JDBC asks, and not written to: the driver logs through SLF4J. */
  @Override
  public void setLogWriter(@Nullable PrintWriter out) {
    logWriter = out;
  }

  @Override
  public @Nullable PrintWriter getLogWriter() {
    return logWriter;
  }

  @Override
  public Logger getParentLogger() {
    return Logger.getLogger("io.github.repmgrjdbc");
  }

  @Override
  public <T> T unwrap(Class<T> type) throws SQLException {
    if (type.isInstance(this)) {
      return type.cast(this);
    }
    throw new SQLException("A RepmgrDataSource wraps no " + type.getName(), "0A000");
  }

  @Override
  public boolean isWrapperFor(Class<?> type) {
    return type.isInstance(this);
  }

  /** What it is for; no password. */
  @Override
  public String toString() {
    RepmgrConfig current = config;
    return "RepmgrDataSource[" + (current == null ? "not started" : current) + "]";
  }

  private Duration loginTimeout(RepmgrConfig current) {
    return RepmgrDriver.loginTimeout(current, Duration.ofSeconds(loginTimeout));
  }

  private RepmgrConfig config() throws SQLException {
    RepmgrConfig current = config;
    if (current == null) {
      synchronized (setup) {
        if (config == null) {
          try {
            config = setup.build();
          } catch (IllegalArgumentException e) {
            throw new SQLNonTransientException(e.getMessage(), "22023", e);
          }
        }
        return Objects.requireNonNull(config);
      }
    }
    return current;
  }

  private void setLogin(String name, @Nullable String value, UnaryOperator<RepmgrConfig> change) {
    synchronized (setup) {
      RepmgrConfig current = config;
      if (current == null) {
        setup.property(name, value);
      } else {
        RepmgrConfig changed = change.apply(current);
        config = changed;
        clusters.changeLogin(changed);
      }
    }
  }

  private RepmgrConfig.Builder changing() {
    synchronized (setup) {
      if (config != null) {
        throw new IllegalStateException(
            "The data source is in use; only users and passwords can be changed now");
      }
      return setup;
    }
  }
}
