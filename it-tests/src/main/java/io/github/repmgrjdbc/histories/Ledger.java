package io.github.repmgrjdbc.histories;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * What is in the database.
 *
 * @param accounts how many there must be
 * @param items what was appended to lists
 * @param transfers what was noted of transfers, by id
 * @param balances by account
 */
record Ledger(
    int accounts, Set<Long> items, Map<Long, Transfer> transfers, Map<Integer, Long> balances) {

  /** What every account has at first. */
  static final long OPENING_BALANCE = 1_000;

  /** Money went from one account to the other. */
  record Transfer(int source, int target, int amount) {}

  private static final String TABLES =
      """
      CREATE TABLE public.list_item (id bigint PRIMARY KEY, list int NOT NULL);
      CREATE TABLE public.transfer (
        id bigint PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount int NOT NULL);
      CREATE TABLE public.account (id int PRIMARY KEY, balance bigint NOT NULL);
      INSERT INTO public.account SELECT id, %d FROM generate_series(0, %d) AS id;
      GRANT ALL ON public.list_item, public.transfer, public.account TO %s;
      """;

  /** Makes the tables, with that many accounts. */
  static void create(Connection connection, int accounts, String user) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(TABLES.formatted(OPENING_BALANCE, accounts - 1, user));
    }
  }

  /** All of it as it was at one moment. */
  static Ledger read(Connection connection, int accounts) throws SQLException {
    connection.setAutoCommit(false);
    connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    Set<Long> items = new HashSet<>();
    Map<Long, Transfer> transfers = new TreeMap<>();
    Map<Integer, Long> balances = new TreeMap<>();
    try (Statement statement = connection.createStatement()) {
      try (ResultSet row = statement.executeQuery("SELECT id FROM public.list_item")) {
        while (row.next()) {
          items.add(row.getLong(1));
        }
      }
      try (ResultSet row =
          statement.executeQuery("SELECT id, source, target, amount FROM public.transfer")) {
        while (row.next()) {
          transfers.put(row.getLong(1), new Transfer(row.getInt(2), row.getInt(3), row.getInt(4)));
        }
      }
      try (ResultSet row = statement.executeQuery("SELECT id, balance FROM public.account")) {
        while (row.next()) {
          balances.put(row.getInt(1), row.getLong(2));
        }
      }
    }
    return new Ledger(accounts, items, transfers, balances);
  }
}
