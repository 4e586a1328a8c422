package io.github.repmgrjdbc;

import java.util.Locale;

/** Which kind of node a connection is for: the URL parameter {@code targetServerType}. */
public enum TargetServerType {
  /** The active primary, verified on the connection itself. */
  PRIMARY("primary");

  private final String value;

  TargetServerType(String value) {
    this.value = value;
  }

  /** The word that stands in a URL. */
  public String value() {
    return value;
  }

  /**
   * Reads the word that stands in a URL, in any case.
   *
   * @throws IllegalArgumentException if it is none of the allowed ones; the message lists them
   */
  public static TargetServerType of(String value) {
    String wanted = value.strip().toLowerCase(Locale.ROOT);
    for (TargetServerType type : values()) {
      if (type.value.equals(wanted)) {
        return type;
      }
    }
    String planned =
        switch (wanted) {
          case "secondary", "prefersecondary", "any" -> " (a read target: not supported yet)";
          default -> "";
        };
    throw new IllegalArgumentException("'" + value + "'" + planned + "; allowed is primary");
  }
}
