package io.github.repmgrjdbc.testing;

import com.github.dockerjava.api.DockerClient;
import com.github.dockerjava.api.command.CreateContainerCmd;
import com.github.dockerjava.api.exception.NotFoundException;
import com.github.dockerjava.api.model.Bind;
import com.github.dockerjava.api.model.Container;
import com.github.dockerjava.api.model.HostConfig;
import com.sun.management.OperatingSystemMXBean;
import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionTimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.testcontainers.DockerClientFactory;

/**
 * A PostgreSQL cluster run by repmgr, in containers on a network of its own: one primary and its
 * standbys, with automatic failover, for tests to break.
 *
 * <pre>{@code
 * try (RepmgrCluster cluster = RepmgrCluster.builder().nodes(3).start()) {
 *   RepmgrNode old = cluster.primary();
 *   old.kill();
 *   RepmgrNode promoted = cluster.awaitPrimary(Duration.ofSeconds(30));
 * }
 * }</pre>
 *
 * <p>Everything it says about roles it asks of the nodes themselves, with plain pgJDBC: it does not
 * depend on the driver under test. The engine is found as Testcontainers finds it. {@link #close()}
 * removes the containers, their volumes and the network; a shutdown hook does so when the JVM is
 * told to end before that.
 *
 * <p>Safe for use by several threads.
 */
public final class RepmgrCluster implements AutoCloseable {

  /** The label that every container and the network have; its value is the cluster's name. */
  public static final String LABEL = "io.github.repmgrjdbc.cluster";

  /** The image that the nodes are made of, unless the builder names another. */
  public static final String DEFAULT_IMAGE = "postgres-repmgr";

  /** The system property that names another default image: the same nodes on another Debian. */
  public static final String IMAGE_PROPERTY = "repmgr.image";

  /** The system property with more environment variables for all nodes: {@code A=b,C=d}. */
  public static final String ENVIRONMENT_PROPERTY = "repmgr.environment";

  private static final Logger LOG = LoggerFactory.getLogger(RepmgrCluster.class);

  /** The application's role and its database. */
  private static final String APP = "app";

  private static final Duration START_TIMEOUT = Duration.ofMinutes(2);
  private static final Duration RETRY = Duration.ofMillis(50);
  private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(30);

  private final String name;
  private final String superuserPassword = randomHex(12);
  private final String appPassword = randomHex(12);
  private final DockerClient docker;
  private final String repmgrPassword = randomHex(12);
  private final String image;
  private final boolean healing;
  private final int dataNodes;
  private final boolean witness;
  private final Map<String, String> environment;
  private final Map<Integer, Map<String, String>> environmentOfOne;
  private final Map<Integer, Integer> volumeSizes;
  private final Map<String, Path> mounts;
  private final PacketFilter packetFilter;
  private final List<RepmgrNode> nodes = new CopyOnWriteArrayList<>();
  private final Thread shutdownHook = new Thread(this::close, "repmgr-cluster-shutdown");

  /**
   * Held while containers are made and while they are removed: none is made behind close()'s back.
   */
  private final Object lifecycle = new Object();

  private boolean kept;

  private volatile boolean closed;

  private RepmgrCluster(Builder builder) {
    image = builder.image;
    healing = builder.healing;
    dataNodes = builder.nodes;
    witness = builder.witness;
    environment = Map.copyOf(builder.environment);
    environmentOfOne = Map.copyOf(builder.environmentOfOne);
    volumeSizes = Map.copyOf(builder.volumeSizes);
    mounts = Map.copyOf(builder.mounts);
    name = builder.name;
    docker = DockerClientFactory.instance().client();
    packetFilter = new PacketFilter(docker, image, labels());
  }

  /** Starts with the defaults: three nodes of {@value #DEFAULT_IMAGE}. */
  public static Builder builder() {
    return new Builder();
  }

  /** The cluster's name: also its network's, the value of {@link #LABEL}, and the nodes' prefix. */
  public String name() {
    return name;
  }

  /** The nodes' image. */
  public String image() {
    return image;
  }

  /** The environment variables that all nodes were given beyond those that the fixture needs. */
  public Map<String, String> environment() {
    return environment;
  }

  PacketFilter packetFilter() {
    return packetFilter;
  }

  /** The nodes in the order of their creation; of the first ones, the first was the primary. */
  public List<RepmgrNode> nodes() {
    return List.copyOf(nodes);
  }

  /** The application's role: owner of its database, reader of repmgr's metadata, no superuser. */
  public String user() {
    return APP;
  }

  /** The application role's password: letters and digits. */
  public String password() {
    return appPassword;
  }

  /** The application's database. */
  public String database() {
    return APP;
  }

  /**
   * The driver's URL with each node's published port, as they are now, and the application's
   * credentials. A port changes when its node is started again; a node that is down has the one
   * that it had last.
   */
  public String jdbcUrl() {
    return jdbcUrl(RepmgrNode::address);
  }

  /** The same with the containers' own addresses, which a Linux host reaches. */
  public String directJdbcUrl() {
    return jdbcUrl(RepmgrNode::containerAddress);
  }

  private String jdbcUrl(Function<RepmgrNode, HostAndPort> address) {
    return jdbcUrl(nodes.stream().map(address).toList());
  }

  /** The driver's URL with these hosts in this order, and the application's credentials. */
  public String jdbcUrl(List<HostAndPort> hosts) {
    return "jdbc:repmgr://"
        + hosts.stream().map(HostAndPort::toString).collect(Collectors.joining(","))
        + "/%s?user=%s&password=%s".formatted(APP, APP, appPassword);
  }

  /** A plain pgJDBC URL to one node's database as superuser, for those who only look on. */
  public String superuserUrl(RepmgrNode node, String database) {
    return "jdbc:postgresql://%s/%s?user=postgres&password=%s&connectTimeout=2&socketTimeout=5"
        .formatted(node.address(), database, superuserPassword);
  }

  /**
   * The primary as the nodes have it: the one that takes writes, on the newest timeline if an old
   * primary does so as well.
   *
   * @throws IllegalStateException if no node that answers takes writes
   */
  public RepmgrNode primary() {
    return primaryBut(List.of())
        .orElseThrow(() -> new IllegalStateException("no node of " + name + " takes writes"));
  }

  /** The nodes that answer and are in recovery. */
  public List<RepmgrNode> standbys() {
    return nodes.stream().filter(node -> timeline(node).orElse(-1) == 0).toList();
  }

  /**
   * Waits until a node takes writes that is not excluded.
   *
   * @param timeout how long
   * @param excluded nodes that do not count, such as one that is just being stopped
   * @throws ConditionTimeoutException if none did in time; it says what each node was
   */
  public RepmgrNode awaitPrimary(Duration timeout, RepmgrNode... excluded) {
    List<RepmgrNode> not = List.of(excluded);
    await("a node of " + name + " that takes writes", timeout, () -> primaryBut(not).isPresent());
    return primaryBut(not).orElseThrow(IllegalStateException::new);
  }

  /** The excluded are not even asked: one that is frozen would hold up the answer. */
  private Optional<RepmgrNode> primaryBut(List<RepmgrNode> excluded) {
    Map<Integer, RepmgrNode> byTimeline = new TreeMap<>(Comparator.reverseOrder());
    for (RepmgrNode node : dataNodes()) {
      if (!excluded.contains(node)) {
        timeline(node).filter(timeline -> timeline > 0).ifPresent(t -> byTimeline.put(t, node));
      }
    }
    return byTimeline.values().stream().findFirst();
  }

  private List<RepmgrNode> dataNodes() {
    return nodes.stream().filter(node -> !node.isWitness()).toList();
  }

  /** The timeline that a node writes, 0 if it is in recovery, empty if it does not answer. */
  private Optional<Integer> timeline(RepmgrNode node) {
    String sql =
        "SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE"
            + " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END";
    return node.isRunning() ? ask(node, "postgres", sql, row -> row.getInt(1)) : Optional.empty();
  }

  /**
   * Whether the cluster is at full strength: one primary, all other nodes streaming from it,
   * repmgrd watching over each of them, and everybody's copy of the node table saying so.
   */
  public boolean isHealthy() {
    return complaints().isEmpty();
  }

  private List<String> complaints() {
    return Health.complaints(nodes, "quorum".equals(environment.get("SYNC_MODE")));
  }

  /**
   * Waits until the cluster {@linkplain #isHealthy() is at full strength}.
   *
   * @return the primary
   * @throws ConditionTimeoutException if it was not so in time; it says of each node what was not
   */
  public RepmgrNode awaitHealthy(Duration timeout) {
    List<String> complaints = new ArrayList<>();
    try {
      await(
          name + " to be at full strength",
          timeout,
          () -> {
            complaints.clear();
            complaints.addAll(complaints());
            return complaints.isEmpty();
          });
    } catch (ConditionTimeoutException e) {
      throw new ConditionTimeoutException(
          "%s is not at full strength after %d s:%n  %s"
              .formatted(name, timeout.toSeconds(), String.join("\n  ", complaints)),
          e);
    }
    return primary();
  }

  /**
   * Adds a node with settings of its own, and returns when its container runs. What becomes of it
   * is to be seen.
   *
   * @param number its name's, which no other node has now
   * @param settings environment variables that only this node gets, or gets otherwise
   */
  public RepmgrNode join(int number, Map<String, String> settings) {
    synchronized (lifecycle) {
      checkOpen();
      RepmgrNode node = createNode(number, primary().name(), false, settings);
      nodes.add(node);
      node.startContainer();
      return node;
    }
  }

  /**
   * Adds a node that joins the primary, and returns when it is registered and runs.
   *
   * @param number its name's, which no other node has now; one that was removed may have had it
   */
  public RepmgrNode add(int number) {
    RepmgrNode node = join(number, Map.of());
    String sql =
        "SELECT repmgr.repmgrd_is_running() AND EXISTS (SELECT FROM repmgr.nodes"
            + " WHERE active AND node_id = repmgr.get_local_node_id() AND node_name = '%s')";
    await(
        node + " to be registered and running",
        START_TIMEOUT,
        () -> ask(node, "repmgr", sql.formatted(node), row -> row.getBoolean(1)).orElse(false));
    return node;
  }

  /** Removes a node with its data. The others are told nothing: it stays registered. */
  public void remove(RepmgrNode node) {
    synchronized (lifecycle) {
      nodes.remove(node);
      removeContainer(node.containerId());
    }
  }

  /**
   * Removes all nodes and makes as many new ones, under the same names and with the same passwords:
   * another, empty database cluster. Returns when it is ready.
   */
  public void rebuild() {
    synchronized (lifecycle) {
      checkOpen();
      atOnce(nodes, node -> removeContainer(node.containerId()));
      nodes.clear();
      createAndStart();
    }
    awaitReady();
  }

  /**
   * What {@code repmgr cluster show} prints on the first node that runs.
   *
   * @throws IllegalStateException if none runs
   */
  public String clusterShow() {
    RepmgrNode node =
        nodes.stream()
            .filter(RepmgrNode::isRunning)
            .findFirst()
            .orElseThrow(() -> new IllegalStateException("no node of " + name + " runs"));
    RepmgrNode.ExecResult result = node.exec("repmgr", "-f", "/etc/repmgr.conf", "cluster", "show");
    return result.stdout() + result.stderr();
  }

  /** For a report: the day, the machine, and what runs there; the primary is asked. */
  public String surroundings() {
    OperatingSystemMXBean machine =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    RepmgrNode node = primary();
    return "%s; %d cores, %d GB, %s %s, Docker %s; %s; %s"
        .formatted(
            LocalDate.now(ZoneOffset.UTC),
            machine.getAvailableProcessors(),
            machine.getTotalMemorySize() >> 30,
            machine.getName(),
            machine.getVersion(),
            docker.versionCmd().exec().getVersion(),
            node.exec("postgres", "--version").orThrow().stdout().strip(),
            node.exec("repmgr", "--version").orThrow().stdout().strip());
  }

  /**
   * Writes each node's log to {@code directory/node.log}, making the directory if need be.
   *
   * @throws UncheckedIOException if that fails
   */
  public void saveLogs(Path directory) {
    try {
      Files.createDirectories(directory);
      for (RepmgrNode node : nodes) {
        Files.writeString(directory.resolve(node.name() + ".log"), node.logs());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Leaves the cluster behind for people to look at: neither {@link #close()} nor the JVM's end
   * removes it any more. Testcontainers' Ryuk does so all the same, where it is not disabled.
   */
  public void keep() {
    synchronized (lifecycle) {
      kept = true;
      removeShutdownHook();
    }
  }

  /**
   * Removes the containers with their volumes, and the network, unless the cluster is {@linkplain
   * #keep() kept}. Does nothing the second time.
   *
   * @throws IllegalStateException if something is still there after 30 s; it says what
   */
  @Override
  public void close() {
    closed = true;
    synchronized (lifecycle) {
      if (kept) {
        return;
      }
      removeShutdownHook();
      long deadline = System.nanoTime() + CLOSE_TIMEOUT.toNanos();
      while (true) {
        try {
          removeEverything();
          return;
        } catch (RuntimeException e) {
          // Somebody else is removing the same, or the engine has not let go of it yet.
          if (System.nanoTime() > deadline) {
            throw new IllegalStateException("could not remove all of the cluster " + name, e);
          }
          LockSupport.parkNanos(RETRY.toNanos());
        }
      }
    }
  }

  private void removeEverything() {
    List<Container> containers =
        docker.listContainersCmd().withShowAll(true).withLabelFilter(label()).exec();
    atOnce(containers, container -> removeContainer(container.getId()));
    try {
      docker.removeNetworkCmd(name).exec();
    } catch (NotFoundException e) {
      // Gone already.
    }
  }

  private void removeContainer(String id) {
    try {
      docker.removeContainerCmd(id).withForce(true).withRemoveVolumes(true).exec();
    } catch (NotFoundException e) {
      // Gone already.
    }
  }

  /**
   * Each in a thread of its own: the engine takes its time. The first failure, if any, is thrown.
   */
  private static <T> void atOnce(List<T> items, Consumer<T> action) {
    ExecutorService threads = Executors.newFixedThreadPool(Math.max(1, items.size()));
    try {
      CompletableFuture.allOf(
              items.stream()
                  .map(item -> CompletableFuture.runAsync(() -> action.accept(item), threads))
                  .toArray(CompletableFuture<?>[]::new))
          .join();
    } catch (CompletionException e) {
      throw new IllegalStateException(e.getCause());
    } finally {
      threads.shutdown();
    }
  }

  private void removeShutdownHook() {
    try {
      Runtime.getRuntime().removeShutdownHook(shutdownHook);
    } catch (IllegalStateException e) {
      // The JVM is ending, and this is the hook.
    }
  }

  private void start() {
    long began = System.nanoTime();
    try {
      synchronized (lifecycle) {
        checkImage();
        Runtime.getRuntime().addShutdownHook(shutdownHook);
        docker.createNetworkCmd().withName(name).withLabels(labels()).exec();
        createAndStart();
      }
      awaitReady();
      LOG.info("{} is ready after {} ms", name, (System.nanoTime() - began) / 1_000_000);
    } catch (RuntimeException e) {
      RuntimeException failure = e;
      if (!closed) {
        failure = new IllegalStateException("could not start the cluster\n" + lastLogLines(), e);
      }
      try {
        close();
      } catch (RuntimeException onClose) {
        failure.addSuppressed(onClose);
      }
      throw failure;
    }
  }

  /** Nobody pulls this image: it is built. */
  private void checkImage() {
    try {
      docker.inspectImageCmd(image).exec();
    } catch (NotFoundException e) {
      throw new IllegalStateException(
          "There is no image '" + image + "'; cluster-image/provision.sh builds it", e);
    }
  }

  private void createAndStart() {
    for (int i = 1; i <= dataNodes; i++) {
      checkOpen();
      nodes.add(createNode(i, i == 1 ? null : name + "-1", false, Map.of()));
    }
    if (witness) {
      checkOpen();
      nodes.add(createNode(dataNodes + 1, name + "-1", true, Map.of()));
    }
    atOnce(nodes, RepmgrNode::startContainer);
  }

  private void awaitReady() {
    await("all nodes of " + name + " to be registered and running", START_TIMEOUT, this::isReady);
    createApplication(primary());
  }

  private RepmgrNode createNode(
      int number, @Nullable String primaryName, boolean isWitness, Map<String, String> settings) {
    String nodeName = name + "-" + number;
    Map<String, String> variables = new TreeMap<>();
    variables.put("REPMGR_PASSWORD", repmgrPassword);
    if (primaryName != null) {
      variables.put("PRIMARY_NAME", primaryName);
    }
    if (primaryName == null || isWitness) {
      variables.put("POSTGRES_PASSWORD", superuserPassword);
    }
    if (isWitness) {
      variables.put("NODE_TYPE", "witness");
    }
    variables.put("HEALING", healing ? "on" : "off");
    variables.putAll(environment);
    variables.putAll(environmentOfOne.getOrDefault(number, Map.of()));
    variables.putAll(settings);
    HostConfig host =
        HostConfig.newHostConfig()
            .withNetworkMode(name)
            .withPublishAllPorts(true)
            .withBinds(
                mounts.entrySet().stream()
                    .map(mount -> Bind.parse(mount.getValue() + ":" + mount.getKey() + ":ro"))
                    .toList());
    Integer megabytes = volumeSizes.get(number);
    if (megabytes != null) {
      host.withTmpFs(Map.of("/var/lib/postgresql", "size=" + megabytes + "m"));
    }
    CreateContainerCmd create =
        docker
            .createContainerCmd(image)
            .withName(nodeName)
            .withLabels(labels())
            .withEnv(variables.entrySet().stream().map(Object::toString).toList())
            .withHostConfig(host);
    return new RepmgrNode(this, docker, nodeName, create.exec().getId(), isWitness);
  }

  /** With Ryuk, Testcontainers' reaper, what a killed JVM leaves behind is removed as well. */
  private Map<String, String> labels() {
    Map<String, String> labels = new TreeMap<>(DockerClientFactory.DEFAULT_LABELS);
    labels.put(LABEL, name);
    if (!Boolean.parseBoolean(System.getenv("TESTCONTAINERS_RYUK_DISABLED"))) {
      labels.put(
          DockerClientFactory.TESTCONTAINERS_SESSION_ID_LABEL, DockerClientFactory.SESSION_ID);
    }
    return labels;
  }

  private Map<String, String> label() {
    return Map.of(LABEL, name);
  }

  private boolean isReady() {
    checkOpen();
    for (RepmgrNode node : nodes) {
      if (!node.isRunning()) {
        throw new IllegalStateException(node.name() + " has ended");
      }
      String sql =
          "SELECT repmgr.repmgrd_is_running() AND count(*) FILTER (WHERE active) = %d"
              + " AND count(upstream_node_id) = %d FROM repmgr.nodes";
      boolean ready =
          ask(
                  node,
                  "repmgr",
                  sql.formatted(nodes.size(), nodes.size() - 1),
                  row -> row.getBoolean(1))
              .orElse(false);
      if (!ready) {
        return false;
      }
    }
    return true;
  }

  private void createApplication(RepmgrNode primary) {
    String lsn;
    try (Connection connection = primary.connect("postgres");
        Statement statement = connection.createStatement()) {
      statement.execute(
          "CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE repmgr_metadata".formatted(APP, appPassword));
      statement.execute("CREATE DATABASE %s OWNER %s".formatted(APP, APP));
      try (ResultSet row = statement.executeQuery("SELECT pg_current_wal_lsn()")) {
        row.next();
        lsn = row.getString(1);
      }
    } catch (SQLException e) {
      throw new IllegalStateException("could not create the application's role and database", e);
    }
    String replayed = "SELECT pg_last_wal_replay_lsn() >= '%s'".formatted(lsn);
    for (RepmgrNode node : dataNodes()) {
      if (node != primary) {
        await(
            node.name() + " to know the application",
            START_TIMEOUT,
            () -> ask(node, "postgres", replayed, row -> row.getBoolean(1)).orElse(false));
      }
    }
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the cluster " + name + " was closed");
    }
  }

  private String lastLogLines() {
    StringBuilder text = new StringBuilder();
    for (RepmgrNode node : nodes) {
      List<String> lines = node.logs().lines().toList();
      text.append("last lines of ").append(node.name()).append(":\n");
      lines.stream()
          .skip(Math.max(0, lines.size() - 15))
          .forEach(line -> text.append("  ").append(line).append('\n'));
    }
    return text.toString();
  }

  private interface RowReader<T> {
    T read(ResultSet row) throws SQLException;
  }

  /** One answer of one row, or empty if the node gives none. */
  private <T> Optional<T> ask(RepmgrNode node, String database, String sql, RowReader<T> reader) {
    try (Connection connection = node.connect(database);
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      row.next();
      return Optional.of(reader.read(row));
    } catch (SQLException e) {
      return Optional.empty();
    }
  }

  private static void await(String what, Duration timeout, Callable<Boolean> condition) {
    Awaitility.await(what)
        .pollInSameThread()
        .pollDelay(Duration.ZERO)
        .pollInterval(RETRY)
        .atMost(timeout)
        .until(condition);
  }

  private static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    new SecureRandom().nextBytes(random);
    return HexFormat.of().formatHex(random);
  }

  /** Says what kind of cluster to start. Not safe for use by several threads. */
  public static final class Builder {

    private String name = "repmgr-" + randomHex(2);
    private int nodes = 3;
    private String image = System.getProperty(IMAGE_PROPERTY, DEFAULT_IMAGE);
    private boolean healing = true;
    private boolean witness;
    private final Map<String, String> environment = new TreeMap<>();
    private final Map<Integer, Map<String, String>> environmentOfOne = new TreeMap<>();
    private final Map<Integer, Integer> volumeSizes = new TreeMap<>();
    private final Map<String, Path> mounts = new TreeMap<>();

    private Builder() {
      for (String variable : System.getProperty(ENVIRONMENT_PROPERTY, "").split(",", -1)) {
        int equals = variable.indexOf('=');
        if (equals > 0) {
          environment(variable.substring(0, equals), variable.substring(equals + 1));
        } else if (!variable.isEmpty()) {
          throw new IllegalArgumentException(
              ENVIRONMENT_PROPERTY + ": not NAME=VALUE: " + variable);
        }
      }
    }

    /**
     * Sets how many nodes there are, the primary included; default 3.
     *
     * @throws IllegalArgumentException if less than 1
     */
    public Builder nodes(int count) {
      if (count < 1) {
        throw new IllegalArgumentException("a cluster of " + count + " nodes; at least 1");
      }
      nodes = count;
      return this;
    }

    /**
     * Sets the cluster's name, which no other one has now; its nodes' are NAME-1, NAME-2 and so on.
     * By default it is made up. For what must know it before: certificates, say.
     */
    public Builder name(String unique) {
      name = unique;
      return this;
    }

    /** Sets the image, which must be there already. */
    public Builder image(String name) {
      image = name;
      return this;
    }

    /**
     * Sets whether a node that comes back finds out what the others have done meanwhile, and
     * follows them; default true. If not, it starts with its data as they are: an old primary is
     * then a stale one that takes writes.
     */
    public Builder healing(boolean on) {
      healing = on;
      return this;
    }

    /** Gives all nodes an environment variable more. */
    public Builder environment(String name, String value) {
      environment.put(name, value);
      return this;
    }

    /** Gives one node an environment variable more; 1 is the first primary. */
    public Builder environment(int number, String name, String value) {
      environmentOfOne.computeIfAbsent(number, key -> new TreeMap<>()).put(name, value);
      return this;
    }

    /** Adds a witness: one node more, which votes and has no data. */
    public Builder witness() {
      witness = true;
      return this;
    }

    /** Mounts a directory of the engine's host into all nodes, which can only read it. */
    public Builder mount(Path directory, String target) {
      mounts.put(target, directory.toAbsolutePath());
      return this;
    }

    /**
     * Gives one node's data this little room, in memory; they are gone when its container stops.
     * Not the first primary's: it makes a new cluster where it has no data.
     */
    public Builder volumeSize(int number, int megabytes) {
      volumeSizes.put(number, megabytes);
      return this;
    }

    /**
     * Starts all nodes at once and returns when each is registered and runs, and the application's
     * role and database are there on all of them.
     *
     * @throws IllegalStateException if there is no engine or image, or the cluster was not ready
     *     within 120 s; nothing is left behind, and the message has the end of the nodes' logs
     */
    public RepmgrCluster start() {
      RepmgrCluster cluster = new RepmgrCluster(this);
      cluster.start();
      return cluster;
    }
  }
}
