package io.github.repmgrjdbc.internal.topology;

import io.github.repmgrjdbc.HostAndPort;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The addresses in a libpq connection string, as {@code repmgr.nodes.conninfo} has it.
 *
 * <p>The grammar is libpq's ("Connection Strings" in PostgreSQL's documentation): {@code
 * keyword=value} with quotes and backslashes, or a URI. Only {@code host}, {@code hostaddr} and
 * {@code port} are taken from it: the table must not be able to set anything else.
 */
final class Conninfo {

  /** Far more than repmgr's own limit, 1023. */
  private static final int LONGEST = 8 * 1024;

  /** What C's {@code strtol} reads, which libpq uses; without a sign that no port can have. */
  private static final Pattern PORT = Pattern.compile("[ \\t-\\r]*\\+?0*([0-9]{1,9})[ \\t-\\r]*");

  private static final Pattern NO_ENCODING = Pattern.compile("%(00|(?![0-9A-Fa-f]{2}))");

  private Conninfo() {}

  /**
   * Reads the addresses, in the order in which libpq tries them: {@code hostaddr} goes before
   * {@code host}. What libpq would fail at, and then go on to the next, is left out: a host that
   * can be none, a port out of range. So is a UNIX socket's directory, which is no address.
   *
   * @throws IllegalArgumentException if the text is no connection string, or has no address; the
   *     message repeats nothing of the text, which may have a password in it
   */
  static List<HostAndPort> addresses(String conninfo) {
    if (conninfo.length() > LONGEST) {
      throw new IllegalArgumentException("longer than " + LONGEST + " characters");
    }
    Map<String, String> values =
        conninfo.startsWith("postgresql://") || conninfo.startsWith("postgres://")
            ? parseUri(conninfo)
            : parseKeywords(conninfo);
    List<String> hosts = list(values, "host");
    List<String> hostaddrs = list(values, "hostaddr");
    List<String> ports = list(values, "port");
    int count = Math.max(1, Math.max(hosts.size(), hostaddrs.size()));
    if (!hosts.isEmpty() && !hostaddrs.isEmpty() && hosts.size() != hostaddrs.size()) {
      throw new IllegalArgumentException(
          hosts.size() + " hosts for " + hostaddrs.size() + " hostaddrs");
    }
    if (ports.size() > 1 && ports.size() != count) {
      throw new IllegalArgumentException(ports.size() + " ports for " + count + " hosts");
    }
    List<HostAndPort> addresses = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      String host = at(hostaddrs, i).isEmpty() ? at(hosts, i) : at(hostaddrs, i);
      try {
        addresses.add(new HostAndPort(host, port(at(ports, ports.size() == 1 ? 0 : i))));
      } catch (IllegalArgumentException e) {
        // Nothing to dial here; there may be in the next.
      }
    }
    if (addresses.isEmpty()) {
      throw new IllegalArgumentException("it has no host and port that can be reached over TCP");
    }
    return addresses;
  }

  /** Why {@link #addresses} finds none in it, or "" if it does. */
  static String fault(String conninfo) {
    try {
      addresses(conninfo);
      return "";
    } catch (IllegalArgumentException e) {
      return String.valueOf(e.getMessage());
    }
  }

  private static List<String> list(Map<String, String> values, String keyword) {
    String value = values.getOrDefault(keyword, "");
    return value.isEmpty() ? List.of() : List.of(value.split(",", -1));
  }

  private static String at(List<String> list, int index) {
    return index < list.size() ? list.get(index) : "";
  }

  private static int port(String text) {
    if (text.isEmpty()) {
      return HostAndPort.DEFAULT_PORT;
    }
    Matcher number = PORT.matcher(text);
    if (!number.matches()) {
      throw new IllegalArgumentException("its port is no number");
    }
    return Integer.parseInt(number.group(1));
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
    int at = uri.indexOf("://") + 3;
    // A user's name and password may have any character but '@' and '/'.
    int end = find(uri, at, "@/");
    if (isAt(uri, end, "@")) {
      checkEncoding(uri.substring(at, end));
      at = end + 1;
    }

    StringBuilder hosts = new StringBuilder();
    StringBuilder ports = new StringBuilder();
    while (true) {
      if (isAt(uri, at, "[")) {
        end = uri.indexOf(']', at);
        if (end <= at + 1) {
          throw new IllegalArgumentException("an IPv6 address is empty or has no ']'");
        }
        hosts.append(uri, at + 1, end);
        end++;
        if (end < uri.length() && !isAt(uri, end, ":/?,")) {
          throw new IllegalArgumentException("an IPv6 address has something behind its ']'");
        }
      } else {
        end = find(uri, at, ":/?,");
        hosts.append(uri, at, end);
      }
      if (isAt(uri, end, ":")) {
        int port = end + 1;
        end = find(uri, port, "/?,");
        ports.append(uri, port, end);
      }
      if (!isAt(uri, end, ",")) {
        break;
      }
      hosts.append(',');
      ports.append(',');
      at = end + 1;
    }
    Map<String, String> values = new HashMap<>();
    // Decoded when they are put together: an encoded comma separates, too.
    values.put("host", decode(hosts.toString()));
    values.put("port", decode(ports.toString()));

    int query = find(uri, end, "?");
    checkEncoding(uri.substring(end, query));
    for (at = query + 1; at < uri.length(); at = end + 1) {
      end = find(uri, at, "&");
      String parameter = uri.substring(at, end);
      int equals = parameter.indexOf('=');
      if (equals < 1 || equals != parameter.lastIndexOf('=')) {
        throw new IllegalArgumentException("a parameter is not keyword=value");
      }
      values.put(decode(parameter.substring(0, equals)), decode(parameter.substring(equals + 1)));
    }
    return values;
  }

  private static String decode(String text) {
    checkEncoding(text);
    // A URI's '+' is a plus; only forms make it a space.
    return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
  }

  private static void checkEncoding(String text) {
    if (NO_ENCODING.matcher(text).find()) {
      throw new IllegalArgumentException(
          "it has a '%' that 00 or no two hexadecimal digits follow");
    }
  }

  /** The first place, from there on, of one of these characters, or the end. */
  private static int find(String s, int from, String characters) {
    int i = from;
    while (i < s.length() && characters.indexOf(s.charAt(i)) < 0) {
      i++;
    }
    return i;
  }

  private static boolean isAt(String s, int index, String characters) {
    return index < s.length() && characters.indexOf(s.charAt(index)) >= 0;
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
