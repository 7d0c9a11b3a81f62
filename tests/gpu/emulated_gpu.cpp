// The emulated GPU's table: GPUs, their memory, streams and events; the lock.
#include "tests/gpu/emulated_gpu.h"
#include "tests/gpu/emulated.h"
#include "tests/gpu/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { MOST_GPUS = 16 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t used[MOST_GPUS]; // bytes of each

emulated_lock::emulated_lock() { pthread_mutex_lock(&mutex); }
emulated_lock::~emulated_lock() { pthread_mutex_unlock(&mutex); }
void emulated_lock_wait(void) { pthread_cond_wait(&changed, &mutex); }
void emulated_changed(void) { pthread_cond_broadcast(&changed); }
void emulated_lock_rest(int ms) {
    pthread_mutex_unlock(&mutex);
    struct timespec t = {0, ms * 1000000L};
    nanosleep(&t, NULL);
    pthread_mutex_lock(&mutex);
}

void emulated_violation(struct gpu *g, const char *format, ...) {
    char words[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(words, sizeof words, format, ap);
    va_end(ap);
    faults_violation(words);
    if (g->failure != ERR_OK)
        return;
    g->failure = ERR_INTERNAL;
    snprintf(g->words, sizeof g->words, "%s", words);
}

uint64_t emulated_random(struct gpu *g) {
    uint64_t x = g->random += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

uint64_t emulated_sum(const void *p, size_t bytes) {
    const unsigned char *at = (const unsigned char *)p;
    uint64_t sums[4] = {1, 2, 3, 4};
    size_t i = 0;
    for (; i + 32 <= bytes; i += 32) {
        for (int k = 0; k < 4; k++) {
            uint64_t x;
            memcpy(&x, at + i + 8 * k, 8);
            sums[k] = (sums[k] ^ x) * 0x9e3779b97f4a7c15ULL;
            sums[k] ^= sums[k] >> 32;
        }
    }
    for (; i < bytes; i++)
        sums[i % 4] = (sums[i % 4] ^ at[i]) * 0x9e3779b97f4a7c15ULL;
    return sums[0] + 3 * sums[1] + 5 * sums[2] + 7 * sums[3];
}

// ---- GPUs

static enum err emu_count(int *out, struct errmsg *msg) {
    struct emulated_lock lock;
    *out = faults_settings()->count;
    if (*out > MOST_GPUS)
        *out = MOST_GPUS;
    return *out > 0 ? ERR_OK : err_set(msg, ERR_UNSUPPORTED, "no GPU is emulated");
}

static bool there(int number) { return number >= 0 && number < faults_settings()->count; }

static size_t left(int number) {
    size_t all = faults_settings()->memory_bytes;
    return all > used[number] ? all - used[number] : 0;
}

static enum err emu_look(int number, struct gpu_facts *out, struct errmsg *msg) {
    struct emulated_lock lock;
    if (!there(number))
        return err_set(msg, ERR_UNSUPPORTED, "there is no GPU %d", number);
    const struct gpu_emulated_settings *set = faults_settings();
    *out = {};
    out->number = number;
    snprintf(out->name, sizeof out->name, "Emulated GPU");
    snprintf(out->uuid, sizeof out->uuid, "GPU-00000000-0000-0000-0000-%012d", number);
    out->major = set->no_bf16 ? 7 : 9;
    out->minor = set->no_bf16 ? 5 : 0;
    out->driver = set->driver;
    out->memory_bytes = set->memory_bytes;
    out->free_bytes = left(number);
    out->processors = 4;
    out->shared_bytes = 227 * 1024;
    out->bf16 = !set->no_bf16;
    return ERR_OK;
}

static enum err emu_open(int number, struct gpu **out, struct errmsg *msg) {
    struct emulated_lock lock;
    if (!there(number))
        return err_set(msg, ERR_UNSUPPORTED, "there is no GPU %d", number);
    struct gpu *g = new gpu{};
    g->number = number;
    g->random = faults_settings()->seed * 0x9e3779b97f4a7c15ULL;
    g->targets = spans_new();
    g->sources = spans_new();
    *out = g;
    return ERR_OK;
}

static void release(struct region *r) {
    if (!region_guarded(r, true))
        emulated_violation(r->gpu, "a write beside the %zu bytes at %p", r->bytes, (void *)r->data);
    if (!r->host)
        used[r->gpu->number] -= (r->bytes + 255) / 256 * 256;
    region_free(r);
}

static void emu_close(struct gpu *g) {
    struct emulated_lock lock;
    if (!g)
        return;
    for (struct gpu_stream *s : g->streams) {
        if (s)
            delete s->capture;
        delete s;
    }
    size_t n = 0;
    for (struct region *r = region_of_gpu(g); r; r = region_of_gpu(g), n++)
        release(r);
    if (n)
        emulated_violation(g, "closed with %zu allocations", n);
    spans_free(g->targets);
    spans_free(g->sources);
    delete g;
}

static void emu_memory(struct gpu *g, size_t *free_bytes, size_t *total_bytes) {
    struct emulated_lock lock;
    *free_bytes = left(g->number);
    *total_bytes = faults_settings()->memory_bytes;
}

static enum err emu_failure(struct gpu *g, struct errmsg *msg) {
    struct emulated_lock lock;
    return g->failure == ERR_OK ? ERR_OK : err_set(msg, g->failure, "%s", g->words);
}

// ---- memory

static enum err allocate(struct gpu *g, size_t bytes, bool host, void **out) {
    struct emulated_lock lock;
    emulated_capture_misused(g, NULL, host ? "alloc_host" : "alloc");
    size_t rounded = (bytes + 255) / 256 * 256;
    *out = NULL;
    if (faults_now(GPU_FAULT_NOMEM) ||
        (!host && (bytes > SIZE_MAX / 4 || rounded > left(g->number))))
        return ERR_NOMEM;
    struct region *r = region_new(g, bytes, host);
    if (!r)
        return ERR_NOMEM;
    if (!host)
        used[g->number] += rounded;
    *out = r->data;
    return ERR_OK;
}

static enum err emu_alloc(struct gpu *g, size_t bytes, void **out) {
    return allocate(g, bytes, false, out);
}
static enum err emu_alloc_host(struct gpu *g, size_t bytes, void **out) {
    return allocate(g, bytes, true, out);
}

static struct region *to_free(struct gpu *g, void *p, bool host) {
    struct region *r = region_at(p);
    emulated_capture_misused(g, NULL, host ? "free_host" : "free");
    if (r && r->data == p && r->gpu == g && r->host == host)
        return r;
    emulated_violation(g, "free of %p, which is not such memory", p);
    return NULL;
}

static void emu_free(struct gpu *g, void *p) {
    struct emulated_lock lock;
    struct region *r = p ? to_free(g, p, false) : NULL;
    if (!r)
        return;
    emulated_finish_all(g);
    release(r);
}

static void emu_free_host(struct gpu *g, void *p) {
    struct emulated_lock lock;
    struct region *r = p ? to_free(g, p, true) : NULL;
    if (!r)
        return;
    for (unsigned i = 0; i < ORDER_STREAMS; i++) {
        if (r->used.at[i] <= g->host.at[i] || g->lost)
            continue;
        emulated_violation(g, "free_host of memory that a copy works with: no wait has covered it");
        emulated_reach_surely(g, i, r->used.at[i]);
    }
    size_t kept = 0;
    for (auto &d : g->deliveries) {
        if (d->pinned != r)
            g->deliveries[kept++] = d;
        else
            spans_remove(g->targets, d->host, d->bytes);
    }
    g->deliveries.resize(kept);
    release(r);
}

// ---- streams and events

static enum err emu_stream_new(struct gpu *g, struct gpu_stream **out) {
    struct emulated_lock lock;
    *out = NULL;
    for (unsigned i = 0; i < ORDER_STREAMS; i++) {
        if (g->streams[i])
            continue;
        g->streams[i] = *out = new gpu_stream{};
        (*out)->gpu = g;
        (*out)->slot = i;
        return ERR_OK;
    }
    return ERR_NOMEM;
}

static void emu_stream_free(struct gpu *g, struct gpu_stream *s) {
    struct emulated_lock lock;
    if (!s)
        return;
    if (s->capture)
        emulated_violation(g, "stream_free of a stream that is captured");
    if (g->capturing == s)
        g->capturing = NULL;
    if (!s->hanging)
        emulated_reach_surely(g, s->slot, g->asked[s->slot]);
    g->done[s->slot] = g->asked[s->slot];
    g->streams[s->slot] = NULL;
    delete s->capture;
    delete s;
}

static enum err emu_event_new(struct gpu *g, struct gpu_event **out) {
    *out = new gpu_event{g, {-1, 0, {}}};
    return ERR_OK;
}
static void emu_event_free(struct gpu *g, struct gpu_event *e) {
    (void)g;
    delete e;
}

const struct gpu_api *gpu_emulated(void) {
    static const struct gpu_api api = {
        "emulated",
        emu_count,
        emu_look,
        emu_open,
        emu_close,
        emu_memory,
        emu_failure,
        emu_alloc,
        emu_free,
        emu_alloc_host,
        emu_free_host,
        emu_stream_new,
        emu_stream_free,
        emulated_copy_in,
        emulated_copy_out,
        emulated_copy,
        emulated_fill,
        emu_event_new,
        emu_event_free,
        emulated_record,
        emulated_stream_wait,
        emulated_wait,
        emulated_capture,
        emulated_capture_end,
        emulated_graph_launch,
        emulated_graph_free,
        emulated_product,
    };
    return &api;
}
