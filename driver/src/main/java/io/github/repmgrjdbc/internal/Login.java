package io.github.repmgrjdbc.internal;

import io.github.repmgrjdbc.RepmgrConfig;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * Who connects. Text for people leaves the password out.
 *
 * @param user null for pgJDBC's default, the operating system's user
 * @param password null for none
 */
record Login(@Nullable String user, @Nullable String password) {

  /** As whom this configuration has the node table read. */
  static Login ofProbes(RepmgrConfig config) {
    return new Login(
        config.repmgrUser() != null ? config.repmgrUser() : config.user(),
        config.repmgrPassword() != null ? config.repmgrPassword() : config.password());
  }

  void putInto(Map<String, String> parameters) {
    if (user != null) {
      parameters.put(PGProperty.USER.getName(), user);
    }
    if (password != null) {
      parameters.put(PGProperty.PASSWORD.getName(), password);
    }
  }

  @Override
  public String toString() {
    return user == null ? "the operating system's user" : "user " + user;
  }
}
