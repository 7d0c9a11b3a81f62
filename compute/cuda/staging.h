// What goes from host memory to the GPU with a forward: arrays of ids, lengths, tables. Role:
// copies them into a block at once, so that the caller's array is read within the call, and from
// there to its twin on the GPU. When the block is full it waits until the GPU has done all that was
// asked, and begins anew: that is rare, and between forwards that are waited for it never happens.
// Thread rule: the thread that drives the device.
#ifndef TRINE_COMPUTE_CUDA_STAGING_H
#define TRINE_COMPUTE_CUDA_STAGING_H

#include "compute/cuda/gpu_api.h"

struct staging {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    size_t bytes, used;
    char *host, *device;
    struct gpu_event *done;
};

// ERR_NOMEM; what was made is freed by staging_free in any case.
enum err staging_init(struct staging *s, const struct gpu_api *api, struct gpu *gpu,
                      struct gpu_stream *stream, size_t bytes) MUST_CHECK;
void staging_free(struct staging *s);

// Room for so many bytes, 256-byte aligned: *host is written by the caller, and copied by
// staging_send to what is returned. NULL: more than the block holds. *anew: it waited, and what was
// given before is not there any more.
void *staging_take(struct staging *s, size_t bytes, void **host, bool *anew) MUST_CHECK;
// To `device`: staging_take's, or another place.
void staging_send(struct staging *s, void *device, const void *host, size_t bytes);
// Nothing is under way any more: it begins anew.
void staging_reset(struct staging *s);

#endif
