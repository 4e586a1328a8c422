package io.github.repmgrjdbc;

import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A small PostgreSQL server by script, on loopback. It speaks as much of protocol 3.0 as pgJDBC
 * needs, answers the driver's three questions from a state that tests change at will, and
 * misbehaves on demand.
 *
 * <p>It knows, besides, {@code select 1}, {@code select inet_server_port()} (to tell fakes apart)
 * and {@code select pg_sleep(...)}, which ends only by a cancel request.
 */
public final class FakeServer implements AutoCloseable {

  /** How it treats who connects. */
  public enum Mode {
    /** As a server should. */
    NORMAL,
    /** Accepts and says nothing, in old sessions neither, until the mode changes: frozen. */
    SILENT,
    /** Does not answer a login; sessions that are open go on. */
    HANG_IN_LOGIN,
    /** Agrees to TLS, and says nothing more. */
    HANG_IN_TLS,
    /** Answers a login with a message that never ends, one byte every 100 ms. */
    TRICKLE_IN_LOGIN,
    /** Closes each connection as soon as it has accepted it. */
    CLOSE_AT_ONCE,
    /** Answers a login with what is not PostgreSQL's protocol. */
    RUBBISH,
    /** Answers a login with an error message of 2 GB, of which nothing comes. */
    ABSURD_LOGIN,
    /** Answers a login with an error message of negative length. */
    NEGATIVE_LOGIN,
    /** Closes the connection in the middle of a row. */
    CLOSE_IN_ANSWER,
    /** Sends a row that never ends, one byte every 100 ms. */
    TRICKLE_IN_ANSWER,
    /** Sends what is not PostgreSQL's protocol instead of rows. */
    RUBBISH_IN_ANSWER,
    /** Sends a row with a value of negative length. */
    NEGATIVE_LENGTH,
    /** Sends a row of 2 GB, of which nothing comes. */
    ABSURD_LENGTH,
    /** Sends rows in which every value is {@code abc}. */
    WRONG_TYPES,
    /** Sends rows in which every value is NULL. */
    NULLS,
    /** Sends rows in which the sixth value is NULL. */
    NULL_UPSTREAM,
    /** Sends no rows. */
    NO_ROWS
  }

  /** How it treats function calls. */
  public enum Calls {
    /** As a server should. */
    ANSWERED,
    /** As one that is no server for them: with an error. */
    REFUSED,
    /** It knows no such message, and ends the session. */
    UNKNOWN,
    /** It knows no such message, and says nothing. */
    IGNORED
  }

  /** How a client left. */
  public enum End {
    /** It said so. */
    TERMINATE,
    /** Its side was closed: a read ended. */
    FIN,
    /** Its side was reset: a read failed. */
    RESET
  }

  /** What a row has for SQL's NULL. */
  public static final String NULL = "NULL";

  /** A row of {@code repmgr.nodes}. */
  public record Row(
      int nodeId, String name, String type, boolean active, int upstreamId, String conninfo) {}

  /** What it says of itself. */
  private record State(
      long startedAt,
      int nodeId,
      boolean inRecovery,
      int timeline,
      long systemIdentifier,
      int upstreamId,
      List<Row> table) {}

  private static final int MOST_THREADS = 64;
  private static final int SSL_REQUEST = 80877103;
  private static final int GSS_REQUEST = 80877104;
  private static final int CANCEL_REQUEST = 80877102;
  private static final int POSTMASTER_START_TIME = 2560;

  /** Of all servers: no two are started in the same microsecond. */
  private static final AtomicLong STARTS = new AtomicLong(800_000_000_000_000L);

  private final ThreadPoolExecutor threads;
  private final Set<Session> sessions = ConcurrentHashMap.newKeySet();
  private final Map<String, String> passwords = new ConcurrentHashMap<>();
  private final Map<String, String> refusals = new ConcurrentHashMap<>();
  private final List<End> ends = new CopyOnWriteArrayList<>();
  private final AtomicInteger accepted = new AtomicInteger();
  private final AtomicInteger canceled = new AtomicInteger();
  private final AtomicInteger questions = new AtomicInteger();
  private final AtomicInteger called = new AtomicInteger();
  private final AtomicInteger nextPid = new AtomicInteger(1000);
  private final int port;
  private volatile ServerSocket listener;
  private volatile Future<?> accepting = CompletableFuture.completedFuture(null);
  private volatile State state;
  private volatile Mode mode = Mode.NORMAL;
  private volatile @Nullable String loginError;
  private volatile @Nullable String queryError;
  private volatile @Nullable Boolean tellsApplicationsInRecovery;
  private volatile @Nullable FakeServer behind;
  private volatile boolean readOnly;
  private volatile Calls calls = Calls.ANSWERED;
  private volatile int upstreamSeen = -1;
  private volatile int probes = 1;
  private volatile List<String> missingRights = List.of();

  /** Starts a primary on timeline 1 with an empty node table. */
  public FakeServer(int nodeId) {
    state = new State(nextStart(), nodeId, false, 1, 42, 0, List.of());
    AtomicInteger number = new AtomicInteger();
    threads =
        new ThreadPoolExecutor(
            0,
            MOST_THREADS,
            5,
            TimeUnit.SECONDS,
            new SynchronousQueue<>(),
            task -> {
              Thread thread = new Thread(task, "fake-server " + nodeId + "." + number.getAndAdd(1));
              thread.setDaemon(true);
              return thread;
            });
    listener = listen(0);
    port = listener.getLocalPort();
  }

  /**
   * Tells all servers the same node table, in which one is the primary and the others follow it.
   */
  public static void introduce(int primaryId, FakeServer... servers) {
    List<Row> table = new ArrayList<>();
    for (FakeServer server : servers) {
      int id = server.nodeId();
      boolean primary = id == primaryId;
      table.add(
          new Row(
              id,
              "n" + id,
              primary ? "primary" : "standby",
              true,
              primary ? 0 : primaryId,
              server.conninfo()));
    }
    for (FakeServer server : servers) {
      server.table(table);
    }
  }

  // ---- what it says of itself ----------------------------------------------------------------

  /** It takes writes from now on. */
  public FakeServer primary(int timeline) {
    return change(
        s ->
            new State(
                // Who is promoted goes on; who has another timeline as a primary does not.
                s.inRecovery ? s.startedAt : nextStart(),
                s.nodeId,
                false,
                timeline,
                s.systemIdentifier,
                0,
                s.table));
  }

  /** It is in recovery from now on. */
  public FakeServer standby(int upstreamId, int timeline) {
    return change(
        s ->
            new State(
                s.inRecovery ? s.startedAt : nextStart(),
                s.nodeId,
                true,
                timeline,
                s.systemIdentifier,
                upstreamId,
                s.table));
  }

  /** It has this node table from now on. */
  public FakeServer table(List<Row> table) {
    return change(
        s ->
            new State(
                s.startedAt,
                s.nodeId,
                s.inRecovery,
                s.timeline,
                s.systemIdentifier,
                s.upstreamId,
                List.copyOf(table)));
  }

  /** It is another node from now on: that one has moved here. */
  public FakeServer nodeId(int id) {
    return change(
        s ->
            new State(
                nextStart(),
                id,
                s.inRecovery,
                s.timeline,
                s.systemIdentifier,
                s.upstreamId,
                s.table));
  }

  /** It belongs to another database cluster from now on. */
  public FakeServer systemIdentifier(long identifier) {
    return change(
        s ->
            new State(
                nextStart(),
                s.nodeId,
                s.inRecovery,
                s.timeline,
                identifier,
                s.upstreamId,
                s.table));
  }

  /** What it tells applications, whatever it tells probes; null: the same. */
  public FakeServer tellApplicationsInRecovery(@Nullable Boolean inRecovery) {
    tellsApplicationsInRecovery = inRecovery;
    return this;
  }

  /** Applications are told what that server would tell them: its address leads there by now. */
  public FakeServer leadApplicationsTo(FakeServer other) {
    behind = other;
    return this;
  }

  /** How it treats function calls from now on. */
  public FakeServer calls(Calls calls) {
    this.calls = calls;
    return this;
  }

  /** Its {@code default_transaction_read_only} is on. */
  public FakeServer readOnly() {
    readOnly = true;
    return this;
  }

  /** Its repmgrd saw its upstream so many seconds ago; -1: not yet. */
  public FakeServer upstreamSeen(int secondsAgo) {
    upstreamSeen = secondsAgo;
    return this;
  }

  /** So many probes are connected, it says. */
  public FakeServer probes(int count) {
    probes = count;
    return this;
  }

  private static long nextStart() {
    return STARTS.incrementAndGet();
  }

  private synchronized FakeServer change(UnaryOperator<State> change) {
    state = change.apply(state);
    return this;
  }

  // ---- how it misbehaves ---------------------------------------------------------------------

  /** Changes how it treats who connects. */
  public synchronized FakeServer mode(Mode mode) {
    this.mode = mode;
    notifyAll();
    return this;
  }

  /** Lets this user in with this password only. */
  public FakeServer password(String user, String password) {
    passwords.put(user, password);
    return this;
  }

  /** Lets this user in whatever the password. */
  public FakeServer trust(String user) {
    passwords.remove(user);
    return this;
  }

  /** Answers every login with this SQLSTATE; null: lets in again. */
  public FakeServer failLogins(@Nullable String sqlState) {
    loginError = sqlState;
    return this;
  }

  /** Answers every query with this SQLSTATE; null: answers again. */
  public FakeServer failQueries(@Nullable String sqlState) {
    queryError = sqlState;
    return this;
  }

  /** Answers every query that speaks of this with this SQLSTATE. */
  public FakeServer failQueriesOf(String name, String sqlState) {
    refusals.put(name, sqlState);
    return this;
  }

  /** What it says when it is asked which rights are missing. */
  public FakeServer missingRights(String... grants) {
    missingRights = List.of(grants);
    return this;
  }

  /** Dies: its sessions end, and its port refuses. */
  public void kill() {
    close(listener);
    try {
      // Until the accepting thread has noticed, the system keeps the port.
      accepting.get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (ExecutionException e) {
      throw new IllegalStateException(e);
    }
    endSessions();
  }

  /** Closes the connections that are open now, without a word. */
  public void endSessions() {
    // A copy: who is thrown out comes again at once, and that connection is not meant.
    List.copyOf(sessions).forEach(session -> close(session.socket));
  }

  /** Answers none of the sessions that are open to that database now. */
  public void muteSessions(String database) {
    sessions.stream().filter(s -> database.equals(s.database)).forEach(s -> s.mute = true);
  }

  /** Sends all who are logged in the beginning of a message, and leaves it at that. */
  public void sendHalfAMessage() {
    sessions.stream().filter(session -> session.loggedIn).forEach(Session::sendHalfAMessage);
  }

  /** Listens on its old port again. */
  public void restart() {
    listener = listen(port);
  }

  // ---- what was seen -------------------------------------------------------------------------

  /** Its {@code node_id}. */
  public int nodeId() {
    return state.nodeId;
  }

  /** When it was started. */
  public long startedAt() {
    return state.startedAt;
  }

  /** How many queries ask an application's connection where it is, so far. */
  public int questions() {
    return questions.get();
  }

  /** How many function calls have come so far. */
  public int called() {
    return called.get();
  }

  /** Its port. */
  public int port() {
    return port;
  }

  /** Its address. */
  public HostAndPort address() {
    return new HostAndPort("127.0.0.1", port);
  }

  /** Its own row's conninfo. */
  public String conninfo() {
    return "host=127.0.0.1 port=" + port + " user=repmgr dbname=repmgr connect_timeout=2";
  }

  /** How many connections it has accepted so far. */
  public int accepted() {
    return accepted.get();
  }

  /** How many statements were ended by a cancel request so far. */
  public int canceled() {
    return canceled.get();
  }

  /** How many connections are open, logged in or not. */
  public int connections() {
    return sessions.size();
  }

  /** How many connections have sent a login that is not answered. */
  public int pendingLogins() {
    return (int) sessions.stream().filter(s -> s.user != null && !s.loggedIn).count();
  }

  /** Who is logged in, once for each session. */
  public List<String> users() {
    List<String> users = new ArrayList<>();
    for (Session session : sessions) {
      String user = session.user;
      if (user != null && session.loggedIn) {
        users.add(user);
      }
    }
    return users.stream().sorted().toList();
  }

  /** How many sessions are open to that database. */
  public int sessions(String database) {
    return (int) sessions.stream().filter(s -> s.loggedIn && database.equals(s.database)).count();
  }

  /** How many sessions are waiting in {@code pg_sleep}. */
  public int sleepers() {
    return (int) sessions.stream().filter(s -> s.sleeping).count();
  }

  /** How clients left, in order. */
  public List<End> ends() {
    return List.copyOf(ends);
  }

  @Override
  public void close() {
    kill();
    threads.shutdownNow();
  }

  // ---- connections ---------------------------------------------------------------------------

  private ServerSocket listen(int at) {
    try {
      ServerSocket socket = new ServerSocket();
      try {
        socket.setReuseAddress(true);
        socket.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), at), 50);
      } catch (IOException e) {
        socket.close();
        throw e;
      }
      accepting = threads.submit(() -> accept(socket));
      return socket;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void accept(ServerSocket from) {
    while (true) {
      Socket socket;
      try {
        socket = from.accept();
      } catch (IOException e) {
        return;
      }
      accepted.incrementAndGet();
      if (mode == Mode.CLOSE_AT_ONCE) {
        close(socket);
        continue;
      }
      try {
        Session session = new Session(socket);
        sessions.add(session);
        if (from.isClosed()) {
          close(socket);
        }
        threads.execute(session);
      } catch (IOException | RejectedExecutionException e) {
        close(socket);
        sessions.removeIf(session -> session.socket == socket);
      }
    }
  }

  private synchronized void awaitVoice() throws IOException {
    while (mode == Mode.SILENT) {
      try {
        wait();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException(e);
      }
    }
  }

  private static void close(AutoCloseable closeable) {
    try {
      closeable.close();
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  /** An answer: columns and rows, all text, or only a command's tag. */
  private record Result(String tag, List<String> columns, List<List<String>> rows) {
    static Result of(String tag) {
      return new Result(tag, List.of(), List.of());
    }

    static Result row(Object... values) {
      return rows(List.of(List.of(values)), values.length);
    }

    static Result rows(List<List<Object>> rows, int width) {
      List<String> columns = new ArrayList<>();
      for (int i = 1; i <= width; i++) {
        columns.add("c" + i);
      }
      return new Result(
          "SELECT " + rows.size(),
          columns,
          rows.stream().map(row -> row.stream().map(Result::text).toList()).toList());
    }

    private static String text(Object value) {
      return value instanceof Boolean b ? (b ? "t" : "f") : value.toString();
    }
  }

  /** The server says no. */
  private static final class Refusal extends Exception {
    private static final long serialVersionUID = 1L;
    final String sqlState;

    Refusal(String sqlState, String message) {
      super(message);
      this.sqlState = sqlState;
    }
  }

  /** One connection, in a thread of its own. */
  private final class Session implements Runnable {

    final Socket socket;
    final DataInputStream in;
    final DataOutputStream out;
    final int pid = nextPid.getAndIncrement();
    final Map<String, String> statements = new HashMap<>();
    final Map<String, String> portals = new HashMap<>();
    volatile @Nullable String user;
    volatile @Nullable String database;
    volatile boolean loggedIn;
    volatile boolean sleeping;
    volatile boolean mute;
    boolean skipToSync;
    boolean toldInRecovery;
    char transaction = 'I';

    Session(Socket socket) throws IOException {
      this.socket = socket;
      socket.setTcpNoDelay(true);
      in = new DataInputStream(socket.getInputStream());
      out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
    }

    @Override
    public void run() {
      try {
        if (login()) {
          while (answer()) {}
          ends.add(End.TERMINATE);
        }
      } catch (Refusal e) {
        // It has been told.
      } catch (EOFException e) {
        ends.add(End.FIN);
      } catch (IOException e) {
        ends.add(End.RESET);
      } finally {
        sessions.remove(this);
        FakeServer.close(socket);
      }
    }

    // ---- login ---------------------------------------------------------------------------

    private boolean login() throws IOException, Refusal {
      int length = in.readInt();
      int code = in.readInt();
      awaitVoice();
      if (mode == Mode.RUBBISH) {
        out.writeBytes("HTTP/1.1 400 Bad Request\r\nServer: not PostgreSQL\r\n\r\n");
        out.flush();
        return false;
      }
      while (code == SSL_REQUEST || code == GSS_REQUEST) {
        out.writeByte(mode == Mode.HANG_IN_TLS ? 'S' : 'N');
        out.flush();
        if (mode == Mode.HANG_IN_TLS) {
          while (in.read() >= 0) {}
          throw new EOFException();
        }
        length = in.readInt();
        code = in.readInt();
        awaitVoice();
      }
      if (code == CANCEL_REQUEST) {
        int target = in.readInt();
        sessions.stream().filter(session -> session.pid == target).forEach(Session::cancel);
        return false;
      }
      Map<String, String> parameters = startup(new byte[length - 8]);
      String name = parameters.getOrDefault("user", "");
      database = parameters.getOrDefault("database", name);
      user = name;
      if (mode == Mode.HANG_IN_LOGIN) {
        in.readByte();
        throw new IOException("nothing may come while a login hangs");
      }
      if (mode == Mode.TRICKLE_IN_LOGIN) {
        out.writeByte('R');
        trickle();
      }
      if (mode == Mode.ABSURD_LOGIN) {
        out.writeByte('E');
        out.writeInt(Integer.MAX_VALUE);
        out.flush();
        in.readByte();
      }
      if (mode == Mode.NEGATIVE_LOGIN) {
        out.writeByte('E');
        out.writeInt(-5);
        out.writeInt(0);
        out.flush();
        in.readByte();
      }
      String error = loginError;
      if (error != null) {
        throw refuse(new Refusal(error, "refused by the script with " + error));
      }
      checkPassword(name);
      message('R', m -> m.writeInt(0));
      Map.of(
              "server_version", "17.2",
              "client_encoding", "UTF8",
              "DateStyle", "ISO, MDY",
              "TimeZone", "UTC",
              "default_transaction_read_only", readOnly ? "on" : "off",
              "integer_datetimes", "on",
              "standard_conforming_strings", "on")
          .forEach(this::parameter);
      message(
          'K',
          m -> {
            m.writeInt(pid);
            m.writeInt(4711);
          });
      loggedIn = true;
      ready();
      return true;
    }

    private void parameter(String name, String value) {
      message(
          'S',
          m -> {
            text(m, name);
            text(m, value);
          });
    }

    private Map<String, String> startup(byte[] packet) throws IOException {
      in.readFully(packet);
      String[] words = new String(packet, StandardCharsets.UTF_8).split("\0", -1);
      Map<String, String> parameters = new HashMap<>();
      for (int i = 0; i + 1 < words.length && !words[i].isEmpty(); i += 2) {
        parameters.put(words[i], words[i + 1]);
      }
      return parameters;
    }

    private void checkPassword(String name) throws IOException, Refusal {
      String wanted = passwords.get(name);
      if (wanted == null) {
        return;
      }
      message('R', m -> m.writeInt(3));
      out.flush();
      if (in.readByte() != 'p') {
        throw new IOException("no password message");
      }
      byte[] given = new byte[in.readInt() - 4];
      in.readFully(given);
      if (!new String(given, 0, given.length - 1, StandardCharsets.UTF_8).equals(wanted)) {
        throw refuse(
            new Refusal("28P01", "password authentication failed for user \"" + name + "\""));
      }
    }

    private Refusal refuse(Refusal refusal) throws IOException {
      error("FATAL", refusal.sqlState, String.valueOf(refusal.getMessage()));
      out.flush();
      return refusal;
    }

    // ---- queries -------------------------------------------------------------------------

    private boolean answer() throws IOException {
      char type = (char) in.readByte();
      awaitVoice();
      while (mute) {
        in.readByte();
      }
      byte[] body = new byte[in.readInt() - 4];
      in.readFully(body);
      if (type == 'X') {
        return false;
      }
      // A cancel request comes in another thread.
      synchronized (this) {
        if (skipToSync && type != 'S') {
          return true;
        }
        Words words = new Words(body);
        try {
          switch (type) {
            case 'Q' -> {
              Result result = resultOf(words.next());
              if (!result.columns.isEmpty()) {
                describe(result);
              }
              execute(result);
              ready();
            }
            case 'P' -> {
              String name = words.next();
              String sql = words.next();
              statements.put(name, sql);
              if (sql.contains("pg_control_system") && !sql.contains("pg_control_recovery")) {
                questions.incrementAndGet();
              }
              message('1', m -> {});
            }
            case 'B' -> {
              portals.put(words.next(), statements.getOrDefault(words.next(), ""));
              message('2', m -> {});
            }
            case 'D' -> {
              boolean statement = words.kind() == 'S';
              String sql = (statement ? statements : portals).getOrDefault(words.next(), "");
              if (statement) {
                message('t', m -> m.writeShort(0));
              }
              describe(resultOf(sql));
            }
            case 'F' -> {
              if (calls == Calls.IGNORED) {
                called.incrementAndGet();
                mute = true;
                return true;
              }
              call(ByteBuffer.wrap(body).getInt());
              ready();
            }
            case 'E' -> execute(resultOf(portals.getOrDefault(words.next(), "")));
            case 'C' -> message('3', m -> {});
            case 'S' -> {
              skipToSync = false;
              if (!sleeping) {
                ready();
              }
            }
            case 'H' -> out.flush();
            default -> throw new IOException("message " + type);
          }
        } catch (Refusal e) {
          error("ERROR", e.sqlState, String.valueOf(e.getMessage()));
          if (type == 'Q' || type == 'F') {
            ready();
          } else {
            skipToSync = true;
          }
        }
      }
      return true;
    }

    private Result resultOf(String statement) throws Refusal {
      String sql = statement.strip().toLowerCase(java.util.Locale.ROOT);
      String error = queryError;
      if (error != null) {
        throw new Refusal(error, "refused by the script with " + error);
      }
      if (sql.contains("has_schema_privilege")) {
        return Result.rows(missingRights.stream().map(List::<Object>of).toList(), 1);
      }
      for (Map.Entry<String, String> refusal : refusals.entrySet()) {
        if (sql.contains(refusal.getKey())) {
          throw new Refusal(refusal.getValue(), "the script refuses " + refusal.getKey());
        }
      }
      State now = state;
      if (sql.contains("pg_control_recovery")) {
        List<Object> who =
            List.of(
                now.inRecovery,
                now.timeline,
                now.systemIdentifier,
                now.startedAt,
                now.nodeId,
                sql.contains("get_upstream_node_id") ? now.upstreamId : 0,
                sql.contains("get_upstream_last_seen") ? upstreamSeen : -1);
        return sql.contains("left join repmgr.nodes")
            ? Result.rows(withTable(who, now.table), 13)
            : Result.rows(List.of(who), 7);
      }
      if (sql.contains("pg_stat_get_activity")) {
        return Result.row(probes);
      }
      if (sql.contains("pg_control_system")) {
        now = toldApplications();
        boolean inRecovery = tellsInRecovery();
        String walFile = "%08X%016X".formatted(now.timeline, 3L);
        return Result.row(inRecovery ? NULL : walFile, now.systemIdentifier);
      }
      if (sql.equals("select 1")) {
        return Result.row(1);
      }
      if (sql.equals("select inet_server_port()")) {
        return Result.row(port);
      }
      if (sql.startsWith("select pg_sleep(")) {
        return Result.row("");
      }
      switch (sql) {
        case "" -> {
          return Result.of("");
        }
        case "begin" -> {
          transaction = 'T';
          return Result.of("BEGIN");
        }
        case "commit", "rollback" -> {
          transaction = 'I';
          return Result.of("COMMIT");
        }
        default -> {
          if (sql.startsWith("set ")) {
            return Result.of("SET");
          }
          throw new Refusal("42601", "this server knows no such statement: " + statement);
        }
      }
    }

    private boolean tellsInRecovery() {
      Boolean told = tellsApplicationsInRecovery;
      return told == null ? toldApplications().inRecovery : told;
    }

    private State toldApplications() {
      FakeServer other = behind;
      return other == null ? state : other.state;
    }

    private void call(int function) throws IOException, Refusal {
      called.incrementAndGet();
      String error = queryError;
      if (error != null || calls == Calls.REFUSED || function != POSTMASTER_START_TIME) {
        throw new Refusal(error == null ? "08P01" : error, "the script refuses function calls");
      }
      if (calls == Calls.UNKNOWN) {
        throw new IOException("message F");
      }
      switch (mode) {
        case CLOSE_IN_ANSWER -> {
          out.writeByte('V');
          out.writeInt(1000);
          out.flush();
          throw new IOException("closed in the middle of an answer, as the script has it");
        }
        case TRICKLE_IN_ANSWER -> {
          out.writeByte('V');
          trickle();
        }
        case RUBBISH_IN_ANSWER -> out.writeBytes("rubbish");
        case NEGATIVE_LENGTH, ABSURD_LENGTH ->
            message('V', m -> m.writeInt(mode == Mode.ABSURD_LENGTH ? Integer.MAX_VALUE : -7));
        case NULLS, NO_ROWS -> message('V', m -> m.writeInt(-1));
        case WRONG_TYPES ->
            message(
                'V',
                m -> {
                  m.writeInt(3);
                  m.writeBytes("abc");
                });
        default ->
            message(
                'V',
                m -> {
                  m.writeInt(Long.BYTES);
                  m.writeLong(toldApplications().startedAt);
                });
      }
    }

    private static List<List<Object>> withTable(List<Object> who, List<Row> table) {
      List<List<Object>> rows = new ArrayList<>();
      for (Row row : table) {
        rows.add(List.of(row.nodeId, row.name, row.type, row.active, row.upstreamId, row.conninfo));
      }
      if (rows.isEmpty()) {
        rows.add(List.of(NULL, NULL, NULL, NULL, 0, NULL));
      }
      return rows.stream().map(row -> Stream.concat(who.stream(), row.stream()).toList()).toList();
    }

    private void describe(Result result) {
      if (result.columns.isEmpty()) {
        message('n', m -> {});
        return;
      }
      message(
          'T',
          m -> {
            m.writeShort(result.columns.size());
            for (String column : result.columns) {
              text(m, column);
              m.writeInt(0);
              m.writeShort(0);
              m.writeInt(25);
              m.writeShort(-1);
              m.writeInt(-1);
              m.writeShort(0);
            }
          });
    }

    private void execute(Result result) throws IOException {
      if (result.rows.equals(List.of(List.of("")))) {
        sleeping = true;
        out.flush();
        return;
      }
      Mode now = result.rows.isEmpty() ? Mode.NORMAL : mode;
      switch (now) {
        case CLOSE_IN_ANSWER -> {
          out.writeByte('D');
          out.writeInt(1000);
          out.writeShort(5);
          out.flush();
          throw new IOException("closed in the middle of an answer, as the script has it");
        }
        case TRICKLE_IN_ANSWER -> {
          out.writeByte('D');
          trickle();
        }
        case RUBBISH_IN_ANSWER -> out.writeBytes("rubbish");
        case NEGATIVE_LENGTH, ABSURD_LENGTH -> {
          int length = now == Mode.NEGATIVE_LENGTH ? -7 : Integer.MAX_VALUE;
          out.writeByte('D');
          out.writeInt(length == -7 ? 10 : length);
          out.writeShort(1);
          out.writeInt(length);
        }
        case NO_ROWS -> {}
        default -> result.rows.forEach(row -> row(row, now));
      }
      if (result.tag.isEmpty()) {
        message('I', m -> {});
      } else {
        message('C', m -> text(m, result.tag));
      }
    }

    private void row(List<String> row, Mode mode) {
      message(
          'D',
          m -> {
            m.writeShort(row.size());
            for (int i = 0; i < row.size(); i++) {
              if (mode == Mode.NULLS
                  || (mode == Mode.NULL_UPSTREAM && i == 5)
                  || row.get(i).equals(NULL)) {
                m.writeInt(-1);
                continue;
              }
              String told = mode == Mode.WRONG_TYPES ? "abc" : row.get(i);
              byte[] bytes = told.getBytes(StandardCharsets.UTF_8);
              m.writeInt(bytes.length);
              m.write(bytes);
            }
          });
    }

    /** Goes on with a message that has just begun, until the client leaves. */
    private void trickle() throws IOException {
      out.writeInt(1_000_000);
      socket.setSoTimeout(100);
      while (true) {
        out.writeByte(1);
        out.flush();
        try {
          if (in.read() < 0) {
            throw new EOFException();
          }
        } catch (SocketTimeoutException e) {
          // Still there.
        }
      }
    }

    private synchronized void sendHalfAMessage() {
      try {
        out.writeByte('N');
        out.writeInt(1000);
        out.flush();
      } catch (IOException e) {
        // The client has gone.
      }
    }

    private synchronized void cancel() {
      if (sleeping) {
        sleeping = false;
        canceled.incrementAndGet();
        error("ERROR", "57014", "canceling statement due to user request");
        try {
          ready();
        } catch (IOException e) {
          // The client has gone.
        }
      }
    }

    private void ready() throws IOException {
      boolean inRecovery = tellsInRecovery();
      if (inRecovery != toldInRecovery) {
        toldInRecovery = inRecovery;
        parameter("in_hot_standby", inRecovery ? "on" : "off");
      }
      message('Z', m -> m.writeByte(transaction));
      out.flush();
    }

    private void error(String severity, String sqlState, String text) {
      message(
          'E',
          m -> {
            text(m, "S" + severity);
            text(m, "V" + severity);
            text(m, "C" + sqlState);
            text(m, "M" + text);
            m.writeByte(0);
          });
    }

    private void message(char type, Body body) {
      try {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        body.write(new DataOutputStream(bytes));
        out.writeByte(type);
        out.writeInt(bytes.size() + 4);
        bytes.writeTo(out);
      } catch (IOException e) {
        // The client has gone; the next read says so.
      }
    }

    private static void text(DataOutputStream to, String text) throws IOException {
      to.write(text.getBytes(StandardCharsets.UTF_8));
      to.writeByte(0);
    }
  }

  /** What a message holds. */
  @FunctionalInterface
  private interface Body {
    void write(DataOutputStream to) throws IOException;
  }

  /** The zero-terminated words at the beginning of a message. */
  private static final class Words {
    private final byte[] body;
    private int at;

    Words(byte[] body) {
      this.body = body;
    }

    char kind() {
      return (char) body[at++];
    }

    String next() {
      int start = at;
      while (body[at] != 0) {
        at++;
      }
      return new String(body, start, at++ - start, StandardCharsets.UTF_8);
    }
  }
}
