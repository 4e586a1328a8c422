package io.github.repmgrjdbc.testing;

import com.github.dockerjava.api.DockerClient;
import com.github.dockerjava.api.command.InspectContainerResponse;
import com.github.dockerjava.api.model.ContainerNetwork;
import com.github.dockerjava.api.model.ExposedPort;
import com.github.dockerjava.api.model.Ports;
import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.testcontainers.DockerClientFactory;
import org.testcontainers.containers.output.FrameConsumerResultCallback;
import org.testcontainers.containers.output.OutputFrame.OutputType;
import org.testcontainers.containers.output.ToStringConsumer;
import org.testcontainers.utility.LogUtils;

/**
 * One node of a {@link RepmgrCluster}: a container, and what can happen to it. Its data survives
 * all of that.
 *
 * <p>Safe for use by several threads.
 */
public final class RepmgrNode {

  private static final ExposedPort POSTGRES = ExposedPort.tcp(5432);
  private static final Duration EXEC_TIMEOUT = Duration.ofMinutes(1);
  private static final Duration START_TIMEOUT = Duration.ofMinutes(1);

  /** docker stop's own: after that the engine kills. */
  private static final int STOP_SECONDS = 30;

  private final RepmgrCluster cluster;
  private final DockerClient docker;
  private final String name;
  private final String containerId;
  private final boolean witness;

  /** A node that is down has neither; these are what it had last. */
  private volatile @Nullable HostAndPort lastAddress;

  private volatile @Nullable HostAndPort lastContainerAddress;

  RepmgrNode(
      RepmgrCluster cluster,
      DockerClient docker,
      String name,
      String containerId,
      boolean witness) {
    this.cluster = cluster;
    this.docker = docker;
    this.name = name;
    this.containerId = containerId;
    this.witness = witness;
  }

  /**
   * What a command did.
   *
   * @param exitCode 0 if all was well
   * @param stdout what it printed
   * @param stderr what it complained about
   */
  public record ExecResult(long exitCode, String stdout, String stderr) {

    /**
     * This result, if the command succeeded.
     *
     * @throws IllegalStateException if not; the message has its output
     */
    public ExecResult orThrow() {
      if (exitCode != 0) {
        throw new IllegalStateException("exit code " + exitCode + ": " + stderr + stdout);
      }
      return this;
    }
  }

  /** The container's name, which is also the node's name in {@code repmgr.nodes}. */
  public String name() {
    return name;
  }

  /** Whether it only votes: it has a database cluster of its own, and none of the data. */
  public boolean isWitness() {
    return witness;
  }

  String containerId() {
    return containerId;
  }

  public List<RepmgrNode> others() {
    return cluster.nodes().stream().filter(node -> node != this).toList();
  }

  /** Whether the container's main process runs; a paused one does. */
  public boolean isRunning() {
    return Boolean.TRUE.equals(inspect().getState().getRunning());
  }

  /** How the container's main process ended; 0 if it did so in peace, or still runs. */
  public long exitCode() {
    return Objects.requireNonNull(inspect().getState().getExitCodeLong());
  }

  /** Kills every process of the node at once, as {@code kill -9} or a power cut would. */
  public void kill() {
    docker.killContainerCmd(containerId).exec();
  }

  /** Shuts the node down cleanly, as {@code docker stop} does; returns when it has ended. */
  public void stop() {
    docker.stopContainerCmd(containerId).withTimeout(STOP_SECONDS).exec();
  }

  /**
   * Freezes every process of the node; its kernel goes on accepting connections.
   *
   * <p>A kernel freezes a group's processes one by one, and runc gives up if that takes it longer
   * than a few milliseconds, as it may on a busy machine: "unable to freeze", and all run on. Then
   * it is asked again, up to 10 s.
   */
  public void pause() {
    Awaitility.await(name + " to freeze")
        .pollInSameThread()
        .pollDelay(Duration.ZERO)
        .atMost(Duration.ofSeconds(10))
        .ignoreExceptionsMatching(e -> String.valueOf(e.getMessage()).contains("unable to freeze"))
        .until(
            () -> {
              docker.pauseContainerCmd(containerId).exec();
              return true;
            });
  }

  /** Lets a frozen node go on. */
  public void unpause() {
    docker.unpauseContainerCmd(containerId).exec();
  }

  /**
   * A black hole: every packet from and to this node is dropped without a word, this machine's
   * included. What had been connected stays so, and hears nothing. Ends with {@link #reconnect()}
   * or with the container.
   *
   * @return when it took effect, by {@link System#nanoTime()}
   * @throws IllegalStateException if it could not be done
   */
  public long cutOff() {
    return cluster.packetFilter().dropAll(containerId);
  }

  /**
   * The same, but only between this node and those, at the addresses that they have now. Clients
   * still reach it: they do not notice, and its commits may be lost.
   */
  public long cutOffFrom(RepmgrNode... nodes) {
    return cluster.packetFilter().drop(containerId, hosts(nodes));
  }

  /** The same, but one way: this node no longer hears those, and they still hear it. */
  public long deafen(RepmgrNode... nodes) {
    return cluster.packetFilter().dropIncoming(containerId, hosts(nodes));
  }

  /** The same the other way: those no longer hear this node, and it still hears them. */
  public long silence(RepmgrNode... nodes) {
    return cluster.packetFilter().dropOutgoing(containerId, hosts(nodes));
  }

  private static List<String> hosts(RepmgrNode... nodes) {
    return Stream.of(nodes).map(node -> node.containerAddress().host()).toList();
  }

  /** Ends a cut. Does nothing where there is none, as in a container that has started anew. */
  public void reconnect() {
    if (isRunning()) {
      cluster.packetFilter().dropNothing(containerId);
    }
  }

  /**
   * Starts the node again with the data that it has, and returns when it answers SQL. Its published
   * port, and perhaps its own address, are others than before.
   *
   * @throws org.awaitility.core.ConditionTimeoutException if it does not answer within 60 s
   */
  public void start() {
    startContainer();
    Awaitility.await(name + " to answer")
        .pollInSameThread()
        .pollDelay(Duration.ZERO)
        .pollInterval(Duration.ofMillis(50))
        .atMost(START_TIMEOUT)
        .until(this::answers);
  }

  /** {@link #stop()} and {@link #start()}. */
  public void restart() {
    stop();
    start();
  }

  /** Starts the node again, and waits for nothing: it may not come up at all. */
  public void startContainer() {
    docker.startContainerCmd(containerId).exec();
    // Remembered for the time when the node is down.
    address();
    containerAddress();
  }

  private boolean answers() {
    try (Connection connection = connect("postgres")) {
      return connection.isValid(2);
    } catch (SQLException e) {
      return false;
    }
  }

  /**
   * Where the node's PostgreSQL is reached through the engine, by a port that is published on the
   * engine's host: asked anew each time, as it changes with a restart. While the node is down, what
   * it was last.
   */
  public HostAndPort address() {
    Ports.Binding[] bindings =
        inspect().getNetworkSettings().getPorts().getBindings().get(POSTGRES);
    if (bindings != null && bindings.length > 0) {
      String host = DockerClientFactory.instance().dockerHostIpAddress();
      lastAddress = new HostAndPort(host, Integer.parseInt(bindings[0].getHostPortSpec()));
    }
    return Objects.requireNonNull(lastAddress, "never started");
  }

  /**
   * The container's own address, which a Linux host reaches without the engine in between: a node
   * that is down or frozen looks like one there. While the node is down, what it was last.
   */
  public HostAndPort containerAddress() {
    ContainerNetwork network = inspect().getNetworkSettings().getNetworks().get(cluster.name());
    String ip = network == null ? null : network.getIpAddress();
    if (ip != null && !ip.isEmpty()) {
      lastContainerAddress = new HostAndPort(ip, POSTGRES.getPort());
    }
    return Objects.requireNonNull(lastContainerAddress, "never started");
  }

  /**
   * A new connection as superuser, by plain pgJDBC, with 2 s to connect and 5 s for each answer.
   *
   * @throws SQLException if there is none to be had
   */
  public Connection connect(String database) throws SQLException {
    return DriverManager.getConnection(cluster.superuserUrl(this, database));
  }

  /** Runs a command in the node as the operating system's user postgres, for 60 s at most. */
  public ExecResult exec(String... command) {
    return execAs("postgres", command);
  }

  /**
   * Runs a command in the node.
   *
   * @param user the operating system's user to run it as
   * @param command program and arguments; no shell is involved
   * @throws IllegalStateException if it takes more than 60 s, or this thread is interrupted
   */
  public ExecResult execAs(String user, String... command) {
    String id =
        docker
            .execCreateCmd(containerId)
            .withUser(user)
            .withAttachStdout(true)
            .withAttachStderr(true)
            .withCmd(command)
            .exec()
            .getId();
    ToStringConsumer stdout = new ToStringConsumer();
    ToStringConsumer stderr = new ToStringConsumer();
    try (FrameConsumerResultCallback callback = new FrameConsumerResultCallback()) {
      callback.addConsumer(OutputType.STDOUT, stdout);
      callback.addConsumer(OutputType.STDERR, stderr);
      if (!docker
          .execStartCmd(id)
          .exec(callback)
          .awaitCompletion(EXEC_TIMEOUT.toSeconds(), TimeUnit.SECONDS)) {
        throw new IllegalStateException(
            name + ": '" + String.join(" ", command) + "' takes too long");
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return new ExecResult(
        docker.inspectExecCmd(id).exec().getExitCodeLong(),
        stdout.toUtf8String(),
        stderr.toUtf8String());
  }

  /** What the node has logged since it was created. */
  public String logs() {
    return LogUtils.getOutput(docker, containerId);
  }

  @Override
  public String toString() {
    return name;
  }

  private InspectContainerResponse inspect() {
    return docker.inspectContainerCmd(containerId).exec();
  }
}
