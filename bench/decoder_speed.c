// Raw speed of a causal model: a prompt of 512 tokens, then 128 single tokens, of one sequence and
// of 16 at once, no sampling beyond the largest logit. With it the bytes read a second (weights
// once a step, and each sequence's cache) as a share of the probed read bandwidth.
// Usage: decoder_speed MODEL [PRECISION] [threads] [prompt] [new]
#include "base/clock.h"
#include "base/json.h"
#include "bench/precision.h"
#include "compute/cpu/peak.h"
#include "decoder/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, CHUNK = 512, STREAMS = 16 };

static struct errmsg msg;

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "decoder_speed: %s: %s\n", what, msg.text);
    exit(1);
}

struct bench {
    struct device *d;
    struct decoder_config config;
    struct decoder *m;
    struct kv_cache *kv;
    struct arena ws;
    size_t prompt, new_tokens, stride; // blocks of a sequence
    int32_t *tables;                   // [STREAMS, stride]
    int32_t *ids, *positions, *slots;  // [CHUNK]
    int32_t next[STREAMS];
    float *row;
};

static int32_t slot_of(const struct bench *b, size_t seq, size_t at) {
    return b->tables[seq * b->stride + at / BLOCK] * BLOCK + (int32_t)(at % BLOCK);
}

static struct mat forward(struct bench *b, const struct decoder_step *s) {
    arena_reset(&b->ws);
    struct mat logits = decoder_forward(b->m, s, b->kv, &b->ws, NULL);
    must(device_sync(b->d, &msg) == ERR_OK, "forward");
    return logits;
}

static struct decoder_step step_of(const struct bench *b, size_t tokens, size_t seqs) {
    return (struct decoder_step){.ids = b->ids,
                                 .positions = b->positions,
                                 .slots = b->slots,
                                 .table_stride = b->stride,
                                 .tokens = tokens,
                                 .seqs = seqs};
}

static int32_t largest(struct bench *b, struct mat logits, size_t row) {
    struct mat one = {logits.data + row * logits.ld, 1, logits.cols, logits.ld, DTYPE_F32};
    b->d->ops->read(b->d, one, b->row);
    size_t best = 0;
    for (size_t i = 1; i < logits.cols; i++)
        best = b->row[i] > b->row[best] ? i : best;
    return (int32_t)best;
}

// A sequence's prompt, in chunks; its first token is found.
static void prefill(struct bench *b, size_t seq) {
    for (size_t from = 0; from < b->prompt; from += CHUNK) {
        size_t n = b->prompt - from < CHUNK ? b->prompt - from : CHUNK;
        for (size_t i = 0; i < n; i++) {
            b->ids[i] = (int32_t)((seq * 7919 + (from + i) * 104729) % b->config.vocab);
            b->positions[i] = (int32_t)(from + i);
            b->slots[i] = slot_of(b, seq, from + i);
        }
        int32_t cu[2] = {0, (int32_t)n}, context = (int32_t)(from + n), last = (int32_t)n - 1;
        struct decoder_step s = step_of(b, n, 1);
        s.cu_seqlens = cu;
        s.context_lens = &context;
        s.block_tables = b->tables + seq * b->stride;
        s.logit_rows = &last;
        s.logit_count = from + n == b->prompt;
        struct mat logits = forward(b, &s);
        if (s.logit_count)
            b->next[seq] = largest(b, logits, 0);
    }
}

// One token of each of the first `seqs` sequences.
static void decode(struct bench *b, size_t seqs, size_t at) {
    int32_t cu[STREAMS + 1] = {0}, context[STREAMS], rows[STREAMS];
    for (size_t s = 0; s < seqs; s++) {
        b->ids[s] = b->next[s];
        b->positions[s] = (int32_t)at;
        b->slots[s] = slot_of(b, s, at);
        cu[s + 1] = (int32_t)s + 1;
        context[s] = (int32_t)at + 1;
        rows[s] = (int32_t)s;
    }
    struct decoder_step s = step_of(b, seqs, seqs);
    s.cu_seqlens = cu;
    s.context_lens = context;
    s.block_tables = b->tables;
    s.logit_rows = rows;
    s.logit_count = seqs;
    struct mat logits = forward(b, &s);
    for (size_t i = 0; i < seqs; i++)
        b->next[i] = largest(b, logits, i);
}

static void load(struct bench *b, const char *path, const char *precision, int threads) {
    struct weights *w = NULL;
    struct precision p = precision_named(precision);
    must(cpu_device_new(&(struct cpu_options){.threads = threads}, &b->d, &msg) == ERR_OK,
         "device");
    must(decoder_config_load(path, &b->config, &msg) == ERR_OK, path);
    must(weights_open(path, &w, &msg) == ERR_OK, path);
    must(decoder_load(w, &b->config, p, b->d, &b->m, &msg) == ERR_OK, path);
    weights_close(w);
    b->stride = (b->prompt + b->new_tokens + BLOCK - 1) / BLOCK;
    struct kv_shape shape = decoder_kv_shape(b->m, BLOCK, STREAMS * b->stride, DTYPE_F16);
    must(b->d->ops->kv_new(b->d, &shape, &b->kv, &msg) == ERR_OK, "cache");
    must(b->d->ops->workspace_new(b->d, decoder_workspace_bytes(b->m, CHUNK, STREAMS), &b->ws) ==
             ERR_OK,
         "workspace");
    b->tables = calloc(STREAMS * b->stride, sizeof *b->tables);
    b->ids = calloc(CHUNK, sizeof *b->ids);
    b->positions = calloc(CHUNK, sizeof *b->positions);
    b->slots = calloc(CHUNK, sizeof *b->slots);
    b->row = calloc(b->config.vocab, sizeof *b->row);
    must(b->tables && b->ids && b->positions && b->slots && b->row, "memory");
    for (size_t i = 0; i < STREAMS * b->stride; i++) // blocks lie apart, as in service
        b->tables[i] = (int32_t)(i % STREAMS * b->stride + i / STREAMS);
}

static void unload(struct bench *b) {
    free(b->tables);
    free(b->ids);
    free(b->positions);
    free(b->slots);
    free(b->row);
    b->d->ops->workspace_free(b->d, &b->ws);
    b->d->ops->kv_free(b->d, b->kv);
    decoder_free(b->m);
    cpu_device_free(b->d);
}

static double seconds_since(int64_t start) { return (double)(clock_now_us() - start) / 1e6; }

static void measure(struct bench *b, size_t seqs) {
    const struct decoder_config *c = &b->config;
    struct peak peak;
    must(peak_probe(b->d, &peak, &msg) == ERR_OK, "peak");
    int64_t start = clock_now_us();
    for (size_t s = 0; s < seqs; s++)
        prefill(b, s);
    double prefill_s = seconds_since(start);
    start = clock_now_us();
    for (size_t t = 0; t < b->new_tokens; t++)
        decode(b, seqs, b->prompt + t);
    double decode_s = seconds_since(start), steps = (double)b->new_tokens;
    // an untied table is looked up in, not read; keys and values are f16
    double weights = (double)decoder_weight_bytes(b->m);
    double cache = (double)(b->prompt + b->new_tokens / 2) * (double)seqs * (double)c->layers *
                   (double)(2 * c->kv_heads * c->head_dim) * 2;
    double rate = (weights + cache) * steps / decode_s;
    printf("%2zu streams: prefill %8.1f tok/s, decode %8.1f tok/s (%.2f ms a step), %5.2f GB/s, "
           "%3.0f %% of %.2f GB/s probed\n",
           seqs, (double)(seqs * b->prompt) / prefill_s, (double)seqs * steps / decode_s,
           decode_s / steps * 1e3, rate / 1e9, 100 * rate / peak.read_bytes, peak.read_bytes / 1e9);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: decoder_speed MODEL [" PRECISIONS "] [threads] [prompt] [new]\n");
        return 2;
    }
    struct bench b = {.prompt = argc > 4 ? strtoul(argv[4], NULL, 10) : 512,
                      .new_tokens = argc > 5 ? strtoul(argv[5], NULL, 10) : 128};
    must(b.prompt > 0 && b.new_tokens > 0, "prompt and new tokens");
    json_init();
    load(&b, argv[1], argc > 2 ? argv[2] : "narrow", argc > 3 ? atoi(argv[3]) : 0);
    printf("%s: %.1f MB of weights, %s\n", argv[1], (double)decoder_weight_bytes(b.m) / 1e6,
           b.d->describe);
    decode(&b, 1, 0); // touches everything once
    measure(&b, 1);
    measure(&b, STREAMS);
    unload(&b);
    return 0;
}
