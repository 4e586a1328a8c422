package io.github.repmgrjdbc.internal;

import io.github.repmgrjdbc.RepmgrConfig;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * As whom the probes log in: as configured, until a caller comes with a newer password for the same
 * user. Safe for use by several threads.
 */
final class ProbeLogin {

  private volatile Login current;

  /** The password of theirs with which somebody was let in last, or null if none is of use. */
  private volatile @Nullable Login proved;

  /** How many changes nobody has acted upon yet. */
  private final AtomicInteger changes = new AtomicInteger();

  ProbeLogin(Login configured) {
    current = configured;
  }

  Login current() {
    return current;
  }

  /** What a caller has for the probes: its own login where they use the same, or what it set. */
  Login offeredBy(RepmgrConfig asked, Login login) {
    boolean same = asked.repmgrPassword() == null && Objects.equals(login.user(), current.user());
    return same ? login : Login.ofProbes(asked);
  }

  /** Somebody was let in with it. */
  void prove(Login login) {
    if (login.password() != null) {
      proved = login;
    }
  }

  /**
   * What was proved last, or null. Once for each proof: a node that refuses everybody must not have
   * it tried for ever.
   */
  @Nullable Login takeProved() {
    Login right = proved;
    proved = null;
    return right;
  }

  /** Changes it; says whether that makes a difference. Then {@link #changeIsDone} has to follow. */
  boolean change(Login login) {
    if (login.equals(current)) {
      return false;
    }
    changes.incrementAndGet();
    current = login;
    return true;
  }

  /** What the nodes answer from now on, they answer to the login as it is. */
  void changeIsDone() {
    changes.decrementAndGet();
  }

  /** Whether what the nodes have answered may be to an earlier login. */
  boolean isChanging() {
    return changes.get() > 0;
  }
}
