package io.github.repmgrjdbc.internal.topology;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.repmgrjdbc.HostAndPort;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** libpq's grammar: "Connection Strings" in PostgreSQL's documentation. */
class ConninfoTest {

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        // keyword=value
        "host=n1                                        | n1:5432",
        "host=n1 port=6000 dbname=repmgr user=repmgr    | n1:6000",
        "port=6000 host=n1                              | n1:6000",
        "host = n1 port  =  6000                        | n1:6000",
        "\"  host=n1\t\n port=6000  \"                  | n1:6000",
        "host='n1' port='6000'                          | n1:6000",
        "host = 'n1'port=6000                           | n1:6000",
        "dbname='' host=n1                              | n1:5432",
        "password='it''host=evil' host=n1               | n1:5432",
        "password='it\\'s host=evil' host=n1            | n1:5432",
        "password='a\\\\' host=n1                       | n1:5432",
        "password=a\\ host\\=evil host=n1               | n1:5432",
        "host=n\\1                                      | n1:5432",
        "host=first host=n1                             | n1:5432",
        "host=n1 port=''                                | n1:5432",
        "host=::1 port=6000                             | [::1]:6000",
        // hostaddr is where to connect
        "host=n1 hostaddr=10.0.0.1 port=6000            | 10.0.0.1:6000",
        "hostaddr=10.0.0.1                              | 10.0.0.1:5432",
        "host=n1 hostaddr=''                            | n1:5432",
        "host=n1,n2 hostaddr=10.0.0.1,                  | 10.0.0.1:5432,n2:5432",
        // several
        "host=n1,n2,n3                                  | n1:5432,n2:5432,n3:5432",
        "host=n1,n2 port=6000                           | n1:6000,n2:6000",
        "host=n1,n2 port=6000,7000                      | n1:6000,n2:7000",
        "host=n1,n2 port=,7000                          | n1:5432,n2:7000",
        "host=/tmp,n2 port=1,2                          | n2:2",
        "host=@abstract,n2                              | n2:5432",
        // nothing but addresses is taken
        "host=n1 socketFactory=evil sslmode=disable     | n1:5432",
        // URI
        "postgresql://n1                                | n1:5432",
        "postgres://n1:6000/repmgr                      | n1:6000",
        "postgresql://u:p@n1:6000/repmgr?a=b            | n1:6000",
        "postgresql://u@n1                              | n1:5432",
        "postgresql://u:p%40x%2Fy@n1/repmgr             | n1:5432",
        "postgresql://u:p?x@n1:6000/repmgr              | n1:6000",
        "postgresql://n1,n2:6000/repmgr                 | n1:5432,n2:6000",
        "postgresql://[::1]:6000,[fe80::2]/repmgr       | [::1]:6000,[fe80::2]:5432",
        "postgresql:///repmgr?host=n1&port=6000         | n1:6000",
        "postgresql://n1/repmgr?host=n2                 | n2:5432",
        "postgresql://n1?hostaddr=10.0.0.1              | 10.0.0.1:5432",
        "postgresql://n%31:%36000/                      | n1:6000",
        "postgresql://n1/?socketFactory=evil            | n1:5432",
        "postgresql://n1?x=1                            | n1:5432",
      })
  void reads(String conninfo, String addresses) {
    assertEquals(
        addresses,
        String.join(
            ",", Conninfo.addresses(conninfo).stream().map(HostAndPort::toString).toList()));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "\"\"                             | no host and port",
        "\"   \"                          | no host and port",
        "port=5432                        | no host and port",
        "host=                            | no host and port",
        "host=/var/run/postgresql         | no host and port",
        "postgresql:///repmgr             | no host and port",
        "postgresql://%2Ftmp/repmgr       | no host and port",
        "host                             | no '='",
        "host=n1 port                     | no '='",
        "host=n1 =x                       | no '='",
        "host n1                          | no '='",
        "host='n1                         | no end",
        "host=n1 password='secret         | no end",
        "host=n1 password='secret\\'      | no end",
        "host=n1 password='secret\\       | no end",
        "host=n1 port=x                   | no host and port",
        "host=n1 port=-1                  | no host and port",
        "host=n1 port=99999999999         | no host and port",
        "host=n1 port=0                   | no host and port",
        "host=n1 port=65536               | no host and port",
        "host=n1,n2,n3 port=1,2           | 2 ports for 3 hosts",
        "host=u@n1                        | no host and port",
        "host=n1?sslmode=disable          | no host and port",
        "host=n1/app?socketFactory=evil   | no host and port",
        "host='n1 n2'                     | no host and port",
        "postgresql://[::1/repmgr         | no ']'",
        "postgresql://[::1]x/repmgr       | behind its ']'",
        "postgresql://n1?port             | not keyword=value",
        "postgresql://n1?=x               | not keyword=value",
        "host=n1,n2 hostaddr=127.0.0.1    | 2 hosts for 1 hostaddrs",
        "postgresql://n1:x/repmgr         | no host and port",
        "postgresql://n%zz/repmgr         | hexadecimal",
        "postgresql://n1%00/repmgr        | 00",
        "postgresql://n1%3Fa/repmgr       | no host and port",
      })
  void refuses(String conninfo, String why) {
    Exception e = assertThrows(IllegalArgumentException.class, () -> Conninfo.addresses(conninfo));

    assertTrue(String.valueOf(e.getMessage()).contains(why), e.getMessage());
    assertFalse(String.valueOf(e.getMessage()).contains("secret"), e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"\u0000", "\u0001", "\n", "\u007f", "\r\n"})
  void refusesControlCharactersInAHost(String control) {
    String conninfo = "host='n" + control + "1' port=5432";

    assertThrows(IllegalArgumentException.class, () -> Conninfo.addresses(conninfo));
  }

  @Test
  void readsWhatIsAsLongAsAConninfoMayBe() {
    String end = "' host=n1 port=6000";
    String conninfo = "password='" + "\\\\".repeat((1023 - 10 - end.length()) / 2) + end;

    assertTrue(conninfo.length() >= 1022, "" + conninfo.length());
    assertEquals(new HostAndPort("n1", 6000), Conninfo.addresses(conninfo).get(0));
  }

  @Test
  void refusesWhatIsTooLongForAnyConninfo() {
    String start = "host=n1 password=";
    String longest = start + "x".repeat(8 * 1024 - start.length());

    assertEquals(new HostAndPort("n1", 5432), Conninfo.addresses(longest).get(0));
    assertThrows(IllegalArgumentException.class, () -> Conninfo.addresses(longest + "x"));
  }
}
