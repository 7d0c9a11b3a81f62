// trine bench tokenize: one thread's rate over the lines of a file, or over made-up texts, with a
// cold word cache and with one that has seen the texts. Thread rule: main thread.
#include "base/clock.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "hub/store.h"

#include <stdio.h>
#include <string.h>

enum { REPEATS = 3 };

struct bench_tokenize {
    const struct cli_options *o;
    struct tokenizer *tokenizer;
    struct bench_texts texts;
    uint64_t tokens;
    double cold_s, warm_s; // medians
};

static enum err add_line(struct bench_texts *t, size_t *cap, struct text line, struct errmsg *msg) {
    if (t->count == *cap) {
        size_t grown = *cap ? *cap * 2 : 1024;
        size_t *ends = mem_realloc(t->ends, grown, sizeof *ends);
        if (!ends)
            return err_set(msg, ERR_NOMEM, "no memory for %zu lines", grown);
        t->ends = ends;
        *cap = grown;
    }
    buf_append(&t->bytes, line.bytes, line.len);
    t->ends[t->count++] = t->bytes.len;
    return t->bytes.failed ? err_set(msg, ERR_NOMEM, "no memory for the texts") : ERR_OK;
}

static enum err read_file(const char *path, struct bench_texts *t, struct errmsg *msg) {
    struct lines in;
    size_t cap = 0;
    enum err e = lines_open(&in, path, msg);
    if (e)
        return e;
    for (bool more = true; !e && more;) {
        struct text line;
        if (!(e = lines_next(&in, false, &line, &more, msg)) && more)
            e = add_line(t, &cap, line, msg);
    }
    lines_close(&in);
    if (!e && t->count == 0)
        e = err_set(msg, ERR_INVALID, "%s: is empty", path);
    return e;
}

static enum err make_texts(struct bench_tokenize *r, struct errmsg *msg) {
    struct bench_words words;
    struct bench_random random = {BENCH_SEED};
    struct bench_mix mix = {.random = {BENCH_SEED + 1}, .most = 256};
    enum err e = bench_words_find(r->tokenizer, &words, msg);
    if (e)
        return e;
    size_t n = r->o->texts ? r->o->texts : 10 * BENCH_MIX_TEXTS;
    e = bench_texts_make(&words, n, tokenizer_special_count(r->tokenizer, false), bench_mix_length,
                         &mix, &random, &r->texts, msg);
    bench_words_free(&words);
    return e;
}

static enum err pass(struct bench_tokenize *r, struct tokenizer_scratch *s, struct encoding *e,
                     double *seconds, struct errmsg *msg) {
    const struct tokenizer_options options = {.add_special_tokens = true};
    int64_t begin = clock_now_us();
    r->tokens = 0;
    for (size_t i = 0; i < r->texts.count; i++) {
        enum err err =
            tokenizer_encode(r->tokenizer, s, bench_text(&r->texts, i), NULL, &options, e, msg);
        if (err)
            return err;
        r->tokens += e->len;
    }
    *seconds = (double)(clock_now_us() - begin) / 1e6;
    return cli_interrupted() ? err_set(msg, ERR_CANCELLED, "interrupted") : ERR_OK;
}

static enum err measure(struct bench_tokenize *r, struct errmsg *msg) {
    char *path = NULL;
    enum err e = store_resolve(r->o->models[0].spec, &path, msg);
    if (!e)
        e = tokenizer_load(path, 0, &r->tokenizer, msg);
    mem_free(path);
    if (!e)
        e = r->o->arg_count > 1 ? read_file(r->o->args[1], &r->texts, msg) : make_texts(r, msg);
    double cold[REPEATS], warm[REPEATS];
    struct encoding encoding = {0};
    for (int i = 0; i < REPEATS && !e; i++) {
        struct tokenizer_scratch *s = NULL;
        e = tokenizer_scratch_new(r->tokenizer, &s);
        if (e)
            e = err_set(msg, e, "no memory for the tokenizer");
        if (!e)
            e = pass(r, s, &encoding, &cold[i], msg);
        if (!e)
            e = pass(r, s, &encoding, &warm[i], msg);
        tokenizer_scratch_free(s);
    }
    encoding_free(&encoding);
    if (!e) {
        r->cold_s = bench_median(cold, REPEATS);
        r->warm_s = bench_median(warm, REPEATS);
    }
    return e;
}

static int print(const struct bench_tokenize *r) {
    char cpu[128];
    bench_cpu_name(cpu, sizeof cpu);
    double mb = (double)r->texts.bytes.len / 1e6, tokens = (double)r->tokens;
    if (r->o->json)
        printf("{\"environment\":{\"cpu\":\"%s\",\"commit\":\"%s\",\"threads\":1},\"texts\":%zu,"
               "\"bytes\":%zu,\"tokens\":%.0f,\"cold\":{\"mb_s\":%.1f,\"tokens_s\":%.0f},"
               "\"warm\":{\"mb_s\":%.1f,\"tokens_s\":%.0f}}\n",
               cpu, version_commit, r->texts.count, r->texts.bytes.len, tokens, mb / r->cold_s,
               tokens / r->cold_s, mb / r->warm_s, tokens / r->warm_s);
    else
        printf("%s, one thread, commit %s\n%zu texts, %.1f MB, %.0f tokens\n\n"
               "%-12s %8s %12s\n%-12s %8.1f %12.0f\n%-12s %8.1f %12.0f\n",
               cpu, version_commit, r->texts.count, mb, tokens, "word cache", "MB/s", "tokens/s",
               "cold", mb / r->cold_s, tokens / r->cold_s, "warm", mb / r->warm_s,
               tokens / r->warm_s);
    return fflush(stdout);
}

int bench_tokenize(const struct cli_options *o) {
    struct errmsg msg = {0};
    struct bench_tokenize r = {.o = o};
    cli_catch_interrupt();
    enum err e = measure(&r, &msg);
    if (!e && print(&r) != 0)
        e = err_set(&msg, ERR_IO, "stdout: cannot write");
    bench_texts_free(&r.texts);
    tokenizer_free(r.tokenizer);
    return e ? cli_fail("bench", &msg) : CLI_EXIT_DONE;
}
