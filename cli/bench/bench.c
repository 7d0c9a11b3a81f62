// trine bench: the dispatch and what the benches share. See bench.h.
#include "cli/bench/bench.h"

#include "base/mem.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/parts.h"
#include "cli/worker.h"
#include "compute/cpu/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST_WORDS = 16 };

uint64_t bench_random_next(struct bench_random *r) { // SplitMix64
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Standard normal (Box and Muller).
static double random_normal(struct bench_random *r) {
    double u = ((double)(bench_random_next(r) >> 11) + 1) / 9007199254740993.0;
    double v = (double)(bench_random_next(r) >> 11) / 9007199254740992.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

size_t bench_mix_length(void *ctx) {
    struct bench_mix *mix = ctx;
    double n = exp(log(40) + 0.8 * random_normal(&mix->random));
    return n < 4 ? 4 : n > (double)mix->most ? mix->most : (size_t)n;
}

static bool is_word(const char *piece) {
    size_t n = 0;
    for (; piece[n]; n++)
        if (piece[n] < 'a' || piece[n] > 'z')
            return false;
    return n > 2;
}

enum err bench_words_find(const struct tokenizer *t, struct bench_words *out, struct errmsg *msg) {
    size_t n = tokenizer_vocab_size(t);
    *out = (struct bench_words){.words = mem_calloc(n, sizeof *out->words)};
    if (!out->words)
        return err_set(msg, ERR_NOMEM, "no memory for %zu words", n);
    for (size_t i = 0; i < n; i++) {
        const char *piece = tokenizer_piece(t, (int32_t)i);
        if (piece && is_word(piece))
            out->words[out->count++] = piece;
    }
    if (out->count >= FEWEST_WORDS)
        return ERR_OK;
    bench_words_free(out);
    return err_set(msg, ERR_UNSUPPORTED, "the vocabulary has fewer than %d plain words",
                   FEWEST_WORDS);
}

void bench_words_free(struct bench_words *w) {
    mem_free(w->words);
    *w = (struct bench_words){0};
}

enum err bench_texts_make(const struct bench_words *words, size_t count, size_t special,
                          size_t (*length)(void *ctx), void *ctx, struct bench_random *random,
                          struct bench_texts *out, struct errmsg *msg) {
    *out = (struct bench_texts){
        .ends = mem_calloc(count, sizeof *out->ends),
        .tokens = mem_calloc(count, sizeof *out->tokens),
        .count = count,
    };
    for (size_t i = 0; i < count && out->ends && out->tokens; i++) {
        size_t n = length(ctx);
        for (size_t k = special; k < n; k++) {
            if (k > special)
                buf_putc(&out->bytes, ' ');
            buf_puts(&out->bytes, words->words[bench_random_next(random) % words->count]);
        }
        out->ends[i] = out->bytes.len;
        out->tokens[i] = n;
    }
    if (out->ends && out->tokens && !out->bytes.failed)
        return ERR_OK;
    bench_texts_free(out);
    return err_set(msg, ERR_NOMEM, "no memory for %zu texts", count);
}

struct text bench_text(const struct bench_texts *t, size_t i) {
    size_t begin = i ? t->ends[i - 1] : 0;
    return (struct text){t->bytes.data + begin, t->ends[i] - begin};
}

void bench_texts_free(struct bench_texts *t) {
    buf_free(&t->bytes);
    mem_free(t->ends);
    mem_free(t->tokens);
    *t = (struct bench_texts){0};
}

void bench_cpu_name(char *out, size_t size) {
    snprintf(out, size, "unknown CPU");
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

void bench_print_environment(struct buf *b, bool json, const char *device, const char *label,
                             const char *precision) {
    char cpu[128], features[1024];
    bench_cpu_name(cpu, sizeof cpu);
    cpu_describe(features, sizeof features);
    if (json)
        buf_printf(b,
                   "\"environment\":{\"cpu\":\"%s\",\"features\":\"%s\",\"device\":\"%s\","
                   "\"precision\":\"%s\",\"commit\":\"%s\"},",
                   cpu, features, device, precision, version_commit);
    else
        buf_printf(b, "%s\n%s\n%s, %s%s, commit %s\n", cpu, features, device, label, precision,
                   version_commit);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(double *values, size_t n) { qsort(values, n, sizeof *values, by_value); }

double bench_median(double *values, size_t n) {
    bench_sort(values, n);
    return bench_percentile(values, n, 0.5);
}

double bench_percentile(const double *sorted, size_t n, double p) {
    double at = p * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n)
        return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

// Options that have no meaning for a bench.
static enum err check_flags(const char *what, const struct cli_options *o, struct errmsg *msg) {
    static const char *const of_generate[] = {"streams",  "prompt-tokens", "max-tokens",
                                              "kv-dtype", "kv-cache-mib",  NULL};
    static const char *const of_encode[] = {"texts", "pooling", "batch-tokens", NULL};
    static const char *const of_compute[] = {"threads",    "batch-tokens", "dtype",  "pooling",
                                             "max-length", "isolate",      "device", NULL};
    bool generates = strcmp(what, "generate") == 0, tokenizes = strcmp(what, "tokenize") == 0;
    const char *const *lists[] = {generates ? of_encode : of_generate,
                                  tokenizes ? of_compute : NULL};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; lists[i] && lists[i][k]; k++)
            if (cli_given(o, lists[i][k]))
                return err_set(msg, ERR_INVALID, "--%s: bench %s has no use for it", lists[i][k],
                               what);
    if (tokenizes && o->arg_count > 1 && cli_given(o, "texts"))
        return err_set(msg, ERR_INVALID, "--texts and '%.80s': choose one", o->args[1]);
    if (tokenizes && o->arg_count > 1)
        return cli_check_not_input(NULL, "stdout", o->args[1], msg);
    return ERR_OK;
}

enum err bench_device_open(const struct cli_engine *e, struct bench_device *out,
                           struct errmsg *msg) {
    struct cpu_options cpu = {.threads = e->engine->options.threads};
    *out = (struct bench_device){.device = e->device, .own = !e->device};
    return out->own ? cpu_device_new(&cpu, &out->device, msg) : ERR_OK;
}

void bench_device_close(struct bench_device *d) {
    if (d->own)
        cpu_device_free(d->device);
    *d = (struct bench_device){0};
}

static int bench_generation(struct cli_options *o) {
    // no speculation: tokens are computed one by one; and no text waits for another to end
    o->engine.no_speculation = true;
    o->engine.max_sequences = o->streams;
    o->models[0].task = TASK_GENERATE;
    o->models[0].chat_template = "chatml"; // none is used: the model's own may be what it likes
    return bench_generate(o);
}

int cli_bench(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_BENCH, argc, argv, &o, &exit_code))
        return exit_code;
    const char *what = o.arg_count ? o.args[0] : "encode";
    struct errmsg msg = {0};
    if (check_flags(what, &o, &msg)) {
        exit_code = cli_misuse("bench", &msg);
    } else if (!strcmp(what, "tokenize")) {
        exit_code = bench_tokenize(&o);
    } else if (o.arg_count > 1) {
        (void)err_set(&msg, ERR_INVALID, "unexpected argument '%.80s'", o.args[1]);
        exit_code = cli_misuse("bench", &msg);
    } else if (strcmp(what, "encode") != 0 && strcmp(what, "generate") != 0) {
        (void)err_set(&msg, ERR_INVALID, "'%.80s': there are encode, generate and tokenize", what);
        exit_code = cli_misuse("bench", &msg);
    } else if (cli_worker_begin(&o, &msg)) {
        exit_code = cli_fail("bench", &msg);
    } else {
        exit_code = !strcmp(what, "encode") ? bench_encode(&o) : bench_generation(&o);
    }
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
