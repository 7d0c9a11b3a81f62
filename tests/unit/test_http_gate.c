// Which connection is let go for another: by what it is doing and for how long, and never one that
// is held. And that nobody goes for a connection that is not there. (What becomes of those that are
// let in is test_http_life.c's.)
#include "base/clock.h"
#include "base/fault.h"
#include "service/http/gate.h"
#include "tests/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COUNT = 6 };

static struct http_gate gate;
static struct http_hold holds[COUNT], *list[COUNT];

// The one that was taken away, -1 for none; it is as if its thread had seen it.
static int taken(void) {
    int which = -1;
    for (int i = 0; i < COUNT; i++) {
        if (atomic_load(&holds[i].state) != HTTP_TAKEN)
            continue;
        CHECK_INT(which, -1); // one at a time
        which = i;
        CHECK(!http_hold_tighten(&holds[i]));
        eventfd_t woken = 0;
        CHECK(eventfd_read(holds[i].wake_fd, &woken) == 0 && woken == 1);
    }
    return which;
}

static int make_room(bool idle_only) {
    bool made = http_gate_make_room(&gate, idle_only);
    int which = taken();
    CHECK_INT(made, which >= 0);
    return which;
}

static void test_order(void) {
    int64_t now = clock_now_us();
    http_hold_loosen(&holds[0], HTTP_HOLD_IDLE, now - 5000000);
    http_hold_loosen(&holds[1], HTTP_HOLD_SILENT, now - 7000000);
    http_hold_loosen(&holds[2], HTTP_HOLD_LINGER, now - 9000000);
    http_hold_loosen(&holds[3], HTTP_HOLD_HEAD, now - 20000000);
    http_hold_loosen(&holds[4], HTTP_HOLD_IDLE, now - 6000000);
    CHECK_INT(make_room(false), 1); // of those without a request the one of longest standing
    CHECK_INT(make_room(true), 4);
    CHECK(http_hold_tighten(&holds[0])); // a request has come: it is not to be had
    CHECK_INT(make_room(true), -1);
    CHECK_INT(make_room(false), 2); // then one that has its answer
    CHECK_INT(make_room(false), 3); // then one that only says that it has a request
    CHECK_INT(make_room(false), -1);
    CHECK_INT(atomic_load(&gate.let_go), 4);
}

// Who has just connected, or just read an answer, is about to send.
static void test_age(void) {
    int64_t now = clock_now_us();
    http_hold_loosen(&holds[0], HTTP_HOLD_SILENT, now + 1000000);
    http_hold_loosen(&holds[1], HTTP_HOLD_IDLE, now + 1000000);
    http_hold_loosen(&holds[2], HTTP_HOLD_HEAD, now + 1000000);
    CHECK_INT(make_room(false), -1);
    for (int i = 0; i < 3; i++)
        CHECK(http_hold_tighten(&holds[i]));
}

static void test_patience(void) {
    int64_t now = clock_now_us();
    gate.unread_max = 1000;
    CHECK(http_gate_patience(&gate, 60000, now - 10000000) > 0);
    CHECK(http_gate_patience(&gate, 60000, now - 60000000) <= 0);
    CHECK(http_gate_patience(&gate, 60000, now) <= 1000000); // it looks again each second
    atomic_store(&gate.unread, 1001);
    CHECK(http_gate_patience(&gate, 60000, now - 10000000) <= 0);
    CHECK(http_gate_patience(&gate, 60000, clock_now_us()) > 0);
}

// A listener, and the address of it.
static int listener(struct sockaddr_in *at) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t n = sizeof *at;
    *at = (struct sockaddr_in){.sin_family = AF_INET};
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(fd, (struct sockaddr *)at, n) == 0 && listen(fd, 16) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)at, &n) == 0);
    return fd;
}

static int dial(const struct sockaddr_in *at) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (const struct sockaddr *)at, sizeof *at) == 0);
    return fd;
}

// Who is not there, or cannot be accepted, takes nobody's place; who is takes one's.
static void test_accept(void) {
    struct sockaddr_in at;
    int l = listener(&at), none = -1;
    int64_t now = clock_now_us();
    uint64_t before = atomic_load(&gate.let_go), refused = atomic_load(&gate.refused);
    for (int i = 0; i < 3; i++)
        http_hold_loosen(&holds[i], HTTP_HOLD_IDLE, now - (9 - i) * 1000000);
    for (int over = 0; over < 2; over++) { // at the limit, and over it
        atomic_store(&gate.open, COUNT + (size_t)over);
        CHECK_INT(http_gate_accept(&gate, l, NULL, NULL), -1);
        CHECK_INT(errno, EAGAIN);
        CHECK_INT(taken(), -1);
        int client = dial(&at);
        fault_arm(FAULT_FILE, 1, false); // no file is left
        CHECK_INT(http_gate_accept(&gate, l, NULL, NULL), -1);
        fault_disarm();
        CHECK_INT(taken(), -1);
        CHECK_INT(atomic_load(&gate.refused), refused + (uint64_t)over + 1);
        close(client);
    }
    CHECK_INT(atomic_load(&gate.let_go), before);
    atomic_store(&gate.open, COUNT);
    int client = dial(&at), fd = http_gate_accept(&gate, l, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_INT(taken(), 0); // idle for the longest
    CHECK_INT(atomic_load(&gate.let_go), before + 1);
    CHECK_INT(atomic_load(&gate.open), COUNT + 1);
    close(client);
    close(fd);
    for (int i = 1; i < 3; i++)
        CHECK(http_hold_tighten(&holds[i]));
    // all are busy, and all the spare threads too: refused, though not at once
    atomic_store(&gate.open, atomic_load(&gate.threads));
    client = dial(&at);
    while ((none = http_gate_accept(&gate, l, NULL, NULL)) < 0 && errno == EAGAIN)
        ;
    CHECK(none < 0 && errno == ECONNABORTED);
    CHECK_INT(atomic_load(&gate.refused), refused + 3);
    close(client);
    close(l);
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(http_gate_open(&gate, COUNT, &msg), msg);
    for (int i = 0; i < COUNT; i++) {
        holds[i].wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        list[i] = &holds[i];
    }
    gate.holds = list;
    gate.hold_count = COUNT;
    test_order();
    test_age();
    test_patience();
    test_accept();
    for (int i = 0; i < COUNT; i++)
        close(holds[i].wake_fd);
    http_gate_close(&gate);
    return check_done();
}
