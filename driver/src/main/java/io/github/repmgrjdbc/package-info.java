/**
 * A JDBC {@link javax.sql.DataSource} and {@link java.sql.Driver} for PostgreSQL clusters run by
 * repmgr.
 *
 * <p>Start at {@link io.github.repmgrjdbc.RepmgrDataSource}, or give a pool the URL {@code
 * jdbc:repmgr://host1,host2/database} and the driver class {@link
 * io.github.repmgrjdbc.RepmgrDriver}.
 */
@NullMarked
package io.github.repmgrjdbc;

import org.jspecify.annotations.NullMarked;
