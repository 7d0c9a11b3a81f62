// See staging.h.
#include "compute/cuda/staging.h"

enum { ALIGN = 256 };

enum err staging_init(struct staging *s, const struct gpu_api *api, struct gpu *gpu,
                      struct gpu_stream *stream, size_t bytes) {
    void *host = NULL, *device = NULL;
    *s = (struct staging){.api = api, .gpu = gpu, .stream = stream, .bytes = bytes};
    enum err e = api->alloc_host(gpu, bytes, &host);
    s->host = host;
    if (!e)
        e = api->alloc(gpu, bytes, &device);
    s->device = device;
    return e ? e : api->event_new(gpu, &s->done);
}

void staging_free(struct staging *s) {
    if (s->host)
        s->api->free_host(s->gpu, s->host);
    if (s->device)
        s->api->free(s->gpu, s->device);
    if (s->done)
        s->api->event_free(s->gpu, s->done);
    *s = (struct staging){0};
}

void *staging_take(struct staging *s, size_t bytes, void **host, bool *anew) {
    *anew = false;
    if (bytes > s->bytes - (ALIGN - 1))
        return NULL;
    size_t need = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (need > s->bytes - s->used) {
        s->api->record(s->stream, s->done);
        s->api->wait(s->done);
        s->used = 0;
        *anew = true;
    }
    size_t from = s->used;
    s->used += need;
    *host = s->host + from;
    return s->device + from;
}

void staging_send(struct staging *s, void *device, const void *host, size_t bytes) {
    s->api->copy_in(s->stream, device, host, bytes);
}

void staging_reset(struct staging *s) { s->used = 0; }
