package io.github.repmgrjdbc.histories;

import org.jspecify.annotations.Nullable;

/**
 * One thing that a client tried, and what it was told. Times are {@link System#nanoTime()}'s.
 *
 * @param id what it left in the database, if it did; no other operation has it
 * @param group whose client it was
 * @param ordered when the commit was asked for; when it failed, if it did not come to that
 * @param ended when the answer was there
 * @param server the address of the server that it was done on, or "" if that is not known
 * @param timeline that server's, or 0
 * @param inView the timeline that was in the client's view when it asked for the commit, and had
 *     been for a while; 0 where a driver has no view
 * @param error the SQLSTATE, or "" if there was none
 */
record Operation(
    long id,
    String group,
    Kind kind,
    long ordered,
    long ended,
    Outcome outcome,
    String server,
    int timeline,
    int inView,
    String error) {

  enum Kind {
    /** One statement: something is appended to a list. */
    APPEND,

    /** Three statements: money goes from one account to another, and that is noted. */
    TRANSFER
  }

  enum Outcome {
    ACKNOWLEDGED,

    /** Nothing of it is in the database, nor ever will be. */
    FAILED,

    /** The same; the reason is said to have nothing to do with the connection. */
    REJECTED,

    UNKNOWN
  }

  static Operation of(long id, String group, Kind kind, Outcome outcome, Told told) {
    return new Operation(
        id,
        group,
        kind,
        told.ordered,
        told.ended == 0 ? System.nanoTime() : told.ended,
        outcome,
        told.server,
        told.timeline,
        told.inView,
        told.error);
  }

  /** What is known of an operation so far; of one thread. */
  static final class Told {
    long ordered = System.nanoTime();
    long ended;
    boolean committing;
    String server = "";
    int timeline;
    int inView;
    String error = "";

    void failed(@Nullable String sqlState) {
      error = sqlState == null ? "none" : sqlState;
    }
  }
}
