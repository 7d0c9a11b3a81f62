// Silence: who watches is told when nothing was written for a while, before a stream begins and in
// it, again and again, and never once the answer is over; what it writes then is whole.
#include "tests/unit/test_http_kit.h"

#define POST "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

enum { QUIET_MS = 50 };

static atomic_int told; // since the last ask
static const char *say; // what is written when told; NULL: nothing

static void on_quiet(struct http_request *r) {
    if (say)
        http_stream_write(r, say, strlen(say));
    atomic_fetch_add(&told, 1);
}

static struct http_request *ask(int *fd) {
    *fd = kit_dial();
    kit_send(*fd, POST);
    CHECK(kit_await_held(1));
    atomic_store(&told, 0);
    say = NULL;
    return kit_take_held();
}

static void begin(struct http_request *r, const char *first) {
    struct http_response head = {.status = 200, .content_type = "text/event-stream"};
    buf_puts(&head.body, first);
    http_stream_begin(r, &head);
}

// An answer that is long in coming, though nobody reads or writes: told more than once.
static void test_before(void) {
    int fd;
    struct reply p;
    struct http_request *r = ask(&fd);
    http_watch_quiet(r, QUIET_MS, on_quiet);
    AWAIT(atomic_load(&told) >= 2);
    struct http_response whole = {.status = 200};
    buf_puts(&whole.body, "ok");
    http_answer(r, &whole);
    CHECK_INT(kit_reply(fd, &p), 200);
    int over = atomic_load(&told);
    kit_sleep_ms(4 * QUIET_MS);
    CHECK_INT(atomic_load(&told), over); // the connection waits for its next request
    // which nobody watches
    kit_send(fd, POST);
    CHECK(kit_await_held(1));
    r = kit_take_held();
    kit_sleep_ms(4 * QUIET_MS);
    CHECK_INT(atomic_load(&told), over);
    begin(r, "a");
    kit_sleep_ms(4 * QUIET_MS);
    CHECK_INT(atomic_load(&told), over);
    http_stream_end(r);
    close(fd);
}

static void test_stream(void) {
    int fd;
    char got[4096];
    struct http_request *r = ask(&fd);
    begin(r, "data: 1\n\n");
    CHECK(kit_read_until(fd, got, sizeof got, "1\n\n"));
    say = ": here\n\n";
    http_watch_quiet(r, QUIET_MS, on_quiet); // the socket's thread already sleeps
    CHECK(kit_read_until(fd, got, sizeof got, ": here\n\n\r\n8\r\n: here\n\n"));
    http_stream_write(r, "data: 2\n\n", 9);
    http_stream_end(r);
    CHECK(kit_read_until(fd, got, sizeof got, "\r\n0\r\n\r\n"));
    CHECK(strstr(got, "9\r\ndata: 2\n\n") != NULL);
    int over = atomic_load(&told);
    kit_sleep_ms(4 * QUIET_MS);
    CHECK_INT(atomic_load(&told), over);
    close(fd);
}

// Each piece begins the wait anew: a stream that speaks often enough is never told of.
static void test_talkative(void) {
    enum { OFTEN_MS = 400, PIECES = 40 };
    int fd;
    struct http_request *r = ask(&fd);
    int64_t longest_us = 0, total_us = clock_now_us(), last_us = total_us;
    http_watch_quiet(r, OFTEN_MS, on_quiet);
    begin(r, "a");
    for (int i = 0; i < PIECES; i++) {
        kit_sleep_ms(20);
        http_stream_write(r, "b", 1);
        int64_t now = clock_now_us();
        longest_us = now - last_us > longest_us ? now - last_us : longest_us;
        last_us = now;
    }
    http_stream_end(r);
    CHECK(last_us - total_us > OFTEN_MS * 1000);
    // a machine that let us wait that long says nothing about the server
    if (longest_us < OFTEN_MS * 1000 / 2)
        CHECK_INT(atomic_load(&told), 0);
    close(fd);
}

// Whose reader takes nothing has something to read: it needs no word that the stream lives.
static void test_full(void) {
    int fd = kit_dial_small(4096);
    kit_send(fd, POST);
    CHECK(kit_await_held(1));
    struct http_request *r = kit_take_held();
    begin(r, "a");
    kit_fill(r);
    atomic_store(&told, 0);
    http_watch_quiet(r, QUIET_MS, on_quiet);
    kit_sleep_ms(6 * QUIET_MS);
    CHECK(http_stream_write(r, "", 0) >= 200000);
    CHECK_INT(atomic_load(&told), 0);
    close(fd);
    AWAIT(atomic_load(&r->gone));
    http_stream_end(r);
}

int main(void) {
    struct http_options o = kit_options();
    o.write_timeout_ms = 30000;
    if (!kit_start(o))
        return check_done();
    test_before();
    test_stream();
    test_talkative();
    test_full();
    kit_stop(1000000);
    return check_done();
}
