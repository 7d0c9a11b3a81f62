// What causal attention over the paged cache gives, decode as the rate at which the cache is read,
// prefill as arithmetic, each as a share of the peak probed in the same run; then what sampling
// takes. Usage: causal [threads]

#include "base/clock.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/peak.h"
#include "compute/cpu/sampling_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5, BLOCK = 32, SEQS = 16 };

static struct errmsg msg;

static void die(const char *what) {
    fprintf(stderr, "causal: %s: %s\n", what, msg.text);
    exit(1);
}

static void *room(size_t count, size_t size) {
    void *p = calloc(count, size);
    if (!p)
        die("memory");
    return p;
}

static float normal(void) {
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += rand() / (double)RAND_MAX;
    return (float)(sum - 6);
}

// The best of ROUNDS, each of as many calls as take some 10 ms; microseconds a call.
static double best_us(void (*call)(void *arg), void *arg) {
    int64_t start = clock_now_us();
    call(arg);
    int64_t once = clock_now_us() - start;
    int calls = (int)(10000 / (once > 0 ? once : 1)) + 1;
    double best = 1e30;
    for (int r = 0; r < ROUNDS; r++) {
        start = clock_now_us();
        for (int i = 0; i < calls; i++)
            call(arg);
        double us = (double)(clock_now_us() - start) / calls;
        best = us < best ? us : best;
    }
    return best;
}

struct attention {
    struct device *d;
    struct kv_cache *kv;
    struct paged_attention_args a;
    size_t layers;
};

// All layers in turn: more of the cache than the CPU's own caches hold.
static void attend(void *arg) {
    struct attention *b = arg;
    for (size_t l = 0; l < b->layers; l++) {
        b->a.layer = l;
        b->d->ops->paged_attention(b->d, &b->a);
    }
}

// seqs sequences, each with `tokens` new tokens at the end of `context`; microseconds a layer.
static double attention_us(struct device *d, const struct kv_shape *like, size_t heads, size_t seqs,
                           size_t tokens, size_t context) {
    size_t blocks = (context + BLOCK - 1) / BLOCK, width = heads * like->head_dim;
    size_t kv_width = like->kv_heads * like->head_dim;
    struct kv_shape shape = *like;
    shape.blocks = seqs * blocks;
    struct attention b = {.d = d, .layers = shape.layers};
    struct arena ws;
    if (d->ops->kv_new(d, &shape, &b.kv, &msg) != ERR_OK ||
        d->ops->workspace_new(d, (seqs * tokens + BLOCK) * (2 * width + 2 * kv_width + 64) * 4,
                              &ws) != ERR_OK)
        die("cache");
    struct mat k = device_mat(d, &ws, BLOCK, kv_width),
               q = device_mat(d, &ws, seqs * tokens, width);
    struct mat out = device_mat(d, &ws, seqs * tokens, width);
    if (device_sync(d, &msg) != ERR_OK)
        die("workspace");
    for (size_t i = 0; i < k.rows * k.ld; i++)
        k.data[i] = normal();
    for (size_t i = 0; i < q.rows * q.ld; i++)
        q.data[i] = normal();
    int32_t slots[BLOCK], cu[SEQS + 1] = {0}, contexts[SEQS];
    int32_t *tables = room(shape.blocks, sizeof *tables);
    for (size_t block = 0; block < shape.blocks; block++) {
        size_t swap = (size_t)rand() % (block + 1); // blocks in no order
        tables[block] = tables[swap];
        tables[swap] = (int32_t)block;
        for (size_t i = 0; i < BLOCK; i++)
            slots[i] = (int32_t)(block * BLOCK + i);
        for (size_t l = 0; l < shape.layers; l++) {
            struct kv_store_args s = {b.kv, l, k, k, slots};
            d->ops->kv_store(d, &s);
        }
    }
    for (size_t s = 0; s < seqs; s++) {
        cu[s + 1] = cu[s] + (int32_t)tokens;
        contexts[s] = (int32_t)context;
    }
    b.a = (struct paged_attention_args){.kv = b.kv,
                                        .q = q,
                                        .out = out,
                                        .cu_seqlens = cu,
                                        .context_lens = contexts,
                                        .block_tables = tables,
                                        .table_stride = blocks,
                                        .seqs = seqs,
                                        .heads = heads,
                                        .scale = 1 / sqrtf((float)shape.head_dim)};
    double us = best_us(attend, &b) / (double)shape.layers;
    if (device_sync(d, &msg) != ERR_OK)
        die("attention");
    d->ops->kv_free(d, b.kv);
    d->ops->workspace_free(d, &ws);
    free(tables);
    return us;
}

struct model {
    const char *name;
    size_t heads, kv_heads, head_dim;
};

static const struct model models[] = {{"SmolLM2-135M", 9, 3, 64},
                                      {"Qwen2.5-0.5B", 14, 2, 64},
                                      {"Qwen2.5-7B", 28, 4, 128},
                                      {"no groups", 8, 8, 64}};
enum { MODELS = sizeof models / sizeof *models };

static void decodes(struct device *d, const struct peak *peak) {
    static const size_t shapes[][2] = {{1, 500}, {1, 4000}, {16, 500}, {16, 4000}};
    printf("decode: a token for each of the sequences\n%-14s %4s %5s %8s %9s %7s %8s\n", "", "kv",
           "seqs", "context", "us/layer", "GB/s", "of read");
    for (size_t m = 0; m < MODELS; m++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int half = 0; half < 2; half++) {
                struct kv_shape s = {4,
                                     models[m].kv_heads,
                                     models[m].head_dim,
                                     BLOCK,
                                     0,
                                     half ? DTYPE_F16 : DTYPE_F32,
                                     0,
                                     0};
                double us = attention_us(d, &s, models[m].heads, shapes[i][0], 1, shapes[i][1]);
                double bytes = (double)(shapes[i][0] * shapes[i][1] * s.kv_heads * s.head_dim) * 2 *
                               (half ? 2 : 4);
                printf("%-14s %4s %5zu %8zu %9.1f %7.1f %7.0f%%\n", models[m].name,
                       half ? "f16" : "f32", shapes[i][0], shapes[i][1], us, bytes / us / 1e3,
                       100 * bytes / us * 1e6 / peak->read_bytes);
            }
}

static void prefills(struct device *d, const struct peak *peak) {
    static const size_t shapes[][2] = {{512, 512}, {512, 4096}, {64, 4096}, {2048, 2048}};
    printf("\nprefill: a chunk at the end of a context\n%-14s %4s %5s %8s %9s %7s %8s\n", "", "kv",
           "chunk", "context", "us/layer", "GF/s", "of peak");
    for (size_t m = 0; m < MODELS; m++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int half = 0; half < 2; half++) {
                struct kv_shape s = {1,
                                     models[m].kv_heads,
                                     models[m].head_dim,
                                     BLOCK,
                                     0,
                                     half ? DTYPE_F16 : DTYPE_F32,
                                     0,
                                     0};
                double us = attention_us(d, &s, models[m].heads, 1, shapes[i][0], shapes[i][1]);
                double pairs =
                    (double)shapes[i][0] * ((double)shapes[i][1] - (double)(shapes[i][0] - 1) / 2);
                double flops = 4 * pairs * (double)(models[m].heads * models[m].head_dim);
                printf("%-14s %4s %5zu %8zu %9.0f %7.1f %7.0f%%\n", models[m].name,
                       half ? "f16" : "f32", shapes[i][0], shapes[i][1], us, flops / us / 1e3,
                       100 * flops / us * 1e6 / peak->flops);
            }
}

struct drawing {
    struct sampling_row row;
    struct sampling_scratch scratch;
    struct sampling_result result;
};

static void draw(void *arg) {
    struct drawing *b = arg;
    b->row.position++;
    sampling_draw(&b->row, &b->scratch, &b->result);
}

static void samplings(void) {
    enum { VOCAB = 151936 };
    static const struct {
        const char *name;
        struct sampling s;
        size_t top;
    } cases[] = {
        {"greedy", {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, 0},
        {"greedy, logprob and top 5", {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, 5},
        {"temperature", {.temperature = 0.8F, .top_p = 1, .repetition_penalty = 1}, 0},
        {"temperature, top_p .95", {.temperature = 1, .top_p = .95F, .repetition_penalty = 1}, 0},
        {"temperature, top_k 20, top_p .8",
         {.temperature = .7F, .top_k = 20, .top_p = .8F, .repetition_penalty = 1},
         0},
        {"temperature, min_p .05",
         {.temperature = 1, .top_p = 1, .min_p = .05F, .repetition_penalty = 1},
         0},
    };
    float *rows[2] = {room(VOCAB, sizeof(float)), room(VOCAB, sizeof(float))};
    uint32_t *mask = room((VOCAB + 31) / 32, sizeof *mask);
    memset(mask, 0xff, (VOCAB + 31) / 32 * sizeof *mask);
    for (size_t i = 0; i < VOCAB; i++)
        rows[0][i] = rows[1][i] = 2.5F * normal();
    for (size_t i = 0; i < 40; i++) // as a language model's: a few hundred at most matter
        rows[0][(size_t)rand() % VOCAB] = 22 - 0.2F * (float)i;
    struct drawing b = {.row = {.vocab = VOCAB}};
    struct arena arena;
    if (arena_init(&arena, sampling_scratch_bytes(VOCAB)) ||
        !sampling_scratch_place(&arena, VOCAB, &b.scratch))
        die("scratch");
    printf("\nsampling, %d tokens, one thread%33s %8s %8s\n", VOCAB, "peaked us", "flat us",
           "masked");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double us[3];
        for (int j = 0; j < 3; j++) {
            b.row.mask = j == 2 ? mask : NULL;
            b.row.logits = rows[j == 1];
            b.row.sampling = &cases[i].s;
            b.row.top = cases[i].top;
            us[j] = best_us(draw, &b);
        }
        printf("%-52s %9.1f %9.1f %8.1f\n", cases[i].name, us[0], us[1], us[2]);
    }
    arena_free(&arena);
    free(rows[0]), free(rows[1]), free(mask);
}

int main(int argc, char **argv) {
    struct cpu_options options = {.threads = argc > 1 ? atoi(argv[1]) : 0, .gemm = CPU_GEMM_OWN};
    struct device *d;
    struct peak peak;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (cpu_device_new(&options, &d, &msg) != ERR_OK || peak_probe(d, &peak, &msg) != ERR_OK)
        die("device");
    printf("%s\nprobed: fp32 %.1f GF/s, read %.1f GB/s\n\n", d->describe, peak.flops / 1e9,
           peak.read_bytes / 1e9);
    samplings();
    decodes(d, &peak);
    prefills(d, &peak);
    d->ops->free(d);
    return 0;
}
