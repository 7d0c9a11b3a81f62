// The emulated GPU finds each fault that it is there for: of kernels, of what they say they touch,
// of the order of streams, of the host's use of it.
#include "tests/unit/gpu_probe_rig.h"

#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS = 20 };

static bool turned(const float *host) {
    for (int i = 0; i < PROBE_THREADS; i++)
        if (host[i] != (float)(PROBE_THREADS - 1 - i))
            return false;
    return true;
}
static bool turned_by_warps(const float *host) {
    for (int i = 0; i < PROBE_THREADS; i++)
        if (host[i] != (float)(i - i % 32 + 31 - i % 32))
            return false;
    return true;
}

// A barrier that is missing is in the numbers.
static void test_missing_barrier(void) {
    int right = 0, wrong = 0, wrong_warps = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct probe_rig r = probe_open(seed);
        float host[PROBE_THREADS];
        probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
        probe_read(&r, host);
        right += turned(host);
        probe_turn_warps(r.s, r.x, r.y, PROBE_RIGHT);
        probe_read(&r, host);
        right += turned_by_warps(host);
        probe_turn(r.s, r.x, r.y, PROBE_NO_BARRIER);
        probe_read(&r, host);
        wrong += !turned(host);
        probe_turn_warps(r.s, r.x, r.y, PROBE_NO_BARRIER);
        probe_read(&r, host);
        wrong_warps += !turned_by_warps(host);
        CHECK_INT(probe_close(&r), 0);
    }
    CHECK_INT(right, 2 * SEEDS);
    CHECK_INT(wrong, SEEDS);
    CHECK_INT(wrong_warps, SEEDS);
}

static void test_meetings_in_vain(void) {
    static const struct {
        enum probe_fault fault;
        bool warps;
        const char *words;
    } cases[] = {
        {PROBE_SOME_AT_BARRIER, false, "in __syncthreads, which 64 of 128 threads reach"},
        {PROBE_LANE_AWAY, true, "in __shfl_sync, but not all lanes of 0xffffffff come"},
        {PROBE_LANES_APART, true, "wait for each other"},
        {PROBE_SHARED_ABSENT, false, "more than 227 KiB of shared memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct probe_rig r = probe_open(i + 1);
        if (cases[i].warps)
            probe_turn_warps(r.s, r.x, r.y, cases[i].fault);
        else
            probe_turn(r.s, r.x, r.y, cases[i].fault);
        probe_wait(&r);
        CHECK(probe_said(&r, cases[i].words));
        CHECK(probe_said(&r, cases[i].warps ? "turn_warps" : "turn_block"));
        // The next launch is as if nothing had been.
        float host[PROBE_THREADS];
        probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
        probe_read(&r, host);
        CHECK(turned(host));
        probe_close(&r);
    }
}

// ---- memory that is not the kernel's

#if defined(__SANITIZE_ADDRESS__)
enum { ADDRESS_SANITIZER = 1 };
#else
enum { ADDRESS_SANITIZER = 0 };
#endif

enum { LIVED = 42 };

// Whether the address sanitizer ends a process that does this.
static bool ends(void (*body)(struct probe_rig *r)) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        struct probe_rig r = probe_open(1);
        body(&r);
        _exit(LIVED);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid &&
           !(WIFEXITED(status) && (WEXITSTATUS(status) == LIVED || WEXITSTATUS(status) == 0));
}

static void shared_beyond(struct probe_rig *r) {
    probe_turn(r->s, r->x, r->y, PROBE_SHARED_BEYOND);
    probe_wait(r);
}
static void write_beyond(struct probe_rig *r) {
    probe_turn(r->s, r->x, r->y, PROBE_WRITE_BEYOND);
    probe_wait(r);
}
static void write_before(struct probe_rig *r) {
    probe_turn(r->s, r->x, r->y, PROBE_WRITE_BEFORE);
    probe_wait(r);
}
static void undeclared(struct probe_rig *r) {
    probe_turn(r->s, r->x, r->y, PROBE_UNDECLARED);
    probe_wait(r);
}
static void host_reads_device(struct probe_rig *r) {
    volatile float x = *(volatile float *)r->x;
    (void)x;
}
static void host_reads_early(struct probe_rig *r) {
    void *host = NULL;
    if (r->api->alloc_host(r->g, 64, &host) != ERR_OK)
        return;
    r->api->copy_out(r->s, host, r->x, 64);
    volatile float x = *(volatile float *)host;
    (void)x;
}
static void right(struct probe_rig *r) {
    void *host = NULL;
    if (r->api->alloc_host(r->g, 64, &host) != ERR_OK)
        abort();
    probe_turn(r->s, r->x, r->y, PROBE_RIGHT);
    r->api->copy_out(r->s, host, r->y, 64);
    probe_wait(r);
    if (*(float *)host != PROBE_THREADS - 1)
        abort();
}

// Behind an operation nothing is left open, and each closes what it had opened of one place.
static void last_bytes(struct probe_rig *r) {
    char host[8] = {0};
    void *p = NULL;
    if (r->api->alloc(r->g, 8, &p) != ERR_OK)
        return;
    r->api->copy_in(r->s, p, host, 4);
    r->api->copy_in(r->s, (char *)p + 4, host + 4, 4);
    r->api->copy_out(r->s, host, p, 8);
    probe_wait(r);
    volatile char x = *((volatile char *)p + 3);
    (void)x;
}

static void test_beyond(void) {
    CHECK(!ends(right));
    if (ADDRESS_SANITIZER) {
        CHECK(ends(shared_beyond));
        CHECK(ends(write_beyond));
        CHECK(ends(write_before));
        CHECK(ends(undeclared));
        CHECK(ends(host_reads_device));
        CHECK(ends(host_reads_early));
        CHECK(ends(last_bytes));
        return;
    }
    void (*const bodies[])(struct probe_rig *) = {shared_beyond, write_beyond, write_before};
    const char *const words[] = {"a write behind the 512 bytes of shared memory",
                                 "has written beside", "has written beside"};
    for (int i = 0; i < 3; i++) {
        struct probe_rig r = probe_open(1);
        bodies[i](&r);
        CHECK(probe_said(&r, words[i]));
        probe_close(&r);
    }
}

// What reaches past an allocation is not done, whatever the build.
static void test_ranges(void) {
    struct probe_rig r = probe_open(1);
    char host[8];
    r.api->copy_out(r.s, host, (char *)r.x + PROBE_THREADS * sizeof *r.x - 4, 8);
    CHECK(probe_said(&r, "copy_out touches 8 bytes"));
    probe_wait(&r);
    probe_close(&r);

    r = probe_open(1);
    r.api->copy_in(r.s, host, host, sizeof host);
    CHECK(probe_said(&r, "not all memory of its GPU"));
    probe_close(&r);

    r = probe_open(1);
    r.api->copy_out(r.s, r.y, r.x, sizeof host);
    CHECK(probe_said(&r, "is not memory of the host"));
    probe_close(&r);

    r = probe_open(1);
    r.api->copy(r.s, r.x, r.x + 1, 8);
    CHECK(probe_said(&r, "onto part of itself"));
    probe_close(&r);
}

static void test_never_written(void) {
    struct probe_rig r = probe_open_empty(1);
    float host[PROBE_THREADS] = {0};
    r.api->copy_in(r.s, r.x, host, sizeof host - 4);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    CHECK(probe_said(&r, "turn_block (stream 0, operation 2) reads bytes [508, 512) of the 512"));
    CHECK(probe_said(&r, "which was never written"));
    probe_wait(&r);
    probe_close(&r);
}

// ---- the order of streams

static void order_begins(struct probe_rig *r, bool event) {
    *r = probe_open(1);
    probe_turn(r->s, r->x, r->y, PROBE_RIGHT);
    if (!event)
        return;
    r->api->record(r->s, r->e);
    r->api->stream_wait(r->other, r->e);
}

static void test_order(void) {
    for (int event = 1; event >= 0; event--) {
        struct probe_rig r;
        float host[PROBE_THREADS] = {0};
        struct gpu_mat y;
        order_begins(&r, event); // y is written, and read
        r.api->copy_out(r.other, host, r.y, sizeof host);
        CHECK(event ? gpu_emulated_violations() == 0
                    : probe_said(&r, "copy_out (stream 1, operation 1) reads bytes [0, 512)"));
        CHECK(event || probe_said(&r, "turn_block (stream 0, operation 2) writes in no order"));
        r.api->record(r.other, r.e);
        r.api->wait(r.e);
        CHECK(probe_close(&r) == 0 || !event);

        order_begins(&r, event); // x is read, and written
        r.api->copy_in(r.other, r.x, host, sizeof host);
        CHECK(event ? gpu_emulated_violations() == 0
                    : probe_said(&r, "turn_block (stream 0, operation 2) reads in no order"));
        r.api->record(r.other, r.e);
        r.api->wait(r.e);
        CHECK(probe_close(&r) == 0 || !event);

        order_begins(&r, event); // y is written twice, the second time in rows that leave gaps
        y = (struct gpu_mat){r.y + 3, 4, 2, 30, GPU_F32};
        probe_scale(r.other, y, 2);
        CHECK(event ? gpu_emulated_violations() == 0
                    : probe_said(&r, "scale_rows<T> (stream 1, operation 1) reads bytes [12, 20)"));
        CHECK(probe_close(&r) == 0 || !event);
    }
}

// A wait of the host orders too, and an event that was recorded too early does not.
static void test_order_by_host(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS];
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    probe_wait(&r);
    r.api->copy_out(r.other, host, r.y, sizeof host);
    r.api->record(r.other, r.e);
    r.api->wait(r.e);
    CHECK(turned(host));
    CHECK_INT(probe_close(&r), 0);

    r = probe_open(1);
    r.api->record(r.s, r.e);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    r.api->stream_wait(r.other, r.e);
    r.api->copy_out(r.other, host, r.y, sizeof host);
    CHECK(probe_said(&r, "writes in no order"));
    r.api->record(r.other, r.e);
    r.api->wait(r.e);
    probe_close(&r);
}

// The checker speaks when it is asked; the numbers are wrong too, for some seeds.
static void test_order_in_numbers(void) {
    int wrong = 0, right = 0;
    for (uint64_t seed = 1; seed <= 3 * SEEDS; seed++) {
        struct probe_rig r = probe_open(seed);
        float host[PROBE_THREADS];
        probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
        r.api->copy_out(r.other, host, r.y, sizeof host);
        r.api->record(r.other, r.e);
        r.api->wait(r.e);
        if (turned(host))
            right++;
        else
            wrong++;
        probe_close(&r);
    }
    CHECK(wrong > SEEDS / 4 && right > SEEDS / 4);
}

// ---- the host

static void test_host_memory(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS] = {0};
    r.api->copy_in(r.s, r.x, host, sizeof host);
    host[77] = 1; // too early
    probe_wait(&r);
    CHECK(probe_said(&r, "the host changed the 512 bytes"));
    probe_close(&r);

    r = probe_open(1);
    void *pinned = NULL;
    CHECK(r.api->alloc_host(r.g, sizeof host, &pinned) == ERR_OK);
    r.api->copy_out(r.s, pinned, r.x, sizeof host);
    r.api->copy_in(r.other, r.y, pinned, sizeof host);
    CHECK(probe_said(&r, "host memory that a copy_out brings"));
    probe_wait(&r);
    r.api->free_host(r.g, pinned);
    probe_close(&r);

    r = probe_open(1);
    CHECK(r.api->alloc_host(r.g, sizeof host, &pinned) == ERR_OK);
    r.api->copy_out(r.s, pinned, r.x, sizeof host);
    r.api->free_host(r.g, pinned);
    CHECK(probe_said(&r, "free_host of memory that a copy works with"));
    probe_close(&r);

    r = probe_open(1);
    void *p = NULL;
    CHECK(r.api->alloc(r.g, 1000, &p) == ERR_OK);
    probe_close(&r);
    CHECK(strstr(gpu_emulated_first_violation(), "closed with 1 allocations"));

    r = probe_open(1);
    CHECK(r.api->alloc(r.g, 1000, &p) == ERR_OK);
    r.api->free(r.g, p);
    r.api->free(r.g, p);
    CHECK(probe_said(&r, "which is not such memory"));
    probe_close(&r);
}

static void misused(const char *words, void (*body)(struct probe_rig *r)) {
    struct probe_rig r = probe_open(1);
    struct gpu_graph *graph = NULL;
    struct errmsg msg = {0};
    r.api->capture(r.s);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    body(&r);
    CHECK(probe_said(&r, words));
    CHECK(r.api->capture_end(r.s, &graph, &msg) == ERR_INTERNAL && !graph);
    CHECK(strstr(msg.text, words));
    probe_close(&r);
}
static void waits(struct probe_rig *r) { r->api->wait(r->e); }
static void records(struct probe_rig *r) { r->api->record(r->s, r->e); }
static void is_told_to_wait(struct probe_rig *r) { r->api->stream_wait(r->s, r->e); }
static void allocates(struct probe_rig *r) {
    void *p = NULL;
    CHECK(r->api->alloc(r->g, 100, &p) == ERR_OK);
    r->api->free(r->g, p);
}
static void asks_another(struct probe_rig *r) { r->api->fill(r->other, r->y, 0, 4); }

static void test_capture_misused(void) {
    misused("wait while a stream is captured", waits);
    misused("record of a stream that is captured", records);
    misused("stream_wait of a stream that is captured", is_told_to_wait);
    misused("alloc while a stream is captured", allocates);
    misused("fill while a stream is captured", asks_another);
    struct probe_rig r = probe_open(1);
    struct gpu_graph *graph = NULL;
    CHECK(r.api->capture_end(r.s, &graph, NULL) == ERR_INTERNAL);
    CHECK(probe_said(&r, "capture_end without capture"));
    probe_close(&r);
}

// A graph's memory is looked at when it is launched.
static void test_graph_of_freed_memory(void) {
    struct probe_rig r = probe_open(1);
    struct gpu_graph *graph = NULL;
    void *p = NULL;
    CHECK(r.api->alloc(r.g, 100, &p) == ERR_OK);
    r.api->capture(r.s);
    r.api->fill(r.s, p, 0, 100);
    CHECK(r.api->capture_end(r.s, &graph, NULL) == ERR_OK);
    r.api->graph_launch(r.s, graph);
    CHECK_INT(gpu_emulated_violations(), 0);
    r.api->free(r.g, p);
    r.api->graph_launch(r.s, graph);
    CHECK(probe_said(&r, "fill touches 100 bytes"));
    probe_wait(&r);
    r.api->graph_free(r.g, graph);
    probe_close(&r);
}

int main(void) {
    test_missing_barrier();
    test_meetings_in_vain();
    test_beyond();
    test_ranges();
    test_never_written();
    test_order();
    test_order_by_host();
    test_order_in_numbers();
    test_host_memory();
    test_capture_misused();
    test_graph_of_freed_memory();
    return check_done();
}
