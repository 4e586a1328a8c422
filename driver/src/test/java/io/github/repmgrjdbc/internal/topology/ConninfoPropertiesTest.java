package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeout;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tuple;
import net.jqwik.api.Tuple.Tuple2;
import org.junit.jupiter.api.Test;

/**
 * What holds for every connection string. The seeds are fixed, so that a build does not depend on
 * luck; to look further, take them away and raise the tries.
 */
class ConninfoPropertiesTest {

  private static final String SEED = "1702";
  private static final String SECRET = "s3cr3tPhrase";

  // ---- what is written legally is read -------------------------------------------------------

  @Property(seed = SEED)
  void readsKeywordsAndValuesHoweverTheyAreQuotedAndSpaced(
      @ForAll("addresses") List<HostAndPort> addresses,
      @ForAll("otherPairs") List<Tuple2<String, String>> others,
      @ForAll Random random) {
    List<Tuple2<String, String>> pairs = new ArrayList<>(others);
    insert(pairs, Tuple.of(random.nextBoolean() ? "host" : "hostaddr", hosts(addresses)), random);
    insert(pairs, Tuple.of("port", ports(addresses)), random);

    StringBuilder conninfo = new StringBuilder(spaces(random, 0));
    for (Tuple2<String, String> pair : pairs) {
      boolean quoted = pair.get2().isEmpty() || random.nextBoolean();
      conninfo
          .append(pair.get1())
          .append(spaces(random, 0))
          .append('=')
          .append(spaces(random, 0))
          .append(quoted ? quoted(pair.get2(), random) : bare(pair.get2(), random))
          .append(spaces(random, quoted ? 0 : 1));
    }

    assertEquals(addresses, Conninfo.addresses(conninfo.toString()), conninfo.toString());
  }

  @Property(seed = SEED)
  void readsUrisHoweverTheyAreEncoded(
      @ForAll("addresses") List<HostAndPort> addresses,
      @ForAll("otherPairs") List<Tuple2<String, String>> others,
      @ForAll Random random) {
    StringBuilder uri = new StringBuilder(random.nextBoolean() ? "postgres://" : "postgresql://");
    if (random.nextBoolean()) {
      uri.append(encoded("us er", random)).append(':').append(encoded("p:@/?,[%", random));
      uri.append('@');
    }
    String authority =
        addresses.stream()
            .map(
                address ->
                    (address.host().contains(":")
                            ? "[" + encoded(address.host(), random) + "]"
                            : encoded(address.host(), random))
                        + ":"
                        + encoded("" + address.port(), random))
            .collect(Collectors.joining(","));
    List<Tuple2<String, String>> pairs = new ArrayList<>(others);
    if (random.nextBoolean()) {
      uri.append(authority);
    } else {
      insert(pairs, Tuple.of("host", hosts(addresses)), random);
      insert(pairs, Tuple.of("port", ports(addresses)), random);
    }
    uri.append(random.nextBoolean() ? "/" + encoded("re/p?m gr", random) : "");
    String separator = "?";
    for (Tuple2<String, String> pair : pairs) {
      uri.append(separator).append(encoded(pair.get1(), random)).append('=');
      uri.append(encoded(pair.get2(), random));
      separator = "&";
    }

    assertEquals(addresses, Conninfo.addresses(uri.toString()), uri.toString());
  }

  // ---- everything else is refused, and nothing else happens ----------------------------------

  @Property(seed = SEED, tries = 5_000)
  void anyTextHasDialableAddressesOrIsRefused(@ForAll("texts") String text) {
    List<HostAndPort> addresses;
    try {
      addresses = Conninfo.addresses(text);
    } catch (IllegalArgumentException e) {
      assertFalse(hasControl(String.valueOf(e.getMessage())), e.getMessage());
      return;
    }
    assertFalse(addresses.isEmpty(), text);
    for (HostAndPort address : addresses) {
      assertFalse(address.host().isBlank() || hasControl(address.host()), address.toString());
      assertTrue(address.port() >= 1 && address.port() <= 65_535, address.toString());
    }
  }

  @Property(seed = SEED, tries = 5_000)
  void noRefusalRepeatsAPassword(
      @ForAll("texts") String before, @ForAll("texts") String after, @ForAll Random random) {
    String text =
        random.nextBoolean()
            ? before + " password=" + SECRET + after
            : "postgresql://u:" + SECRET + before + "@" + after;
    try {
      Conninfo.addresses(text);
    } catch (IllegalArgumentException e) {
      for (Throwable cause = e; cause != null; cause = cause.getCause()) {
        assertFalse(String.valueOf(cause).contains(SECRET), cause.toString());
      }
    }
  }

  @Test
  void theLongestTextsTakeNoTime() {
    for (String start : List.of("", "host=", "host='", "postgresql://", "postgresql://n1?")) {
      for (String part :
          List.of("%", "%3", "\\", "'", ",", "n,", "&", "=", "a=b&", " ", "[", "0")) {
        String text = start + part.repeat((8 * 1024 - start.length()) / part.length());
        assertTimeout(Duration.ofSeconds(2), () -> anyTextHasDialableAddressesOrIsRefused(text));
      }
    }
  }

  // ---- what is written -----------------------------------------------------------------------

  @Provide
  Arbitrary<List<HostAndPort>> addresses() {
    Arbitrary<String> names =
        Arbitraries.strings()
            .withCharRange('a', 'z')
            .numeric()
            .withChars("-._")
            .ofMinLength(1)
            .ofMaxLength(12);
    Arbitrary<String> hosts =
        Arbitraries.oneOf(names, Arbitraries.of("10.0.0.1", "::1", "fe80::2%eth0", "bücher"));
    return Combinators.combine(hosts, Arbitraries.integers().between(1, 65_535))
        .as(HostAndPort::new)
        .list()
        .ofMinSize(1)
        .ofMaxSize(4);
  }

  @Provide
  Arbitrary<List<Tuple2<String, String>>> otherPairs() {
    Arbitrary<String> keywords = Arbitraries.of("user", "password", "dbname", "hosts", "Port", "x");
    return Combinators.combine(keywords, texts().filter(text -> text.indexOf('\0') < 0))
        .as(Tuple::of)
        .list()
        .ofMaxSize(3);
  }

  @Provide
  Arbitrary<String> texts() {
    Arbitrary<String> tokens =
        Arbitraries.of(
            "host",
            "hostaddr",
            "port",
            "password",
            "n1",
            "n2",
            "::1",
            "127.0.0.1",
            "5432",
            "65536",
            "=",
            "'",
            "\\",
            " ",
            ",",
            ":",
            "/",
            "?",
            "&",
            "@",
            "[",
            "]",
            "%",
            "%41",
            "%00",
            "\t",
            "\n",
            "\u0000",
            "\u0007",
            "\u0085",
            "ü",
            "host=",
            " port=",
            "postgresql://",
            "?host=");
    Arbitrary<String> any = Arbitraries.strings().ofMaxLength(20);
    Arbitrary<String> long_ = Arbitraries.strings().ascii().ofMinLength(1_000).ofMaxLength(3_000);
    Arbitrary<String> sentences =
        Combinators.combine(
                Arbitraries.of("", "postgresql://", "host=", "host=n1 port="),
                tokens.list().ofMaxSize(20))
            .as((start, list) -> start + String.join("", list));
    return Arbitraries.frequencyOf(Tuple.of(20, sentences), Tuple.of(4, any), Tuple.of(1, long_));
  }

  private static String hosts(List<HostAndPort> addresses) {
    return addresses.stream().map(HostAndPort::host).collect(Collectors.joining(","));
  }

  private static String ports(List<HostAndPort> addresses) {
    return addresses.stream().map(each -> "" + each.port()).collect(Collectors.joining(","));
  }

  private static <T> void insert(List<T> list, T element, Random random) {
    list.add(random.nextInt(list.size() + 1), element);
  }

  private static String spaces(Random random, int atLeast) {
    return random
        .ints(atLeast + random.nextInt(3), 0, 6)
        .mapToObj(i -> " \t\n\u000b\f\r".substring(i, i + 1))
        .collect(Collectors.joining());
  }

  private static String quoted(String value, Random random) {
    return "'" + escaped(value, "'\\", random) + "'";
  }

  private static String bare(String value, Random random) {
    String escaped = escaped(value, " \t\n\u000b\f\r\\", random);
    return escaped.startsWith("'") ? "\\" + escaped : escaped;
  }

  /** Only some characters need a backslash; all may have one. */
  private static String escaped(String value, String needed, Random random) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      text.append(needed.indexOf(c) >= 0 || random.nextInt(10) == 0 ? "\\" : "").append(c);
    }
    return text.toString();
  }

  /** Only some bytes need encoding; all may have it. */
  private static String encoded(String value, Random random) {
    StringBuilder text = new StringBuilder();
    for (byte b : value.getBytes(StandardCharsets.UTF_8)) {
      boolean plain = b > 0 && "%@:/?,[]&=".indexOf(b) < 0 && random.nextInt(4) > 0;
      text.append(plain ? "" + (char) b : String.format("%%%02x", b));
    }
    return text.toString();
  }

  private static boolean hasControl(String text) {
    return text.chars().anyMatch(Character::isISOControl);
  }
}
