package io.github.repmgrjdbc;

import static org.awaitility.Awaitility.await;

import java.sql.Connection;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;

/** Callers that wait for a connection. */
final class Waiting {

  private Waiting() {}

  /** Has a thread of its own ask for a connection, and returns when that waits, or has ended. */
  static FutureTask<Connection> startCall(Callable<Connection> getConnection) {
    FutureTask<Connection> call = new FutureTask<>(getConnection);
    Thread thread = new Thread(call, "waiting");
    thread.setDaemon(true);
    thread.start();
    await()
        .atMost(Duration.ofSeconds(5))
        .until(() -> call.isDone() || thread.getState() == Thread.State.TIMED_WAITING);
    return call;
  }
}
