package io.github.repmgrjdbc.cost;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.openjdk.jmh.util.ListStatistics;

/**
 * What was measured of some drivers in the same rounds: each round gives a pair with the baseline,
 * so that what disturbs the machine for minutes disturbs both.
 */
final class Samples {

  private static final double CONFIDENCE = 0.95;

  private final String what;
  private final String baseline;
  private final Map<String, List<Double>> times = new LinkedHashMap<>();
  private final Map<String, List<Double>> bytes = new LinkedHashMap<>();

  /**
   * Makes an empty one.
   *
   * @param what what was measured
   * @param baseline the driver that others are compared with
   */
  Samples(String what, String baseline) {
    this.what = what;
    this.baseline = baseline;
  }

  /** Adds what one round gave for one driver: microseconds, and allocated bytes or NaN. */
  void add(String driver, double micros, double allocated) {
    times.computeIfAbsent(driver, key -> new ArrayList<>()).add(micros);
    bytes.computeIfAbsent(driver, key -> new ArrayList<>()).add(allocated);
  }

  static String heading() {
    return """
        | what | driver | rounds | time, µs | allocated, bytes | time, ratio | bytes, ratio |
        |---|---|---|---|---|---|---|
        """;
  }

  String rows() {
    StringBuilder text = new StringBuilder();
    for (String driver : times.keySet()) {
      boolean base = driver.equals(baseline);
      text.append(
          String.format(
              Locale.ROOT,
              "| %s | %s | %d | %s | %s | %s | %s |%n",
              what,
              driver,
              of(times, driver).size(),
              meanAndError(of(times, driver), "%,.1f"),
              meanAndError(of(bytes, driver), "%,.0f"),
              base ? "1" : ratio(times, driver),
              base ? "1" : ratio(bytes, driver)));
    }
    return text.toString();
  }

  private static List<Double> of(Map<String, List<Double>> all, String driver) {
    return Objects.requireNonNull(all.get(driver));
  }

  private static String meanAndError(List<Double> values, String format) {
    ListStatistics statistics = statistics(values);
    if (Double.isNaN(statistics.getMean())) {
      return "-";
    }
    return String.format(
        Locale.ROOT,
        format + " ± " + format,
        statistics.getMean(),
        statistics.getMeanErrorAt(CONFIDENCE));
  }

  /** The geometric mean of the rounds' ratios, and where it is with a probability of 95 %. */
  private String ratio(Map<String, List<Double>> all, String driver) {
    List<Double> logs = new ArrayList<>();
    for (int i = 0; i < of(all, driver).size(); i++) {
      logs.add(Math.log(of(all, driver).get(i) / of(all, baseline).get(i)));
    }
    ListStatistics statistics = statistics(logs);
    if (Double.isNaN(statistics.getMean())) {
      return "-";
    }
    double error = statistics.getMeanErrorAt(CONFIDENCE);
    return String.format(
        Locale.ROOT,
        "%.3f (%.3f to %.3f)",
        Math.exp(statistics.getMean()),
        Math.exp(statistics.getMean() - error),
        Math.exp(statistics.getMean() + error));
  }

  private static ListStatistics statistics(List<Double> values) {
    return new ListStatistics(values.stream().mapToDouble(Double::doubleValue).toArray());
  }
}
