package io.github.repmgrjdbc.internal.wire;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Where connections may go, passwords with them: the URL parameter {@code allowedHosts}. The node
 * table comes over the network; whoever can write to it could otherwise lead clients anywhere.
 * Immutable.
 */
public final class AllowedHosts {

  /** Anywhere. */
  public static final AllowedHosts ANY = new AllowedHosts(List.of(), Set.of(), Set.of());

  private static final Pattern NAME =
      Pattern.compile("(\\*\\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\\.?");

  private static final Pattern IPV4 =
      Pattern.compile("(25[0-5]|2[0-4]\\d|1?\\d?\\d)(\\.(25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}");

  private static final Pattern IPV6 = Pattern.compile("[0-9a-f:]*:[0-9a-f:.]*");

  private static final Pattern LENGTH = Pattern.compile("[0-9]{1,3}");

  /** As written, for messages; empty: anywhere. */
  private final List<String> entries;

  /** In lower case, without a dot at the end; {@code *.} before those whose subdomains count. */
  private final Set<String> names;

  private final Set<Block> blocks;

  private AllowedHosts(List<String> entries, Set<String> names, Set<Block> blocks) {
    this.entries = entries;
    this.names = names;
    this.blocks = blocks;
  }

  /** A range of addresses: those that have its first bits. */
  private record Block(InetAddress base, int bits) {

    boolean has(InetAddress address) {
      byte[] mine = base.getAddress();
      byte[] other = address.getAddress();
      if (mine.length != other.length) {
        return false;
      }
      for (int bit = 0; bit < bits; bit++) {
        int mask = 0x80 >> bit % 8;
        if ((mine[bit / 8] & mask) != (other[bit / 8] & mask)) {
          return false;
        }
      }
      return true;
    }
  }

  /**
   * Reads the parameter.
   *
   * @param text names ({@code pg1}, {@code *.db.example}), addresses and CIDR ranges, separated by
   *     commas; empty: anywhere
   * @throws IllegalArgumentException if an entry is none of these; the message says which
   */
  public static AllowedHosts of(String text) {
    if (text.isBlank()) {
      return ANY;
    }
    List<String> entries = Arrays.stream(text.split(",", -1)).map(String::strip).toList();
    return new AllowedHosts(
        entries,
        entries.stream()
            .filter(entry -> !isRange(entry))
            .map(AllowedHosts::name)
            .collect(Collectors.toUnmodifiableSet()),
        entries.stream()
            .filter(AllowedHosts::isRange)
            .map(AllowedHosts::block)
            .collect(Collectors.toUnmodifiableSet()));
  }

  /** The same and these hosts, which somebody has configured. */
  public AllowedHosts and(Collection<String> hosts) {
    if (entries.isEmpty()) {
      return this;
    }
    Set<String> all = hosts.stream().map(AllowedHosts::plain).collect(Collectors.toSet());
    all.addAll(names);
    return new AllowedHosts(entries, Set.copyOf(all), blocks);
  }

  /**
   * Whether a connection may go there.
   *
   * @param host what was to be dialled
   * @param address where that leads, or null if only a proxy knows
   */
  boolean admit(String host, @Nullable InetAddress address) {
    if (entries.isEmpty()) {
      return true;
    }
    String plain = plain(host);
    if (names.contains(plain)) {
      return true;
    }
    for (int dot = plain.indexOf('.'); dot >= 0; dot = plain.indexOf('.', dot + 1)) {
      if (names.contains("*" + plain.substring(dot))) {
        return true;
      }
    }
    return address != null && blocks.stream().anyMatch(block -> block.has(address));
  }

  /** As it was written. */
  @Override
  public String toString() {
    return entries.isEmpty() ? "anywhere" : String.join(", ", entries);
  }

  private static boolean isRange(String entry) {
    String address = entry.replaceFirst("/.*", "");
    return entry.indexOf('/') >= 0 || isIpv4(address) || entry.indexOf(':') >= 0;
  }

  private static boolean isIpv4(String text) {
    return IPV4.matcher(text).matches();
  }

  private static Block block(String entry) {
    Matcher length = LENGTH.matcher(entry.replaceFirst("[^/]*/?", ""));
    String literal = entry.replaceFirst("/.*", "").toLowerCase(Locale.ROOT);
    // Only what is an address: anything else would be looked up.
    if (!isIpv4(literal) && !IPV6.matcher(literal).matches()) {
      throw noEntry(entry);
    }
    try {
      InetAddress base = InetAddress.getByName(literal);
      int longest = 8 * base.getAddress().length;
      int bits =
          entry.indexOf('/') < 0
              ? longest
              : length.matches() ? Integer.parseInt(length.group()) : longest + 1;
      if (bits > longest) {
        throw noEntry(entry);
      }
      return new Block(base, bits);
    } catch (UnknownHostException e) {
      throw noEntry(entry);
    }
  }

  private static String name(String entry) {
    String name = entry.toLowerCase(Locale.ROOT);
    // Digits and dots alone are an address that is none.
    if (!NAME.matcher(name).matches() || name.matches("[0-9.]*")) {
      throw noEntry(entry);
    }
    return plain(name);
  }

  private static String plain(String host) {
    String name = host.toLowerCase(Locale.ROOT);
    return name.endsWith(".") ? name.substring(0, name.length() - 1) : name;
  }

  private static IllegalArgumentException noEntry(String entry) {
    return new IllegalArgumentException(
        "'"
            + entry.replaceAll("\\p{Cc}", "?")
            + "'; allowed is a name (pg1, *.db.example), an address, or a range of addresses"
            + " (10.0.0.0/8, fd00::/8)");
  }
}
