// Workspaces on the GPU, and the way back: results to host memory, waiting, failures. See
// cuda_device.h.
#include "compute/cuda/cuda_device.h"

#include "base/mem.h"

#include <string.h>

// ---- memory

void cuda_fill_now(struct cuda_device *c, void *device, int byte, size_t bytes) {
    pthread_mutex_lock(&c->making);
    c->api->fill(c->side, device, byte, bytes);
    c->api->record(c->side, c->side_done);
    c->api->wait(c->side_done);
    pthread_mutex_unlock(&c->making);
}

enum err cuda_workspace_new(struct device *d, size_t bytes, struct arena *out) {
    struct cuda_device *c = cuda_of(d);
    void *base = NULL;
    *out = (struct arena){.elsewhere = true};
    if (bytes == SIZE_MAX || c->api->alloc(c->gpu, bytes ? bytes : 1, &base))
        return ERR_NOMEM;
    out->base = base;
    out->size = bytes;
    return ERR_OK;
}

void cuda_workspace_free(struct device *d, struct arena *a) {
    struct cuda_device *c = cuda_of(d);
    if (!a->base)
        return;
    cuda_drop_graphs(c, a->base);
    c->api->free(c->gpu, a->base);
    *a = (struct arena){0};
}

// ---- waiting

bool cuda_failed(struct cuda_device *c) {
    struct errmsg msg = {0};
    enum err e = c->api->failure(c->gpu, &msg);
    if (e == ERR_OK)
        return false;
    device_fail(&c->base, e == ERR_LOST ? ERR_IO : e, "%s: %s", c->base.describe, msg.text);
    if (e == ERR_LOST && !c->told_lost) {
        c->told_lost = true;
        if (c->options.lost)
            c->options.lost(c->options.ctx, msg.text);
    }
    return true;
}

// The stream has come to the event.
static bool wait_for(struct cuda_device *c, struct gpu_event *e) {
    c->api->wait(e);
    return !cuda_failed(c);
}

// What kernels complained of since it was last read; it is forgotten on the card.
static void read_complaints(struct cuda_device *c) {
    if (c->bad_host[0] || c->bad_host[1])
        c->api->fill(c->stream, c->bad, 0, CUDA_BAD_WORDS * sizeof *c->bad);
    if (c->bad_host[0])
        device_fail(&c->base, ERR_INVALID, "an index lies beyond its table");
    if (c->bad_host[1])
        device_fail(&c->base, ERR_INVALID, "sequence %d: no token is left to pool",
                    (int)c->bad_host[1] - 1);
}

// Draws up to this one are done; where the GPU has failed what they gave is not looked at.
static void deliver(struct cuda_device *c, uint64_t ticket) {
    if (ticket > c->draws_told)
        gpu_draw_deliver(c->draw, ticket);
    c->draws_told = ticket > c->draws_told ? ticket : c->draws_told;
}

void cuda_sync(struct device *d) {
    struct cuda_device *c = cuda_of(d);
    c->api->copy_out(c->stream, c->bad_host, c->bad, CUDA_BAD_WORDS * sizeof *c->bad);
    c->api->record(c->stream, c->done);
    bool good = wait_for(c, c->done);
    if (good)
        read_complaints(c);
    deliver(c, c->draws_asked);
    cuda_forget_arrays(c);
    staging_reset(&c->staging);
}

uint64_t cuda_mark(struct device *d) {
    struct cuda_device *c = cuda_of(d);
    size_t at = c->mark_count % CUDA_MARKS;
    c->api->record(c->stream, c->marks[at]);
    c->mark_draws[at] = c->draws_asked;
    return ++c->mark_count;
}

void cuda_wait_mark(struct device *d, uint64_t mark) {
    struct cuda_device *c = cuda_of(d);
    if (mark == 0 || mark > c->mark_count || c->mark_count - mark >= CUDA_MARKS) {
        cuda_sync(d); // it was so long ago that its event is another mark's by now
        return;
    }
    size_t at = (mark - 1) % CUDA_MARKS;
    (void)wait_for(c, c->marks[at]);
    deliver(c, c->mark_draws[at]);
}

void cuda_pace(struct device *d) {
    struct cuda_device *c = cuda_of(d);
    struct gpu_event *e = c->paces[c->pace_count % CUDA_PACES];
    if (c->pace_count >= CUDA_PACES)
        c->api->wait(e);
    c->api->record(c->stream, e);
    c->pace_count++;
}

// ---- results

void cuda_read(struct device *d, struct mat x, float *host) {
    struct cuda_device *c = cuda_of(d);
    size_t row_bytes = x.cols * sizeof(float);
    size_t most = row_bytes ? CUDA_READ_BYTES / row_bytes : 0;
    if (x.rows > 0 && x.cols > 0 && most == 0)
        device_fail(d, ERR_TOO_LARGE, "%s: rows of %zu numbers", d->describe, x.cols);
    for (size_t at = 0, n; at < x.rows && most > 0; at += n) {
        n = x.rows - at < most ? x.rows - at : most;
        struct gpu_mat packed = {c->read_device, n, x.cols, x.cols, GPU_F32};
        gpu_launch_convert(c->stream, cuda_mat(mat_rows(x, at, n)), packed);
        c->api->copy_out(c->stream, c->read_host, c->read_device, n * row_bytes);
        c->api->record(c->stream, c->done);
        if (!wait_for(c, c->done))
            return;
        memcpy(host + at * x.cols, c->read_host, n * row_bytes);
    }
}
