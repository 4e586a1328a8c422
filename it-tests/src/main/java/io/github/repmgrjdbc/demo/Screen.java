package io.github.repmgrjdbc.demo;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.util.Locale;

/**
 * Where the demo is watched. Times are seconds since the screen was made. Safe for use by several
 * threads; once closed, it shows nothing more.
 */
interface Screen extends AutoCloseable {

  /** Says that something has happened. */
  void event(String text);

  /** Shows how things are. Called several times a second. */
  void show(Status status);

  @Override
  void close();

  /**
   * A picture that moves if standard output is a terminal, plain lines if not. Java cannot say
   * which ({@code System.console()} means another thing in each version), so who starts it does, by
   * the system property {@code demo.terminal}.
   */
  static Screen create() {
    if (!Boolean.getBoolean("demo.terminal")) {
      return new PlainScreen(System.out);
    }
    // Java 17 writes System.out in the terminal's own encoding, and '?' for what that has not.
    Charset charset = Charset.forName(System.getProperty("native.encoding", "US-ASCII"));
    boolean unicode = charset.name().toUpperCase(Locale.ROOT).startsWith("UTF");
    boolean colours = System.getenv().getOrDefault("NO_COLOR", "").isEmpty();
    return new TerminalScreen(
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, charset),
        unicode,
        colours);
  }
}
