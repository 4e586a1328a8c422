package io.github.repmgrjdbc.it;

import com.zaxxer.hikari.HikariConfig;
import io.github.repmgrjdbc.RepmgrConfig;
import io.github.repmgrjdbc.RepmgrDataSource;
import java.time.Duration;

/** The three ways in which an application tells HikariCP about the cluster. */
enum PoolKind {
  /** A URL: the driver is found by {@code ServiceLoader}. */
  JDBC_URL {
    @Override
    void configure(HikariConfig pool, String url) {
      pool.setJdbcUrl(url);
    }
  },
  /** A class name and bean properties, as from a properties file. */
  DATA_SOURCE_CLASS_NAME {
    @Override
    void configure(HikariConfig pool, String url) {
      pool.setDataSourceClassName("io.github.repmgrjdbc.RepmgrDataSource");
      pool.addDataSourceProperty("url", url);
      pool.addDataSourceProperty("huntInterval", "25ms");
    }
  },
  /** An object that the application has made. */
  DATA_SOURCE {
    @Override
    void configure(HikariConfig pool, String url) {
      pool.setDataSource(
          new RepmgrDataSource(
              RepmgrConfig.builder().url(url).failoverTimeout(Duration.ofSeconds(90)).build()));
    }
  };

  static final int POOL_SIZE = 5;

  abstract void configure(HikariConfig pool, String url);

  /** A pool that keeps to HikariCP's defaults, but for its size. */
  HikariConfig config(String url) {
    HikariConfig pool = new HikariConfig();
    pool.setPoolName(name());
    pool.setMaximumPoolSize(POOL_SIZE);
    configure(pool, url);
    return pool;
  }
}
