// See gpu_probe.h. Numbers are random: zeros make products faster than any that are computed.
#include "bench/gpu_probe.h"

#include "base/clock.h"

#include <stdlib.h>

enum { TIMES = 10, ROUNDS = 7, TILE = 1 << 20 };

struct probe {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_event *done;
    struct gpu_gemm gemm;
    char *from, *to;
    size_t bytes;
    uint32_t *sum;
};

static void wait_all(struct probe *p) {
    p->api->record(p->stream, p->done);
    p->api->wait(p->done);
}

static void multiply(struct probe *p) { p->api->gemm(p->stream, &p->gemm); }
static void copy(struct probe *p) { p->api->copy(p->stream, p->to, p->from, p->bytes); }
static void read_all(struct probe *p) { gpu_launch_read(p->stream, p->from, p->bytes, p->sum); }

// Seconds of one, the median of the rounds.
static double seconds_of(struct probe *p, void (*ask)(struct probe *p)) {
    double took[ROUNDS];
    ask(p);
    wait_all(p);
    for (size_t r = 0; r < ROUNDS; r++) {
        int64_t began = clock_now_us();
        for (int i = 0; i < TIMES; i++)
            ask(p);
        wait_all(p);
        double one = (double)(clock_now_us() - began) * 1e-6 / TIMES;
        size_t at = r;
        for (; at > 0 && took[at - 1] > one; at--)
            took[at] = took[at - 1];
        took[at] = one;
    }
    return took[ROUNDS / 2] > 0 ? took[ROUNDS / 2] : 1e-9;
}

// bf16 numbers about 1, of either sign, over and over.
static enum err fill(struct probe *p, char *device, size_t bytes) {
    uint16_t *host;
    void *pinned;
    enum err e = p->api->alloc_host(p->gpu, TILE, &pinned);
    if (e)
        return e;
    host = pinned;
    for (size_t i = 0; i < TILE / 2; i++)
        host[i] = (uint16_t)(0x3f00 + (i * 40503 & 0xff) + (i * 7919 & 1) * 0x8000);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < TILE ? bytes - at : TILE;
        p->api->copy_in(p->stream, device + at, host, n);
    }
    wait_all(p);
    p->api->free_host(p->gpu, pinned);
    return ERR_OK;
}

static enum err make(struct probe *p, size_t size, size_t bytes) {
    void *from, *to, *sum;
    size_t need = 3 * size * size * 2;
    p->bytes = bytes;
    size_t each = need > bytes ? need : bytes;
    enum err e = p->api->stream_new(p->gpu, &p->stream);
    if (!e)
        e = p->api->event_new(p->gpu, &p->done);
    if (!e && !(e = p->api->alloc(p->gpu, each, &from)))
        p->from = from;
    if (!e && !(e = p->api->alloc(p->gpu, bytes, &to)))
        p->to = to;
    if (!e && !(e = p->api->alloc(p->gpu, sizeof *p->sum, &sum)))
        p->sum = sum;
    if (e || (e = fill(p, p->from, each)))
        return e;
    p->api->fill(p->stream, p->sum, 0, sizeof *p->sum);
    p->gemm = (struct gpu_gemm){.type = GPU_BF16,
                                .rows = size,
                                .out = size,
                                .in = size,
                                .x = p->from,
                                .w = p->from + 2 * size * size,
                                .y = p->from + 4 * size * size,
                                .ld_x = size,
                                .ld_w = size,
                                .ld_y = size};
    return ERR_OK;
}

static void unmake(struct probe *p) {
    void *const all[] = {p->from, p->to, p->sum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            p->api->free(p->gpu, all[i]);
    if (p->done)
        p->api->event_free(p->gpu, p->done);
    if (p->stream)
        p->api->stream_free(p->gpu, p->stream);
    p->api->close(p->gpu);
}

enum err gpu_probe_peaks(const struct gpu_api *api, int number, size_t size, size_t bytes,
                         struct gpu_peak *out, struct errmsg *msg) {
    struct probe p = {.api = api};
    enum err e = api->open(number, &p.gpu, msg);
    if (e)
        return e;
    e = make(&p, size, bytes);
    if (!e) {
        double n = (double)size;
        *out = (struct gpu_peak){.read_bytes = (double)bytes / seconds_of(&p, read_all),
                                 .bytes = 2 * (double)bytes / seconds_of(&p, copy),
                                 .matrix_flops = 2 * n * n * n / seconds_of(&p, multiply)};
    }
    struct errmsg why = {0};
    enum err failed = api->failure(p.gpu, &why);
    unmake(&p);
    if (failed)
        return err_set(msg, failed, "%s", why.text);
    return e ? err_set(msg, e, "no memory on the card for its probe") : ERR_OK;
}
