package io.github.repmgrjdbc.it;

import io.github.repmgrjdbc.testing.RepmgrCluster;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.UUID;

/** The docker command, as people type it, on a network of its own that goes when this is closed. */
final class Docker implements AutoCloseable {

  private final String network =
      "article-" + UUID.randomUUID().toString().substring(0, 4).toLowerCase(Locale.ROOT);

  Docker() {
    docker("network", "create", network);
  }

  String network() {
    return network;
  }

  /** docker run, without passwords. */
  void run(String name, String... options) {
    List<String> command = new ArrayList<>(List.of("run", "--name", name, "--network", network));
    command.addAll(
        List.of("-e", "POSTGRES_HOST_AUTH_METHOD=trust", "--label", "network=" + network));
    command.addAll(List.of(options));
    command.addAll(List.of("-d", RepmgrCluster.DEFAULT_IMAGE));
    docker(command.toArray(String[]::new));
  }

  void stop(String name) {
    docker("stop", "-t", "30", name);
  }

  List<String> exec(String name, String... command) {
    List<String> all = new ArrayList<>(List.of("exec", name));
    all.addAll(List.of(command));
    return docker(all.toArray(String[]::new));
  }

  /** docker build, of nothing but a Dockerfile; quick once it has been built. */
  static void build(String image, String dockerfile) {
    dockerWithInput(dockerfile, "build", "--tag", image, "-");
  }

  @Override
  public void close() {
    for (String id : docker("ps", "-aq", "--filter", "label=network=" + network)) {
      docker("rm", "-f", "-v", id);
    }
    docker("network", "rm", network);
  }

  /** What it printed; its complaints too, as repmgr's warnings go there. */
  private static List<String> docker(String... arguments) {
    return dockerWithInput("", arguments);
  }

  private static List<String> dockerWithInput(String input, String... arguments) {
    List<String> command = new ArrayList<>(List.of("docker"));
    command.addAll(List.of(arguments));
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      try (OutputStream stdin = process.getOutputStream()) {
        stdin.write(input.getBytes(StandardCharsets.UTF_8));
      }
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      // repmgr cluster show ends with an error when one node is down, and is worth reading then.
      if (process.waitFor() != 0 && !arguments[0].equals("exec")) {
        throw new IllegalStateException(String.join(" ", command) + ": " + output);
      }
      return output.lines().toList();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }
}
