package io.github.repmgrjdbc;

import io.github.repmgrjdbc.internal.wire.AllowedHosts;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * How to reach a cluster and how to treat it: everything that a URL, a pool's properties, bean
 * setters or the {@linkplain #builder() builder} can say, read by one parser. Immutable.
 *
 * <p>Two configurations that differ in passwords at most mean the same cluster in the same way; the
 * driver shares one monitor between them. {@link #toString()} leaves passwords out.
 *
 * @param hosts where to start asking: at least one, in the order given
 * @param database the database that connections are for
 * @param user the connection's user, or null if each {@code getConnection} names one
 * @param password the connection's password, or null
 * @param targetServerType which kind of node connections are for; default {@code primary}
 * @param repmgrDatabase where {@code repmgr.nodes} is; default {@code repmgr}
 * @param repmgrUser who reads it, or null for the connection's user
 * @param repmgrPassword that user's password, or null for the connection's
 * @param addressMap node name or conninfo host to the address to dial; default empty
 * @param allowedHosts where connections may go, the configured hosts apart: names, addresses, CIDR
 *     ranges; default {@code ""}, anywhere
 * @param failoverTimeout how long {@code getConnection} waits for a primary; default 60 s
 * @param steadyInterval time between two probes of a node while all is well; default 1 s
 * @param huntInterval the same while the primary is in doubt; default 20 ms
 * @param probeTimeout a probe's deadline, connect included; default 2 s
 * @param primaryPolicy what it takes to be served as the primary; default {@code latest}
 * @param loginTimeout pgJDBC's parameter of that name, here the deadline of all that {@code
 *     getConnection} does; zero means none; default zero
 * @param addressTranslator asked before the address map, or null; builder only
 * @param driverProperties pgJDBC's own parameters, passed to it unchanged
 */
public record RepmgrConfig(
    List<HostAndPort> hosts,
    String database,
    @Nullable String user,
    @Nullable String password,
    TargetServerType targetServerType,
    String repmgrDatabase,
    @Nullable String repmgrUser,
    @Nullable String repmgrPassword,
    Map<String, HostAndPort> addressMap,
    String allowedHosts,
    Duration failoverTimeout,
    Duration steadyInterval,
    Duration huntInterval,
    Duration probeTimeout,
    PrimaryPolicy primaryPolicy,
    Duration loginTimeout,
    @Nullable AddressTranslator addressTranslator,
    Map<String, String> driverProperties) {

  /** What every URL of this driver starts with. */
  public static final String URL_PREFIX = "jdbc:repmgr:";

  static final String USER = "user";
  static final String PASSWORD = "password";
  static final String TARGET_SERVER_TYPE = "targetServerType";
  static final String REPMGR_DATABASE = "repmgrDatabase";
  static final String REPMGR_USER = "repmgrUser";
  static final String REPMGR_PASSWORD = "repmgrPassword";
  static final String ADDRESS_MAP = "addressMap";
  static final String ALLOWED_HOSTS = "allowedHosts";
  static final String FAILOVER_TIMEOUT = "failoverTimeout";
  static final String STEADY_INTERVAL = "steadyInterval";
  static final String HUNT_INTERVAL = "huntInterval";
  static final String PROBE_TIMEOUT = "probeTimeout";
  static final String PRIMARY_POLICY = "primaryPolicy";
  static final String LOGIN_TIMEOUT = "loginTimeout";

  /** Our parameters with their defaults; null where there is none. */
  static final Map<String, @Nullable String> OWN_PARAMETERS = ownParameters();

  /** What pgJDBC would do with several hosts and what we do instead; nothing to set there. */
  private static final List<String> TAKEN_OVER =
      List.of("loadBalanceHosts", "hostRecheckSeconds", "PGHOST", "PGPORT", "PGDBNAME", "service");

  private static final Pattern DURATION = Pattern.compile("([0-9]{1,10})(ms|s|min|h)");

  /** Copies what is mutable. */
  public RepmgrConfig {
    hosts = List.copyOf(hosts);
    addressMap = Map.copyOf(addressMap);
    driverProperties = Map.copyOf(driverProperties);
  }

  private static Map<String, @Nullable String> ownParameters() {
    Map<String, @Nullable String> own = new LinkedHashMap<>();
    own.put(TARGET_SERVER_TYPE, "primary");
    own.put(REPMGR_DATABASE, "repmgr");
    own.put(REPMGR_USER, null);
    own.put(REPMGR_PASSWORD, null);
    own.put(ADDRESS_MAP, null);
    own.put(ALLOWED_HOSTS, null);
    own.put(FAILOVER_TIMEOUT, "60s");
    own.put(STEADY_INTERVAL, "1s");
    own.put(HUNT_INTERVAL, "20ms");
    own.put(PROBE_TIMEOUT, "2s");
    own.put(PRIMARY_POLICY, "latest");
    return own;
  }

  /**
   * Reads a URL and the properties that came with it. As with pgJDBC, the URL wins over them.
   *
   * @throws IllegalArgumentException if anything in them is not as it must be; the message says
   *     what, where, and what is allowed, and has no password in it
   */
  public static RepmgrConfig parse(String url, Properties properties) {
    return builder().properties(properties).url(url).build();
  }

  /** Starts with nothing set. */
  public static Builder builder() {
    return new Builder();
  }

  /** This configuration for another user: who connects, and who probes where nobody is named. */
  public RepmgrConfig withCredentials(@Nullable String newUser, @Nullable String newPassword) {
    return with(newUser, newPassword, repmgrUser, repmgrPassword);
  }

  /** This configuration with somebody else to read {@code repmgr.nodes}. */
  public RepmgrConfig withRepmgrCredentials(
      @Nullable String newUser, @Nullable String newPassword) {
    return with(user, password, newUser, newPassword);
  }

  private RepmgrConfig with(
      @Nullable String newUser,
      @Nullable String newPassword,
      @Nullable String newRepmgrUser,
      @Nullable String newRepmgrPassword) {
    return new RepmgrConfig(
        hosts,
        database,
        newUser,
        newPassword,
        targetServerType,
        repmgrDatabase,
        newRepmgrUser,
        newRepmgrPassword,
        addressMap,
        allowedHosts,
        failoverTimeout,
        steadyInterval,
        huntInterval,
        probeTimeout,
        primaryPolicy,
        loginTimeout,
        addressTranslator,
        driverProperties);
  }

  /** The configuration as a URL, without users, passwords and pgJDBC's parameters. */
  @Override
  public String toString() {
    return URL_PREFIX
        + "//"
        + hosts.stream().map(HostAndPort::toString).collect(Collectors.joining(","))
        + "/"
        + database;
  }

  /** Collects parameters by name, as text, and reads them all at once in {@link #build()}. */
  public static final class Builder {

    /** A parameter's text and where it stood, for the error that it may deserve. */
    private record Setting(String value, String where) {}

    private final Map<String, Setting> settings = new TreeMap<>();
    private @Nullable String hosts;
    private @Nullable String database;
    private @Nullable AddressTranslator addressTranslator;

    private Builder() {}

    /**
     * Takes hosts, database and parameters from a URL: {@code
     * jdbc:repmgr://host[:port][,host[:port]...]/database[?name=value&...]}, percent-encoded where
     * needed.
     *
     * @throws IllegalArgumentException if it does not have that form
     */
    public Builder url(@Nullable String url) {
      // The URL itself never goes into a message: it may hold a password.
      String form =
          "; the form is jdbc:repmgr://host[:port][,host[:port]...]/database[?name=value]";
      if (url == null || !url.startsWith(URL_PREFIX + "//")) {
        throw new IllegalArgumentException(
            "The URL "
                + (url == null ? "is null" : "does not start with " + URL_PREFIX + "//")
                + form);
      }
      int query = url.indexOf('?');
      String path = url.substring(URL_PREFIX.length() + 2, query < 0 ? url.length() : query);
      int slash = path.indexOf('/');
      String authority = slash < 0 ? path : path.substring(0, slash);
      if (path.indexOf('@') >= 0) {
        throw new IllegalArgumentException(
            "The URL has an '@' before its parameters; give the user as ?user=...&password=... (an '@' in a database's name is %40)"
                + form);
      }
      if (authority.isEmpty()) {
        throw new IllegalArgumentException("The URL names no host" + form);
      }
      if (slash < 0 || slash + 1 == path.length()) {
        throw new IllegalArgumentException("The URL names no database" + form);
      }
      hosts(authority);
      database(decode(path.substring(slash + 1), "The URL's database"));
      if (query >= 0) {
        int number = 0;
        for (String parameter : url.substring(query + 1).split("&", -1)) {
          number++;
          if (parameter.isEmpty()) {
            continue;
          }
          int equals = parameter.indexOf('=');
          if (equals < 1) {
            throw new IllegalArgumentException(
                "The URL's parameter number " + number + " is not name=value" + form);
          }
          String name = parameter.substring(0, equals);
          set(
              name,
              decode(parameter.substring(equals + 1), "The URL's parameter number " + number),
              "in the URL");
        }
      }
      return this;
    }

    /** Takes every parameter of these properties, nested defaults included. */
    public Builder properties(Properties properties) {
      properties.forEach(
          (name, value) -> {
            if (!(value instanceof String)) {
              throw new IllegalArgumentException(
                  name
                      + " in the properties: is a "
                      + value.getClass().getName()
                      + ", not a String");
            }
          });
      for (String name : properties.stringPropertyNames()) {
        String value = properties.getProperty(name);
        if (value != null) {
          set(name, value, "in the properties");
        }
      }
      return this;
    }

    /**
     * Sets a parameter, ours or pgJDBC's, by the name that it has in a URL; null: as if never set.
     */
    public Builder property(String name, @Nullable String value) {
      if (value == null) {
        settings.remove(name);
        return this;
      }
      return set(name, value, "as set");
    }

    /** Sets where to start asking: {@code host[:port]}, separated by commas. */
    public Builder hosts(String hosts) {
      this.hosts = hosts;
      return this;
    }

    /** Sets the database that connections are for. */
    public Builder database(String database) {
      this.database = database;
      return this;
    }

    /** Sets the connection's user. */
    public Builder user(String user) {
      return property(USER, user);
    }

    /** Sets the connection's password. */
    public Builder password(String password) {
      return property(PASSWORD, password);
    }

    /** Sets how long {@code getConnection} waits for a primary; at least 1 ms. */
    public Builder failoverTimeout(Duration timeout) {
      return property(FAILOVER_TIMEOUT, timeout.toMillis() + "ms");
    }

    /** Sets the time between two probes of a node while all is well; at least 1 ms. */
    public Builder steadyInterval(Duration interval) {
      return property(STEADY_INTERVAL, interval.toMillis() + "ms");
    }

    /** Sets the time between two probes of a node while the primary is in doubt; at least 1 ms. */
    public Builder huntInterval(Duration interval) {
      return property(HUNT_INTERVAL, interval.toMillis() + "ms");
    }

    /** Sets a probe's deadline; at least 1 ms. */
    public Builder probeTimeout(Duration timeout) {
      return property(PROBE_TIMEOUT, timeout.toMillis() + "ms");
    }

    /** Sets who translates addresses; asked before {@code addressMap}. */
    public Builder addressTranslator(AddressTranslator translator) {
      this.addressTranslator = translator;
      return this;
    }

    /**
     * Reads everything.
     *
     * @throws IllegalArgumentException if anything is not as it must be; the message says what,
     *     where, and what is allowed, and has no password in it
     */
    public RepmgrConfig build() {
      Map<String, String> driverProperties = new TreeMap<>();
      settings.forEach(
          (name, setting) -> {
            if (!OWN_PARAMETERS.containsKey(name)
                && !List.of(USER, PASSWORD, LOGIN_TIMEOUT).contains(name)) {
              checkDriverProperty(name, setting.where);
              driverProperties.put(name, setting.value);
            }
          });
      Duration hunt = duration(HUNT_INTERVAL);
      Duration steady = duration(STEADY_INTERVAL);
      if (steady.compareTo(hunt) < 0) {
        throw bad(
            STEADY_INTERVAL,
            steady.toMillis() + "ms is less than huntInterval, " + hunt.toMillis() + "ms");
      }
      return new RepmgrConfig(
          readHosts(),
          readDatabase(),
          optional(USER),
          optional(PASSWORD),
          readTarget(),
          required(REPMGR_DATABASE),
          optional(REPMGR_USER),
          optional(REPMGR_PASSWORD),
          readAddressMap(),
          readAllowedHosts(),
          duration(FAILOVER_TIMEOUT),
          steady,
          hunt,
          duration(PROBE_TIMEOUT),
          readPolicy(),
          readLoginTimeout(),
          addressTranslator,
          driverProperties);
    }

    private Builder set(String name, String value, String where) {
      settings.put(name, new Setting(value, where));
      return this;
    }

    private @Nullable String optional(String name) {
      Setting setting = settings.get(name);
      return setting != null ? setting.value : OWN_PARAMETERS.get(name);
    }

    private String text(String name) {
      String value = optional(name);
      return value == null ? "" : value.strip();
    }

    private String required(String name) {
      String value = text(name);
      if (value.isEmpty()) {
        throw bad(name, "is empty");
      }
      return value;
    }

    private IllegalArgumentException bad(String name, String why) {
      Setting setting = settings.get(name);
      return new IllegalArgumentException(
          name + (setting == null ? "" : " " + setting.where) + ": " + why);
    }

    private List<HostAndPort> readHosts() {
      String text = hosts;
      if (text == null) {
        throw new IllegalArgumentException(
            "No host is set: give a URL (jdbc:repmgr://host1,host2/database) or hosts");
      }
      Collection<HostAndPort> parsed = new LinkedHashSet<>();
      for (String host : text.split(",", -1)) {
        try {
          parsed.add(HostAndPort.parse(host));
        } catch (IllegalArgumentException e) {
          throw new IllegalArgumentException("Among the hosts: " + e.getMessage(), e);
        }
      }
      return new ArrayList<>(parsed);
    }

    private String readDatabase() {
      String name = database;
      if (name == null || name.isBlank()) {
        throw new IllegalArgumentException(
            "No database is set: give a URL (jdbc:repmgr://host1,host2/database) or a database");
      }
      return name;
    }

    private TargetServerType readTarget() {
      try {
        return TargetServerType.of(text(TARGET_SERVER_TYPE));
      } catch (IllegalArgumentException e) {
        throw bad(TARGET_SERVER_TYPE, String.valueOf(e.getMessage()));
      }
    }

    private PrimaryPolicy readPolicy() {
      try {
        return PrimaryPolicy.of(text(PRIMARY_POLICY));
      } catch (IllegalArgumentException e) {
        throw bad(PRIMARY_POLICY, String.valueOf(e.getMessage()));
      }
    }

    private Map<String, HostAndPort> readAddressMap() {
      String text = text(ADDRESS_MAP);
      if (text.isEmpty()) {
        return Map.of();
      }
      Map<String, HostAndPort> map = new LinkedHashMap<>();
      for (String entry : text.split(",", -1)) {
        int equals = entry.indexOf('=');
        if (equals < 1) {
          throw bad(ADDRESS_MAP, "'" + entry + "' is not name=host:port");
        }
        String name = entry.substring(0, equals).strip();
        HostAndPort address;
        try {
          address = HostAndPort.parse(entry.substring(equals + 1));
        } catch (IllegalArgumentException e) {
          throw bad(ADDRESS_MAP, "'" + entry + "': " + e.getMessage());
        }
        if (map.put(name, address) != null) {
          throw bad(ADDRESS_MAP, "'" + name + "' stands there twice");
        }
      }
      return map;
    }

    private String readAllowedHosts() {
      String text = settings.containsKey(ALLOWED_HOSTS) ? required(ALLOWED_HOSTS) : "";
      try {
        AllowedHosts.of(text);
      } catch (IllegalArgumentException e) {
        throw bad(ALLOWED_HOSTS, String.valueOf(e.getMessage()));
      }
      return text;
    }

    private Duration duration(String name) {
      String text = text(name);
      Matcher matcher = DURATION.matcher(text);
      if (!matcher.matches()) {
        throw bad(name, "'" + text + "' is no duration; allowed is a number with ms, s, min or h");
      }
      long amount = Long.parseLong(matcher.group(1));
      Duration duration =
          switch (matcher.group(2)) {
            case "ms" -> Duration.ofMillis(amount);
            case "s" -> Duration.ofSeconds(amount);
            case "min" -> Duration.ofMinutes(amount);
            default -> Duration.ofHours(amount);
          };
      if (duration.isZero()) {
        throw bad(name, "'" + text + "' is too short; allowed is 1ms and longer");
      }
      if (duration.compareTo(Duration.ofDays(30)) > 0) {
        throw bad(name, "'" + text + "' is too long; allowed is up to 30 days");
      }
      return duration;
    }

    /** pgJDBC's own form: seconds, a fraction allowed, 0 for none. */
    private Duration readLoginTimeout() {
      String text = text(LOGIN_TIMEOUT);
      if (text.isEmpty()) {
        return Duration.ZERO;
      }
      if (!text.matches("[0-9]{1,7}(\\.[0-9]{1,3})?")) {
        throw bad(LOGIN_TIMEOUT, "'" + text + "' is no number of seconds");
      }
      return Duration.ofMillis(Math.round(Double.parseDouble(text) * 1000));
    }

    private static void checkDriverProperty(String name, String where) {
      if (TAKEN_OVER.contains(name)) {
        throw new IllegalArgumentException(
            name + " " + where + ": has no effect here, this driver chooses the node; remove it");
      }
      if (PGProperty.forName(name) == null) {
        List<String> known =
            Stream.concat(
                    OWN_PARAMETERS.keySet().stream(),
                    Arrays.stream(PGProperty.values()).map(PGProperty::getName))
                .toList();
        String nearest = nearest(name, known);
        // What looks like no parameter at all may be the end of a password with a '&' in it.
        String what = where.startsWith("in the URL") && nearest.isEmpty() ? "A parameter" : name;
        throw new IllegalArgumentException(
            what
                + " "
                + where
                + ": neither this driver nor pgJDBC has such a parameter"
                + (nearest.isEmpty()
                    ? "; ours are " + String.join(", ", OWN_PARAMETERS.keySet())
                    : nearest));
      }
    }

    private static String nearest(String name, List<String> known) {
      String best = "";
      int bestDistance = 1 + name.length() / 3;
      for (String candidate : known) {
        int distance = distance(name.toLowerCase(Locale.ROOT), candidate.toLowerCase(Locale.ROOT));
        if (distance < bestDistance) {
          best = "; did you mean " + candidate + "?";
          bestDistance = distance;
        }
      }
      return best;
    }

    /** Levenshtein's distance, one row at a time. */
    private static int distance(String a, String b) {
      int[] row = new int[b.length() + 1];
      Arrays.setAll(row, i -> i);
      for (int i = 1; i <= a.length(); i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= b.length(); j++) {
          int substituted = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
          diagonal = row[j];
          row[j] = Math.min(substituted, 1 + Math.min(row[j], row[j - 1]));
        }
      }
      return row[b.length()];
    }

    private static String decode(String text, String what) {
      try {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException(
            what + " has a '%' that is not followed by two hexadecimal digits", e);
      }
    }
  }
}
