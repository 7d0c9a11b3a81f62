// What the GPU device gives, beside what the card can do, probed in the same run: encoding as
// tokens a second and as a share of its floor (arithmetic at the probed matrix rate plus bytes at
// the probed bandwidth), decoding as tokens a second and as a share of reading what it reads. No
// tokenizer, no scheduler: the device and the models alone.
// Usage: gpu [--json FILE] [--seconds S] MODEL...   (folders; bench/random_model makes some)
// Built with the card's API as build/bench/gpu, with the emulated one as build/bench/gpu_emulated,
// whose times mean nothing.
#include "base/clock.h"
#include "base/json.h"
#include "bench/gpu_probe.h"
#include "compute/cuda/cuda.h"
#include "decoder/decoder.h"
#include "encoder/encoder.h"
#include "tests/gpu/gpu_under_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32, SEQ = 128, CONTEXT = 512, WIDE = 64 };

static struct errmsg msg;

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "gpu: %s: %s\n", what, msg.text);
    exit(1);
}

struct bench {
    struct device *d;
    struct gpu_peak peak;
    double seconds; // of each measurement
    FILE *json;
    bool first;
};

// ---- figures

// floor_s: what the card needs at least for one of them.
static void report(struct bench *b, const char *model, const char *what, double rate,
                   const char *unit, double floor_s, double took_s) {
    printf("%-24s %-22s %12.1f %-8s floor %9.1f us, took %9.1f us: %5.1f %%\n", model, what, rate,
           unit, floor_s * 1e6, took_s * 1e6, 100 * floor_s / took_s);
    fflush(stdout);
    if (b->json)
        fprintf(b->json,
                "%s\n{\"model\":\"%s\",\"what\":\"%s\",\"rate\":%.3f,\"unit\":\"%s\","
                "\"floor_us\":%.3f,\"took_us\":%.3f,\"share\":%.4f}",
                b->first ? "" : ",", model, what, rate, unit, floor_s * 1e6, took_s * 1e6,
                floor_s / took_s);
    b->first = false;
}

static double now_s(void) { return (double)clock_now_us() * 1e-6; }

// Runs it until the time is over, at least three times; the median of one.
static double median_s(const struct bench *b, void (*run)(void *ctx), void *ctx) {
    enum { MOST = 10000 };
    static double took[MOST];
    size_t n = 0;
    run(ctx);
    for (double end = now_s() + b->seconds; n < MOST && (n < 3 || now_s() < end);) {
        double began = now_s();
        run(ctx);
        double one = now_s() - began;
        size_t at = n++;
        for (; at > 0 && took[at - 1] > one; at--)
            took[at] = took[at - 1];
        took[at] = one;
    }
    return took[n / 2];
}

// ---- encoding

struct encode {
    struct bench *b;
    struct encoder *m;
    struct arena ws;
    struct batch batch;
    struct mat pooled;
};

static void encode_once(void *ctx) {
    struct encode *e = ctx;
    struct device *d = e->b->d;
    arena_reset(&e->ws);
    struct mat x = encoder_forward(e->m, &e->batch, &e->ws, NULL);
    must(x.data != NULL, "forward");
    e->pooled = device_mat(d, &e->ws, e->batch.seqs, x.cols);
    d->ops->pool(d, &(struct pool_args){.mode = POOL_MEAN,
                                        .x = x,
                                        .out = e->pooled,
                                        .cu_seqlens = e->batch.cu_seqlens,
                                        .seqs = e->batch.seqs});
    d->ops->l2_normalize(d, e->pooled);
    must(device_sync(d, &msg) == ERR_OK, "forward");
}

static void encode_size(struct bench *b, const char *name, const struct model_config *c,
                        struct encoder *m, size_t tokens, bool kept) {
    size_t seq = tokens < SEQ ? tokens : SEQ, seqs = tokens / seq;
    struct encode e = {.b = b, .m = m};
    int32_t *ids = calloc(tokens, sizeof *ids), *positions = calloc(tokens, sizeof *ids);
    int32_t *types = calloc(tokens, sizeof *ids), *ends = calloc(seqs + 1, sizeof *ids);
    must(ids && positions && types && ends, "memory");
    for (size_t i = 0; i < tokens; i++) {
        ids[i] = (int32_t)(i * 7919 % c->vocab);
        positions[i] = (int32_t)(i % seq);
    }
    for (size_t s = 0; s <= seqs; s++)
        ends[s] = (int32_t)(s * seq);
    e.batch = (struct batch){ids, positions, types, ends, tokens, seqs};
    size_t bytes = encoder_workspace_bytes(m, tokens) + device_mat_bytes(seqs, c->hidden);
    must(b->d->ops->workspace_new(b->d, bytes, &e.ws) == ERR_OK, "workspace");
    if (kept) {
        b->d->ops->keep(b->d, true);
        (void)encoder_forward(m, &e.batch, &e.ws, NULL);
        b->d->ops->keep(b->d, false);
    }
    double took = median_s(b, encode_once, &e);
    double L = (double)c->layers, D = (double)c->hidden, N = (double)tokens;
    double flops = N * L * (8 * D * D + 4 * D * (double)c->ffn + 4 * (double)seq * D);
    double moved = N * L * (36 * D + 4 * (double)c->ffn); // 52 D L a token where ffn is 4 D
    double weights = 2 * L * (4 * D * D + 2 * D * (double)c->ffn);
    char what[64];
    snprintf(what, sizeof what, "encode %zu x %zu%s", seqs, seq, kept ? " graph" : "");
    report(b, name, what, N / took, "tok/s",
           flops / b->peak.matrix_flops + (moved + weights) / b->peak.bytes, took);
    b->d->ops->workspace_free(b->d, &e.ws);
    free(ids);
    free(positions);
    free(types);
    free(ends);
}

static void encoder_bench(struct bench *b, const char *name, const char *folder) {
    struct model_config c;
    struct weights *w = NULL;
    struct encoder *m = NULL;
    struct precision p = {.floats = COMPUTE_DEVICE};
    must(model_config_load(folder, &c, &msg) == ERR_OK, folder);
    must(weights_open(folder, &w, &msg) == ERR_OK, folder);
    must(encoder_load(w, &c, p, b->d, &m, &msg) == ERR_OK, folder);
    weights_close(w);
    encode_size(b, name, &c, m, 32, true);
    encode_size(b, name, &c, m, 512, true);
    encode_size(b, name, &c, m, 2048, true);
    encode_size(b, name, &c, m, 16384, false);
    encoder_free(m);
    model_config_free(&c);
}

// ---- decoding

struct decode {
    struct bench *b;
    struct decoder *m;
    size_t seqs;
    struct kv_cache *kv;
    struct arena ws;
    struct decoder_step step;
    struct draw_part *parts;
    struct sampling_result *results;
    struct sampling greedy;
};

// Each sequence's next token, from the one that the card drew before.
static void decode_once(void *ctx) {
    struct decode *e = ctx;
    struct device *d = e->b->d;
    arena_reset(&e->ws);
    struct mat logits = decoder_forward(e->m, &e->step, e->kv, &e->ws, NULL);
    must(logits.data != NULL, "forward");
    d->ops->draw(d, &(struct draw_args){.logits = logits, .parts = e->parts, .count = e->step.seqs},
                 &e->ws);
    must(device_sync(d, &msg) == ERR_OK, "step");
}

static void *zeros(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    must(p != NULL, "memory");
    return p;
}

// Prompts for all sequences, one after the other.
static void fill_cache(struct decode *e, const int32_t *tables, size_t stride, size_t context) {
    struct device *d = e->b->d;
    struct arena ws;
    int32_t *ids = zeros(context, 4), *positions = zeros(context, 4), *slots = zeros(context, 4);
    size_t bytes = decoder_workspace_bytes(e->m, context, 0);
    must(d->ops->workspace_new(d, bytes, &ws) == ERR_OK, "workspace");
    for (size_t s = 0; s < e->seqs; s++) {
        int32_t ends[2] = {0, (int32_t)context}, contexts[1] = {(int32_t)context};
        for (size_t i = 0; i < context; i++) {
            ids[i] = (int32_t)((i + 13 * s) % 199);
            positions[i] = (int32_t)i;
            slots[i] = tables[s * stride + i / BLOCK] * BLOCK + (int32_t)(i % BLOCK);
        }
        struct decoder_step step = {.ids = ids,
                                    .positions = positions,
                                    .slots = slots,
                                    .cu_seqlens = ends,
                                    .context_lens = contexts,
                                    .block_tables = tables + s * stride,
                                    .table_stride = stride,
                                    .tokens = context,
                                    .seqs = 1};
        arena_reset(&ws);
        (void)decoder_forward(e->m, &step, e->kv, &ws, NULL);
        must(device_sync(d, &msg) == ERR_OK, "prompt");
    }
    d->ops->workspace_free(d, &ws);
    free(ids);
    free(positions);
    free(slots);
}

static void decode_size(struct bench *b, const char *name, const struct decoder_config *c,
                        struct decoder *m, size_t seqs, size_t context) {
    size_t stride = context / BLOCK + 1;
    struct kv_shape shape = decoder_kv_shape(m, BLOCK, seqs * stride, DTYPE_F16);
    struct decode e = {
        .b = b, .m = m, .seqs = seqs, .greedy = {.top_p = 1, .repetition_penalty = 1}};
    int32_t *ids = zeros(seqs, 4), *positions = zeros(seqs, 4), *slots = zeros(seqs, 4);
    int32_t *ends = zeros(seqs + 1, 4), *contexts = zeros(seqs, 4), *rows = zeros(seqs, 4);
    int32_t *tables = zeros(seqs * stride, 4);
    e.parts = zeros(seqs, sizeof *e.parts);
    e.results = zeros(seqs, sizeof *e.results);
    shape.context = context;
    must(b->d->ops->kv_new(b->d, &shape, &e.kv, &msg) == ERR_OK, "cache");
    size_t bytes = decoder_workspace_bytes(m, seqs, seqs) + b->d->ops->draw_bytes(b->d, c->vocab);
    must(b->d->ops->workspace_new(b->d, bytes, &e.ws) == ERR_OK, "workspace");
    for (size_t s = 0; s < seqs; s++) {
        ids[s] = EMBED_DRAWN(s);
        positions[s] = (int32_t)context - 1;
        for (size_t i = 0; i < stride; i++)
            tables[s * stride + i] = (int32_t)(s * stride + i);
        slots[s] =
            tables[s * stride + (context - 1) / BLOCK] * BLOCK + (int32_t)((context - 1) % BLOCK);
        ends[s + 1] = (int32_t)s + 1;
        contexts[s] = (int32_t)context;
        rows[s] = (int32_t)s; // an array of its own: the device knows arrays by their places
        e.parts[s] = (struct draw_part){
            .first = s, .count = 1, .sampling = &e.greedy, .results = &e.results[s], .slot = s};
    }
    e.step = (struct decoder_step){.ids = ids,
                                   .positions = positions,
                                   .slots = slots,
                                   .cu_seqlens = ends,
                                   .context_lens = contexts,
                                   .block_tables = tables,
                                   .table_stride = stride,
                                   .tokens = seqs,
                                   .seqs = seqs,
                                   .logit_rows = rows,
                                   .logit_count = seqs};
    fill_cache(&e, tables, stride, context);
    b->d->ops->keep(b->d, true);
    (void)decoder_forward(m, &e.step, e.kv, &e.ws, NULL);
    b->d->ops->keep(b->d, false);
    double took = median_s(b, decode_once, &e);
    double cache = 4.0 * (double)(c->layers * c->kv_heads * c->head_dim * context * seqs);
    double read = (double)decoder_weight_bytes(m) + cache;
    if (!c->tied) // of the table one row a sequence is read
        read -= 2.0 * (double)(c->vocab * c->hidden);
    char what[64];
    snprintf(what, sizeof what, "decode %zu at %zu", seqs, context);
    report(b, name, what, (double)seqs / took, "tok/s", read / b->peak.read_bytes, took);
    b->d->ops->kv_free(b->d, e.kv);
    b->d->ops->workspace_free(b->d, &e.ws);
    void *const all[] = {ids, positions, slots, ends, contexts, tables, rows, e.parts, e.results};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void decoder_bench(struct bench *b, const char *name, const char *folder) {
    struct decoder_config c;
    struct weights *w = NULL;
    struct decoder *m = NULL;
    struct precision p = {.storage = WEIGHT_STORAGE_STORED, .floats = COMPUTE_DEVICE};
    must(weights_open(folder, &w, &msg) == ERR_OK, folder);
    must(decoder_config_load(folder, &c, &msg) == ERR_OK, folder);
    must(decoder_load(w, &c, p, b->d, &m, &msg) == ERR_OK, folder);
    weights_close(w);
    decode_size(b, name, &c, m, 1, CONTEXT);
    decode_size(b, name, &c, m, 8, CONTEXT);
    decode_size(b, name, &c, m, WIDE, CONTEXT);
    decoder_free(m);
}

// ---- all of it

static const char *last_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void usage(void) {
    fprintf(stderr, "usage: gpu [--json FILE] [--seconds S] [--probe SIZE MIB] MODEL...\n");
    exit(2);
}

int main(int argc, char **argv) {
    struct bench b = {.seconds = 1, .first = true};
    size_t size = 8192, mib = 4096;
    int at = 1;
    json_init();
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--json") == 0 && at + 1 < argc)
            must((b.json = fopen(argv[++at], "w")) != NULL, "--json: the file cannot be written");
        else if (strcmp(argv[at], "--seconds") == 0 && at + 1 < argc)
            b.seconds = atof(argv[++at]);
        else if (strcmp(argv[at], "--probe") == 0 && at + 2 < argc) {
            size = (size_t)atol(argv[++at]);
            mib = (size_t)atol(argv[++at]);
        } else
            usage();
    }
    if (at == argc)
        usage();
    must(gpu_probe_peaks(gpu_under_test(), 0, size, mib << 20, &b.peak, &msg) == ERR_OK, "probe");
    printf("peaks: products %.1f TFLOP/s, copies %.0f GB/s (read and written), reads %.0f GB/s\n",
           b.peak.matrix_flops / 1e12, b.peak.bytes / 1e9, b.peak.read_bytes / 1e9);
    struct cuda_options o = {.api = gpu_under_test()};
    must(cuda_device_new(&o, &b.d, &msg) == ERR_OK, "device");
    printf("%s\n", b.d->describe);
    if (b.json)
        fprintf(b.json,
                "{\"device\":\"%s\",\"matrix_tflops\":%.2f,\"copy_gbs\":%.1f,"
                "\"read_gbs\":%.1f,\"results\":[",
                b.d->describe, b.peak.matrix_flops / 1e12, b.peak.bytes / 1e9,
                b.peak.read_bytes / 1e9);
    for (; at < argc; at++) {
        if (decoder_config_is_decoder(argv[at]))
            decoder_bench(&b, last_of(argv[at]), argv[at]);
        else
            encoder_bench(&b, last_of(argv[at]), argv[at]);
    }
    if (b.json) {
        fprintf(b.json, "]}\n");
        must(fclose(b.json) == 0, "--json: the file cannot be written");
    }
    cuda_device_free(b.d);
    return 0;
}
