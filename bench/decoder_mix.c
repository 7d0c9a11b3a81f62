// What a chunk of a long prompt adds to a step of decoding sequences, which is what bounds the gap
// between two tokens of a stream: the time of a step of 16 decoding sequences, and of the same with
// a chunk of 8 to 256 tokens behind a context. CPU time of the process and, beside it, wall time.
// Usage: decoder_mix MODEL [PRECISION] [threads] [context] [decode_at]
#include "base/clock.h"
#include "base/json.h"
#include "bench/precision.h"
#include "compute/cpu/cpu.h"
#include "decoder/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 32, SEQS = 16, MOST_CHUNK = 256, ROUNDS = 5 };

static struct errmsg msg;

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "decoder_mix: %s: %s\n", what, msg.text);
    exit(1);
}

struct bench {
    struct device *d;
    struct decoder *m;
    struct kv_cache *kv;
    struct arena ws;
    size_t stride, vocab, decode_at;
    int32_t *tables; // [SEQS + 1, stride]
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// `seqs` sequences one token each, and `chunk` tokens of another behind `context`.
static void run(struct bench *b, size_t seqs, size_t chunk, size_t context) {
    int32_t ids[SEQS + MOST_CHUNK], positions[SEQS + MOST_CHUNK], slots[SEQS + MOST_CHUNK];
    int32_t cu[SEQS + 2] = {0}, contexts[SEQS + 1], rows[SEQS];
    size_t n = 0, parts = 0;
    for (size_t s = 0; s < seqs + (chunk > 0); s++) {
        size_t count = s < seqs ? 1 : chunk, at = s < seqs ? b->decode_at : context;
        const int32_t *table = b->tables + s * b->stride;
        if (s < seqs)
            rows[s] = (int32_t)n;
        for (size_t i = 0; i < count; i++, n++) {
            ids[n] = (int32_t)((n * 7919 + at) % b->vocab);
            positions[n] = (int32_t)(at + i);
            slots[n] = table[(at + i) / BLOCK] * BLOCK + (int32_t)((at + i) % BLOCK);
        }
        contexts[parts] = (int32_t)(at + count);
        cu[++parts] = (int32_t)n;
    }
    struct decoder_step s = {.ids = ids,
                             .positions = positions,
                             .slots = slots,
                             .cu_seqlens = cu,
                             .context_lens = contexts,
                             .block_tables = b->tables,
                             .table_stride = b->stride,
                             .tokens = n,
                             .seqs = parts,
                             .logit_rows = rows,
                             .logit_count = seqs};
    arena_reset(&b->ws);
    (void)decoder_forward(b->m, &s, b->kv, &b->ws, NULL);
    must(device_sync(b->d, &msg) == ERR_OK, "forward");
}

static void fill(struct bench *b, size_t seq, size_t tokens) {
    int32_t *tables = b->tables;
    b->tables += seq * b->stride;
    for (size_t at = 0; at < tokens; at += MOST_CHUNK)
        run(b, 0, tokens - at < MOST_CHUNK ? tokens - at : MOST_CHUNK, at);
    b->tables = tables;
}

static void measure(struct bench *b, size_t seqs, size_t chunk, size_t context, double *cpu,
                    double *wall) {
    double cpus[ROUNDS], walls[ROUNDS];
    run(b, seqs, chunk, context);
    for (int r = 0; r < ROUNDS; r++) {
        double c = cpu_ms();
        int64_t w = clock_now_us();
        for (int i = 0; i < 4; i++)
            run(b, seqs, chunk, context);
        cpus[r] = (cpu_ms() - c) / 4;
        walls[r] = (double)(clock_now_us() - w) / 4e3;
    }
    qsort(cpus, ROUNDS, sizeof *cpus, compare);
    qsort(walls, ROUNDS, sizeof *walls, compare);
    *cpu = cpus[0];
    *wall = walls[0];
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr,
                "usage: decoder_mix MODEL [" PRECISIONS "] [threads] [context] [decode_at]\n");
        return 2;
    }
    const char *precision = argc > 2 ? argv[2] : "narrow";
    struct precision p = precision_named(precision);
    struct cpu_options options = {.threads = argc > 3 ? atoi(argv[3]) : 0};
    size_t context = argc > 4 ? strtoul(argv[4], NULL, 10) : 2000;
    size_t decode_at = argc > 5 ? strtoul(argv[5], NULL, 10) : 300;
    size_t most = context > decode_at ? context : decode_at;
    struct bench b = {.stride = (most + MOST_CHUNK) / BLOCK + 2, .decode_at = decode_at};
    struct decoder_config config;
    struct weights *w = NULL;
    json_init();
    must(cpu_device_new(&options, &b.d, &msg) == ERR_OK, "device");
    must(decoder_config_load(argv[1], &config, &msg) == ERR_OK, argv[1]);
    must(weights_open(argv[1], &w, &msg) == ERR_OK, argv[1]);
    must(decoder_load(w, &config, p, b.d, &b.m, &msg) == ERR_OK, argv[1]);
    weights_close(w);
    b.vocab = config.vocab;
    struct kv_shape shape = decoder_kv_shape(b.m, BLOCK, (SEQS + 1) * b.stride, DTYPE_F16);
    must(b.d->ops->kv_new(b.d, &shape, &b.kv, &msg) == ERR_OK, "cache");
    size_t bytes = decoder_workspace_bytes(b.m, SEQS + MOST_CHUNK, SEQS);
    must(b.d->ops->workspace_new(b.d, bytes, &b.ws) == ERR_OK, "workspace");
    b.tables = calloc((SEQS + 1) * b.stride, sizeof *b.tables);
    must(b.tables != NULL, "memory");
    for (size_t i = 0; i < (SEQS + 1) * b.stride; i++)
        b.tables[i] = (int32_t)(i % b.stride * (SEQS + 1) + i / b.stride); // as in service
    for (size_t s = 0; s <= SEQS; s++) // the cache holds something wherever it is read
        fill(&b, s, s < SEQS ? decode_at : context);
    double base, base_wall, alone, both, wall;
    measure(&b, SEQS, 0, 0, &base, &base_wall);
    printf("%s\n%d decoding: %.2f ms of CPU, %.2f ms\n", b.d->describe, SEQS, base, base_wall);
    for (size_t chunk = 8; chunk <= MOST_CHUNK; chunk *= 2) {
        measure(&b, 0, chunk, context, &alone, &wall);
        printf("chunk %3zu behind %zu: alone %7.2f ms (%.3f a token)", chunk, context, alone,
               alone / (double)chunk);
        measure(&b, SEQS, chunk, context, &both, &wall);
        printf("; beside: %7.2f, adds %6.2f ms (%.3f a token), wall %7.2f\n", both, both - base,
               (both - base) / (double)chunk, wall);
    }
    free(b.tables);
    b.d->ops->workspace_free(b.d, &b.ws);
    b.d->ops->kv_free(b.d, b.kv);
    decoder_free(b.m);
    cpu_device_free(b.d);
    return 0;
}
