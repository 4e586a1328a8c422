package io.github.repmgrjdbc.it;

import com.zaxxer.hikari.HikariDataSource;
import io.github.repmgrjdbc.RepmgrDataSource;
import io.github.repmgrjdbc.testing.Writers;
import java.sql.SQLException;
import javax.sql.DataSource;

/** A pool of one kind, and threads that write through it. */
final class Application implements AutoCloseable {

  private final PoolKind kind;
  private final HikariDataSource pool;
  private final Writers writers;

  Application(PoolKind kind, String url) throws SQLException {
    this(kind, url, kind.name());
  }

  /**
   * One of several on the same table, or one after the other: each has its own name for its rows.
   */
  Application(PoolKind kind, String url, String run) throws SQLException {
    this.kind = kind;
    pool = new HikariDataSource(kind.config(url));
    try {
      writers = Writers.start(run, pool, PoolKind.POOL_SIZE);
    } catch (SQLException | RuntimeException e) {
      pool.close();
      throw e;
    }
  }

  PoolKind kind() {
    return kind;
  }

  HikariDataSource pool() {
    return pool;
  }

  Writers writers() {
    return writers;
  }

  /**
   * Ends the threads and the pool. HikariCP closes no data source: the one that it was given is
   * closed here, the one that it made by class name ends when it is garbage.
   */
  @Override
  public void close() {
    DataSource given = pool.getDataSource();
    try (pool) {
      writers.close();
    }
    if (given instanceof RepmgrDataSource dataSource) {
      dataSource.close();
    }
  }
}
