// Streamed answers: framing for both versions of HTTP, the connection afterwards, clients that go
// away or stand still, memory that is out, draining and stopping. FAULTS rows 32, 33, 39, 59.
#include "base/fault.h"
#include "tests/unit/test_http_kit.h"

#define POST "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

static atomic_int cuts; // that were told
static void count_cut(void *ctx, const struct http_request *r, const char *why) {
    (void)ctx;
    atomic_fetch_add(&cuts, r->id[0] && why[0]);
}

static struct http_options options(void) {
    struct http_options o = kit_options();
    o.on_cut = count_cut;
    o.write_timeout_ms = 400;
    return o;
}

static struct http_stats stats(void) { return http_read_stats(kit_server); }

// A request that is held: its stream is written by the test itself.
static struct http_request *ask(int *fd, const char *bytes) {
    *fd = kit_dial();
    kit_send(*fd, bytes);
    CHECK(kit_await_held(1));
    return kit_take_held();
}

static void begin(struct http_request *r, const char *first) {
    struct http_response head = {.status = 200, .content_type = "text/event-stream"};
    buf_puts(&head.headers, "x-extra: 1\r\n");
    if (first)
        buf_puts(&head.body, first);
    http_stream_begin(r, &head);
    CHECK(head.headers.data == NULL && head.body.data == NULL);
}

static size_t put(struct http_request *r, const char *s) {
    return http_stream_write(r, s, strlen(s));
}

static void test_chunks(void) {
    int fd;
    char got[2048];
    struct http_request *r = ask(&fd, POST);
    begin(r, "first");
    CHECK(
        kit_read_until(fd, got, sizeof got, "first\r\n")); // there before anything else is written
    CHECK(strstr(got, "HTTP/1.1 200 OK\r\n") == got);
    CHECK(strstr(got, "Transfer-Encoding: chunked\r\n") && strstr(got, "x-extra: 1\r\n"));
    CHECK(strstr(got, "Connection: keep-alive\r\n") && !strstr(got, "Content-Length"));
    CHECK(strstr(got, "\r\n\r\n5\r\nfirst\r\n"));
    put(r, "data: one\n\n");
    CHECK(kit_read_until(fd, got, sizeof got, "\n\n\r\n"));
    CHECK_STR(got, "b\r\ndata: one\n\n\r\n");
    put(r, ""); // would be the last chunk
    put(r, "two");
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, "0\r\n\r\n"));
    CHECK_STR(got, "3\r\ntwo\r\n0\r\n\r\n");
    // the connection goes on, with a whole answer and with a stream
    struct reply p;
    kit_send(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_INT(kit_reply(fd, &p), 200);
    kit_send(fd, POST);
    CHECK(kit_await_held(1));
    r = kit_take_held();
    begin(r, NULL);
    http_stream_end(r); // nothing at all
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n\r\n0\r\n\r\n"));
    close(fd);
}

static void test_close(void) {
    int fd;
    char got[2048];
    struct http_request *r = ask(
        &fd, "POST /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    begin(r, NULL);
    put(r, "x");
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, NULL));
    CHECK(strstr(got, "Connection: close\r\n") && strstr(got, "\r\n\r\n1\r\nx\r\n0\r\n\r\n"));
    close(fd);
    // a client of HTTP/1.0 knows no chunks, keep-alive or not
    r = ask(&fd, "POST /hold HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
                 "Content-Length: 0\r\n\r\n");
    begin(r, "a");
    put(r, "b");
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, NULL));
    CHECK(strstr(got, "Connection: close\r\n") && !strstr(got, "chunked"));
    CHECK(strstr(got, "\r\n\r\nab"));
    close(fd);
}

// Gone in mid-stream: told at once, though nothing is being written.
static void test_gone(void) {
    int fd, before = atomic_load(&kit_gone_calls);
    char got[2048];
    struct http_request *r = ask(&fd, POST);
    begin(r, "a");
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n1\r\na\r\n"));
    uint64_t gone = stats().client_gone;
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    AWAIT(atomic_load(&kit_gone_calls) == before + 1);
    CHECK(atomic_load(&r->gone));
    put(r, "dropped");
    http_stream_end(r);
    AWAIT(stats().client_gone == gone + 1);

    // a plain close is seen with the next piece
    r = ask(&fd, POST);
    begin(r, "a");
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n1\r\na\r\n"));
    close(fd);
    kit_sleep_ms(20);
    CHECK(!atomic_load(&r->gone)); // a FIN alone may be a half-close
    put(r, "b");
    AWAIT(atomic_load(&kit_gone_calls) == before + 2);
    http_stream_end(r);

    // gone before the stream begins, which may happen all the same
    r = ask(&fd, POST);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    AWAIT(atomic_load(&kit_gone_calls) == before + 3);
    begin(r, "a");
    put(r, "b");
    http_stream_end(r);
    AWAIT(http_in_progress(kit_server) == 0);

    // a half-closed client gets its stream
    r = ask(&fd, POST);
    shutdown(fd, SHUT_WR);
    begin(r, "a");
    kit_sleep_ms(20);
    put(r, "b");
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, "0\r\n\r\n") && strstr(got, "1\r\nb\r\n"));
    CHECK_INT(atomic_load(&kit_gone_calls), before + 3);
    close(fd);

    // an answer takes long: the half-closed client is asked, once, and gets it
    r = ask(&fd, POST);
    shutdown(fd, SHUT_WR);
    kit_sleep_ms(1300);
    CHECK(!atomic_load(&r->gone));
    begin(r, "a");
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, "0\r\n\r\n") &&
          strstr(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
    close(fd);

    // and one that is closed both ways is found to be gone
    r = ask(&fd, POST);
    close(fd);
    AWAIT(atomic_load(&kit_gone_calls) == before + 4);
    begin(r, "a");
    http_stream_end(r);
    AWAIT(http_in_progress(kit_server) == 0);
}

// Writes until the stream says that its reader is gone; the most that was pending.
static size_t flood(struct http_request *r, size_t piece, int pause_ms) {
    static char bytes[65536];
    memset(bytes, 'x', sizeof bytes);
    size_t most = 0;
    int64_t end_us = clock_now_us() + KIT_AWAIT_US;
    while (!atomic_load(&r->gone) && clock_now_us() < end_us) {
        size_t left = http_stream_write(r, bytes, piece);
        most = left > most ? left : most;
        kit_sleep_ms(pause_ms);
    }
    CHECK(atomic_load(&r->gone));
    return most;
}

// What came to a slow reader: how many bytes, and the last of them.
static size_t read_slowly(int fd, char *tail, size_t size, int pause_ms) {
    static char bytes[1 << 16];
    size_t n = 0, held = 0;
    for (;;) {
        ssize_t got = kit_read(fd, bytes, sizeof bytes, clock_now_us() + 3000000);
        if (got <= 0)
            break;
        n += (size_t)got;
        for (ssize_t i = 0; i < got; i++) {
            if (held + 1 == size)
                memmove(tail, tail + 1, --held);
            tail[held++] = bytes[i];
        }
        tail[held] = '\0';
        if (strstr(tail, "\r\n0\r\n\r\n"))
            break;
        kit_sleep_ms(pause_ms);
    }
    return n;
}

// One piece is as large as it must be: only what waits beside it is bounded.
static void test_large_piece(const char *version) {
    enum { LARGE = 5 << 20 };
    char *bytes = calloc(LARGE, 1), tail[64] = "", request[200];
    if (!CHECK(bytes != NULL))
        return;
    memset(bytes, 'l', LARGE);
    snprintf(request, sizeof request, "POST /hold HTTP/%s\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
             version);
    int fd, before = atomic_load(&kit_gone_calls);
    struct http_request *r = ask(&fd, request);
    begin(r, NULL);
    put(r, "small");
    http_stream_write(r, bytes, LARGE);
    for (int i = 0; i < 50; i++)
        put(r, "some more, while the reader is still at it");
    http_stream_last(r, "end", 3);
    http_stream_end(r);
    size_t n = read_slowly(fd, tail, sizeof tail, 1);
    CHECK(n > LARGE);
    CHECK(strstr(tail, strcmp(version, "1.0") ? "3\r\nend\r\n0\r\n\r\n" : "end") != NULL);
    CHECK_INT(atomic_load(&kit_gone_calls), before);
    close(fd);
    free(bytes);
}

static void test_slow_reader(void) {
    int fd;
    char tail[64] = "";
    uint64_t failed = stats().write_failed;
    int told = atomic_load(&cuts);
    struct http_request *r = ask(&fd, POST);
    begin(r, NULL);
    size_t most = flood(r, 65536, 0); // over the bound long before the write deadline
    CHECK(most > HTTP_STREAM_PENDING / 2 && most < HTTP_STREAM_PENDING + 3 * 65536);
    CHECK_INT(http_stream_cut(r), HTTP_CUT_SLOW);
    // what it was given is delivered, and its last words
    put(r, "dropped");
    http_stream_last(r, "cut", 3);
    http_stream_end(r);
    CHECK(read_slowly(fd, tail, sizeof tail, 1) >= HTTP_STREAM_PENDING);
    CHECK(strstr(tail, "x\r\n3\r\ncut\r\n0\r\n\r\n") != NULL);
    AWAIT(stats().write_failed == failed + 1);
    AWAIT(atomic_load(&cuts) == told + 1);
    close(fd);
    // without last words it does not look whole
    r = ask(&fd, POST);
    begin(r, NULL);
    flood(r, 65536, 0);
    http_stream_end(r);
    tail[0] = '\0';
    CHECK(read_slowly(fd, tail, sizeof tail, 1) >= HTTP_STREAM_PENDING);
    CHECK(strstr(tail, "x\r\n") != NULL && strstr(tail, "0\r\n\r\n") == NULL);
    close(fd);

    // stands still within the bound: the deadline. Its own receive buffer is kept small.
    fd = kit_dial_small(4096);
    kit_send(fd, POST);
    CHECK(kit_await_held(1));
    r = kit_take_held();
    begin(r, NULL);
    kit_fill(r);
    int64_t full_us = clock_now_us(), begin_us = kit_time_us();
    AWAIT(atomic_load(&r->gone));
    CHECK(clock_now_us() - full_us > 100000 && kit_within(begin_us, 2000000)); // 400 ms
    CHECK(stats().unread_bytes > 0);
    http_stream_end(r);
    AWAIT(stats().unread_bytes == 0);
    AWAIT(http_in_progress(kit_server) == 0);
    close(fd);

    // slow but steady: everything arrives
    static char bytes[65536];
    r = ask(&fd, POST);
    begin(r, NULL);
    for (int i = 0; i < 12; i++)
        http_stream_write(r, bytes, sizeof bytes);
    http_stream_end(r);
    size_t n = 0;
    for (;;) {
        static char got[65536];
        ssize_t more = kit_read(fd, got, sizeof got, clock_now_us() + 1000000);
        if (more <= 0)
            break;
        n += (size_t)more;
        if (n > 5 && memcmp(got + more - 5, "0\r\n\r\n", more >= 5 ? 5 : 0) == 0 && more >= 5)
            break;
        kit_sleep_ms(20);
    }
    CHECK(n > 12 * sizeof bytes);
    close(fd);
}

// Memory is out at each allocation in turn: the client never sees the last chunk, the handler is
// told, and the next request is answered.
static void test_memory(void) {
    for (long nth = 1; nth < 40; nth++) {
        int fd;
        char got[2048];
        struct http_request *r = ask(&fd, POST);
        struct http_response head = {.status = 200};
        fault_arm(FAULT_ALLOC, nth, false);
        http_stream_begin(r, &head);
        put(r, "some text");
        http_stream_end(r);
        AWAIT(http_in_progress(kit_server) == 0);
        bool reached = fault_calls(FAULT_ALLOC) >= nth;
        fault_disarm();
        bool whole = kit_read_until(fd, got, sizeof got, "\r\n0\r\n\r\n");
        CHECK(whole == !reached);
        close(fd);
        if (!reached)
            return;
    }
    CHECK(!"every allocation was failed");
}

static void test_stop(void) {
    int fd, other;
    char got[2048];
    struct http_request *r = ask(&fd, POST), *q;
    begin(r, "a");
    other = kit_dial();
    kit_send(other, POST);
    CHECK(kit_await_held(1));
    q = kit_take_held();
    http_drain_begin(kit_server);
    CHECK_INT(http_in_progress(kit_server), 2);
    put(r, "b"); // what was begun goes on
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, "0\r\n\r\n"));
    AWAIT(http_in_progress(kit_server) == 1);
    begin(q, "c"); // and so does what was accepted, on a connection that ends
    http_stream_end(q);
    CHECK(kit_read_until(other, got, sizeof got, NULL));
    CHECK(strstr(got, "Connection: close\r\n") && strstr(got, "1\r\nc\r\n0\r\n\r\n"));
    close(fd);
    close(other);
}

static struct http_request *left;
static const char *last_words;
static void end_left(struct http_request *r) {
    atomic_fetch_add(&kit_gone_calls, 1);
    if (r != left)
        return;
    if (last_words)
        http_stream_last(r, last_words, strlen(last_words));
    http_stream_end(r); // from on_gone, as the contract allows
}

// A stop does not wait for a stream beyond its time: the handler is told that its client is gone.
static void test_abandoned(void) {
    int fd, before = atomic_load(&kit_gone_calls);
    char got[2048];
    left = ask(&fd, POST);
    left->on_gone = end_left;
    begin(left, "a");
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n1\r\na\r\n"));
    int64_t begin_us = clock_now_us(), took_us = kit_stop(100000);
    CHECK(clock_now_us() - begin_us >= 100000 && took_us < 1000000);
    CHECK_INT(atomic_load(&kit_gone_calls), before + 1);
    CHECK(!kit_read_until(fd, got, sizeof got, "0\r\n\r\n"));
    close(fd);

    // and may say so
    if (!kit_start(options()))
        return;
    last_words = "the end";
    left = ask(&fd, POST);
    left->on_gone = end_left;
    begin(left, "a");
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n1\r\na\r\n"));
    kit_stop(100000);
    CHECK(kit_read_until(fd, got, sizeof got, "7\r\nthe end\r\n0\r\n\r\n"));
    close(fd);
}

int main(void) {
    if (!kit_start(options()))
        return check_done();
    test_chunks();
    test_close();
    test_gone();
    test_large_piece("1.1");
    test_large_piece("1.0");
    test_slow_reader();
    test_memory();
    test_stop();
    kit_stop(1000000);
    if (kit_start(options()))
        test_abandoned();
    return check_done();
}
