package io.github.repmgrjdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HostAndPortTest {

  @ParameterizedTest
  @CsvSource({
    "db1,                    db1,         5432, db1:5432",
    "db1:6000,               db1,         6000, db1:6000",
    "' db1:6000 ',           db1,         6000, db1:6000",
    "db-1.example.org:1,     db-1.example.org, 1, db-1.example.org:1",
    "10.0.0.1:65535,         10.0.0.1,    65535, 10.0.0.1:65535",
    "[::1],                  ::1,         5432, [::1]:5432",
    "[fe80::1%eth0]:5433,    fe80::1%eth0, 5433, [fe80::1%eth0]:5433",
    "bücher.example:5432,    bücher.example, 5432, bücher.example:5432",
  })
  void reads(String text, String host, int port, String written) {
    HostAndPort address = HostAndPort.parse(text);

    assertEquals(new HostAndPort(host, port), address);
    assertEquals(written, address.toString());
    assertEquals(address, HostAndPort.parse(address.toString()));
  }

  @ParameterizedTest
  @CsvSource({
    "'',            the host is empty",
    "' ',           the host is empty",
    ":5432,         the host is empty",
    "db1:,          1 to 65535",
    "db1:x,         1 to 65535",
    "db1:-1,        1 to 65535",
    "db1:+1,        1 to 65535",
    "db1:54 32,     1 to 65535",
    "db1:9999999999, 1 to 65535",
    "db1:0,         'is 0, allowed is 1 to 65535'",
    "db1:65536,     'is 65536, allowed is 1 to 65535'",
    "::1,           write an IPv6 address as [address]:port",
    "db1:1:2,       several colons",
    "[::1,          no closing ']'",
    "[::1]5432,     1 to 65535",
    "[::1]:,        1 to 65535",
    "[db1]:5432,    for IPv6 addresses only",
    "[]:5432,       for IPv6 addresses only",
    "d b1,          the character U+0020",
    "db1/x,         the character '/'",
    "user@db1,      the character '@'",
    "db1?x,         the character '?'",
    "db1=x,         the character '='",
    "db1]:5432,     the character ']'",
  })
  void refuses(String text, String why) {
    Exception e = assertThrows(IllegalArgumentException.class, () -> HostAndPort.parse(text));

    assertTrue(String.valueOf(e.getMessage()).contains(why.strip()), e.getMessage());
  }

  @ParameterizedTest
  @CsvSource({"U+0000", "U+000A", "U+001F", "U+007F", "U+0085", "U+009F"})
  void aControlCharacterIsRefusedAndNotRepeated(String name) {
    String control = Character.toString(Integer.parseInt(name.substring(2), 16));
    Exception e =
        assertThrows(
            IllegalArgumentException.class, () -> new HostAndPort("db" + control + "1", 5432));

    assertEquals("'db?1' is no host: it has the character " + name, e.getMessage());
  }

  @Test
  void aHostIsAsLongAsANameMayBe() {
    assertEquals("a".repeat(255), HostAndPort.parse("a".repeat(255)).host());

    Exception e =
        assertThrows(
            IllegalArgumentException.class, () -> HostAndPort.parse("a".repeat(256) + ":1"));

    assertEquals("the host is 256 characters long, allowed are 255", e.getMessage());
  }
}
