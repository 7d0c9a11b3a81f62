// Host arrays on the GPU, and lists of tiles that are made of them. See cuda_device.h. What was
// copied once is found by its address until the device is synced or another forward begins: the
// caller leaves it alone as long (compute/device.h).
#include "compute/cuda/cuda_device.h"

#include <string.h>

void cuda_forget_arrays(struct cuda_device *c) { c->array_count = 0; }

static const struct cuda_array *find(const struct cuda_device *c, const void *host, int what,
                                     size_t from, size_t to) {
    for (size_t i = 0; i < c->array_count; i++) {
        const struct cuda_array *a = &c->arrays[i];
        if (a->host == host && a->what == what && a->from == from && a->to == to)
            return a;
    }
    return NULL;
}

static void know(struct cuda_device *c, const struct cuda_array *a) {
    if (c->array_count == CUDA_ARRAYS)
        c->array_count = 0; // they are copied again where they are wanted again
    c->arrays[c->array_count++] = *a;
}

// Not while a graph is captured: it would keep the place of this one copy.
static int32_t *take(struct cuda_device *c, size_t count, void **host) {
    bool anew;
    if (c->capturing) {
        device_fail(&c->base, ERR_INTERNAL, "a forward reads an array of %zu that it did not name",
                    count);
        return NULL;
    }
    int32_t *device = staging_take(&c->staging, count * sizeof(int32_t), host, &anew);
    if (anew)
        cuda_forget_arrays(c);
    if (!device)
        device_fail(&c->base, ERR_TOO_LARGE, "%s: an array of %zu values, of which %zu fit",
                    c->base.describe, count, c->staging.bytes / sizeof(int32_t));
    return device;
}

const void *cuda_words(struct cuda_device *c, const void *host, size_t count) {
    const struct cuda_array *known = find(c, host, CUDA_COPY, 0, 0);
    void *staged;
    if (known)
        return known->device;
    int32_t *device = take(c, count, &staged);
    if (!device)
        return NULL;
    memcpy(staged, host, count * sizeof(int32_t));
    staging_send(&c->staging, device, staged, count * sizeof(int32_t));
    know(c, &(struct cuda_array){.host = host, .what = CUDA_COPY, .device = device});
    return device;
}

static size_t tile_rows(enum cuda_what what) {
    return what == CUDA_ATTENTION_TILES ? GPU_ATTENTION_ROWS
           : what == CUDA_PAGED_TILES   ? GPU_PAGED_ROWS
                                        : 1;
}

// Rows of an attention tile are its sequence's, those over a cache the step's.
size_t cuda_make_tiles(enum cuda_what what, const int32_t *cu_seqlens, size_t seqs, size_t from,
                       size_t to, int32_t *out) {
    size_t n = 0;
    for (size_t s = 0; s < seqs; s++) {
        size_t begin = (size_t)cu_seqlens[s], end = (size_t)cu_seqlens[s + 1];
        if (what != CUDA_ATTENTION_TILES && (end - begin == 1) != (what == CUDA_ROW_TILES))
            continue;
        for (size_t row = begin; row < end; row += tile_rows(what)) {
            if (row < from || row >= to)
                continue;
            if (out) {
                out[2 * n] = (int32_t)s;
                out[2 * n + 1] = (int32_t)(what == CUDA_ATTENTION_TILES ? row - begin : row);
            }
            n++;
        }
    }
    return n;
}

const int32_t *cuda_tiles(struct cuda_device *c, enum cuda_what what, const int32_t *cu_seqlens,
                          size_t seqs, size_t from, size_t to, size_t *count) {
    const struct cuda_array *known = find(c, cu_seqlens, (int)what, from, to);
    void *staged;
    if (known) {
        *count = known->count;
        return known->device;
    }
    *count = cuda_make_tiles(what, cu_seqlens, seqs, from, to, NULL);
    int32_t *device = take(c, 2 * *count, &staged);
    if (!device)
        return NULL;
    (void)cuda_make_tiles(what, cu_seqlens, seqs, from, to, staged);
    staging_send(&c->staging, device, staged, 2 * *count * sizeof(int32_t));
    know(c, &(struct cuda_array){
                .host = cu_seqlens,
                .what = (int)what,
                .from = from,
                .to = to,
                .device = device,
                .count = *count,
            });
    return device;
}
