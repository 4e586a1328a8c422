package io.github.repmgrjdbc.internal.monitor;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import com.github.benmanes.caffeine.cache.Ticker;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.internal.topology.Observation;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The latest observation of each address, while it is fresh enough to decide anything. Safe for use
 * by several threads.
 */
public final class ObservationCache {

  private final Cache<HostAndPort, Observation> latest;

  /**
   * Makes an empty cache.
   *
   * @param maxAge how long an observation counts
   */
  ObservationCache(Duration maxAge, Ticker ticker) {
    latest =
        Caffeine.newBuilder()
            .expireAfterWrite(maxAge)
            .ticker(ticker)
            .executor(Runnable::run)
            .build();
  }

  void put(Observation observation) {
    latest.put(observation.address(), observation);
  }

  void remove(HostAndPort address) {
    latest.invalidate(address);
  }

  void clear() {
    latest.invalidateAll();
  }

  /** The latest of that address, or null if there is none, or it is too old. */
  public @Nullable Observation get(HostAndPort address) {
    return latest.getIfPresent(address);
  }

  /** The latest of each address, but for those that are too old. */
  public Collection<Observation> all() {
    return List.copyOf(latest.asMap().values());
  }
}
