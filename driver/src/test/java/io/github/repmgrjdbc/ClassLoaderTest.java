package io.github.repmgrjdbc;

import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;

import java.io.File;
import java.lang.ref.WeakReference;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.sql.Connection;
import java.sql.Driver;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.function.Function;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The driver in a web application, which has a class loader of its own and ends before the JVM. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ClassLoaderTest {

  /** pgJDBC's own thread, which ends by itself 30 s after its last use unless this says less. */
  private static final String CLEANER_TTL = "pgjdbc.config.cleanup.thread.ttl";

  private final FakeServer server = new FakeServer(1);

  @BeforeAll
  static void hurryPgJdbc() {
    System.setProperty(CLEANER_TTL, "100");
  }

  @AfterAll
  static void letPgJdbcBe() {
    System.clearProperty(CLEANER_TTL);
  }

  @AfterEach
  void closeServer() {
    server.close();
  }

  /** What an application does with the driver; its own copy of this class is in its loader. */
  public static final class Application implements Function<String, String> {

    @Override
    public String apply(String url) {
      try {
        // Pools load the class that they are told.
        new RepmgrDriver();
        try (Connection connection = DriverManager.getConnection(url)) {
          connection.isValid(1);
        }
        try (RepmgrDataSource dataSource = new RepmgrDataSource()) {
          dataSource.setUrl(url);
          dataSource.getConnection().close();
        }
        // As servlet containers do for those who forget.
        for (Driver driver : Collections.list(DriverManager.getDrivers())) {
          DriverManager.deregisterDriver(driver);
        }
        return "done";
      } catch (SQLException e) {
        return e.toString();
      }
    }
  }

  @Test
  void aRedeployedApplicationLeavesNoClassLoaderBehind() throws Exception {
    FakeServer.introduce(1, server);

    WeakReference<ClassLoader> application =
        deploy(new URLClassLoader(classPath(path -> true), platform()));
    useAnotherRecord();

    await()
        .atMost(Duration.ofSeconds(20))
        .until(
            () -> {
              System.gc();
              return application.refersTo(null);
            });
    await().atMost(Duration.ofSeconds(5)).until(() -> server.connections() == 0);
  }

  /** Whose methods nobody has linked yet. */
  private record Another(HostAndPort address) {}

  /**
   * Until JDK 19, the record whose methods were linked last is kept from being collected, class
   * loader included (JDK-8078641); the next application's records take its place.
   */
  private static void useAnotherRecord() {
    Another another = new Another(HostAndPort.parse("pg1"));
    assertEquals(another, new Another(HostAndPort.parse("pg1")));
    assertEquals(another.hashCode(), new Another(HostAndPort.parse("pg1")).hashCode());
    assertEquals("Another[address=pg1:5432]", another.toString());
  }

  /** As in a servlet container that has it for all applications. */
  @Test
  void pgJdbcMayBeInAParentClassLoader() throws Exception {
    FakeServer.introduce(1, server);
    Predicate<String> isPgJdbc = path -> path.contains("postgresql-");

    try (URLClassLoader container = new URLClassLoader(classPath(isPgJdbc), platform())) {
      deploy(new URLClassLoader(classPath(isPgJdbc.negate()), container));
    }
  }

  /** Runs the application once; the thread's context class loader is not the application's. */
  private WeakReference<ClassLoader> deploy(URLClassLoader loader) throws Exception {
    try (loader) {
      Class<?> type = loader.loadClass(Application.class.getName());
      assertNotSame(Application.class, type);
      @SuppressWarnings("unchecked")
      Function<String, String> application =
          (Function<String, String>) type.getConstructor().newInstance();
      assertEquals(
          "done", application.apply("jdbc:repmgr://" + server.address() + "/app?user=app"));
    }
    return new WeakReference<>(loader);
  }

  private static ClassLoader platform() {
    return ClassLoader.getPlatformClassLoader();
  }

  private static URL[] classPath(Predicate<String> wanted) {
    List<String> paths =
        Arrays.asList(System.getProperty("java.class.path").split(File.pathSeparator));
    return paths.stream().filter(wanted).map(ClassLoaderTest::toUrl).toArray(URL[]::new);
  }

  private static URL toUrl(String path) {
    try {
      return new File(path).toURI().toURL();
    } catch (MalformedURLException e) {
      throw new IllegalArgumentException(path, e);
    }
  }
}
