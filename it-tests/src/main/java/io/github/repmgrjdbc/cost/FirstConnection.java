package io.github.repmgrjdbc.cost;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import org.slf4j.LoggerFactory;

/**
 * A program that opens one connection, says so, and ends: what a JVM's start costs. It logs, as
 * programs do: starting that is nobody's cost but its own.
 */
final class FirstConnection {

  static final String URL = "COST_URL";

  private FirstConnection() {}

  /** The URL is in the environment, as it has a password. */
  public static void main(String[] arguments) throws SQLException {
    LoggerFactory.getLogger(FirstConnection.class).info("Connecting");
    try (Connection connection = DriverManager.getConnection(System.getenv(URL))) {
      System.out.println(connection.getAutoCommit());
      System.out.flush();
    }
    Runtime.getRuntime().halt(0);
  }
}
