package io.github.repmgrjdbc.internal.wire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AllowedHostsTest {

  @ParameterizedTest(name = "{0}: {1} at {2}: {3}")
  @CsvSource(
      delimiter = '|',
      nullValues = "-",
      value = {
        "''                  | anything        | 192.0.2.1      | true",
        "''                  | anything        | -              | true",
        // by name, wherever that leads
        "pg1, pg2            | pg2             | 192.0.2.1      | true",
        "pg1, pg2            | PG2.            | -              | true",
        "PG1.                | pg1             | 192.0.2.1      | true",
        "pg1, pg2            | pg3             | 192.0.2.1      | false",
        "pg1                 | pg1.example     | 192.0.2.1      | false",
        "*.db.example        | pg1.db.example  | 192.0.2.1      | true",
        "*.db.example        | a.b.db.example  | 192.0.2.1      | true",
        "*.db.example        | db.example      | 192.0.2.1      | false",
        "*.db.example        | xdb.example     | 192.0.2.1      | false",
        "*.db.example        | pg1.example     | 192.0.2.1      | false",
        // by address, whatever the name
        "192.0.2.1           | pg1             | 192.0.2.1      | true",
        "192.0.2.1           | 192.0.2.1       | 192.0.2.1      | true",
        "192.0.2.1           | pg1             | 192.0.2.2      | false",
        "192.0.2.1           | pg1             | -              | false",
        "10.0.0.0/8          | pg1             | 10.255.0.1     | true",
        "10.0.0.0/8          | pg1             | 11.0.0.1       | false",
        "10.1.2.3/8          | pg1             | 10.255.0.1     | true",
        "192.0.2.128/25      | pg1             | 192.0.2.128    | true",
        "192.0.2.128/25      | pg1             | 192.0.2.127    | false",
        "192.0.2.4/30        | pg1             | 192.0.2.7      | true",
        "192.0.2.4/30        | pg1             | 192.0.2.8      | false",
        "0.0.0.0/0           | pg1             | 203.0.113.9    | true",
        "0.0.0.0/0           | pg1             | fd00::1        | false",
        "fd00::/8            | pg1             | fd12::7        | true",
        "fd00::/8            | pg1             | fe80::7        | false",
        "FD00::7             | pg1             | fd00::7        | true",
        "fd00::7             | fd00::7         | fd00::7        | true",
        "::/0                | pg1             | fd00::7        | true",
        // several
        "pg1, 10.0.0.0/8     | pg1             | 192.0.2.1      | true",
        "pg1, 10.0.0.0/8     | pg2             | 10.0.0.1       | true",
        "pg1, 10.0.0.0/8     | pg2             | 192.0.2.1      | false",
      })
  void admits(String text, String host, String address, boolean admitted) throws Exception {
    InetAddress at = address == null ? null : InetAddress.getByName(address);
    assertEquals(admitted, AllowedHosts.of(text).admit(host, at));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pg1,",
        "a b",
        "pg1:5432",
        "http://pg1",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "999.0.0.1",
        "1.2.3",
        "fd00::/129",
        "fd00:::1",
        "pg1/8",
        "*",
        "pg*",
        "-pg"
      })
  void whatIsNoHostIsRefused(String text) {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> AllowedHosts.of(text));
    assertTrue(String.valueOf(e.getMessage()).contains("'; allowed is a name"), e::getMessage);
  }

  @Test
  void whatIsConfiguredIsAllowedToo() throws UnknownHostException {
    InetAddress elsewhere = InetAddress.getByName("192.0.2.1");
    AllowedHosts allowed = AllowedHosts.of("10.0.0.0/8").and(List.of("PG1", "fd00::7"));
    assertTrue(allowed.admit("pg1", elsewhere));
    assertTrue(allowed.admit("fd00::7", InetAddress.getByName("fd00::7")));
    assertFalse(allowed.admit("pg2", elsewhere));
    assertEquals("10.0.0.0/8", allowed.toString());
    assertTrue(AllowedHosts.ANY.and(List.of("pg1")).admit("pg2", elsewhere));
  }
}
