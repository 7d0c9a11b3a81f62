// The HTTP server's limits and its life: connections over the limit, clients that go away, slow
// readers, no files or memory or threads left, draining, stopping. FAULTS rows 29, 31, 33, 58
// to 61.
#include "base/fault.h"
#include "tests/unit/test_http_kit.h"

#include <malloc.h>
#include <sys/resource.h>

#define HOST "Host: x\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

enum { HTTP_SPARES = 8 }; // threads beyond the limit

static bool kit_look(void *ctx, struct http_request *r) {
    (void)ctx;
    return strcmp(r->path, "/probe") == 0;
}

static struct http_stats stats(void) { return http_read_stats(kit_server); }

static void reset(int fd) {
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void test_connection_limit(void) {
    struct http_options o = kit_options();
    o.max_connections = 3;
    if (!kit_start(o))
        return;
    struct reply r;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = kit_dial();
        kit_send(fds[i], GET("/hold"));
    }
    CHECK(kit_await_held(3));
    for (int i = 0; i < 40; i++) { // more than are parked
        int64_t begin_us = kit_time_us();
        int fd = kit_dial();
        kit_send(fd, GET("/now"));
        CHECK_INT(kit_reply(fd, &r), 503);
        CHECK(strstr(r.head, "Retry-After: 1\r\n") && strstr(r.body, "too_many_connections"));
        CHECK(kit_within(begin_us, 500000));
        close(fd);
    }
    CHECK_INT(stats().refused_connections, 40);
    AWAIT(stats().open_connections == 3);
    kit_release();
    for (int i = 0; i < 3; i++)
        CHECK_INT(kit_reply(fds[i], &r), 200);
    close(fds[0]);
    AWAIT(stats().open_connections == 2);
    int fd = kit_dial();
    kit_send(fd, GET("/now"));
    CHECK_INT(kit_reply(fd, &r), 200);
    // Idle connections do not hold up a stop.
    CHECK(kit_stop(5000000) < 500000);
    CHECK(kit_closed(fd, 1000) && kit_closed(fds[1], 1000));
    close(fd);
    close(fds[1]);
    close(fds[2]);
}

static bool probe(void) {
    struct reply r;
    int fd = kit_dial();
    kit_send(fd, GET("/probe"));
    int status = kit_reply(fd, &r);
    close(fd);
    return status == 200;
}

// At the limit an idle connection goes for a new one, and no other.
static void test_room(void) {
    enum { LIMIT = 4, MORE = 3 };
    struct http_options o = kit_options();
    o.max_connections = LIMIT;
    o.look = kit_look;
    o.read_timeout_ms = 10000;
    if (!kit_start(o))
        return;
    struct reply r;
    int fds[LIMIT], more[MORE];
    for (int i = 0; i < LIMIT; i++) {
        fds[i] = kit_dial();
        if (i != 1) // the second has not said a word
            kit_send(fds[i], i == 2 ? GET("/hold") : GET("/now"));
        if (i != 1 && i != 2)
            CHECK_INT(kit_reply(fds[i], &r), 200);
        AWAIT(stats().open_connections == (size_t)i + 1);
    }
    CHECK(kit_await_held(1));
    kit_sleep_ms(150); // all three are idle long enough to go
    for (int i = 0; i < MORE; i++) {
        more[i] = kit_dial();
        kit_send(more[i], GET("/hold"));
        CHECK(kit_await_held((size_t)i + 2));
        AWAIT(stats().open_connections == LIMIT);
        CHECK_INT(stats().let_go_connections, i + 1);
    }
    for (int i = 0; i < LIMIT; i++) {
        if (i == 2)
            continue; // busy
        if (i != 1)   // one that was used is told that no request is being answered
            CHECK(kit_reply_to(fds[i], &r, false, 3000) == 408 &&
                  strstr(r.body, "idle_connection_closed"));
        kit_send(fds[i], GET("/now")); // and may be written to, without a reset
        CHECK(kit_closed(fds[i], 3000));
        close(fds[i]);
    }
    // Now all are busy. Others are refused, but for probes, however many there are.
    for (int i = 0; i < 3 * HTTP_SPARES; i++) {
        int fd = kit_dial();
        kit_send(fd, i % 3 ? GET("/now") : GET("/probe"));
        CHECK_INT(kit_reply(fd, &r), i % 3 ? 503 : 200);
        CHECK(!r.keep_alive && (i % 3 == 0 || strstr(r.body, "too_many_connections")));
        close(fd);
    }
    // Nor can silence or half a head on the spare threads keep a probe out.
    int idle[4 * HTTP_SPARES];
    for (int i = 0; i < 4 * HTTP_SPARES; i++) {
        idle[i] = kit_dial();
        if (i % 2)
            kit_send(idle[i], "GET /now HT");
    }
    int64_t begin_us = kit_time_us();
    while (!probe() && kit_within(begin_us, 3000000)) // at first the heads may still be coming
        kit_sleep_ms(50);
    CHECK(kit_within(begin_us, 2000000));
    for (int i = 0; i < 3; i++)
        CHECK(probe());
    for (int i = 0; i < 4 * HTTP_SPARES; i++)
        close(idle[i]);
    kit_release();
    CHECK_INT(kit_reply(fds[2], &r), 200);
    for (int i = 0; i < MORE; i++) {
        CHECK_INT(kit_reply(more[i], &r), 200);
        close(more[i]);
    }
    close(fds[2]);
    CHECK(kit_stop(1000000) < 1500000);
}

static void test_gone(void) {
    struct reply r;
    int before = atomic_load(&kit_gone_calls);
    int fd = kit_dial();
    kit_send(fd, GET("/hold"));
    CHECK(kit_await_held(1));
    shutdown(fd, SHUT_WR); // FIN alone is not gone
    kit_sleep_ms(50);
    CHECK_INT(atomic_load(&kit_gone_calls), before);
    kit_release();
    CHECK_INT(kit_reply(fd, &r), 200);
    close(fd);

    fd = kit_dial();
    kit_send(fd, GET("/hold"));
    CHECK(kit_await_held(1));
    reset(fd);
    AWAIT(atomic_load(&kit_gone_calls) == before + 1);
    CHECK_INT(http_in_progress(kit_server), 1); // until its handler answers
    CHECK(atomic_load(&kit_holds[0]->gone));
    kit_release();
    AWAIT(http_in_progress(kit_server) == 0);
    CHECK_INT(atomic_load(&kit_gone_calls), before + 1);
    CHECK_INT(stats().client_gone, 1);

    fd = kit_dial();
    kit_send(fd, GET("/gone")); // its on_gone answers it
    AWAIT(http_in_progress(kit_server) == 1);
    reset(fd);
    AWAIT(http_in_progress(kit_server) == 0);
    // A pipelined request behind the one in progress is no sign of anything.
    fd = kit_dial();
    kit_send(fd, GET("/hold") GET("/now"));
    CHECK(kit_await_held(1));
    kit_sleep_ms(20);
    kit_release();
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_INT(kit_reply(fd, &r), 200);
    close(fd);
    CHECK_INT(stats().client_gone, 2);
}

static void test_gone_while_writing(void) {
    int fd = kit_dial_small(2048);
    int64_t begin_us = kit_time_us();
    kit_send(fd, GET("/big?20000000")); // its size allows it 80 s
    AWAIT(http_in_progress(kit_server) == 1);
    AWAIT(stats().unread_bytes > 0); // it is being written
    kit_sleep_ms(100);
    CHECK_INT(http_in_progress(kit_server), 1);
    reset(fd);
    AWAIT(stats().write_failed == 1);
    AWAIT(http_in_progress(kit_server) == 0);
    CHECK(kit_within(begin_us, 3000000));
}

static void test_write_deadline(void) {
    struct http_options o = kit_options();
    o.write_timeout_ms = 100;
    if (!kit_start(o))
        return;
    int fd = kit_dial_small(2048);
    // Many answers in a row fill the socket's buffers; each is small, so its deadline is short.
    for (int i = 0; i < 100; i++)
        kit_send(fd, GET("/big?100000"));
    AWAIT(stats().write_failed == 1);
    AWAIT(stats().open_connections == 0);
    close(fd);
    CHECK(kit_stop(1000000) < 1000000);
}

// What waits for its readers is bounded: when it is too much, those that stand still are cut soon.
static void test_unread(void) {
    struct http_options o = kit_options();
    o.write_timeout_ms = 60000;
    o.max_unread = 30 << 20;
    if (!kit_start(o))
        return;
    struct reply r;
    int fds[2];
    int64_t begin_us = kit_time_us();
    for (int i = 0; i < 2; i++) {
        fds[i] = kit_dial_small(2048);
        kit_send(fds[i], GET("/big?20000000"));
        AWAIT(stats().unread_bytes > 10000000 * ((size_t)i + 1));
        CHECK_INT(http_is_unread(kit_server), i == 1);
    }
    AWAIT(stats().write_failed >= 1);
    CHECK(kit_within(begin_us, 20000000)); // it is 60 s otherwise
    CHECK(!http_is_unread(kit_server));
    for (int i = 0; i < 2; i++)
        reset(fds[i]);
    AWAIT(stats().unread_bytes == 0);
    int fd = kit_dial();
    kit_send(fd, GET("/now"));
    CHECK_INT(kit_reply(fd, &r), 200);
    close(fd);
    CHECK(kit_stop(1000000) < 1500000);
}

// http_drain, beside what the test does meanwhile.
static atomic_int drained; // -1 while it runs
static void *drain(void *arg) {
    (void)arg;
    atomic_store(&drained, http_drain(kit_server, clock_now_us() + KIT_AWAIT_US));
    return NULL;
}

static pthread_t begin_drain(void) {
    pthread_t thread;
    struct errmsg msg = {0};
    struct thread_options t = {.name = "drain"};
    atomic_store(&drained, -1);
    http_drain_begin(kit_server); // as the thread will; here, so that it is so from now on
    CHECK_OK(thread_start(&thread, &t, drain, NULL, &msg), msg);
    return thread;
}

// What is connected is answered: silent, idle, half read, in progress, not yet accepted.
static void test_drain(void) {
    struct http_options o = kit_options();
    o.read_timeout_ms = 5000;
    if (!kit_start(o))
        return;
    struct reply r;
    int held = kit_dial(), idle = kit_dial(), quiet = kit_dial(), half = kit_dial(),
        silent = kit_dial(), fresh[8];
    kit_send(idle, GET("/now"));
    CHECK_INT(kit_reply(idle, &r), 200);
    CHECK(r.keep_alive);
    kit_send(quiet, GET("/now"));
    CHECK_INT(kit_reply(quiet, &r), 200);
    kit_send(held, GET("/hold"));
    CHECK(kit_await_held(1));
    CHECK_INT(http_in_progress(kit_server), 1);
    kit_send(half, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nha");
    AWAIT(stats().open_connections == 5);
    for (int i = 0; i < 8; i++)
        fresh[i] = kit_dial();
    pthread_t thread = begin_drain();
    for (int i = 0; i < 8; i++) {
        kit_send(fresh[i], GET("/now"));
        CHECK_INT(kit_reply(fresh[i], &r), 200);
        CHECK(!r.keep_alive);
    }
    // new ones are refused, at the latest when they are tried again
    int late;
    for (int i = 0; (late = kit_dial()) >= 0 && i < 1000; i++) {
        kit_send(late, GET("/now"));
        CHECK_INT(kit_reply(late, &r), 200);
        close(late);
    }
    CHECK(late < 0);
    kit_send(idle, GET("/now"));
    CHECK_INT(kit_reply(idle, &r), 200);
    CHECK(!r.keep_alive && kit_closed(idle, 2000));
    kit_send(half, "lf");
    CHECK_INT(kit_reply(half, &r), 200);
    CHECK_STR(r.body, "half");
    kit_send(silent, GET("/now"));
    CHECK_INT(kit_reply(silent, &r), 200);
    // what says nothing is told so: a request that is sent now finds an answer, and no reset
    CHECK_INT(kit_reply_to(quiet, &r, false, 5000), 408);
    CHECK(strstr(r.body, "idle_connection_closed") && !r.keep_alive);
    kit_send(quiet, GET("/now"));
    CHECK(kit_closed(quiet, 2000));
    CHECK_INT(atomic_load(&drained), -1);
    kit_release();
    CHECK_INT(kit_reply(held, &r), 200); // what was accepted is finished
    CHECK(!r.keep_alive && kit_closed(held, 2000));
    int fds[] = {held, idle, quiet, half, silent};
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    for (int i = 0; i < 8; i++)
        close(fresh[i]);
    pthread_join(thread, NULL);
    CHECK_INT(atomic_load(&drained), true);
    CHECK(kit_stop(2000000) < 1000000);
}

static void test_stop_with_work(void) {
    // Unanswered at the time-out: the handler is told, answers, and the stop goes on.
    if (!kit_start(kit_options()))
        return;
    int before = atomic_load(&kit_gone_calls);
    int fd = kit_dial();
    kit_send(fd, GET("/gone"));
    AWAIT(http_in_progress(kit_server) == 1);
    int64_t begin_us = clock_now_us(), took_us = kit_stop(200000);
    CHECK(clock_now_us() - begin_us >= 200000 && took_us < 1000000);
    CHECK_INT(atomic_load(&kit_gone_calls), before + 1);
    CHECK(kit_closed(fd, 1000));
    close(fd);
}

// What is still arriving when the server stops is told so, and is no malformed request.
static void test_stop_while_arriving(void) {
    static const char *const parts[] = {
        "GET /now HTTP/1.1\r\nHo",
        "POST /now HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n12345",
        "POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\n12",
    };
    enum { PARTS = sizeof parts / sizeof *parts };
    struct http_options o = kit_options();
    o.read_timeout_ms = 10000;
    if (!kit_start(o))
        return;
    int fds[PARTS];
    for (int i = 0; i < PARTS; i++) {
        fds[i] = kit_dial();
        kit_send(fds[i], parts[i]);
    }
    AWAIT(stats().open_connections == PARTS);
    kit_sleep_ms(50);
    CHECK(kit_stop(5000000) < 1000000);
    for (int i = 0; i < PARTS; i++) {
        struct reply r;
        CHECK_INT(kit_reply(fds[i], &r), 503);
        CHECK(strstr(r.body, "\"code\":\"draining\""));
        close(fds[i]);
    }
}

static void test_start_failures(void) {
    struct errmsg msg = {0};
    struct http_server *second = NULL;
    struct http_options o = kit_options();
    o.port = http_port(kit_server);
    CHECK_INT(http_start(&o, &second, &msg), ERR_IO);
    char want[100];
    snprintf(want, sizeof want, "cannot listen on 127.0.0.1:%d: Address already in use", o.port);
    CHECK_STR(msg.text, want);
    CHECK(second == NULL);
    o.port = 0;
    o.host = "127.0.0.1,0.0.0.0"; // civetweb would take it for a list
    CHECK_INT(http_start(&o, &second, &msg), ERR_INVALID);
    o.host = "";
    CHECK_INT(http_start(&o, &second, &msg), ERR_INVALID);
    o.host = "127.0.0.1";
    o.port = 65536;
    CHECK_INT(http_start(&o, &second, &msg), ERR_INVALID);
    o.port = 0;
    o.max_connections = 0;
    CHECK_INT(http_start(&o, &second, &msg), ERR_INVALID);
    // Two servers in one process do not know of each other.
    o = kit_options();
    CHECK_OK(http_start(&o, &second, &msg), msg);
    if (second) {
        int fd = kit_dial_port(http_port(second));
        struct reply r;
        kit_send(fd, GET("/now"));
        CHECK_INT(kit_reply(fd, &r), 200);
        CHECK_INT(http_read_stats(second).requests, 1);
        http_stop(second, 1000000);
        close(fd);
    }
    // Each failing call in turn, once: a named error, nothing left behind; then it starts.
    enum fault_site sites[] = {FAULT_ALLOC, FAULT_FILE, FAULT_THREAD};
    for (size_t i = 0; i < 3; i++) {
        enum err e = ERR_IO;
        int failures = 0;
        for (long nth = 1; nth < 100 && e != ERR_OK; nth++) {
            fault_arm(sites[i], nth, false);
            e = http_start(&o, &second, &msg);
            fault_disarm();
            if (e != ERR_OK)
                failures += second == NULL && msg.text[0] != '\0' && e == msg.code;
        }
        CHECK_OK(e, msg);
        CHECK(failures > 0);
        if (e == ERR_OK)
            http_stop(second, 1000000);
    }
}

static void test_no_memory(void) {
    struct reply r;
    char bytes[100 + 40000];
    size_t n = (size_t)snprintf(bytes, 100,
                                "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 40000\r\n\r\n");
    memset(bytes + n, 'm', 40000);
    int refused = 0, answered = 0;
    for (long nth = 1; nth < 20 && !answered; nth++) {
        int fd = kit_dial();
        fault_arm(FAULT_ALLOC, nth, false);
        kit_send_n(fd, bytes, n + 40000);
        int status = kit_reply(fd, &r);
        fault_disarm();
        refused += status == 503 && strstr(r.body, "\"code\":\"out_of_memory\"");
        answered += status == 200 && r.body_len == 40000;
        CHECK(status == 503 || status == 200);
        close(fd);
    }
    CHECK(refused >= 2); // the body's growth, the answer's
    CHECK_INT(answered, 1);
}

static void test_no_files(void) {
    struct reply r;
    // As if no file were left, five times; then it recovers.
    for (int i = 0; i < 5; i++) {
        fault_arm(FAULT_FILE, 1, false);
        int fd = kit_dial();
        CHECK_INT(kit_reply(fd, &r), 503);
        fault_disarm();
        close(fd);
    }
    uint64_t before = stats().refused_connections;
    CHECK_INT(before, 5);

    // The real thing: the descriptors are used up while connections come in.
    struct rlimit old, tight;
    getrlimit(RLIMIT_NOFILE, &old);
    int probe = dup(0), clients[8];
    for (int i = 0; i < 8; i++)
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
    tight = old;
    tight.rlim_cur = (rlim_t)probe; // every number above is taken for too high, whatever is free
    close(probe);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((unsigned short)http_port(kit_server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setrlimit(RLIMIT_NOFILE, &tight);
    int fill[64], filled = 0;
    while (filled < 64 && (fill[filled] = dup(0)) >= 0)
        filled++;
    int refused = 0;
    for (int i = 0; i < 8; i++)
        if (connect(clients[i], (struct sockaddr *)&a, sizeof a) == 0)
            refused += kit_reply_to(clients[i], &r, false, 10000) == 503;
    // It does not spin: then this would be a processor's half of a second, were it free. (What the
    // refusals cost is no matter: that goes with the machine and the build.)
    int64_t cpu_us = kit_cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    kit_sleep_ms(500);
    cpu_us = kit_cpu_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us;
    setrlimit(RLIMIT_NOFILE, &old);
    while (filled > 0)
        close(fill[--filled]);
    CHECK_INT(refused, 8);
    CHECK_INT(stats().refused_connections, before + 8);
    CHECK(cpu_us < 200000);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
    int fd = kit_dial();
    kit_send(fd, GET("/now"));
    CHECK_INT(kit_reply(fd, &r), 200);
    close(fd);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void test_memory(void) { check_skip("memory of 512 connections: a sanitizer's own counts"); }
#else
static long resident_bytes(void) {
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident * sysconf(_SC_PAGESIZE);
}

static void test_memory(void) {
    enum { COUNT = 512 };
    static int fds[COUNT];
    struct reply r;
    struct http_options o = kit_options();
    o.max_connections = COUNT;
    o.read_timeout_ms = 30000;
    mallopt(M_ARENA_MAX, 16); // as on two cores: with more, glibc alone may take more
    long before = resident_bytes();
    if (!kit_start(o))
        return;
    int answered = 0;
    char body[4097] = {0};
    memset(body, 'b', 4096);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = kit_dial();
        kit_send(fds[i], "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4096\r\n\r\n");
        kit_send(fds[i], body);
        answered += kit_reply(fds[i], &r) == 200 && r.body_len == 4096;
    }
    CHECK_INT(answered, COUNT);
    CHECK_INT(stats().open_connections, COUNT);
    long taken = resident_bytes() - before;
    if (!CHECK(before > 0 && taken < 20000000)) // what the service may spend on its connections
        fprintf(stderr, "    512 connections take %ld bytes\n", taken);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    CHECK(kit_stop(1000000) < 1000000);
}
#endif

int main(void) {
    test_memory();
    test_connection_limit();
    if (kit_start(kit_options())) {
        test_gone();
        test_gone_while_writing();
        CHECK(kit_stop(1000000) < 1000000);
    }
    test_write_deadline();
    test_unread();
    test_room();
    test_drain();
    test_stop_with_work();
    test_stop_while_arriving();
    if (kit_start(kit_options())) {
        test_start_failures();
        test_no_memory();
        test_no_files();
        CHECK(kit_stop(1000000) < 1000000);
    }
    return check_done();
}
