import io.github.repmgrjdbc.RepmgrDataSource;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;

/**
 * For {@code matrix}, which starts it from source: the first node is the primary, a command takes
 * it down and promotes the second, and the next connection is on that one.
 */
class Takeover {

  /** Arguments: the URL, the two nodes' ports, the command and its arguments. */
  public static void main(String[] arguments) throws Exception {
    try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
      dataSource.setUrl(arguments[0]);
      dataSource.addListener((before, after) -> System.out.println("  " + after.reason()));
      write(dataSource, arguments[1]);
      String[] command = Arrays.copyOfRange(arguments, 3, arguments.length);
      if (new ProcessBuilder(command).inheritIO().start().waitFor() != 0) {
        throw new IllegalStateException("the command failed");
      }
      write(dataSource, arguments[2]);
    }
  }

  private static void write(RepmgrDataSource dataSource, String port) throws SQLException {
    try (Connection connection = dataSource.getConnection();
        Statement statement = connection.createStatement()) {
      statement.execute("create table if not exists written (at timestamptz default now())");
      statement.execute("insert into written default values");
      try (ResultSet row =
          statement.executeQuery("select current_setting('port'), version(), count(*) from written")) {
        row.next();
        System.out.printf(
            "  on port %s, %s rows, %s%n", row.getString(1), row.getString(3), row.getString(2));
        if (!row.getString(1).equals(port)) {
          throw new IllegalStateException("not on port " + port);
        }
      }
    }
  }
}
