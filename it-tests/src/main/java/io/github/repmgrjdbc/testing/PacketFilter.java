package io.github.repmgrjdbc.testing;

import com.github.dockerjava.api.DockerClient;
import com.github.dockerjava.api.command.BuildImageResultCallback;
import com.github.dockerjava.api.command.WaitContainerResultCallback;
import com.github.dockerjava.api.exception.DockerException;
import com.github.dockerjava.api.exception.NotFoundException;
import com.github.dockerjava.api.model.Capability;
import com.github.dockerjava.api.model.HostConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.testcontainers.utility.LogUtils;

/**
 * Drops packets in a node's network namespace, by a container that joins it, sets the rules, and is
 * gone: the node itself has neither the tool nor the right. The namespace, rules included, ends
 * with the node's container.
 */
final class PacketFilter {

  /** Built when it is first needed, and kept: there is nothing in it that grows old. */
  private static final String IMAGE = "postgres-repmgr-nft";

  private static final int SECONDS = 30;

  /** Also where there is none: it is made, then removed. nft does all of a file, or nothing. */
  private static final String NO_RULES = "table inet cut\ndelete table inet cut\n";

  /** What a node tells itself, at its own address, goes by lo. */
  private static final String RULES = NO_RULES + "table inet cut {\n%s%s}\n";

  private static final String IN =
      "  chain in { type filter hook input priority 0; iif != lo %s drop; }\n";

  private static final String OUT =
      "  chain out { type filter hook output priority 0; oif != lo %s drop; }\n";

  private static final Object BUILDING = new Object();

  private final DockerClient docker;
  private final String nodeImage;
  private final Map<String, String> labels;

  /**
   * Nothing happens yet.
   *
   * @param nodeImage what to build the tool's image on: it is there already
   * @param labels what the containers get
   */
  PacketFilter(DockerClient docker, String nodeImage, Map<String, String> labels) {
    this.docker = docker;
    this.nodeImage = nodeImage;
    this.labels = labels;
  }

  /** Drops all there is; returns when that took effect, by {@link System#nanoTime()}. */
  long dropAll(String containerId) {
    return apply(containerId, RULES.formatted(IN.formatted(""), OUT.formatted("")));
  }

  /** The same for what goes to these addresses or comes from them. */
  long drop(String containerId, List<String> addresses) {
    return apply(containerId, RULES.formatted(from(addresses), to(addresses)));
  }

  /** The same for what comes from them: they still hear what is said. */
  long dropIncoming(String containerId, List<String> addresses) {
    return apply(containerId, RULES.formatted(from(addresses), ""));
  }

  /** The same for what goes to them: what they say is still heard. */
  long dropOutgoing(String containerId, List<String> addresses) {
    return apply(containerId, RULES.formatted("", to(addresses)));
  }

  private static String from(List<String> addresses) {
    return IN.formatted("ip saddr " + set(addresses));
  }

  private static String to(List<String> addresses) {
    return OUT.formatted("ip daddr " + set(addresses));
  }

  private static String set(List<String> addresses) {
    return addresses.stream().collect(Collectors.joining(", ", "{ ", " }"));
  }

  /** Drops nothing any more. */
  void dropNothing(String containerId) {
    apply(containerId, NO_RULES);
  }

  private long apply(String containerId, String rules) {
    ensureImage();
    String id =
        docker
            .createContainerCmd(IMAGE)
            .withLabels(labels)
            .withCmd("sh", "-c", "printf '%s' '" + rules + "' | nft -f - && date +%s%N")
            .withHostConfig(
                HostConfig.newHostConfig()
                    .withNetworkMode("container:" + containerId)
                    .withCapAdd(Capability.NET_ADMIN))
            .exec()
            .getId();
    try {
      docker.startContainerCmd(id).exec();
      int status =
          docker
              .waitContainerCmd(id)
              .exec(new WaitContainerResultCallback())
              .awaitStatusCode(SECONDS, TimeUnit.SECONDS);
      String output = LogUtils.getOutput(docker, id).strip();
      if (status != 0) {
        throw new IllegalStateException("nft failed with status " + status + ": " + output);
      }
      return nanoTime(Long.parseLong(output));
    } finally {
      docker.removeContainerCmd(id).withForce(true).exec();
    }
  }

  /**
   * What {@link System#nanoTime()} was at that time of day; the engine's clock is this machine's.
   */
  private static long nanoTime(long nanosSinceEpoch) {
    long now = System.nanoTime();
    return now - (ChronoUnit.NANOS.between(Instant.EPOCH, Instant.now()) - nanosSinceEpoch);
  }

  private void ensureImage() {
    synchronized (BUILDING) {
      try {
        docker.inspectImageCmd(IMAGE).exec();
      } catch (NotFoundException e) {
        build();
      }
    }
  }

  private void build() {
    String dockerfile =
        """
        FROM %s
        RUN apt-get -q update && apt-get -q install -y --no-install-recommends nftables
        ENTRYPOINT []
        """
            .formatted(nodeImage);
    try {
      Path directory = Files.createTempDirectory("nft");
      Path file = Files.writeString(directory.resolve("Dockerfile"), dockerfile);
      try {
        docker
            .buildImageCmd(directory.toFile())
            .withTags(Set.of(IMAGE))
            .exec(new BuildImageResultCallback())
            .awaitImageId(5, TimeUnit.MINUTES);
      } finally {
        Files.delete(file);
        Files.delete(directory);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (DockerException e) {
      throw new IllegalStateException(
          "could not build the image '%s', which cuts nodes off (nftables on %s)"
              .formatted(IMAGE, nodeImage),
          e);
    }
  }
}
