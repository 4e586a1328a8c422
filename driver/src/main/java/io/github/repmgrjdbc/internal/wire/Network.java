package io.github.repmgrjdbc.internal.wire;

import com.github.benmanes.caffeine.cache.AsyncCache;
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/**
 * Where names lead. Look-ups run in threads of their own, since the JDK's can neither be
 * interrupted nor given a deadline; whoever wants the same name meanwhile shares the one that is
 * under way. Safe for use by several threads.
 */
public final class Network {

  /** The JDK keeps what it found for 30 s by default; this is only to share. */
  private static final Duration SHARED = Duration.ofSeconds(1);

  /** How long an address that failed is tried after the others. */
  private static final Duration AVOIDED = Duration.ofSeconds(30);

  private final Executor workers;
  private final LookUp lookUp;
  private final AsyncCache<String, Found> found =
      Caffeine.newBuilder().expireAfterWrite(SHARED).executor(Runnable::run).buildAsync();
  private final Cache<InetSocketAddress, Boolean> avoided =
      Caffeine.newBuilder().expireAfterWrite(AVOIDED).executor(Runnable::run).build();

  /** What a look-up brought: addresses, or the word that there are none. */
  private record Found(List<InetAddress> addresses, @Nullable UnknownHostException unknown) {}

  /** As {@link InetAddress#getAllByName}. */
  @FunctionalInterface
  public interface LookUp {
    /** The addresses of a host; may block. */
    InetAddress[] addressesOf(String host) throws UnknownHostException;
  }

  /**
   * Makes a network.
   *
   * @param workers runs what may block; its tasks must not wait for one another
   */
  public Network(Executor workers, LookUp lookUp) {
    this.workers = workers;
    this.lookUp = lookUp;
  }

  /** Runs something that may block. */
  void run(Runnable work) {
    workers.execute(work);
  }

  /**
   * Looks a name up.
   *
   * @return the addresses, in the order in which to try them; or an {@link UnknownHostException}
   */
  CompletableFuture<List<InetSocketAddress>> find(String host, int port) {
    return found
        .get(host, (name, executor) -> CompletableFuture.supplyAsync(() -> lookUp(name), workers))
        .thenApply(answer -> targets(answer, port));
  }

  private Found lookUp(String host) {
    try {
      return new Found(List.of(lookUp.addressesOf(host)), null);
    } catch (UnknownHostException e) {
      return new Found(List.of(), e);
    }
  }

  private List<InetSocketAddress> targets(Found answer, int port) {
    if (answer.unknown != null) {
      throw new CompletionException(answer.unknown);
    }
    List<InetSocketAddress> targets = new ArrayList<>();
    answer.addresses.forEach(address -> targets.add(new InetSocketAddress(address, port)));
    // Stable: otherwise in the resolver's order.
    targets.sort(Comparator.comparing(target -> avoided.getIfPresent(target) != null));
    return targets;
  }

  /** It accepted, and was of no use: where its name has other addresses, they are tried first. */
  public void avoid(InetSocketAddress address) {
    avoided.put(address, true);
  }
}
