package io.github.repmgrjdbc.race;

import io.github.repmgrjdbc.RepmgrConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Random;

/** The command: which laps are run, and where the reports go. */
public final class RaceMain {

  private static final Path DIRECTORY = Path.of("it-tests", "target", "race");

  private static final String COMMAND = System.getProperty("measure.command", "RaceMain");

  private record Options(
      Map<Course, Integer> laps, long seed, List<Contender> contenders, String parameters) {

    static Options parse(String[] arguments) {
      int rounds = 0;
      long seed = (System.nanoTime() & 0xffff) + 1;
      boolean all = false;
      List<Course> courses = new ArrayList<>();
      List<Contender> contenders = new ArrayList<>();
      List<String> parameters = new ArrayList<>();
      for (int i = 0; i < arguments.length; i++) {
        if (arguments[i].equals("--long")) {
          all = true;
          continue;
        }
        if (i + 1 == arguments.length) {
          throw new IllegalArgumentException("unknown, or without a value: " + arguments[i]);
        }
        String value = arguments[++i];
        switch (arguments[i - 1]) {
          case "--rounds" -> rounds = number("--rounds", value);
          case "--seed" -> seed = number("--seed", value);
          case "--fault" -> courses.add(named("--fault", Course.class, value));
          case "--parameter" -> parameters.add(value);
          case "--contender" -> contenders.add(named("--contender", Contender.class, value));
          default -> throw new IllegalArgumentException("unknown: " + arguments[i - 1]);
        }
      }
      // All laps would tell the same otherwise, and only in a log.
      RepmgrConfig.parse("jdbc:repmgr://host/db?" + String.join("&", parameters), new Properties());
      Map<Course, Integer> laps = new EnumMap<>(Course.class);
      for (Course course : courses.isEmpty() ? List.of(Course.values()) : courses) {
        laps.put(course, rounds > 0 ? rounds : !all ? 3 : course == Course.KILL ? 30 : 10);
      }
      return new Options(
          laps,
          seed,
          contenders.isEmpty() ? List.of(Contender.values()) : contenders,
          String.join("&", parameters));
    }

    private static int number(String option, String value) {
      if (!value.matches("[1-9]\\d{0,8}")) {
        throw new IllegalArgumentException(option + " " + value + ": a number, 1 to 999999999");
      }
      return Integer.parseInt(value);
    }

    private static <E extends Enum<E>> E named(String option, Class<E> type, String value) {
      E[] all = type.getEnumConstants();
      return Arrays.stream(all)
          .filter(one -> one.name().equalsIgnoreCase(value))
          .findFirst()
          .orElseThrow(
              () ->
                  new IllegalArgumentException(
                      (option + " " + value + ": allowed are " + Arrays.toString(all))
                          .toLowerCase(Locale.ROOT)));
    }

    /** Mixed, but those last that need another cluster. */
    List<Course> schedule() {
      List<Course> schedule = new ArrayList<>();
      laps.forEach((course, count) -> schedule.addAll(Collections.nCopies(count, course)));
      Collections.shuffle(schedule, new Random(seed));
      schedule.sort((a, b) -> Boolean.compare(b.healing(), a.healing()));
      return schedule;
    }
  }

  private RaceMain() {}

  /** See {@code race --help}. */
  public static void main(String[] arguments) throws SQLException, IOException {
    Options options;
    try {
      options = Options.parse(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println("race: " + e.getMessage());
      System.exit(2);
      return;
    }
    String about = "";
    List<Course> schedule = options.schedule();
    List<Lap> laps = new ArrayList<>();
    int failed = 0;
    Map<Course, Integer> numbers = new EnumMap<>(Course.class);
    try (Race race = new Race(options.contenders, DIRECTORY, options.seed, options.parameters)) {
      for (Course course : schedule) {
        String place = "%d of %d".formatted(laps.size() + failed + 1, schedule.size());
        try {
          Lap lap = race.run(course, numbers.merge(course, 1, Integer::sum));
          laps.add(lap);
          System.out.printf("%s: %s%n", place, Report.line(lap));
        } catch (RuntimeException e) {
          // It must not cost the other laps; nor may it be forgotten.
          failed++;
          System.out.printf("%s: %s: FAILED: %s%n", place, course.title(), e);
          race.abandonCluster();
          continue;
        }
        // After each: a race is long, and may be interrupted.
        about = "%s; `%s`, seed %d".formatted(race.surroundings(), COMMAND, options.seed);
        if (failed > 0) {
          about += "; %d laps failed".formatted(failed);
        }
        new Report(about, laps).write(DIRECTORY);
      }
    }
    System.out.printf("%n%s", new Report(about, laps).markdown());
    System.exit(failed == 0 ? 0 : 1);
  }
}
