package io.github.repmgrjdbc;

import java.sql.SQLTransientConnectionException;
import org.jspecify.annotations.Nullable;

/**
 * No node could be given in time. SQLSTATE {@value #SQL_STATE}; the message names every node, its
 * address and what it answered.
 */
public class NoSuitableNodeException extends SQLTransientConnectionException {

  /** "Client unable to establish connection", as pgJDBC has it. */
  public static final String SQL_STATE = "08001";

  private static final long serialVersionUID = 1L;

  private final transient ClusterView view;

  /**
   * Makes the exception.
   *
   * @param message what was waited for, how long, and what each node answered
   * @param view the view when it was given up
   * @param cause the last failure to connect, if there was one
   */
  public NoSuitableNodeException(String message, ClusterView view, @Nullable Throwable cause) {
    super(message, SQL_STATE, cause);
    this.view = view;
  }

  /** The view when it was given up; null after deserialization. */
  public @Nullable ClusterView view() {
    return view;
  }
}
