// trine bench encode: latency of one short text, then rates over texts of one length and of mixed
// lengths, each beside the fp32 peak probed just before and after it, because the peak of a shared
// machine moves. The rates are of the whole: reading, tokenizing and computing overlap as in trine
// embed. Thread rule: main thread.
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "compute/cpu/peak.h"
#include "engine/bulk.h"

#include <pthread.h>

#include <stdio.h>
#include <string.h>

enum { LATENCY_TOKENS = 25, LATENCY_RUNS = 300, LATENCY_RUNS_LEAST = 20, REPEATS = 3, SETS = 4 };

struct set {
    const char *name;
    size_t length; // tokens a text; 0: the mix
    size_t texts;
    double texts_s, tokens_s, gflops, share; // medians
};

struct bench_encode {
    const struct cli_options *o;
    struct cli_engine engine;
    struct bench_device device;
    struct bench_words words;
    struct bench_random random;
    struct bench_texts texts; // of the set in progress
    size_t next;
    struct tokenizer_options encode;
    struct peak peak;
    double p50_ms, p99_ms, latency_share;
    struct set sets[SETS];
    size_t set_count;

    // Of the interactive job that is running.
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
};

static size_t fixed_length(void *ctx) { return *(const size_t *)ctx; }

// FLOP of one text: its tokens x L(8 D^2 + 4 D F + 4 S D); with F = 4 D that is L(24 D^2 + 4 S D).
static double flops_of(const struct model *m, size_t tokens) {
    double d = (double)m->config.hidden, f = (double)m->config.ffn, s = (double)tokens;
    return s * (double)m->config.layers * (8 * d * d + 4 * d * f + 4 * s * d);
}

// --- rates ---

static enum err read_texts(void *ctx, struct bulk_chunk *c, struct errmsg *msg) {
    struct bench_encode *r = ctx;
    enum err e = ERR_OK;
    while (!e && r->next < r->texts.count && !bulk_chunk_full(c))
        e = bulk_chunk_add(c, bench_text(&r->texts, r->next++), (struct text){"", 0}, msg);
    return e;
}

static enum err encode_text(void *ctx, struct tokenizer_scratch *s, struct text text,
                            struct encoding *out, int32_t *skip, struct errmsg *msg) {
    struct bench_encode *r = ctx;
    *skip = 0;
    return tokenizer_encode(r->engine.model->tokenizer, s, text, NULL, &r->encode, out, msg);
}

static enum err drop_rows(void *ctx, const struct bulk_chunk *c, struct errmsg *msg) {
    (void)ctx, (void)c, (void)msg;
    return ERR_OK;
}

static enum err time_set(struct bench_encode *r, double *seconds, double *peak,
                         struct errmsg *msg) {
    struct bulk_options bulk = {
        .scheduler = r->engine.scheduler,
        .model = r->engine.model,
        .normalize = true,
        .stop = cli_interrupt_flag(),
        .ctx = r,
        .read = read_texts,
        .encode = encode_text,
        .write = drop_rows,
    };
    r->next = 0;
    *peak = peak_probe_flops(r->device.device) / 2;
    int64_t begin = clock_now_us();
    enum err e = bulk_run(&bulk, msg);
    *seconds = (double)(clock_now_us() - begin) / 1e6;
    *peak += peak_probe_flops(r->device.device) / 2;
    return e;
}

static enum err run_set(struct bench_encode *r, struct set *set, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    size_t special = tokenizer_special_count(m->tokenizer, false);
    struct bench_mix mix = {.random = {BENCH_SEED + 1}, .most = r->encode.max_length};
    if (mix.most > 256)
        mix.most = 256;
    enum err e = bench_texts_make(
        &r->words, set->texts, special, set->length ? fixed_length : bench_mix_length,
        set->length ? (void *)&set->length : (void *)&mix, &r->random, &r->texts, msg);
    double flops = 0, tokens = 0, rate[REPEATS], share[REPEATS];
    for (size_t i = 0; i < r->texts.count; i++) {
        flops += flops_of(m, r->texts.tokens[i]);
        tokens += (double)r->texts.tokens[i];
    }
    for (int i = 0; i < REPEATS && !e; i++) {
        double seconds, peak;
        e = time_set(r, &seconds, &peak, msg);
        rate[i] = 1 / seconds;
        share[i] = flops / seconds / peak;
    }
    bench_texts_free(&r->texts);
    if (e)
        return e;
    double median = bench_median(rate, REPEATS);
    set->texts_s = (double)set->texts * median;
    set->tokens_s = tokens * median;
    set->gflops = flops * median / 1e9;
    set->share = bench_median(share, REPEATS);
    return ERR_OK;
}

// --- latency ---

static void on_done(struct job *job) {
    struct bench_encode *r = job->ctx;
    pthread_mutex_lock(&r->mutex);
    r->done = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->mutex);
}

// One text from its bytes to its vector.
static enum err run_once(struct bench_encode *r, struct tokenizer_scratch *s, struct encoding *e,
                         float *out, double *ms, struct errmsg *msg) {
    int64_t begin = clock_now_us();
    enum err err = tokenizer_encode(r->engine.model->tokenizer, s, bench_text(&r->texts, 0), NULL,
                                    &r->encode, e, msg);
    if (err)
        return err;
    int32_t cu_seqlens[2] = {0, (int32_t)e->len};
    struct job job = {
        .model = r->engine.model,
        .ids = e->ids,
        .type_ids = e->type_ids,
        .cu_seqlens = cu_seqlens,
        .seqs = 1,
        .normalize = true,
        .out = out,
        .lane = LANE_INTERACTIVE,
        .done = on_done,
        .ctx = r,
    };
    r->done = false;
    scheduler_submit(r->engine.scheduler, &job);
    pthread_mutex_lock(&r->mutex);
    while (!r->done)
        pthread_cond_wait(&r->cond, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
    *ms = (double)(clock_now_us() - begin) / 1e3;
    if (job.err)
        *msg = job.msg;
    return job.err;
}

static enum err measure_latency(struct bench_encode *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    size_t length = LATENCY_TOKENS, runs = LATENCY_RUNS;
    if (r->o->texts && r->o->texts < runs)
        runs = r->o->texts < LATENCY_RUNS_LEAST ? LATENCY_RUNS_LEAST : r->o->texts;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    double *ms = mem_calloc(runs, sizeof *ms);
    float *out = mem_calloc(m->dim, sizeof *out);
    enum err err = bench_texts_make(&r->words, 1, tokenizer_special_count(m->tokenizer, false),
                                    fixed_length, &length, &r->random, &r->texts, msg);
    if (!err && (!ms || !out || tokenizer_scratch_new(m->tokenizer, &s)))
        err = err_set(msg, ERR_NOMEM, "no memory");
    double peak = peak_probe_flops(r->device.device) / 2;
    for (size_t i = 0; i < runs && !err; i++) {
        err = run_once(r, s, &e, out, &ms[i], msg);
        if (!err && cli_interrupted())
            err = err_set(msg, ERR_CANCELLED, "interrupted");
    }
    peak += peak_probe_flops(r->device.device) / 2;
    if (!err) {
        r->p50_ms = bench_median(ms, runs);
        r->p99_ms = bench_percentile(ms, runs, 0.99);
        r->latency_share = flops_of(m, length) / (r->p50_ms / 1e3) / peak;
    }
    bench_texts_free(&r->texts);
    tokenizer_scratch_free(s);
    encoding_free(&e);
    mem_free(ms);
    mem_free(out);
    return err;
}

// --- results ---

static void print_environment(const struct bench_encode *r, struct buf *b, bool json) {
    bench_print_environment(b, json, replica_facts(r->engine.engine->replica)->describe, "",
                            r->o->dtype == MODEL_DTYPE_STORED ? "stored" : "f32");
}

static void print_json(const struct bench_encode *r, struct buf *b) {
    buf_putc(b, '{');
    print_environment(r, b, true);
    buf_puts(b, "\"model\":");
    json_quote(b, r->engine.model->name, strlen(r->engine.model->name));
    buf_printf(b, ",\"peak_gflops\":%.1f,\"read_gb_s\":%.1f,", r->peak.flops / 1e9,
               r->peak.read_bytes / 1e9);
    buf_printf(b,
               "\"latency\":{\"tokens\":%d,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"peak_share\":%.3f},"
               "\"sets\":[",
               LATENCY_TOKENS, r->p50_ms, r->p99_ms, r->latency_share);
    for (size_t i = 0; i < r->set_count; i++) {
        const struct set *s = &r->sets[i];
        buf_printf(b,
                   "%s{\"name\":\"%s\",\"texts\":%zu,\"texts_s\":%.1f,\"tokens_s\":%.0f,"
                   "\"gflops\":%.1f,\"peak_share\":%.3f}",
                   i ? "," : "", s->name, s->texts, s->texts_s, s->tokens_s, s->gflops, s->share);
    }
    buf_puts(b, "]}\n");
}

static void print_table(const struct bench_encode *r, struct buf *b) {
    print_environment(r, b, false);
    buf_printf(b, "probed: %.1f GF/s fp32, %.1f GB/s read\n\n", r->peak.flops / 1e9,
               r->peak.read_bytes / 1e9);
    buf_printf(b, "one text of %d tokens: p50 %.2f ms, p99 %.2f ms, %.0f %% of peak\n\n",
               LATENCY_TOKENS, r->p50_ms, r->p99_ms, 100 * r->latency_share);
    buf_printf(b, "%-8s %8s %10s %10s %8s %8s\n", "set", "texts", "texts/s", "tokens/s", "GF/s",
               "of peak");
    for (size_t i = 0; i < r->set_count; i++) {
        const struct set *s = &r->sets[i];
        buf_printf(b, "%-8s %8zu %10.1f %10.0f %8.1f %7.1f%%\n", s->name, s->texts, s->texts_s,
                   s->tokens_s, s->gflops, 100 * s->share);
    }
}

// The texts must have the length that is asked for: the number of positions limits it, and not the
// folder's max_seq_length; so do --max-length and what the engine takes at once.
static size_t longest(const struct cli_options *o, const struct model *m) {
    enum { BATCH_TOKENS = 512 }; // of the scheduler, where --batch-tokens is not given
    size_t batch = o->engine.max_batch_tokens ? o->engine.max_batch_tokens : BATCH_TOKENS;
    size_t most = batch > m->max_length ? batch : m->max_length;
    // a worker holds each text against the length that the model was loaded with
    if (o->models[0].max_length || o->engine.isolate || o->engine.device == ENGINE_DEVICE_WORKER)
        return m->max_length;
    size_t positions = m->causal ? m->decoder_config.max_positions : m->config.max_positions;
    return positions < most ? positions : most;
}

static enum err measure(struct bench_encode *r, struct errmsg *msg) {
    enum err e = cli_engine_open(r->o, &r->engine, msg);
    if (e)
        return e;
    const struct model *m = r->engine.model;
    if (m->task == TASK_GENERATE)
        return err_set(msg, ERR_INVALID,
                       "model '%s' generates and encodes nothing: measure it with bench generate",
                       m->name);
    r->encode = (struct tokenizer_options){
        .add_special_tokens = true,
        .truncate = TRUNCATE_LONGEST_FIRST,
        .max_length = longest(r->o, m),
    };
    size_t mix = r->o->texts ? r->o->texts : BENCH_MIX_TEXTS;
    const struct set all[SETS] = {
        {.name = "S=32", .length = 32, .texts = mix / 10 + 1},
        {.name = "S=128", .length = 128, .texts = mix / 40 + 1},
        {.name = "S=512", .length = 512, .texts = mix / 160 + 1},
        {.name = "mix", .length = 0, .texts = mix},
    };
    r->random.state = BENCH_SEED;
    e = bench_words_find(m->tokenizer, &r->words, msg);
    if (!e)
        e = bench_device_open(&r->engine, &r->device, msg);
    if (!e)
        e = peak_probe(r->device.device, &r->peak, msg);
    if (!e)
        e = measure_latency(r, msg);
    for (size_t i = 0; i < SETS && !e; i++) {
        if (all[i].length > r->encode.max_length)
            continue;
        if (!r->o->quiet)
            fprintf(stderr, "measuring %s, %zu texts, %d times\n", all[i].name, all[i].texts,
                    REPEATS);
        r->sets[r->set_count] = all[i];
        e = run_set(r, &r->sets[r->set_count++], msg);
    }
    return e;
}

int bench_encode(const struct cli_options *o) {
    struct errmsg msg = {0};
    struct bench_encode r = {.o = o};
    cli_catch_interrupt();
    pthread_mutex_init(&r.mutex, NULL);
    pthread_cond_init(&r.cond, NULL);
    enum err e = measure(&r, &msg);
    struct buf b = {0};
    if (!e) {
        if (o->json)
            print_json(&r, &b);
        else
            print_table(&r, &b);
        if (b.failed || fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0)
            e = err_set(&msg, ERR_IO, "stdout: cannot write");
    }
    buf_free(&b);
    bench_words_free(&r.words);
    bench_device_close(&r.device);
    cli_engine_close(&r.engine);
    pthread_cond_destroy(&r.cond);
    pthread_mutex_destroy(&r.mutex);
    return e ? cli_fail("bench", &msg) : CLI_EXIT_DONE;
}
