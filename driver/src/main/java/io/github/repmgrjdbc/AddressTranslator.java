package io.github.repmgrjdbc;

import org.jspecify.annotations.Nullable;

/**
 * Says where a node can be reached from here, when that is not where its conninfo says.
 *
 * <p>Rarely needed: with every node's reachable address among the URL's hosts, nodes are recognised
 * by asking them who they are. Called by the driver's monitor, often; it must be quick, give the
 * same answer for the same question, and be safe for use by several threads.
 */
@FunctionalInterface
public interface AddressTranslator {

  /**
   * Translates a node's address.
   *
   * @param nodeName the node's name in {@code repmgr.nodes}
   * @param conninfoAddress the address in its conninfo, or null if that names none
   * @return where to dial it, or null to leave it as it is
   */
  @Nullable HostAndPort translate(String nodeName, @Nullable HostAndPort conninfoAddress);
}
