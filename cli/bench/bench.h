// What the benches share: texts of known length made from the model's own vocabulary, and the
// line that says where a figure was taken. Thread rule: main thread.
#ifndef TRINE_CLI_BENCH_BENCH_H
#define TRINE_CLI_BENCH_BENCH_H

#include "cli/engine.h"
#include "cli/options.h"
#include "tokenizer/tokenizer.h"

enum { BENCH_SEED = 5, BENCH_MIX_TEXTS = 10000 };

// A counter-based generator: the same texts on every machine.
struct bench_random {
    uint64_t state;
};
uint64_t bench_random_next(struct bench_random *r);

// Words that are one token each.
struct bench_words {
    const char **words; // [count], owned; the words are the tokenizer's
    size_t count;
};
// ERR_UNSUPPORTED when the vocabulary has too few of them.
enum err bench_words_find(const struct tokenizer *t, struct bench_words *out,
                          struct errmsg *msg) MUST_CHECK;
void bench_words_free(struct bench_words *w);

// Texts of given token counts, special tokens included.
struct bench_texts {
    struct buf bytes; // end to end, owned
    size_t *ends;     // [count], owned
    size_t *tokens;   // [count], owned
    size_t count;
};
// length(ctx, i) says how many tokens text i has, at least 3. ERR_NOMEM.
enum err bench_texts_make(const struct bench_words *words, size_t count, size_t special,
                          size_t (*length)(void *ctx), void *ctx, struct bench_random *random,
                          struct bench_texts *out, struct errmsg *msg) MUST_CHECK;
struct text bench_text(const struct bench_texts *t, size_t i);
void bench_texts_free(struct bench_texts *t);

// Lengths of a log-normal mix: median 40, sigma 0.8, in [4, most].
struct bench_mix {
    struct bench_random random;
    size_t most;
};
size_t bench_mix_length(void *ctx); // a struct bench_mix

// "AMD EPYC ..." from /proc/cpuinfo.
void bench_cpu_name(char *out, size_t size);
// Where the numbers come from: CPU, its features, device, precision and commit; a member of a JSON
// object with its comma, or lines. label: words before the precision, in the lines.
void bench_print_environment(struct buf *b, bool json, const char *device, const char *label,
                             const char *precision);

void bench_sort(double *values, size_t n);     // ascending
double bench_median(double *values, size_t n); // sorts them
double bench_percentile(const double *sorted, size_t n, double p);

int bench_encode(const struct cli_options *o);
// o: without speculation, with room for o->streams texts at once.
int bench_generate(const struct cli_options *o);
int bench_tokenize(const struct cli_options *o);

// What the machine's own speed is probed with: the engine's device, or, where models are computed
// by another process, one of the bench's own.
struct bench_device {
    struct device *device;
    bool own;
};
enum err bench_device_open(const struct cli_engine *e, struct bench_device *out,
                           struct errmsg *msg) MUST_CHECK;
void bench_device_close(struct bench_device *d);

#endif
