package io.github.repmgrjdbc.internal.topology;

import java.time.Duration;

/** Asks one address who it is, again and again. One thread asks; any thread may cut or wake. */
public interface Probe extends AutoCloseable {

  /**
   * Asks once, in the calling thread. Never throws: a failure is an observation too.
   *
   * @param question a number of its own, for {@link #cut}
   * @param readTable whether to read the node table again, or to repeat what it was last time
   */
  Observation ask(int question, boolean readTable);

  /**
   * Waits until the time has passed, the connection has ended, or somebody calls {@link #wake}. A
   * server that dies closes its connections: this is how that is noticed between two questions.
   *
   * @param question a number of its own, for {@link #cut}
   * @return whether the connection has ended
   */
  boolean listen(int question, Duration atMost);

  /** Ends a {@link #listen} soon. */
  void wake();

  /**
   * Ends a question, or a listening, that takes too long: it fails at once. Ignored if it has
   * ended.
   */
  void cut(int question, String reason);

  /** Closes the connection for good. */
  @Override
  void close();
}
