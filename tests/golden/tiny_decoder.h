// Loads a committed tiny causal model with its golden files (tools/make_decoder_goldens.py) and
// runs steps over a paged cache: any streams, cut anyhow, blocks in any order. For the golden tests
// only. A failure is counted and reported by check.h.
#ifndef TRINE_TESTS_GOLDEN_TINY_DECODER_H
#define TRINE_TESTS_GOLDEN_TINY_DECODER_H

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "decoder/decoder.h"
#include "tests/check.h"
#include "tests/kit/test_device.h"
#include "tests/precisions.h"

#include <stdlib.h>

enum {
    TINY_PROMPTS = 3,
    TINY_BLOCK = 16,  // tokens
    TINY_STRIDE = 48, // blocks of a stream: 768 positions
    TINY_STREAMS = 8, // of a cache
    TINY_BLOCKS = TINY_STREAMS * TINY_STRIDE + 3,
    TINY_STEP = 1024, // tokens
};

struct tiny_prompt {
    int32_t ids[TINY_BLOCK * TINY_STRIDE];
    size_t n;
    const float *want; // [n, width]
};

struct tiny_decoder {
    char folder[128], path[160];
    struct device *device;
    struct decoder_config config;
    struct decoder *decoder;
    cJSON *golden;
    char *bytes;  // of golden.f32
    size_t width; // V, or D of a base model
    struct tiny_prompt prompt[TINY_PROMPTS];
};

// Little-endian floats, as this machine has them; the caller's (mem_free).
static inline char *tiny_floats(const char *folder, const char *name, size_t *n) {
    char path[200];
    struct errmsg msg = {0};
    char *bytes = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(file_read(path, 1 << 22, &bytes, n, &msg), msg);
    *n /= sizeof(float);
    return bytes;
}

static inline bool tiny_read_golden(struct tiny_decoder *m, struct errmsg *msg) {
    char path[200];
    snprintf(path, sizeof path, "%s/golden.json", m->folder);
    if (json_parse_file(path, 1 << 20, &m->golden, msg))
        return false;
    size_t n = 0, at = 0, p = 0;
    m->bytes = tiny_floats(m->folder, "golden.f32", &n);
    m->width = m->config.causal_lm ? m->config.vocab : m->config.hidden;
    const cJSON *prompt, *id;
    cJSON_ArrayForEach(prompt, json_get(m->golden, "prompts")) {
        struct tiny_prompt *to = &m->prompt[p++];
        cJSON_ArrayForEach(id, prompt) to->ids[to->n++] = id->valueint;
        to->want = (const float *)(const void *)m->bytes + at * m->width;
        at += to->n;
    }
    CHECK_INT(p, TINY_PROMPTS);
    CHECK_INT(at * m->width, n);
    return at * m->width == n;
}

static inline bool tiny_decoder_load(struct tiny_decoder *m, const char *name,
                                     struct precision precision, struct device *d) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    *m = (struct tiny_decoder){.device = d};
    snprintf(m->folder, sizeof m->folder, "tests/golden/data/decoders/%s", name);
    snprintf(m->path, sizeof m->path, "%s%s", m->folder,
             strncmp(name, "gguf-", 5) == 0 ? "/model.gguf" : "");
    bool ok = decoder_config_load(m->path, &m->config, &msg) == ERR_OK &&
              weights_open(m->path, &w, &msg) == ERR_OK &&
              decoder_load(w, &m->config, precision, d, &m->decoder, &msg) == ERR_OK &&
              weights_check_all_taken(w, &msg) == ERR_OK && tiny_read_golden(m, &msg);
    weights_close(w);
    if (!CHECK(ok))
        fprintf(stderr, "    %s: %s\n", name, msg.text);
    return ok;
}

static inline void tiny_decoder_free(struct tiny_decoder *m) {
    decoder_free(m->decoder);
    cJSON_Delete(m->golden);
    mem_free(m->bytes);
}

static inline size_t tiny_random(uint32_t *seed, size_t below) {
    *seed = *seed * 1664525U + 1013904223U;
    return (*seed >> 8) % below;
}

struct tiny_cache {
    struct kv_cache *kv;
    int32_t free[TINY_BLOCKS]; // taken from the front
    size_t taken;
};

static inline struct tiny_cache tiny_cache_new(const struct tiny_decoder *m, enum dtype dtype,
                                               uint32_t shuffle) {
    struct tiny_cache c = {0};
    struct errmsg msg = {0};
    struct kv_shape shape = decoder_kv_shape(m->decoder, TINY_BLOCK, TINY_BLOCKS, dtype);
    CHECK_OK(m->device->ops->kv_new(m->device, &shape, &c.kv, &msg), msg);
    for (int32_t i = 0; i < TINY_BLOCKS; i++)
        c.free[i] = i;
    for (size_t i = TINY_BLOCKS - 1; shuffle && i > 0; i--) {
        size_t j = tiny_random(&shuffle, i + 1);
        int32_t t = c.free[i];
        c.free[i] = c.free[j];
        c.free[j] = t;
    }
    return c;
}

// Tokens on their way through a cache, and the logits that came of them.
struct tiny_stream {
    const int32_t *ids;
    size_t n, done;
    int32_t table[TINY_STRIDE];
    size_t blocks;
    float *logits; // [n, V]
    bool *have;    // [n]
};

static inline struct tiny_stream tiny_stream_of(const struct tiny_decoder *m, const int32_t *ids,
                                                size_t n) {
    return (struct tiny_stream){.ids = ids,
                                .n = n,
                                .logits = calloc(n * m->config.vocab, sizeof(float)),
                                .have = calloc(n, sizeof(bool))};
}

static inline void tiny_stream_free(struct tiny_stream *s) {
    free(s->logits);
    free(s->have);
}

// The arrays of one step.
struct tiny_step {
    struct decoder_step step;
    int32_t ids[TINY_STEP], positions[TINY_STEP], slots[TINY_STEP], rows[TINY_STEP];
    int32_t cu[TINY_STREAMS + 1], context[TINY_STREAMS], tables[TINY_STREAMS * TINY_STRIDE];
    struct tiny_stream *of[TINY_STEP]; // of each wanted row
    size_t at[TINY_STEP];              // which of its tokens
};

// The next `take` tokens of a stream join the step.
static inline void tiny_add(struct tiny_step *b, struct tiny_cache *c, struct tiny_stream *s,
                            size_t take) {
    size_t seq = b->step.seqs++;
    for (size_t i = 0; i < take; i++, s->done++) {
        if (s->done / TINY_BLOCK == s->blocks)
            s->table[s->blocks++] = c->free[c->taken++];
        size_t n = b->step.tokens++;
        b->ids[n] = s->ids[s->done];
        b->positions[n] = (int32_t)s->done;
        b->slots[n] = s->table[s->done / TINY_BLOCK] * TINY_BLOCK + (int32_t)(s->done % TINY_BLOCK);
        b->of[n] = s;
        b->at[n] = s->done;
    }
    b->cu[seq + 1] = (int32_t)b->step.tokens;
    b->context[seq] = (int32_t)s->done;
    memset(&b->tables[seq * TINY_STRIDE], 0, TINY_STRIDE * sizeof *b->tables);
    memcpy(&b->tables[seq * TINY_STRIDE], s->table, s->blocks * sizeof *b->tables);
}

// Which rows' logits are wanted: all where `some` is NULL, else each by chance.
static inline void tiny_want(struct tiny_step *b, uint32_t *some) {
    for (size_t n = 0; n < b->step.tokens; n++)
        if (!some || tiny_random(some, 3) == 0)
            b->rows[b->step.logit_count++] = (int32_t)n;
    b->step.ids = b->ids;
    b->step.positions = b->positions;
    b->step.slots = b->slots;
    b->step.cu_seqlens = b->cu;
    b->step.context_lens = b->context;
    b->step.block_tables = b->tables;
    b->step.table_stride = TINY_STRIDE;
    b->step.logit_rows = b->rows;
}

// Runs it in a workspace of exactly the bytes asked for; logits go to their streams.
static inline bool tiny_run_step(const struct tiny_decoder *m, struct tiny_cache *c,
                                 struct tiny_step *b, const struct forward_hooks *hooks) {
    struct errmsg msg = {0};
    struct arena ws;
    struct device *d = m->device;
    size_t R = b->step.logit_count, V = m->config.vocab;
    size_t bytes = decoder_workspace_bytes(m->decoder, b->step.tokens, R);
    if (!CHECK(d->ops->workspace_new(d, bytes, &ws) == ERR_OK))
        return false;
    struct mat logits = decoder_forward(m->decoder, &b->step, c->kv, &ws, hooks);
    enum err e = device_sync(d, &msg);
    if (!CHECK(e == ERR_OK))
        fprintf(stderr, "    %s: %s\n", m->folder, msg.text);
    CHECK((logits.data != NULL) == (e == ERR_OK && R > 0));
    CHECK(test_device_is_gpu() ? ws.used <= ws.size
                               : ws.used == ws.size); // neither too little nor a byte too much
    for (size_t r = 0; logits.data && r < R; r++) {
        struct tiny_stream *s = b->of[b->rows[r]];
        size_t at = b->at[b->rows[r]];
        d->ops->read(d, mat_rows(logits, r, 1), s->logits + at * V);
        s->have[at] = true;
    }
    d->ops->workspace_free(d, &ws);
    return e == ERR_OK;
}

// All streams to their ends: at once, or (cut) in chunks of chance, some streams left out of some
// steps, some rows' logits not asked for.
static inline bool tiny_run_streams(const struct tiny_decoder *m, struct tiny_cache *c,
                                    struct tiny_stream *s, size_t count, uint32_t *cut,
                                    const struct forward_hooks *hooks) {
    bool ok = true;
    for (size_t left = 1; ok && left > 0;) {
        struct tiny_step *b = calloc(1, sizeof *b);
        left = 0;
        for (size_t i = 0; i < count; i++) {
            size_t rest = s[i].n - s[i].done, take = rest;
            if (cut && rest > 0)
                take = tiny_random(cut, 3) == 0 ? 1 : tiny_random(cut, rest < 40 ? rest + 1 : 40);
            left += rest - take;
            if (take > 0)
                tiny_add(b, c, &s[i], take);
        }
        if (b->step.tokens > 0) {
            tiny_want(b, cut);
            ok = tiny_run_step(m, c, b, hooks);
        }
        free(b);
    }
    return ok;
}

#endif
