package io.github.repmgrjdbc.race;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** The race's end of a {@link Runner}'s process. */
final class Entrant implements AutoCloseable {

  /** Longer than any lap: one that hangs is ended then, and so is who waits for its answer. */
  private static final Duration LIFE = Duration.ofMinutes(10);

  private final Contender contender;
  private final Process process;
  private final BufferedWriter orders;
  private final BufferedReader answers;
  private final Path record;

  /** Starts it. What it logs goes to a file beside its record. */
  static Entrant start(Contender contender, Field field, String lap, Path directory) {
    String name = lap + "-" + contender.name().toLowerCase(Locale.ROOT);
    Path record = directory.resolve(name + ".calls");
    ProcessBuilder builder =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xmx256m",
            "-cp",
            System.getProperty("java.class.path"),
            "-Dlogback.configurationFile=race-logback.xml",
            Runner.class.getName(),
            contender.name(),
            lap,
            record.toString());
    builder.environment().putAll(field.toEnvironment());
    builder.redirectError(directory.resolve(name + ".log").toFile());
    try {
      return new Entrant(contender, builder.start(), record);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private Entrant(Contender contender, Process process, Path record) {
    this.contender = contender;
    this.process = process;
    this.record = record;
    CompletableFuture.delayedExecutor(LIFE.toMinutes(), TimeUnit.MINUTES)
        .execute(process::destroyForcibly);
    orders = process.outputWriter(StandardCharsets.UTF_8);
    answers = process.inputReader(StandardCharsets.UTF_8);
  }

  Contender contender() {
    return contender;
  }

  void order(String line) {
    try {
      orders.write(line);
      orders.newLine();
      orders.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(contender + " has ended", e);
    }
  }

  void order(String what, long number, Duration timeout) {
    order("%s %d %d".formatted(what, number, timeout.toMillis()));
  }

  String answer() {
    try {
      String line = answers.readLine();
      if (line == null) {
        throw new IllegalStateException(contender + " has ended; see its log beside " + record);
      }
      return line;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  long cpuNanos() {
    order("cpu");
    return Long.parseLong(answer());
  }

  /** Ends it and reads its record. */
  List<Call> end() {
    order("end");
    answer();
    try {
      return Files.readAllLines(record).stream().map(Call::ofLine).toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor(10, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
