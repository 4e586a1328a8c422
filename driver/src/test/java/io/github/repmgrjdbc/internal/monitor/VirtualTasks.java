package io.github.repmgrjdbc.internal.monitor;

import java.time.Duration;
import java.util.Comparator;
import java.util.HashSet;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * {@link Tasks} on a virtual time line: time passes only in {@link #pass}, and everything that is
 * due happens in order, one thing at a time. Work has a thread of its own, so that a fake may block
 * in {@link #block}, which takes virtual time only.
 */
final class VirtualTasks implements Tasks {

  /** Something that happens at a time. */
  private record Entry(long at, long number, Runnable step) {}

  /** Work that runs while the test waits, and waits while the test runs. */
  private static final class Worker {
    final Semaphore mayRun = new Semaphore(0);
    final Semaphore hasPaused = new Semaphore(0);
    boolean blocked;
  }

  private static final ExecutorService WORKERS =
      Executors.newCachedThreadPool(
          task -> {
            Thread thread = new Thread(task, "virtual worker");
            thread.setDaemon(true);
            return thread;
          });

  private final PriorityQueue<Entry> entries =
      new PriorityQueue<>(Comparator.comparingLong(Entry::at).thenComparingLong(Entry::number));
  private final Set<Long> cancelled = new HashSet<>();
  // System.nanoTime() may start anywhere, and wrap.
  private final long epoch = Long.MAX_VALUE - Duration.ofSeconds(2).toNanos();
  boolean noThreads;
  private long elapsed;
  private long number;
  private @Nullable Worker running;

  @Override
  public long nanoTime() {
    return epoch + elapsed;
  }

  @Override
  public void step(Runnable step) {
    stepAfter(Duration.ZERO, step);
  }

  @Override
  public Runnable stepAfter(Duration delay, Runnable step) {
    long mine = number++;
    entries.add(new Entry(elapsed + delay.toNanos(), mine, step));
    return () -> cancelled.add(mine);
  }

  @Override
  public void work(Runnable work) {
    if (noThreads) {
      throw new OutOfMemoryError("unable to create native thread");
    }
    Worker worker = new Worker();
    WORKERS.execute(
        () -> {
          worker.mayRun.acquireUninterruptibly();
          try {
            work.run();
          } finally {
            worker.hasPaused.release();
          }
        });
    step(() -> resume(worker));
  }

  private void resume(Worker worker) {
    running = worker;
    worker.mayRun.release();
    worker.hasPaused.acquireUninterruptibly();
    running = null;
  }

  /**
   * Blocks the work that calls this, until the time has passed or the result of {@code wakers} is
   * run.
   */
  void block(Duration atMost, Consumer<Runnable> wakers) {
    Worker self = running;
    if (self == null) {
      throw new IllegalStateException("only work may block");
    }
    self.blocked = true;
    Runnable wake =
        () -> {
          if (self.blocked) {
            self.blocked = false;
            resume(self);
          }
        };
    stepAfter(atMost, wake);
    wakers.accept(() -> step(wake));
    self.hasPaused.release();
    self.mayRun.acquireUninterruptibly();
  }

  /** How much is planned and not cancelled. */
  int pending() {
    return entries.size() - cancelled.size();
  }

  /** Lets time pass, and whatever is due until then happen. */
  void pass(Duration duration) {
    long end = elapsed + duration.toNanos();
    while (!entries.isEmpty() && entries.peek().at() <= end) {
      Entry entry = entries.remove();
      elapsed = entry.at();
      if (!cancelled.remove(entry.number())) {
        entry.step().run();
      }
    }
    elapsed = end;
  }
}
