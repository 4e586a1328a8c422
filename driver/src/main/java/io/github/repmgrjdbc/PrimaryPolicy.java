package io.github.repmgrjdbc;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/** What it takes to be served as the primary: the URL parameter {@code primaryPolicy}. */
public enum PrimaryPolicy {
  /**
   * The node on the newest timeline that the cluster has not left behind. It is served also where
   * most of the others are down, or cut off from the client.
   */
  LATEST("latest"),

  /**
   * The node that a majority of the registered nodes supports, itself and witnesses included: those
   * that follow it and whose repmgrd has seen it within the last seconds. Where there is none,
   * nobody is served; where it is lost for 3 s, connections are cut. repmgrd must run on all nodes,
   * with {@code monitor_interval_secs} of 3 at the most.
   */
  QUORUM("quorum");

  private final String value;

  PrimaryPolicy(String value) {
    this.value = value;
  }

  /** The word that stands in a URL. */
  public String value() {
    return value;
  }

  /**
   * Reads the word that stands in a URL, in any case.
   *
   * @throws IllegalArgumentException if it is none of the allowed ones; the message lists them
   */
  public static PrimaryPolicy of(String value) {
    String wanted = value.strip().toLowerCase(Locale.ROOT);
    return Arrays.stream(values())
        .filter(policy -> policy.value.equals(wanted))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "'"
                        + value
                        + "'; allowed is "
                        + Arrays.stream(values())
                            .map(PrimaryPolicy::value)
                            .collect(Collectors.joining(" or "))));
  }
}
