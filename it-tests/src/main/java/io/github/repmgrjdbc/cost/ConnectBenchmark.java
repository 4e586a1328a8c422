package io.github.repmgrjdbc.cost;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
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
import org.openjdk.jmh.annotations.Warmup;

/** Opens and closes a physical connection to the primary. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 2) // some 300 a second: the code is slow to warm up
@Measurement(iterations = 5, time = 1)
public class ConnectBenchmark {

  /** Without a password, and with a network in between. */
  static final String FAR = "trust, 2 ms away";

  /** The system property {@code cost.url.SECURITY.NAME} has the URL. */
  @Param({"pgjdbc", "repmgr-jdbc", "pgjdbc-multi-host"})
  String driver = "";

  /** How a login is proved and protected. */
  @Param({"trust", FAR, "scram", "tls"})
  String security = "";

  private String url = "";

  /** Takes the URL. */
  @Setup
  public void prepare() throws SQLException {
    url = System.getProperty("cost.url." + security + "." + driver);
    // The driver keeps watching a cluster while it is in use: so it is in an application.
    connect();
  }

  /** Opens one and closes it. */
  @Benchmark
  public boolean connect() throws SQLException {
    try (Connection connection = DriverManager.getConnection(url)) {
      return connection.getAutoCommit();
    }
  }
}
