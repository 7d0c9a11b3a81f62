// trine bench generate: the rate of a prompt, then of single tokens behind it, for one text; then
// of many texts at once. All goes through the scheduler, as in service, without speculation.
// Prompts are random ids, which no cache has seen. The bytes read for a token are the weights (once
// a step) and the text's own keys and values; their rate is shown beside the read bandwidth probed
// around it. Thread rule: main thread; on the scheduler's thread a callback notes the time.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "compute/cpu/peak.h"
#include "weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REPEATS = 3,
    DEFAULT_NEW = 128,
    DEFAULT_PROMPT = 512, // or what the context leaves
    STREAM_PROMPT = 64,
    LOOK_US = 50000
};

// One text.
struct stream {
    struct bench_generate *run;
    struct generation g;
    int32_t *prompt; // [prompt_len] owned
    int64_t *times;  // [max_tokens] owned: when each token was there
    size_t seen;
};

struct result {
    size_t streams, prompt, tokens; // of each
    double prefill_s, decode_s, p50_ms, p99_ms, first_p50_ms, first_p99_ms, all_s;
};

struct bench_generate {
    const struct cli_options *o;
    struct cli_engine engine;
    struct bench_device device;
    struct bench_random random;
    struct stream *streams; // [o->streams] owned
    struct peak peak;       // the mean of a probe before and one after
    size_t weight_bytes;    // that a step reads
    struct result one, many;
    bool with_many;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    size_t open; // under the mutex: streams that are not done
};

// --- a round of streams ---

static void on_progress(struct generation *g) {
    struct stream *s = g->ctx;
    size_t have = atomic_load_explicit(&g->produced, memory_order_relaxed);
    int64_t now = clock_now_us();
    while (s->seen < have)
        s->times[s->seen++] = now;
}

static void on_done(struct generation *g) {
    struct bench_generate *r = ((struct stream *)g->ctx)->run;
    pthread_mutex_lock(&r->mutex);
    r->open--;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->mutex);
}

static void free_stream(struct stream *s) {
    mem_free(s->prompt);
    mem_free(s->times);
    mem_free(s->g.ids);
    *s = (struct stream){0};
}

static enum err make_stream(struct bench_generate *r, struct stream *s, size_t prompt,
                            size_t tokens, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    *s = (struct stream){
        .run = r,
        .prompt = mem_alloc(prompt, sizeof *s->prompt),
        .times = mem_alloc(tokens, sizeof *s->times),
    };
    s->g = (struct generation){
        .model = m,
        .prompt = s->prompt,
        .prompt_len = prompt,
        .max_tokens = tokens,
        .sampling = {.top_p = 1, .repetition_penalty = 1},
        .ignore_eos = true,
        .progress = on_progress,
        .done = on_done,
        .ctx = s,
        .ids = mem_alloc(tokens, sizeof *s->g.ids),
    };
    if (!s->prompt || !s->times || !s->g.ids)
        return err_set(msg, ERR_NOMEM, "no memory for a text of %zu tokens", prompt + tokens);
    for (size_t i = 0; i < prompt; i++)
        s->prompt[i] = (int32_t)(bench_random_next(&r->random) % model_vocab(m));
    return ERR_OK;
}

static void submit_and_wait(struct bench_generate *r, size_t n) {
    bool cancelled = false;
    r->open = n;
    for (size_t i = 0; i < n; i++)
        scheduler_generate(r->engine.scheduler, &r->streams[i].g);
    pthread_mutex_lock(&r->mutex);
    while (r->open) {
        (void)thread_cond_wait_until(&r->cond, &r->mutex, clock_now_us() + LOOK_US);
        for (size_t i = 0; i < n && cli_interrupted() && !cancelled; i++)
            atomic_store(&r->streams[i].g.cancelled, true);
        cancelled = cli_interrupted();
    }
    pthread_mutex_unlock(&r->mutex);
}

static enum err check_streams(const struct bench_generate *r, size_t n, size_t tokens,
                              struct errmsg *msg) {
    for (size_t i = 0; i < n; i++) {
        const struct stream *s = &r->streams[i];
        if (cli_interrupted())
            return err_set(msg, ERR_CANCELLED, "interrupted");
        if (s->g.err) {
            *msg = s->g.msg;
            return s->g.err;
        }
        if (s->seen < tokens)
            return err_set(msg, ERR_TOO_LARGE,
                           "a text ended after %zu of %zu tokens: the cache is full; raise "
                           "--kv-cache-mib or lower --streams",
                           s->seen, tokens);
    }
    return ERR_OK;
}

// Of finished streams: the gaps between tokens of a text, the first tokens, and the whole.
static enum err evaluate(const struct bench_generate *r, int64_t begin, struct result *out,
                         struct errmsg *msg) {
    size_t n = out->streams, per = out->tokens - 1, count = n * per;
    double *gaps = mem_calloc(count + n, sizeof *gaps), *firsts = gaps ? gaps + count : NULL;
    if (!gaps)
        return err_set(msg, ERR_NOMEM, "no memory for %zu times", count + n);
    int64_t first = INT64_MAX, last_first = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t *t = r->streams[i].times;
        for (size_t k = 0; k < per; k++)
            gaps[i * per + k] = (double)(t[k + 1] - t[k]) / 1e3;
        firsts[i] = (double)(t[0] - begin) / 1e3;
        first = t[0] < first ? t[0] : first;
        last_first = t[0] > last_first ? t[0] : last_first;
        last = t[per] > last ? t[per] : last;
    }
    bench_sort(gaps, count);
    bench_sort(firsts, n);
    out->prefill_s = (double)(last_first - begin) / 1e6;
    out->decode_s = (double)(last - first) / 1e6;
    out->all_s = (double)(last - begin) / 1e6;
    out->p50_ms = bench_percentile(gaps, count, 0.5);
    out->p99_ms = bench_percentile(gaps, count, 0.99);
    out->first_p50_ms = bench_percentile(firsts, n, 0.5);
    out->first_p99_ms = bench_percentile(firsts, n, 0.99);
    mem_free(gaps);
    return ERR_OK;
}

static enum err run_round(struct bench_generate *r, struct result *out, struct errmsg *msg) {
    enum err e = ERR_OK;
    size_t n = out->streams, made = 0;
    for (; made < n && !e; made++)
        e = make_stream(r, &r->streams[made], out->prompt, out->tokens, msg);
    int64_t begin = clock_now_us();
    if (!e) {
        submit_and_wait(r, n);
        e = check_streams(r, n, out->tokens, msg);
    }
    if (!e)
        e = evaluate(r, begin, out, msg);
    for (size_t i = 0; i < made; i++)
        free_stream(&r->streams[i]);
    return e;
}

static int by_whole(const void *a, const void *b) {
    double x = ((const struct result *)a)->all_s, y = ((const struct result *)b)->all_s;
    return (x > y) - (x < y);
}

// The median of the rounds, by their whole time.
static enum err measure_rounds(struct bench_generate *r, struct result *out, struct errmsg *msg) {
    struct result rounds[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        rounds[i] = *out;
        enum err e = run_round(r, &rounds[i], msg);
        if (e)
            return e;
    }
    qsort(rounds, REPEATS, sizeof *rounds, by_whole);
    *out = rounds[REPEATS / 2];
    return ERR_OK;
}

// --- what a step costs ---

// An embedding table that is not also the head is only looked up in, not read.
static enum err count_weights(struct bench_generate *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    struct weights *w;
    r->weight_bytes = replica_weight_bytes(r->engine.engine->replica, m->id);
    if (m->decoder_config.tied)
        return ERR_OK;
    enum err e = weights_open(m->path, &w, msg);
    if (e)
        return e;
    for (size_t i = 0; i < weights_count(w); i++) {
        struct tensor t = weights_at(w, i);
        if (t.rank == 2 && strstr(t.name, "embed_tokens.weight")) {
            size_t bytes =
                t.shape[0] * t.shape[1] / dtype_block(t.dtype) * dtype_block_bytes(t.dtype);
            r->weight_bytes -= bytes < r->weight_bytes ? bytes : 0;
        }
    }
    weights_close(w);
    return ERR_OK;
}

static double kv_bytes_per_token(const struct bench_generate *r) {
    struct generation_stats g = scheduler_read_stats(r->engine.scheduler).generation;
    return g.kv_tokens ? (double)g.kv_bytes / (double)g.kv_tokens : 0;
}

// Bytes a second while a round decodes: each step reads the weights once, and each text's past.
static double read_rate(const struct bench_generate *r, const struct result *w) {
    double steps = (double)(w->tokens - 1), past = (double)w->prompt + (double)w->tokens / 2;
    double step = (double)r->weight_bytes + (double)w->streams * past * kv_bytes_per_token(r);
    return step * steps / w->decode_s;
}

static double prefill_flops(const struct bench_generate *r, size_t tokens) {
    const struct decoder_config *c = &r->engine.model->decoder_config;
    double d = (double)c->hidden, q = (double)(c->heads * c->head_dim),
           kv = (double)(c->kv_heads * c->head_dim), f = (double)c->ffn, n = (double)tokens;
    double layer = 2 * (d * (q + 2 * kv) + q * d + 3 * d * f) + 4 * q * n / 2;
    return n * (double)c->layers * layer + 2 * d * (double)c->vocab;
}

static double rate(const struct result *w, double seconds, size_t tokens) {
    return (double)(w->streams * tokens) / seconds;
}

// --- results ---

static void print_environment(const struct bench_generate *r, struct buf *b, bool json) {
    bench_print_environment(b, json, replica_facts(r->engine.engine->replica)->describe, "dtype ",
                            model_dtype_rounds((enum model_dtype)r->o->dtype) ? "auto" : "f32");
}

static void print_json(const struct bench_generate *r, struct buf *b) {
    const struct result *w = &r->one;
    double read = read_rate(r, w), prefill = prefill_flops(r, w->prompt) / w->prefill_s;
    buf_putc(b, '{');
    print_environment(r, b, true);
    buf_puts(b, "\"model\":");
    json_quote(b, r->engine.model->name, strlen(r->engine.model->name));
    buf_printf(b,
               ",\"weight_bytes\":%zu,\"prompt_tokens\":%zu,\"new_tokens\":%zu,"
               "\"prefill_tokens_per_s\":%.1f,\"prefill_gflops\":%.1f,"
               "\"prefill_peak_share\":%.3f,\"decode_tokens_per_s\":%.2f,\"token_p50_ms\":%.3f,"
               "\"token_p99_ms\":%.3f,\"decode_read_gb_per_s\":%.2f,\"decode_read_share\":%.3f,"
               "\"probed_gflops\":%.1f,\"probed_read_gb_per_s\":%.2f",
               replica_weight_bytes(r->engine.engine->replica, r->engine.model->id), w->prompt,
               w->tokens, rate(w, w->prefill_s, w->prompt), prefill / 1e9, prefill / r->peak.flops,
               rate(w, w->decode_s, w->tokens - 1), w->p50_ms, w->p99_ms, read / 1e9,
               read / r->peak.read_bytes, r->peak.flops / 1e9, r->peak.read_bytes / 1e9);
    if (r->with_many) {
        w = &r->many;
        buf_printf(b,
                   ",\"streams\":{\"count\":%zu,\"prompt_tokens\":%zu,\"new_tokens\":%zu,"
                   "\"tokens_per_s\":%.1f,\"first_p50_ms\":%.1f,\"first_p99_ms\":%.1f,"
                   "\"token_p50_ms\":%.3f,\"token_p99_ms\":%.3f}",
                   w->streams, w->prompt, w->tokens, rate(w, w->all_s, w->tokens), w->first_p50_ms,
                   w->first_p99_ms, w->p50_ms, w->p99_ms);
    }
    buf_puts(b, "}\n");
}

static void print_table(const struct bench_generate *r, struct buf *b) {
    const struct result *w = &r->one;
    double read = read_rate(r, w), prefill = prefill_flops(r, w->prompt) / w->prefill_s;
    print_environment(r, b, false);
    buf_printf(b, "probed: %.1f GF/s fp32, %.1f GB/s read; weights: %.1f MB\n\n",
               r->peak.flops / 1e9, r->peak.read_bytes / 1e9,
               (double)replica_weight_bytes(r->engine.engine->replica, r->engine.model->id) / 1e6);
    buf_printf(b, "%-28s %10s %9s %9s   %s\n", "", "tokens/s", "p50 ms", "p99 ms",
               "of this machine");
    buf_printf(b, "prompt of %-18zu %10.1f %9.1f %9s   %.0f GF/s, %.0f %% of fp32\n", w->prompt,
               rate(w, w->prefill_s, w->prompt), 1e3 * w->prefill_s, "", prefill / 1e9,
               100 * prefill / r->peak.flops);
    buf_printf(b, "%4zu tokens behind it        %10.1f %9.2f %9.2f   %.1f GB/s, %.0f %% of reads\n",
               w->tokens, rate(w, w->decode_s, w->tokens - 1), w->p50_ms, w->p99_ms, read / 1e9,
               100 * read / r->peak.read_bytes);
    if (!r->with_many)
        return;
    w = &r->many;
    buf_printf(b,
               "%4zu texts, %zu + %-4zu each    %10.1f %9.2f %9.2f   in all, prompts included; "
               "first tokens %.0f ms, %.0f ms\n",
               w->streams, w->prompt, w->tokens, rate(w, w->all_s, w->tokens), w->p50_ms, w->p99_ms,
               w->first_p50_ms, w->first_p99_ms);
}

// --- the command ---

static enum err choose_sizes(struct bench_generate *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    size_t context = scheduler_context(r->engine.scheduler, m);
    size_t tokens = r->o->max_tokens ? r->o->max_tokens : DEFAULT_NEW, prompt = r->o->prompt_tokens;
    const char *of = context < m->max_length ? "KV cache (--kv-cache-mib)" : "context";
    if (tokens < 2 || tokens + 2 > context)
        return err_set(msg, ERR_INVALID,
                       "%zu new tokens: at least 2, and fewer than the %zu of the %s", tokens,
                       context, of);
    size_t room = context - tokens;
    if (prompt > room)
        return err_set(msg, ERR_INVALID,
                       "a prompt of %zu tokens and %zu new ones are more than the %zu of the %s",
                       prompt, tokens, context, of);
    if (prompt == 0)
        prompt = room < DEFAULT_PROMPT ? room : DEFAULT_PROMPT;
    r->one = (struct result){.streams = 1, .prompt = prompt, .tokens = tokens};
    r->many = r->one;
    r->many.streams = r->o->streams;
    if (prompt > STREAM_PROMPT)
        r->many.prompt = STREAM_PROMPT;
    r->with_many = r->o->streams > 1;
    r->streams = mem_calloc(r->o->streams, sizeof *r->streams);
    return r->streams ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory");
}

static enum err measure(struct bench_generate *r, struct errmsg *msg) {
    struct peak after;
    enum err e = cli_engine_open(r->o, &r->engine, msg);
    if (!e)
        e = choose_sizes(r, msg);
    if (!e)
        e = count_weights(r, msg);
    if (e)
        return e;
    r->random.state = BENCH_SEED;
    struct result warm = {.streams = 1, .prompt = r->many.prompt, .tokens = 2};
    e = run_round(r, &warm, msg);
    if (!e)
        e = bench_device_open(&r->engine, &r->device, msg);
    if (!e)
        e = peak_probe(r->device.device, &r->peak, msg);
    if (!e && !r->o->quiet)
        fprintf(stderr, "measuring one text of %zu + %zu tokens, %d times\n", r->one.prompt,
                r->one.tokens, REPEATS);
    if (!e)
        e = measure_rounds(r, &r->one, msg);
    if (!e)
        e = peak_probe(r->device.device, &after, msg);
    if (e)
        return e;
    r->peak.flops = (r->peak.flops + after.flops) / 2;
    r->peak.read_bytes = (r->peak.read_bytes + after.read_bytes) / 2;
    if (!r->with_many)
        return ERR_OK;
    if (!r->o->quiet)
        fprintf(stderr, "measuring %zu texts of %zu + %zu tokens at once, %d times\n",
                r->many.streams, r->many.prompt, r->many.tokens, REPEATS);
    return measure_rounds(r, &r->many, msg);
}

int bench_generate(const struct cli_options *o) {
    struct errmsg msg = {0};
    struct bench_generate r = {.o = o};
    struct buf b = {0};
    cli_catch_interrupt();
    pthread_mutex_init(&r.mutex, NULL);
    enum err e = thread_cond_init(&r.cond);
    if (e)
        (void)err_set(&msg, e, "no memory for a condition variable");
    else
        e = measure(&r, &msg);
    if (!e) {
        if (o->json)
            print_json(&r, &b);
        else
            print_table(&r, &b);
        if (b.failed || fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0)
            e = err_set(&msg, ERR_IO, "stdout: cannot write");
    }
    buf_free(&b);
    bench_device_close(&r.device);
    cli_engine_close(&r.engine);
    mem_free(r.streams);
    pthread_cond_destroy(&r.cond);
    pthread_mutex_destroy(&r.mutex);
    return e ? cli_fail("bench", &msg) : CLI_EXIT_DONE;
}
