package io.github.repmgrjdbc.internal;

import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrConfig;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListSet;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where nodes are dialled by configuration: what the user's translator says, else {@code
 * addressMap} by the node's name, else by the host in its conninfo. Safe for use by several
 * threads.
 */
final class AddressMap implements AddressTranslator {

  private static final Logger LOG = LoggerFactory.getLogger("io.github.repmgrjdbc");

  private final @Nullable AddressTranslator first;
  private final Map<String, HostAndPort> map;

  /** The names and hosts that were asked for: what the map's entries could have been for. */
  private final Set<String> asked = new ConcurrentSkipListSet<>();

  /** For whom the translator has failed: it is asked often, and said once. */
  private final Set<String> failed = ConcurrentHashMap.newKeySet();

  private volatile Set<String> reported = Set.of();

  AddressMap(RepmgrConfig config) {
    first = config.addressTranslator();
    map = config.addressMap();
  }

  @Override
  public @Nullable HostAndPort translate(String name, @Nullable HostAndPort address) {
    if (!map.isEmpty()) {
      asked.add(name);
      if (address != null) {
        asked.add(address.host());
      }
    }
    HostAndPort translated = first == null ? null : translate(first, name, address);
    if (translated == null) {
      translated = map.get(name);
    }
    return translated != null || address == null ? translated : map.get(address.host());
  }

  /** Says once which entries are for nobody: a node's name that is misspelt would be ignored. */
  void reportUnused() {
    Set<String> unused = new TreeSet<>(map.keySet());
    unused.removeAll(asked);
    if (!unused.equals(reported)) {
      reported = unused;
      if (!unused.isEmpty()) {
        LOG.warn(
            "addressMap: {} is neither the name of a node in repmgr.nodes nor the host in a"
                + " node's conninfo; those are {}",
            String.join(", ", unused),
            String.join(", ", asked));
      }
    }
  }

  private @Nullable HostAndPort translate(
      AddressTranslator translator, String name, @Nullable HostAndPort address) {
    try {
      return translator.translate(name, address);
    } catch (RuntimeException e) {
      if (failed.add(name)) {
        LOG.warn(
            "The address translator failed on {} at {}; it counts as no translation",
            name,
            address,
            e);
      }
      return null;
    }
  }
}
