package io.github.repmgrjdbc;

import java.util.regex.Pattern;

/**
 * The address of a PostgreSQL server: a host name or literal address, and a TCP port.
 *
 * <p>A host is kept as it was written, without the brackets of an IPv6 literal; names are resolved
 * when they are dialled, not before.
 *
 * @param host a host name, an IPv4 address, or an IPv6 address without brackets; never blank
 * @param port a TCP port, 1 to 65535
 */
public record HostAndPort(String host, int port) {

  /** What the name system allows (RFC 1035), with its dots. */
  private static final int LONGEST_HOST = 255;

  private static final Pattern PORT = Pattern.compile("[0-9]{1,9}");

  /** PostgreSQL's registered port, used where an address names none. */
  public static final int DEFAULT_PORT = 5432;

  /**
   * Makes an address.
   *
   * @throws IllegalArgumentException if the host is blank, too long, or has a character that no
   *     host has, or the port is out of range
   */
  public HostAndPort {
    if (host.isBlank()) {
      throw new IllegalArgumentException("the host is empty");
    }
    if (host.length() > LONGEST_HOST) {
      throw new IllegalArgumentException(
          "the host is " + host.length() + " characters long, allowed are " + LONGEST_HOST);
    }
    for (int i = 0; i < host.length(); i++) {
      char c = host.charAt(i);
      if (c == ' ' || Character.isISOControl(c) || "/?#@,;[]=\\'\"".indexOf(c) >= 0) {
        throw new IllegalArgumentException(
            "'" + printable(host) + "' is no host: it has the character " + describe(c));
      }
    }
    if (port < 1 || port > 65535) {
      throw new IllegalArgumentException(
          "the port of '" + host + "' is " + port + ", allowed is 1 to 65535");
    }
  }

  /**
   * Reads {@code host}, {@code host:port}, {@code [ipv6]} or {@code [ipv6]:port}; a missing port is
   * {@value #DEFAULT_PORT}.
   *
   * @throws IllegalArgumentException if the text is no address; the message says why
   */
  public static HostAndPort parse(String text) {
    String s = text.strip();
    int portAt;
    String host;
    if (s.startsWith("[")) {
      int end = s.indexOf(']');
      if (end < 0) {
        throw new IllegalArgumentException("'" + printable(s) + "' has no closing ']'");
      }
      host = s.substring(1, end);
      portAt = end + 1;
      if (host.indexOf(':') < 0) {
        throw new IllegalArgumentException(
            "'" + printable(s) + "' has brackets, which are for IPv6 addresses only");
      }
    } else {
      int colon = s.indexOf(':');
      if (colon != s.lastIndexOf(':')) {
        throw new IllegalArgumentException(
            "'" + printable(s) + "' has several colons; write an IPv6 address as [address]:port");
      }
      portAt = colon < 0 ? s.length() : colon;
      host = s.substring(0, portAt);
    }
    if (portAt == s.length()) {
      return new HostAndPort(host, DEFAULT_PORT);
    }
    String port = s.substring(portAt + 1);
    if (s.charAt(portAt) != ':' || !PORT.matcher(port).matches()) {
      // What stands there may be a password that got there by mistake.
      throw new IllegalArgumentException(
          "'" + printable(host) + "' has no valid port; allowed is host:port with 1 to 65535");
    }
    return new HostAndPort(host, Integer.parseInt(port));
  }

  /** The address as a URL has it: {@code host:port}, an IPv6 address in brackets. */
  @Override
  public String toString() {
    return (host.indexOf(':') >= 0 ? "[" + host + "]" : host) + ":" + port;
  }

  private static String describe(char c) {
    return c > ' ' && c < 0x7f ? "'" + c + "'" : String.format("U+%04X", (int) c);
  }

  private static String printable(String s) {
    return s.replaceAll("\\p{Cc}", "?");
  }
}
