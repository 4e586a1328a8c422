package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Holds {@link Conninfo} against libpq: libpq-answers.txt has hundreds of connection strings with
 * what the real libpq said when nothing answered to it; record-libpq-answers.sh has asked it.
 *
 * <p>Where libpq tries addresses, ours are the same in the same order. Where it refuses, we refuse.
 * The exceptions are on purpose:
 *
 * <ul>
 *   <li>A UNIX socket, by path or for want of a host: no address to us.
 *   <li>A host with a character that no host has ({@link HostAndPort}), which libpq looks up in
 *       vain: left out.
 *   <li>A {@code hostaddr} that is no literal address: libpq goes on to the next; we leave it to
 *       the dialling.
 *   <li>A port that is no number: libpq tries what stands before it and gives up; we go on to the
 *       next, as it does itself where a port is out of range.
 *   <li>Keywords that libpq does not know, or values of others that it does not accept: we look at
 *       {@code host}, {@code hostaddr} and {@code port} only, and newer releases know more.
 * </ul>
 */
class ConninfoAgainstLibpqTest {

  /** What libpq says of one address. */
  private static final Pattern ATTEMPT =
      Pattern.compile(
          """
          connection to server at "(?<host>.*?)"(?: \\([^()]*\\))?, port (?<port>.*?) failed: [^\\n]*\
          |could not translate host name "(?<name>.*?)" to address: [^\\n]*\
          |could not parse network address "(?<hostaddr>.*?)": [^\\n]*\
          |connection to server on socket ".*?" failed: [^\\n]*\
          |invalid port number: "[^"]*"\
          |(?<noNumber>invalid integer value "[^"]*" for connection option "port")\
          """,
          Pattern.DOTALL);

  private static final Pattern NOT_OURS =
      Pattern.compile(
          "invalid connection option .*|invalid URI query parameter: .*|invalid sslmode value: .*"
              + "|definition of service .* not found",
          Pattern.DOTALL);

  static Stream<Arguments> answers() throws IOException {
    try (InputStream in =
        Objects.requireNonNull(
            ConninfoAgainstLibpqTest.class.getResourceAsStream("libpq-answers.txt"))) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8)
          .lines()
          .filter(line -> !line.isEmpty() && !line.startsWith("#"))
          .map(line -> line.split("\t"))
          .map(field -> Arguments.of(field[0].translateEscapes(), field[1].translateEscapes()));
    }
  }

  @ParameterizedTest
  @MethodSource("answers")
  void triesWhatLibpqTriesAndRefusesWhatLibpqRefuses(String conninfo, String answer) {
    if (NOT_OURS.matcher(answer).matches()) {
      return;
    }
    List<HostAndPort> ours = ours(conninfo);
    Matcher attempt = ATTEMPT.matcher(answer);
    int tried = 0;
    boolean gaveUp = false;
    int end = 0;
    while (end < answer.length() && attempt.find(end)) {
      assertEquals(end, attempt.start(), answer);
      end = Math.min(attempt.end() + 1, answer.length());
      gaveUp = attempt.group("noNumber") != null;
      String host = host(attempt);
      String port = attempt.group("port");
      if (host != null) {
        assertTrue(tried < ours.size(), ours + " against " + answer);
        HostAndPort our = ours.get(tried++);
        assertEquals(host, our.host(), answer);
        // Of a host that it cannot look up libpq does not say the port.
        assertEquals(
            port == null ? our.port() : Integer.parseInt(port.strip()), our.port(), answer);
      }
    }
    assertTrue(end == 0 || end == answer.length(), answer);
    assertTrue(gaveUp || tried == ours.size(), ours + " against " + answer);
  }

  /** What libpq has tried, if it is a host to us. */
  private static @Nullable String host(Matcher attempt) {
    String host =
        Stream.of("host", "name", "hostaddr")
            .map(attempt::group)
            .filter(Objects::nonNull)
            .findFirst()
            .orElse(null);
    try {
      return host == null ? null : new HostAndPort(host, 1).host();
    } catch (IllegalArgumentException e) {
      return null;
    }
  }

  private static List<HostAndPort> ours(String conninfo) {
    try {
      return Conninfo.addresses(conninfo);
    } catch (IllegalArgumentException e) {
      return List.of();
    }
  }
}
