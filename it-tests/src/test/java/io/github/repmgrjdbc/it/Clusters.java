package io.github.repmgrjdbc.it;

import static org.junit.jupiter.api.Assumptions.assumeFalse;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * Starts clusters for one test, or for all of a class, and removes them after it; of a failed test
 * the nodes' logs stay behind, in {@code target/cluster-logs}.
 */
final class Clusters implements AfterEachCallback, AfterAllCallback {

  private static final Path LOGS = Path.of("target", "cluster-logs");

  private final List<RepmgrCluster> ofTest = new ArrayList<>();
  private final List<RepmgrCluster> ofClass = new ArrayList<>();

  /** A cluster of three for this test alone. */
  RepmgrCluster start() {
    return start(3);
  }

  /** The same with as many nodes. */
  RepmgrCluster start(int nodes) {
    return start(RepmgrCluster.builder().nodes(nodes));
  }

  /** A cluster of three whose nodes come back as they were: an old primary as a stale one. */
  RepmgrCluster startWithoutHealing() {
    return start(RepmgrCluster.builder().healing(false));
  }

  RepmgrCluster start(RepmgrCluster.Builder builder) {
    RepmgrCluster cluster = builder.start();
    ofTest.add(cluster);
    return cluster;
  }

  /** A cluster of three for all tests of the class; none of them may break it. */
  RepmgrCluster startShared() {
    return startShared(3);
  }

  /** The same with as many nodes. */
  RepmgrCluster startShared(int nodes) {
    RepmgrCluster cluster = RepmgrCluster.builder().nodes(nodes).start();
    ofClass.add(cluster);
    return cluster;
  }

  /**
   * Not every test is right for nodes that {@code -Drepmgr.environment} has made wait for others.
   */
  static void assumeAsynchronous(RepmgrCluster cluster) {
    assumeFalse("quorum".equals(cluster.environment().get("SYNC_MODE")), "commits wait for others");
  }

  @Override
  public void afterEach(ExtensionContext context) {
    if (context.getExecutionException().isPresent()) {
      ofTest.forEach(cluster -> saveLogs(cluster, context));
      ofClass.forEach(cluster -> saveLogs(cluster, context));
    }
    closeAll(ofTest);
  }

  @Override
  public void afterAll(ExtensionContext context) {
    closeAll(ofClass);
  }

  private static void saveLogs(RepmgrCluster cluster, ExtensionContext context) {
    Path directory =
        LOGS.resolve(context.getRequiredTestClass().getSimpleName())
            .resolve(context.getRequiredTestMethod().getName() + "-" + cluster.name());
    cluster.saveLogs(directory);
    System.out.println("The nodes' logs of the failed test are in " + directory.toAbsolutePath());
  }

  private static void closeAll(List<RepmgrCluster> clusters) {
    clusters.forEach(RepmgrCluster::close);
    clusters.clear();
  }
}
