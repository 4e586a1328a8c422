package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The addresses in a libpq connection string, as {@code repmgr.nodes.conninfo} has it.
 *
 * <p>The grammar is libpq's ("Connection Strings" in PostgreSQL's documentation): {@code
 * keyword=value} with quotes and backslashes, or a URI. Only {@code host}, {@code hostaddr} and
 * {@code port} are taken from it: the table must not be able to set anything else.
 */
final class Conninfo {

  private static final int LONGEST = 64 * 1024;

  private Conninfo() {}

  /**
   * Reads the addresses, in their order. As in libpq, {@code hostaddr} is where to connect when
   * both are given. A UNIX socket's directory is no address.
   *
   * @throws IllegalArgumentException if the text is no connection string, or has no address
   */
  static List<HostAndPort> addresses(String conninfo) {
    if (conninfo.length() > LONGEST) {
      throw new IllegalArgumentException("longer than " + LONGEST + " characters");
    }
    Map<String, String> values =
        conninfo.startsWith("postgresql://") || conninfo.startsWith("postgres://")
            ? parseUri(conninfo)
            : parseKeywords(conninfo);
    String hosts = values.getOrDefault("host", "");
    String hostaddrs = values.getOrDefault("hostaddr", "");
    String[] names = (hostaddrs.isEmpty() ? hosts : hostaddrs).split(",", -1);
    String[] fallback = hosts.split(",", -1);
    String[] ports = values.getOrDefault("port", "").split(",", -1);
    if (ports.length > 1 && ports.length != names.length) {
      throw new IllegalArgumentException(ports.length + " ports for " + names.length + " hosts");
    }
    List<HostAndPort> addresses = new ArrayList<>();
    for (int i = 0; i < names.length; i++) {
      String host = names[i].strip();
      if (host.isEmpty() && i < fallback.length) {
        host = fallback[i].strip();
      }
      if (host.isEmpty() || host.startsWith("/") || host.startsWith("@")) {
        continue;
      }
      String port = ports[ports.length == 1 ? 0 : i].strip();
      addresses.add(new HostAndPort(host, port.isEmpty() ? HostAndPort.DEFAULT_PORT : port(port)));
    }
    if (addresses.isEmpty()) {
      throw new IllegalArgumentException("it names no host that can be reached over TCP");
    }
    return addresses;
  }

  private static int port(String text) {
    if (!text.matches("[0-9]{1,9}")) {
      throw new IllegalArgumentException("its port is no number");
    }
    return Integer.parseInt(text);
  }

  private static Map<String, String> parseKeywords(String s) {
    Map<String, String> values = new HashMap<>();
    int at = skipSpace(s, 0);
    while (at < s.length()) {
      int start = at;
      while (at < s.length() && s.charAt(at) != '=' && !isSpace(s.charAt(at))) {
        at++;
      }
      String keyword = s.substring(start, at);
      at = skipSpace(s, at);
      if (keyword.isEmpty() || at == s.length() || s.charAt(at) != '=') {
        throw new IllegalArgumentException("a keyword has no '=' behind it");
      }
      at = skipSpace(s, at + 1);
      StringBuilder value = new StringBuilder();
      boolean quoted = at < s.length() && s.charAt(at) == '\'';
      if (quoted) {
        at++;
      }
      while (at < s.length() && (quoted ? s.charAt(at) != '\'' : !isSpace(s.charAt(at)))) {
        if (s.charAt(at) == '\\') {
          at++;
          if (at == s.length()) {
            break;
          }
        }
        value.append(s.charAt(at));
        at++;
      }
      if (quoted) {
        if (at == s.length()) {
          throw new IllegalArgumentException("a quoted value has no end");
        }
        at++;
      }
      values.put(keyword, value.toString());
      at = skipSpace(s, at);
    }
    return values;
  }

  private static Map<String, String> parseUri(String uri) {
    Map<String, String> values = new HashMap<>();
    String rest = uri.substring(uri.indexOf("://") + 3);
    // As in libpq, a user's name and password may have any character but '@' and '/'.
    int at = rest.indexOf('@');
    int path = rest.indexOf('/');
    if (at >= 0 && (path < 0 || at < path)) {
      rest = rest.substring(at + 1);
    }
    int query = rest.indexOf('?');
    String parameters = query < 0 ? "" : rest.substring(query + 1);
    String authority = query < 0 ? rest : rest.substring(0, query);
    int slash = authority.indexOf('/');
    if (slash >= 0) {
      authority = authority.substring(0, slash);
    }

    List<String> hosts = new ArrayList<>();
    List<String> ports = new ArrayList<>();
    for (String part : authority.split(",", -1)) {
      int end = part.startsWith("[") ? part.indexOf(']') : -1;
      int colon = part.indexOf(':', end + 1);
      String host = colon < 0 ? part : part.substring(0, colon);
      hosts.add(decode(end < 0 ? host : host.substring(1, end)));
      ports.add(colon < 0 ? "" : decode(part.substring(colon + 1)));
    }
    values.put("host", String.join(",", hosts));
    values.put("port", String.join(",", ports));
    for (String parameter : parameters.split("&", -1)) {
      int equals = parameter.indexOf('=');
      if (equals > 0) {
        values.put(decode(parameter.substring(0, equals)), decode(parameter.substring(equals + 1)));
      }
    }
    return values;
  }

  private static String decode(String text) {
    // A URI's '+' is a plus; only forms make it a space.
    return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
  }

  private static int skipSpace(String s, int at) {
    int i = at;
    while (i < s.length() && isSpace(s.charAt(i))) {
      i++;
    }
    return i;
  }

  /** C's {@code isspace}, which libpq uses. */
  private static boolean isSpace(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
  }
}
