package io.github.repmgrjdbc.internal.wire;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import javax.net.SocketFactory;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * The socket factory that pgJDBC is told to use, by class name. It leads from there back to the
 * {@link Dial} that the connection belongs to: pgJDBC makes one factory for each connection and
 * keeps it for the connection's cancel requests.
 *
 * <p>The map of tokens is static since pgJDBC gives a factory nothing but a text. An entry lives
 * only while pgJDBC opens its connection.
 */
public final class DialSocketFactory extends SocketFactory {

  private static final Map<String, Dial> DIALS = new ConcurrentHashMap<>();

  private static final AtomicLong NUMBER = new AtomicLong();

  private final Dial dial;

  /**
   * Called by pgJDBC, which looks for a constructor like this one first.
   *
   * @param properties the connection's; as its argument the factory has what {@link #announce} gave
   */
  public DialSocketFactory(Properties properties) {
    Dial announced = DIALS.get(properties.getProperty(PGProperty.SOCKET_FACTORY_ARG.getName(), ""));
    if (announced == null) {
      throw new IllegalStateException("No connection is being opened under this token");
    }
    this.dial = announced;
  }

  static String announce(Dial dial) {
    String token = Long.toString(NUMBER.incrementAndGet());
    DIALS.put(token, dial);
    return token;
  }

  static void withdraw(String token) {
    DIALS.remove(token);
  }

  @Override
  public Socket createSocket() throws IOException {
    return dial.createSocket();
  }

  @Override
  public Socket createSocket(String host, int port) {
    throw notUsed();
  }

  @Override
  public Socket createSocket(
      String host, int port, @Nullable InetAddress localHost, int localPort) {
    throw notUsed();
  }

  @Override
  public Socket createSocket(InetAddress host, int port) {
    throw notUsed();
  }

  @Override
  public Socket createSocket(
      InetAddress address, int port, @Nullable InetAddress localAddress, int localPort) {
    throw notUsed();
  }

  private static UnsupportedOperationException notUsed() {
    return new UnsupportedOperationException("pgJDBC asks for sockets that are not connected");
  }
}
