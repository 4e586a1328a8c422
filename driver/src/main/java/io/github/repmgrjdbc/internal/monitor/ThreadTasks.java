package io.github.repmgrjdbc.internal.monitor;

import java.time.Duration;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The real {@link Tasks}: one thread for the steps, as many as needed for the work; all daemons.
 */
public final class ThreadTasks implements Tasks, AutoCloseable {

  private static final Logger LOG = LoggerFactory.getLogger(ThreadTasks.class);
  private static final Duration IDLE = Duration.ofSeconds(10);

  private final ScheduledThreadPoolExecutor steps;
  private final ThreadPoolExecutor workers;

  /**
   * Starts no thread yet.
   *
   * @param name what the threads' names begin with
   */
  public ThreadTasks(String name) {
    // What comes after the end is dropped: nobody is left whom it could concern.
    steps =
        new ScheduledThreadPoolExecutor(
            1, threads(name + " monitor"), new ThreadPoolExecutor.DiscardPolicy());
    steps.setRemoveOnCancelPolicy(true);
    workers =
        new ThreadPoolExecutor(
            0,
            Integer.MAX_VALUE,
            IDLE.toMillis(),
            TimeUnit.MILLISECONDS,
            new SynchronousQueue<>(),
            threads(name + " worker"),
            new ThreadPoolExecutor.DiscardPolicy());
  }

  @Override
  public long nanoTime() {
    return System.nanoTime();
  }

  @Override
  public void step(Runnable step) {
    steps.execute(logged(step));
  }

  @Override
  public Runnable stepAfter(Duration delay, Runnable step) {
    Future<?> future = steps.schedule(logged(step), delay.toNanos(), TimeUnit.NANOSECONDS);
    return () -> future.cancel(false);
  }

  @Override
  public void work(Runnable work) {
    workers.execute(logged(work));
  }

  /** Ends the threads; work that is blocked must be freed by whoever gave it. */
  @Override
  public void close() {
    steps.shutdownNow();
    workers.shutdownNow();
  }

  /** Waits until the threads have ended. */
  public void awaitEnd(Duration atMost) throws InterruptedException {
    long end = System.nanoTime() + atMost.toNanos();
    if (steps.awaitTermination(atMost.toNanos(), TimeUnit.NANOSECONDS)) {
      workers.awaitTermination(end - System.nanoTime(), TimeUnit.NANOSECONDS);
    }
  }

  private static Runnable logged(Runnable task) {
    return () -> {
      try {
        task.run();
      } catch (RuntimeException | Error e) {
        LOG.error("A task of the repmgr-jdbc monitor failed; this is a bug", e);
        throw e;
      }
    };
  }

  /**
   * Makes daemons that keep nothing of whoever happened to be the first to need one: an
   * application's class loader must not live on in the driver's threads.
   *
   * @param name what the threads' names begin with
   */
  public static ThreadFactory threads(String name) {
    AtomicInteger number = new AtomicInteger();
    return task -> {
      Thread thread = new Thread(null, task, name + " " + number.incrementAndGet(), 0, false);
      thread.setDaemon(true);
      thread.setContextClassLoader(ThreadTasks.class.getClassLoader());
      return thread;
    };
  }
}
