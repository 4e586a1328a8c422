package io.github.repmgrjdbc.histories;

import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.testing.Relay;
import io.github.repmgrjdbc.testing.RepmgrNode;
import java.io.IOException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/** A place from where clients reach the nodes, or some of them, each through a relay. */
final class Side implements AutoCloseable {

  private final Map<RepmgrNode, Relay> relays = new LinkedHashMap<>();

  Side(List<RepmgrNode> nodes) throws IOException {
    for (RepmgrNode node : nodes) {
      relays.put(node, Relay.to(node::containerAddress, Duration.ZERO));
    }
  }

  /** The nodes' addresses as they are seen from here. */
  List<HostAndPort> addresses() {
    return relays.values().stream().map(Relay::address).toList();
  }

  /** Those are not reached from here any more. */
  void cut(Predicate<RepmgrNode> nodes) {
    relays.forEach(
        (node, relay) -> {
          if (nodes.test(node)) {
            relay.cut();
          }
        });
  }

  /** All are reached again. */
  void heal() {
    relays.values().forEach(Relay::heal);
  }

  @Override
  public void close() throws IOException {
    for (Relay relay : relays.values()) {
      relay.close();
    }
  }
}
