package io.github.repmgrjdbc.race;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * Where the race is run: what every contender is told of the cluster.
 *
 * @param hosts the nodes' addresses, without a port, by name, in the order in which a URL has them
 * @param parameters what our own URL has besides, as in a URL; empty for it as it comes
 */
public record Field(
    Map<String, String> hosts, String database, String user, String password, String parameters) {

  private static final String HOSTS = "RACE_HOSTS";
  private static final String DATABASE = "RACE_DATABASE";
  private static final String USER = "RACE_USER";
  private static final String PASSWORD = "RACE_PASSWORD";
  private static final String PARAMETERS = "RACE_PARAMETERS";

  static final int PORT = 5432;

  List<String> addresses() {
    return hosts.values().stream().map(host -> host + ":" + PORT).toList();
  }

  /** For another process: not as arguments, which everybody sees. */
  Map<String, String> toEnvironment() {
    return Map.of(
        HOSTS,
        hosts.entrySet().stream().map(Object::toString).collect(Collectors.joining(",")),
        DATABASE,
        database,
        USER,
        user,
        PASSWORD,
        password,
        PARAMETERS,
        parameters);
  }

  static Field ofEnvironment(Map<String, String> environment) {
    Map<String, String> hosts = new LinkedHashMap<>();
    for (String host : required(environment, HOSTS).split(",", -1)) {
      String[] parts = host.split("=", 2);
      hosts.put(parts[0], parts[1]);
    }
    return new Field(
        hosts,
        required(environment, DATABASE),
        required(environment, USER),
        required(environment, PASSWORD),
        required(environment, PARAMETERS));
  }

  private static String required(Map<String, String> environment, String name) {
    String value = environment.get(name);
    if (value == null) {
      throw new IllegalArgumentException(name + " is not set; the race starts its runners itself");
    }
    return value;
  }
}
