package io.github.repmgrjdbc.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.github.repmgrjdbc.AddressTranslator;
import io.github.repmgrjdbc.HostAndPort;
import io.github.repmgrjdbc.RepmgrConfig;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.slf4j.LoggerFactory;

class AddressMapTest {

  private static final HostAndPort REGISTERED = new HostAndPort("pg1", 5432);

  private final Logger logger = (Logger) LoggerFactory.getLogger("io.github.repmgrjdbc");
  private final ListAppender<ILoggingEvent> log = new ListAppender<>();
  private final @Nullable Level level = logger.getLevel();

  @BeforeEach
  void listen() {
    log.start();
    logger.addAppender(log);
    logger.setLevel(Level.WARN);
    logger.setAdditive(false);
  }

  @AfterEach
  void stop() {
    logger.detachAppender(log);
    logger.setLevel(level);
    logger.setAdditive(true);
  }

  @Test
  void aTranslatorWinsOverANameAndANameOverAHost() {
    AddressTranslator translator =
        (name, address) -> name.equals("n3") ? new HostAndPort("translated", 3) : null;
    AddressMap map = map("n3=by-name:1,n1=by-name:1,pg1=by-host:2", translator);

    assertEquals("translated:3", "" + map.translate("n3", REGISTERED));
    assertEquals("by-name:1", "" + map.translate("n1", REGISTERED));
    assertEquals("by-name:1", "" + map.translate("n1", null));
    assertEquals("by-host:2", "" + map.translate("n2", REGISTERED));
    assertNull(map.translate("n2", null));
  }

  @Test
  void aTranslatorThatFailsIsReportedOnceAndPassedOver() {
    AddressMap map =
        map(
            "n1=by-name:1",
            (name, address) -> {
              throw new IllegalStateException("no");
            });

    assertEquals("by-name:1", "" + map.translate("n1", REGISTERED));
    assertEquals("by-name:1", "" + map.translate("n1", REGISTERED));
    assertEquals(1, log.list.size());
  }

  @Test
  void entriesThatNameNobodyAreReportedOnce() {
    AddressMap map = map("n1=a:1,pg1=b:2,nn2=c:3", null);
    map.translate("n1", REGISTERED);
    map.translate("n2", new HostAndPort("pg2", 5432));

    map.reportUnused();
    map.reportUnused();

    assertEquals(
        List.of(
            "addressMap: nn2 is neither the name of a node in repmgr.nodes nor the host in a node's"
                + " conninfo; those are n1, n2, pg1, pg2"),
        log.list.stream().map(ILoggingEvent::getFormattedMessage).toList());
  }

  @Test
  void entriesThatNameSomebodyAreNotReported() {
    AddressMap map = map("n1=a:1,pg1=b:2", null);
    map.translate("n1", REGISTERED);

    map.reportUnused();

    assertEquals(List.of(), log.list);
  }

  private static AddressMap map(String entries, @Nullable AddressTranslator translator) {
    RepmgrConfig.Builder builder =
        RepmgrConfig.builder().hosts("seed").database("app").property("addressMap", entries);
    return new AddressMap(
        (translator == null ? builder : builder.addressTranslator(translator)).build());
  }
}
