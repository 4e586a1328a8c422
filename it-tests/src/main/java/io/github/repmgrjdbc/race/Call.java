package io.github.repmgrjdbc.race;

import org.jspecify.annotations.Nullable;

/**
 * What one thread of a contender did: borrowed a connection, inserted a row, gave it back. Times
 * are {@link System#nanoTime()}'s, which on Linux all processes of a machine share.
 *
 * @param end when it returned; when the record was made, if it had not
 * @param server the address of the server that took the row, or null
 * @param failure the SQLSTATE of what was thrown, or null; both null: it had not returned
 */
record Call(int thread, long start, long end, @Nullable String server, @Nullable String failure) {

  private static final String NONE = "-";

  String toLine() {
    return "%d %d %d %s %s"
        .formatted(
            thread, start, end, server == null ? NONE : server, failure == null ? NONE : failure);
  }

  static Call ofLine(String line) {
    String[] words = line.split(" ", -1);
    return new Call(
        Integer.parseInt(words[0]),
        Long.parseLong(words[1]),
        Long.parseLong(words[2]),
        words[3].equals(NONE) ? null : words[3],
        words[4].equals(NONE) ? null : words[4]);
  }
}
