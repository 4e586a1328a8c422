package io.github.repmgrjdbc.cost;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.Blackhole;

/** What an application does all day, through HikariCP, on a primary where all is well. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class PoolBenchmark {

  private static final int BATCH = 100;

  /** The system property {@code cost.url.NAME} has the URL. */
  @Param({"pgjdbc", "repmgr-jdbc", "aws"})
  String driver = "";

  private HikariDataSource pool = new HikariDataSource();

  /** Opens the pool, and has it filled. */
  @Setup
  public void open() throws SQLException {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(System.getProperty("cost.url." + driver));
    config.setMaximumPoolSize(1);
    pool = new HikariDataSource(config);
    try (Connection connection = pool.getConnection();
        Statement statement = connection.createStatement()) {
      statement.execute("create temp table batch (id int, text text) on commit delete rows");
    }
  }

  /** Closes it. */
  @TearDown
  public void close() {
    pool.close();
  }

  /** Borrow, ask the least there is to ask, give back. */
  @Benchmark
  public int selectOne() throws SQLException {
    try (Connection connection = pool.getConnection();
        PreparedStatement statement = connection.prepareStatement("select 1");
        ResultSet row = statement.executeQuery()) {
      row.next();
      return row.getInt(1);
    }
  }

  /** Borrow, fetch a thousand rows of two columns, give back. */
  @Benchmark
  public void fetchThousandRows(Blackhole hole) throws SQLException {
    try (Connection connection = pool.getConnection();
        PreparedStatement statement =
            connection.prepareStatement("select n, 'row ' || n from generate_series(1, 1000) n");
        ResultSet row = statement.executeQuery()) {
      while (row.next()) {
        hole.consume(row.getInt(1));
        hole.consume(row.getString(2));
      }
    }
  }

  /** Borrow, insert a hundred rows in one batch, commit, give back. */
  @Benchmark
  public int[] insertHundredRows() throws SQLException {
    try (Connection connection = pool.getConnection();
        PreparedStatement statement =
            connection.prepareStatement("insert into batch values (?, ?)")) {
      connection.setAutoCommit(false);
      for (int i = 0; i < BATCH; i++) {
        statement.setInt(1, i);
        statement.setString(2, "text");
        statement.addBatch();
      }
      int[] counts = statement.executeBatch();
      connection.commit();
      connection.setAutoCommit(true);
      return counts;
    }
  }
}
