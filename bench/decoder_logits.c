// Logits of every position, for comparing with other implementations (tools/parity_decoder.py).
// Usage: decoder_logits MODEL PRECISION f32|f16 [--decode] < lines of token ids > floats
// MODEL is a folder or a .gguf file; then the precision of products and of the cache. A line is a
// sequence, of which [n, V] little-endian floats are written. --decode: token by token, else at
// once.
#include "base/json.h"
#include "bench/precision.h"
#include "compute/cpu/cpu.h"
#include "decoder/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, MAX_TOKENS = 4096 };

static struct errmsg msg;

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "decoder_logits: %s: %s\n", what, msg.text);
    exit(1);
}

struct run {
    struct device *d;
    struct decoder_config config;
    struct decoder *m;
    struct kv_cache *kv;
    int32_t ids[MAX_TOKENS], positions[MAX_TOKENS], table[MAX_TOKENS / BLOCK];
    float *row; // [V]
};

static void load(struct run *r, const char *path, const char *precision, enum dtype cache) {
    struct weights *w = NULL;
    struct precision p = precision_named(precision);
    must(cpu_device_new(&(struct cpu_options){.threads = 0}, &r->d, &msg) == ERR_OK, "device");
    must(decoder_config_load(path, &r->config, &msg) == ERR_OK, path);
    must(weights_open(path, &w, &msg) == ERR_OK, path);
    must(decoder_load(w, &r->config, p, r->d, &r->m, &msg) == ERR_OK, path);
    must(weights_check_all_taken(w, &msg) == ERR_OK, path);
    weights_close(w);
    struct kv_shape shape = decoder_kv_shape(r->m, BLOCK, MAX_TOKENS / BLOCK, cache);
    must(r->d->ops->kv_new(r->d, &shape, &r->kv, &msg) == ERR_OK, "cache");
    for (int32_t i = 0; i < MAX_TOKENS; i++)
        r->positions[i] = i; // slots too: block i of the sequence is block i of the cache
    for (int32_t i = 0; i < MAX_TOKENS / BLOCK; i++)
        r->table[i] = i;
    r->row = malloc(r->config.vocab * sizeof *r->row);
    must(r->row != NULL, "memory");
}

// Tokens [from, to), and their logits to stdout.
static void step(struct run *r, size_t from, size_t to) {
    size_t n = to - from, V = r->config.vocab;
    int32_t cu[2] = {0, (int32_t)n}, context = (int32_t)to;
    struct decoder_step s = {.ids = r->ids + from,
                             .positions = r->positions + from,
                             .slots = r->positions + from,
                             .cu_seqlens = cu,
                             .context_lens = &context,
                             .block_tables = r->table,
                             .table_stride = MAX_TOKENS / BLOCK,
                             .tokens = n,
                             .seqs = 1,
                             .logit_rows = r->positions, // 0, 1, 2, ...
                             .logit_count = n};
    struct arena ws;
    must(r->d->ops->workspace_new(r->d, decoder_workspace_bytes(r->m, n, n), &ws) == ERR_OK,
         "workspace");
    struct mat logits = decoder_forward(r->m, &s, r->kv, &ws, NULL);
    must(device_sync(r->d, &msg) == ERR_OK, "forward");
    for (size_t i = 0; i < n; i++) {
        struct mat one = {logits.data + i * logits.ld, 1, V, logits.ld, DTYPE_F32};
        r->d->ops->read(r->d, one, r->row);
        must(fwrite(r->row, sizeof *r->row, V, stdout) == V, "stdout");
    }
    r->d->ops->workspace_free(r->d, &ws);
}

int main(int argc, char **argv) {
    static struct run r;
    char *line = NULL;
    size_t cap = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: decoder_logits MODEL " PRECISIONS " f32|f16 [--decode]\n");
        return 2;
    }
    json_init();
    load(&r, argv[1], argv[2], strcmp(argv[3], "f16") == 0 ? DTYPE_F16 : DTYPE_F32);
    bool one_by_one = argc > 4 && strcmp(argv[4], "--decode") == 0;
    while (getline(&line, &cap, stdin) > 0) {
        size_t n = 0;
        char *at = line, *end;
        for (long id; id = strtol(at, &end, 10), end != at; at = end) {
            must(n < MAX_TOKENS && id >= 0 && (size_t)id < r.config.vocab, "ids");
            r.ids[n++] = (int32_t)id;
        }
        for (size_t i = 0; i < n; i += one_by_one ? 1 : n)
            step(&r, i, one_by_one ? i + 1 : n);
    }
    free(line);
    free(r.row);
    r.d->ops->kv_free(r.d, r.kv);
    decoder_free(r.m);
    cpu_device_free(r.d);
    return 0;
}
