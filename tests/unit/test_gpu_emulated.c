// The emulated GPU keeps gpu_api.h's promises: right programs are silent and have right numbers,
// whatever the seed, and it fails on demand as it is told to. (no thread sanitizer: fibers)
#include "tests/unit/gpu_probe_rig.h"

#include <math.h>
#include <pthread.h>

enum { SEEDS = 20 };

static void test_sums(void) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct probe_rig r = probe_open_empty(seed);
        enum { N = 3000 };
        static float host[N];
        float got = 0;
        void *x = NULL, *sum = NULL, *parts = NULL, *done = NULL;
        for (int i = 0; i < N; i++)
            host[i] = (float)i;
        CHECK(r.api->alloc(r.g, sizeof host, &x) == ERR_OK &&
              r.api->alloc(r.g, sizeof got, &sum) == ERR_OK &&
              r.api->alloc(r.g, PROBE_SUM_BLOCKS * sizeof got, &parts) == ERR_OK &&
              r.api->alloc(r.g, sizeof(unsigned), &done) == ERR_OK);
        r.api->copy_in(r.s, x, host, sizeof host);
        r.api->fill(r.s, done, 0, sizeof(unsigned));
        probe_scale(r.s, (struct gpu_mat){x, 3, N / 3, N / 3, GPU_F32}, 2);
        probe_sum(r.s, x, N, parts, done, sum);
        probe_sum(r.s, x, N, parts, done, sum);
        r.api->copy_out(r.s, &got, sum, sizeof got);
        probe_wait(&r);
        CHECK(got == N * (N - 1));
        r.api->free(r.g, x);
        r.api->free(r.g, sum);
        r.api->free(r.g, parts);
        r.api->free(r.g, done);
        CHECK_INT(probe_close(&r), 0);
    }
}

static void test_places(void) {
    struct probe_rig r = probe_open(1);
    static int host[PROBE_PLACES];
    void *y = NULL;
    CHECK(r.api->alloc(r.g, sizeof host, &y) == ERR_OK);
    r.api->fill(r.s, y, 0, sizeof host);
    probe_places(r.s, y, sizeof host);
    r.api->copy_out(r.s, host, y, sizeof host);
    probe_wait(&r);
    int once = 0;
    for (int i = 0; i < PROBE_PLACES; i++)
        once += host[i] == 1;
    CHECK_INT(once, PROBE_PLACES);
    r.api->free(r.g, y);
    CHECK_INT(probe_close(&r), 0);
}

static void check_collectives(const int *y) {
    for (int lane = 0; lane < 32; lane++) {
        int matches = 0;
        for (int o = 0; o < 32; o++)
            matches |= (int)((o % 5 == lane % 5 ? 1U : 0) << o);
        const int want[PROBE_COLLECTIVES] = {
            lane / 8 + 3,
            lane / 8 * 8 + 1,
            lane ^ 5,
            lane < 29 ? lane + 3 : lane,
            lane % 16 >= 3 ? lane - 3 : lane,
            0x49249249,
            496,
            31,
            matches,
            lane ^ 1,
            5,
            lane - 31,
        };
        for (int k = 0; k < PROBE_COLLECTIVES; k++)
            if (!CHECK(y[32 * k + lane] == want[k]))
                fprintf(stderr, "    collective %d, lane %d: %d, not %d\n", k, lane,
                        y[32 * k + lane], want[k]);
    }
}

static void test_collectives(void) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct probe_rig r = probe_open(seed);
        static int host[32 * PROBE_COLLECTIVES];
        void *y = NULL;
        CHECK(r.api->alloc(r.g, sizeof host, &y) == ERR_OK);
        probe_collectives(r.s, y);
        r.api->copy_out(r.s, host, y, sizeof host);
        probe_wait(&r);
        check_collectives(host);
        r.api->free(r.g, y);
        CHECK_INT(probe_close(&r), 0);
    }
}

// ---- narrow floats

static float from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static double narrow_value(uint16_t bits, enum gpu_type type) {
    if (type == GPU_BF16)
        return (double)from_bits((uint32_t)bits << 16);
    int exponent = bits >> 10 & 31;
    double a = exponent == 31 ? (bits & 1023 ? (double)NAN : (double)INFINITY)
               : exponent     ? ldexp(1024 + (bits & 1023), exponent - 25)
                              : ldexp(bits & 1023, -24);
    return bits & 0x8000 ? -a : a;
}

// Whether `bits` is the nearest to x, of two equally near ones the even one.
static bool is_nearest(float x, uint16_t bits, enum gpu_type type) {
    double got = narrow_value(bits, type);
    if (isnan(x))
        return isnan(got);
    if (!!signbit(x) != bits >> 15)
        return false;
    uint16_t top = type == GPU_BF16 ? 0x7f80 : 0x7c00; // infinity
    double beyond = type == GPU_BF16 ? ldexp(1, 128) : 65536;
    uint16_t low = bits & 0x7fff;
    double a = fabs((double)x), v = low == top ? beyond : fabs(got);
    if (isinf(x))
        return low == top;
    double below = low ? narrow_value((uint16_t)(low - 1), type) : -v;
    double above = low == top       ? (double)INFINITY
                   : low + 1 == top ? beyond
                                    : narrow_value((uint16_t)(low + 1), type);
    bool even = low % 2 == 0;
    double to_below = (v + below) / 2, to_above = (v + above) / 2;
    return (a > to_below || (a == to_below && even)) && (a < to_above || (a == to_above && even));
}

static void test_narrow(enum gpu_type type) {
    enum { N = 1 << 16 };
    struct probe_rig r = probe_open(1);
    static float wide[N], back[N];
    static uint16_t narrow[N];
    void *w = NULL, *n = NULL;
    CHECK(r.api->alloc(r.g, sizeof wide, &w) == ERR_OK &&
          r.api->alloc(r.g, sizeof narrow, &n) == ERR_OK);
    // Each narrow number is widened and narrowed again.
    for (int i = 0; i < N; i++)
        narrow[i] = (uint16_t)i;
    r.api->copy_in(r.s, n, narrow, sizeof narrow);
    probe_convert(r.s, w, n, N, type, 1);
    r.api->copy_out(r.s, back, w, sizeof back);
    probe_wait(&r);
    int wrong = 0;
    for (int i = 0; i < N; i++) {
        double want = narrow_value((uint16_t)i, type);
        wrong += isnan(want) ? !isnan(back[i]) : (double)back[i] != want;
    }
    CHECK_INT(wrong, 0);
    // Floats: random ones, what lies halfway between two narrow ones, and its neighbours.
    uint32_t random = 1;
    for (int i = 0; i < N; i++) {
        random = random * 1664525 + 1013904223;
        uint32_t halfway = (random & 0xfffff000U) | (type == GPU_BF16 ? 0x8000U : 0x1000U);
        wide[i] = from_bits(i % 4 == 0 ? random : halfway + (uint32_t)(i % 4) - 2);
        if (i % 8 == 7) // near the subnormal ones of f16
            wide[i] = ldexpf((float)(random >> 8), -24 - 24 + (int)(random % 14));
    }
    r.api->copy_in(r.s, w, wide, sizeof wide);
    probe_convert(r.s, w, n, N, type, 0);
    r.api->copy_out(r.s, narrow, n, sizeof narrow);
    probe_wait(&r);
    wrong = 0;
    for (int i = 0; i < N; i++)
        wrong += !is_nearest(wide[i], narrow[i], type);
    CHECK_INT(wrong, 0);
    r.api->free(r.g, w);
    r.api->free(r.g, n);
    CHECK_INT(probe_close(&r), 0);
}

// ---- streams, events, graphs

// Two streams that hand x to and fro by events, and a third of them that brings numbers out.
static void test_streams(void) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct probe_rig r = probe_open(seed);
        struct gpu_event *turn = NULL, *back = NULL;
        CHECK(r.api->event_new(r.g, &turn) == ERR_OK && r.api->event_new(r.g, &back) == ERR_OK);
        float host[PROBE_THREADS];
        for (int i = 0; i < 5; i++) {
            r.api->record(r.s, turn);
            r.api->stream_wait(r.other, turn);
            probe_turn(r.other, r.x, r.y, PROBE_RIGHT);
            r.api->record(r.other, back);
            r.api->stream_wait(r.s, back);
            r.api->copy(r.s, r.x, r.y, sizeof host);
            probe_scale(r.s, (struct gpu_mat){r.x, 1, PROBE_THREADS, PROBE_THREADS, GPU_F32}, 2);
        }
        r.api->copy_out(r.s, host, r.x, sizeof host);
        probe_wait(&r);
        int right = 0;
        for (int i = 0; i < PROBE_THREADS; i++)
            right += host[i] == (float)(32 * (PROBE_THREADS - 1 - i));
        CHECK_INT(right, PROBE_THREADS);
        r.api->event_free(r.g, turn);
        r.api->event_free(r.g, back);
        CHECK_INT(probe_close(&r), 0);
    }
}

static void test_graph(void) {
    struct probe_rig r = probe_open(1);
    struct gpu_graph *graph = NULL;
    float in[PROBE_THREADS], out[PROBE_THREADS];
    r.api->capture(r.s);
    r.api->copy_in(r.s, r.x, in, sizeof in);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    r.api->copy_out(r.s, out, r.y, sizeof out);
    CHECK(r.api->capture_end(r.s, &graph, NULL) == ERR_OK);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < PROBE_THREADS; i++)
            in[i] = (float)(i * round);
        r.api->graph_launch(r.s, graph);
        probe_wait(&r);
        CHECK(out[0] == (float)((PROBE_THREADS - 1) * round) && out[PROBE_THREADS - 1] == 0);
    }
    r.api->graph_free(r.g, graph);
    CHECK_INT(probe_close(&r), 0);
}

// What a copy brings is not there before a wait covers it, even if it has been done already.
static void test_nothing_before_the_wait(void) {
    struct probe_rig r = probe_open(1);
    float first[PROBE_THREADS], later[PROBE_THREADS];
    struct gpu_event *e = NULL;
    CHECK(r.api->event_new(r.g, &e) == ERR_OK);
    r.api->copy_out(r.s, first, r.x, sizeof first);
    r.api->record(r.s, e);
    r.api->copy_out(r.s, later, r.x, sizeof later);
    CHECK(isnan(first[5]));
    r.api->wait(e);
    CHECK(first[5] == 5 && isnan(later[5]));
    probe_wait(&r);
    CHECK(later[5] == 5);
    r.api->event_free(r.g, e);
    CHECK_INT(probe_close(&r), 0);
}

static void test_memory(void) {
    struct probe_rig r = probe_open(1);
    size_t before, after, all;
    void *p = NULL, *q = NULL;
    r.api->memory(r.g, &before, &all);
    CHECK_INT(all, 16 << 20);
    CHECK(r.api->alloc(r.g, 3 << 20, &p) == ERR_OK && (uintptr_t)p % 256 == 0);
    r.api->memory(r.g, &after, &all);
    CHECK_INT(before - after, 3 << 20);
    CHECK(r.api->alloc(r.g, 14 << 20, &q) == ERR_NOMEM);
    CHECK(r.api->alloc(r.g, (size_t)-1, &q) == ERR_NOMEM);
    gpu_emulated_fault(GPU_FAULT_NOMEM, 2);
    CHECK(r.api->alloc_host(r.g, 100, &q) == ERR_OK);
    r.api->free_host(r.g, q);
    CHECK(r.api->alloc(r.g, 100, &q) == ERR_NOMEM && !q);
    CHECK(r.api->alloc(r.g, 100, &q) == ERR_OK);
    CHECK(r.api->failure(r.g, NULL) == ERR_OK);
    r.api->free(r.g, p);
    r.api->free(r.g, q);
    r.api->memory(r.g, &after, &all);
    CHECK(before == after);
    CHECK_INT(probe_close(&r), 0);
}

// ---- products

static float numbers(uint32_t *random) {
    *random = *random * 1664525 + 1013904223;
    return (float)(*random >> 8) / (float)(1 << 23) - 1;
}

// What kernels.h says of the order of a sum, word by word.
static float summed(const float *x, const float *w, size_t n) {
    float lanes[32] = {0};
    for (size_t k = 0; k < n; k++)
        lanes[k / 8 % 32] = fmaf(x[k], w[k], lanes[k / 8 % 32]);
    for (int step = 16; step > 0; step /= 2) {
        float before[32];
        memcpy(before, lanes, sizeof before);
        for (int l = 0; l < 32; l++)
            lanes[l] = before[l] + before[l ^ step];
    }
    return lanes[0];
}

static void test_product(size_t rows, size_t out, size_t in) {
    struct probe_rig r = probe_open(rows);
    size_t ld = (in + 11) / 8 * 8, ld_y = out + 5;
    size_t sizes[] = {rows * ld, out * ld, out, rows * ld_y};
    float *host[4];
    void *device[4];
    uint32_t random = (uint32_t)in;
    for (int i = 0; i < 4; i++) {
        host[i] = calloc(sizes[i], sizeof(float));
        CHECK(host[i] && r.api->alloc(r.g, sizes[i] * sizeof(float), &device[i]) == ERR_OK);
        for (size_t k = 0; k < sizes[i]; k++)
            host[i][k] = numbers(&random);
        r.api->copy_in(r.s, device[i], host[i], sizes[i] * sizeof(float));
    }
    probe_wait(&r);
    struct gpu_gemm a = {.type = GPU_F32,
                         .rows = rows,
                         .out = out,
                         .in = in,
                         .x = device[0],
                         .w = device[1],
                         .bias = device[2],
                         .y = device[3],
                         .ld_x = ld,
                         .ld_w = ld,
                         .ld_y = ld_y,
                         .residual = device[3],
                         .ld_residual = ld_y};
    float *got = calloc(sizes[3], sizeof *got);
    r.api->gemm(r.s, &a);
    r.api->copy_out(r.s, got, device[3], sizes[3] * sizeof *got);
    probe_wait(&r);
    size_t wrong = 0;
    for (size_t i = 0; i < sizes[3]; i++) {
        size_t row = i / ld_y, o = i % ld_y;
        float want = host[3][i];
        if (o < out)
            want = summed(host[0] + row * ld, host[1] + o * ld, in) + host[2][o] + want;
        wrong += got[i] != want;
    }
    CHECK_INT(wrong, 0);
    for (int i = 0; i < 4; i++) {
        r.api->free(r.g, device[i]);
        free(host[i]);
    }
    free(got);
    CHECK_INT(probe_close(&r), 0);
}

// ---- faults on demand

static void test_lost(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS];
    struct errmsg msg = {0};
    gpu_emulated_fault(GPU_FAULT_LOST, 2);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    CHECK(r.api->failure(r.g, NULL) == ERR_OK);
    probe_read(&r, host);
    CHECK(isnan(host[0]));
    CHECK(r.api->failure(r.g, &msg) == ERR_LOST && strstr(msg.text, "illegal memory access"));
    CHECK_INT(probe_close(&r), 0);

    r = probe_open(1);
    gpu_launch_illegal_address(r.s);
    probe_wait(&r);
    CHECK(r.api->failure(r.g, NULL) == ERR_LOST);
    CHECK_INT(probe_close(&r), 0);
}

static void test_wrong(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS];
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    gpu_emulated_fault(GPU_FAULT_WRONG, 2);
    probe_read(&r, host);
    CHECK(host[0] == PROBE_THREADS - 1);
    probe_read(&r, host);
    CHECK(host[0] != PROBE_THREADS - 1 && !isnan(host[0]));
    probe_read(&r, host);
    CHECK(host[0] == PROBE_THREADS - 1);
    CHECK_INT(probe_close(&r), 0);
}

static void *releases(void *unused) {
    (void)unused;
    struct timespec t = {0, 50 * 1000000};
    nanosleep(&t, NULL);
    gpu_emulated_release();
    return NULL;
}

static void test_hang(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS];
    struct timespec from, to;
    pthread_t thread;
    gpu_emulated_fault(GPU_FAULT_HANG, 1);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    timespec_get(&from, TIME_UTC);
    CHECK(pthread_create(&thread, NULL, releases, NULL) == 0);
    probe_read(&r, host);
    timespec_get(&to, TIME_UTC);
    pthread_join(thread, NULL);
    double ms =
        (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) * 1e-6;
    CHECK(ms > 40 && host[0] == PROBE_THREADS - 1);
    CHECK_INT(probe_close(&r), 0);
}

static void *sets(void *flag) {
    struct timespec t = {0, 20 * 1000000};
    nanosleep(&t, NULL);
    *(volatile int32_t *)flag = 1;
    return NULL;
}

// A kernel that waits for the host, meanwhile another thread of it works with the GPU.
static void test_kernel_that_naps(void) {
    struct probe_rig r = probe_open(1);
    float host[PROBE_THREADS];
    void *flag = NULL;
    pthread_t thread;
    CHECK(r.api->alloc_host(r.g, sizeof(int32_t), &flag) == ERR_OK);
    *(volatile int32_t *)flag = 0;
    gpu_launch_hang(r.s, flag);
    probe_turn(r.s, r.x, r.y, PROBE_RIGHT);
    CHECK(pthread_create(&thread, NULL, sets, flag) == 0);
    probe_read(&r, host);
    pthread_join(thread, NULL);
    CHECK(host[0] == PROBE_THREADS - 1 && *(volatile int32_t *)flag == 1);
    r.api->free_host(r.g, flag);
    CHECK_INT(probe_close(&r), 0);
}

static void test_facts(void) {
    struct gpu_emulated_settings set = probe_settings(1);
    const struct gpu_api *api = gpu_emulated();
    struct gpu_facts facts;
    struct errmsg msg = {0};
    struct gpu *g = NULL;
    int count = -1;
    set.count = 2;
    set.no_bf16 = true;
    gpu_emulated_set(&set);
    CHECK(api->count(&count, NULL) == ERR_OK && count == 2);
    CHECK(api->look(1, &facts, NULL) == ERR_OK && !facts.bf16 && facts.number == 1);
    CHECK(facts.memory_bytes == set.memory_bytes && facts.free_bytes == facts.memory_bytes);
    CHECK(api->look(2, &facts, NULL) == ERR_UNSUPPORTED);
    CHECK(api->open(2, &g, &msg) == ERR_UNSUPPORTED && strstr(msg.text, "no GPU 2"));
    set.count = 0;
    gpu_emulated_set(&set);
    CHECK(api->count(&count, &msg) == ERR_UNSUPPORTED);
}

int main(void) {
    test_sums();
    test_places();
    test_collectives();
    test_narrow(GPU_BF16);
    test_narrow(GPU_F16);
    test_streams();
    test_graph();
    test_nothing_before_the_wait();
    test_memory();
    test_product(1, 3, 5);
    test_product(7, 33, 300);
    test_product(35, 20, 1031);
    test_lost();
    test_wrong();
    test_hang();
    test_kernel_that_naps();
    test_facts();
    return check_done();
}
