package io.github.repmgrjdbc.internal.wire;

import com.github.benmanes.caffeine.cache.AsyncCache;
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import java.io.IOException;
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
import java.util.stream.Collectors;
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
  private final AllowedHosts allowed;
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
   * @param allowed where connections may go
   */
  public Network(Executor workers, LookUp lookUp, AllowedHosts allowed) {
    this.workers = workers;
    this.lookUp = lookUp;
    this.allowed = allowed;
  }

  /** Runs something that may block. */
  void run(Runnable work) {
    workers.execute(work);
  }

  /**
   * Looks a name up.
   *
   * @return those of its addresses that are allowed, in the order in which to try them; or an
   *     {@link UnknownHostException}, or an {@link IOException} if none is allowed
   */
  CompletableFuture<List<InetSocketAddress>> find(String host, int port) {
    return found
        .get(host, (name, executor) -> CompletableFuture.supplyAsync(() -> lookUp(name), workers))
        .thenApply(answer -> targets(host, answer, port));
  }

  private Found lookUp(String host) {
    try {
      return new Found(List.of(lookUp.addressesOf(host)), null);
    } catch (UnknownHostException e) {
      return new Found(List.of(), e);
    }
  }

  private List<InetSocketAddress> targets(String host, Found answer, int port) {
    if (answer.unknown != null) {
      throw new CompletionException(answer.unknown);
    }
    List<InetSocketAddress> targets = new ArrayList<>();
    answer.addresses.stream()
        .filter(address -> allowed.admit(host, address))
        .forEach(address -> targets.add(new InetSocketAddress(address, port)));
    if (targets.isEmpty()) {
      throw new CompletionException(notAllowed(host, answer.addresses));
    }
    // Stable: otherwise in the resolver's order.
    targets.sort(Comparator.comparing(target -> avoided.getIfPresent(target) != null));
    return targets;
  }

  /**
   * Checks where somebody else has led, or will lead.
   *
   * @param address null if that is not known here
   * @throws IOException if it is not allowed
   */
  void check(String host, @Nullable InetAddress address) throws IOException {
    if (!allowed.admit(host, address)) {
      throw notAllowed(host, address == null ? List.of() : List.of(address));
    }
  }

  private IOException notAllowed(String host, List<InetAddress> addresses) {
    return new IOException(
        host
            + addresses.stream()
                .map(InetAddress::getHostAddress)
                .filter(address -> !address.equals(host))
                .collect(
                    Collectors.collectingAndThen(
                        Collectors.joining(", "), list -> list.isEmpty() ? "" : " (" + list + ")"))
            + " is not among allowedHosts: "
            + allowed);
  }

  /** It accepted, and was of no use: where its name has other addresses, they are tried first. */
  public void avoid(InetSocketAddress address) {
    avoided.put(address, true);
  }
}
