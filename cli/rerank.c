// trine rerank: sorts the documents of a file for a query, best first. Role: pairs for a
// cross-encoder, or vectors and their cosine when the model has no head; sorting and printing. All
// documents are kept, because the order is known only at the end. Thread rule: main thread; read
// and encode run on bulk.h's one producer.
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/lines.h"
#include "cli/parts.h"
#include "cli/sink.h"
#include "cli/worker.h"
#include "engine/bulk.h"
#include "engine/pair.h"
#include "engine/prompt.h"
#include "service/api/vectors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MAX_BYTES = 16 << 20 };

enum activation_kind { SCORE_SIGMOID, SCORE_RAW };

struct ranked {
    float score;
    size_t index;
};

struct rerank_run {
    const struct cli_options *o;
    struct cli_engine engine;
    bool by_cosine;
    enum activation_kind activation;
    struct tokenizer_options encode;
    struct lines in;
    bool in_open;
    struct progress progress;
    struct buf texts;       // documents, end to end
    size_t *ends;           // [cap] owned
    struct ranked *results; // [cap] owned
    size_t count, cap;      // documents scored

    // The producer's own.
    struct encoding query, document; // without special tokens
    struct buf joined;               // prompt and text
    bool query_read, query_encoded;
    size_t crowded; // documents that were cut for a long query

    float *query_row; // [dim] by_cosine; owned
    bool have_query_row;
    const char *query_prompt; // the model's; NULL: none
};

// --- bulk callbacks ---

static enum err read_documents(void *ctx, struct bulk_chunk *c, struct errmsg *msg) {
    struct rerank_run *r = ctx;
    enum err e = ERR_OK;
    if (r->by_cosine && !r->query_read) {
        struct text query = {r->o->query, strlen(r->o->query)};
        e = bulk_chunk_add(c, query, (struct text){"", 0}, msg);
        r->query_read = true;
    }
    for (bool more = true; !e && more && !bulk_chunk_full(c);) {
        struct text line;
        if (!(e = lines_next(&r->in, false, &line, &more, msg)) && more)
            e = bulk_chunk_add(c, line, (struct text){"", 0}, msg);
    }
    return e;
}

static enum err encode_single(struct rerank_run *r, struct tokenizer_scratch *s, struct text text,
                              struct encoding *out, int32_t *skip, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    bool is_query = !r->query_encoded; // one producer encodes in input order: it comes first
    r->query_encoded = true;
    const char *prompt = is_query ? r->query_prompt : prompt_for_document(m);
    struct tokenizer_options options = r->encode;
    if (is_query) // never cut
        options.truncate = TRUNCATE_NONE;
    enum err e = prompt_encode(m, s, prompt, text, NULL, &options, &r->joined, out, msg);
    size_t left_out = 0;
    if (!e && is_query && out->len > m->max_length)
        e = err_set(msg, ERR_INVALID, "the query has %zu tokens; this model takes at most %zu",
                    out->len, m->max_length);
    if (!e) // the query comes once and documents share a prompt that few models have
        e = prompt_tokens_left_out(m, s, prompt, &r->document, &left_out, msg);
    *skip = (int32_t)prompt_skip(left_out, out);
    return e;
}

static enum err encode_document(void *ctx, struct tokenizer_scratch *s, struct text text,
                                struct encoding *out, int32_t *skip, struct errmsg *msg) {
    struct rerank_run *r = ctx;
    *skip = 0;
    if (r->by_cosine)
        return encode_single(r, s, text, out, skip, msg);
    const struct model *m = r->engine.model;
    enum err e = pair_encode_document(m, s, text, &r->joined, &r->document, msg);
    if (!e)
        e = pair_assemble(m, &r->query, &r->document, &r->encode, out, msg);
    if (!e && out->truncated && pair_query_crowds(m, r->query.len))
        r->crowded++;
    return e;
}

static enum err keep_document(struct rerank_run *r, struct text text, float score,
                              struct errmsg *msg) {
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 1024;
        size_t *ends = mem_realloc(r->ends, cap, sizeof *ends);
        if (ends)
            r->ends = ends;
        struct ranked *results = ends ? mem_realloc(r->results, cap, sizeof *results) : NULL;
        if (!results)
            return err_set(msg, ERR_NOMEM, "no memory for %zu documents", cap);
        r->results = results;
        r->cap = cap;
    }
    buf_append(&r->texts, text.bytes, text.len);
    if (r->texts.failed)
        return err_set(msg, ERR_NOMEM, "no memory for the documents");
    r->ends[r->count] = r->texts.len;
    r->results[r->count] = (struct ranked){score, r->count};
    r->count++;
    return ERR_OK;
}

static float dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

static enum err keep_scores(void *ctx, const struct bulk_chunk *c, struct errmsg *msg) {
    struct rerank_run *r = ctx;
    size_t dim = r->engine.model->dim;
    for (size_t i = 0; i < c->count; i++) {
        const float *row = c->job.out + i * dim;
        float score = row[0];
        if (r->by_cosine && !r->have_query_row) {
            memcpy(r->query_row, row, dim * sizeof *row);
            r->have_query_row = true;
            continue;
        }
        if (r->by_cosine)
            score = dot(r->query_row, row, dim);
        else if (r->activation == SCORE_SIGMOID)
            score = (float)(1 / (1 + exp(-(double)score)));
        enum err e = keep_document(r, bulk_chunk_text(c, i), score, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void tick(void *ctx) {
    struct rerank_run *r = ctx;
    if (progress_is_due(&r->progress, -1))
        progress_show(&r->progress, NULL, -1, "%zu documents, %.0f/s", r->count,
                      (double)r->count / progress_seconds(&r->progress));
}

// --- preparation ---

static enum err set_activation(struct rerank_run *r, const char *name, const char *file,
                               struct errmsg *msg) {
    const char *last = strrchr(name, '.');
    last = last ? last + 1 : name;
    if (strcmp(last, "Identity") == 0)
        r->activation = SCORE_RAW;
    else if (strcmp(last, "Sigmoid") != 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "%s: activation '%.120s'; Identity and Sigmoid are supported", file, name);
    return ERR_OK;
}

// The activation that the files name, as the path of a class: sentence-transformers keeps it in a
// file of its own since version 5.4, and kept it in config.json before.
static enum err read_native_activation(struct rerank_run *r, struct errmsg *msg) {
    const char *name = NULL, *own = r->engine.model->st.activation;
    if (own)
        return set_activation(r, own, "config_sentence_transformers.json", msg);
    char *path = file_join(r->engine.model->files, "config.json");
    cJSON *root = NULL;
    if (!path)
        return err_set(msg, ERR_NOMEM, "no memory");
    enum err e = json_parse_file(path, CONFIG_MAX_BYTES, &root, msg);
    mem_free(path);
    const cJSON *st = root ? json_get(root, "sentence_transformers") : NULL;
    if (!e && cJSON_IsObject(st))
        e = json_get_string(st, "activation_fn", NULL, &name, msg);
    if (!e && !name)
        e = json_get_string(root, "sbert_ce_default_activation_function", NULL, &name, msg);
    if (!e && name)
        e = set_activation(r, name, "config.json", msg);
    cJSON_Delete(root);
    return e;
}

static enum err tokenize_query(struct rerank_run *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    struct tokenizer_scratch *s;
    enum err e = tokenizer_scratch_new(m->tokenizer, &s);
    if (e)
        return err_set(msg, e, "no memory for the tokenizer");
    struct text query = {r->o->query, strlen(r->o->query)};
    e = pair_encode_query(m, s, r->query_prompt, query, &r->joined, &r->query, msg);
    tokenizer_scratch_free(s);
    return e ? e : prompt_check_query(m, r->query.len, msg);
}

static enum err prepare(struct rerank_run *r, struct errmsg *msg) {
    enum err e = lines_open(&r->in, r->o->arg_count ? r->o->args[0] : NULL, msg);
    if (e)
        return e;
    r->in_open = true;
    r->in.stop = cli_interrupt_flag();
    if ((e = cli_engine_open_for(TASK_RERANK, r->o, &r->engine, msg)))
        return e;
    const struct model *m = r->engine.model;
    if (m->task != TASK_EMBED && m->task != TASK_RERANK)
        return err_set(msg, ERR_UNSUPPORTED, "%s is %s model: it cannot rerank", m->name,
                       model_task_noun(m->task));
    r->by_cosine = m->task == TASK_EMBED;
    if (r->by_cosine && (r->o->raw_scores || r->o->native))
        return err_set(msg, ERR_INVALID,
                       "--%s: %s is an embed model, whose scores are cosines; leave it out",
                       r->o->native ? "native" : "raw-scores", m->name);
    r->encode = (struct tokenizer_options){
        .add_special_tokens = true,
        .truncate = r->by_cosine ? TRUNCATE_LONGEST_FIRST : TRUNCATE_ONLY_SECOND,
        .side = tokenizer_side(m->tokenizer),
        .max_length = m->max_length,
    };
    r->query_prompt = r->by_cosine ? prompt_for_query(m) : m->st.default_prompt;
    if (r->o->prompt_name &&
        (e = prompt_by_name(m, "--prompt-name", r->o->prompt_name, &r->query_prompt, msg)))
        return e;
    if (r->by_cosine) {
        r->query_row = mem_calloc(m->dim, sizeof *r->query_row);
        return r->query_row ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory");
    }
    if (r->o->raw_scores)
        r->activation = SCORE_RAW;
    if (r->o->native && !m->causal) // a causal model's is the sigmoid
        e = read_native_activation(r, msg);
    return e ? e : tokenize_query(r, msg);
}

// --- results ---

static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static struct text document(const struct rerank_run *r, size_t i) {
    size_t begin = i ? r->ends[i - 1] : 0;
    return (struct text){r->texts.data ? r->texts.data + begin : "", r->ends[i] - begin};
}

static enum err print_results(struct rerank_run *r, struct errmsg *msg) {
    struct sink out;
    sink_init(&out, STDOUT_FILENO, "stdout");
    struct buf *b = &out.buf;
    size_t n = r->o->top_n && r->o->top_n < r->count ? r->o->top_n : r->count;
    enum err e = ERR_OK;
    if (r->o->json) {
        buf_puts(b, "{\"model\":");
        json_quote(b, r->engine.model->name, strlen(r->engine.model->name));
        buf_printf(b, ",\"method\":\"%s\",\"results\":[",
                   r->by_cosine               ? "embedding"
                   : !r->engine.model->causal ? "cross-encoder"
                                              : "yes-no");
    }
    for (size_t i = 0; i < n && !e; i++) {
        struct text text = document(r, r->results[i].index);
        char score[API_FLOAT_MAX];
        size_t len = api_float_print(r->results[i].score, score);
        if (r->o->json) {
            buf_printf(b, "%s{\"index\":%zu,\"score\":%.*s,\"text\":", i ? "," : "",
                       r->results[i].index, (int)len, score);
            json_quote(b, text.bytes, text.len);
            buf_putc(b, '}');
        } else {
            buf_printf(b, "%.*s\t%zu\t", (int)len, score, r->results[i].index);
            buf_append(b, text.bytes, text.len);
            buf_putc(b, '\n');
        }
        e = sink_settle(&out, msg);
    }
    if (r->o->json)
        buf_puts(b, "]}\n");
    if (!e)
        e = sink_flush(&out, msg);
    sink_free(&out);
    return e;
}

static enum err rerank(struct rerank_run *r, struct errmsg *msg) {
    enum err e = prepare(r, msg);
    if (e)
        return e;
    if (r->by_cosine && !r->o->quiet)
        fprintf(stderr, "%s has no ranking head: scores are cosines of its embeddings\n",
                r->engine.model->name);
    struct bulk_options bulk = {
        .scheduler = r->engine.scheduler,
        .model = r->engine.model,
        .normalize = r->by_cosine,
        .producers = 1,
        .stop = cli_interrupt_flag(),
        .ctx = r,
        .read = read_documents,
        .encode = encode_document,
        .write = keep_scores,
        .tick = tick,
    };
    progress_begin(&r->progress, STDERR_FILENO, r->o->quiet);
    e = bulk_run(&bulk, msg);
    progress_clear(&r->progress);
    if (e)
        return e;
    if (r->crowded && !r->o->quiet)
        fprintf(stderr, "warning: " PAIR_CROWDED "\n", r->engine.model->max_length, r->crowded);
    if (r->count)
        qsort(r->results, r->count, sizeof *r->results, by_score);
    return print_results(r, msg);
}

int cli_rerank(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_RERANK, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    struct rerank_run r = {.o = &o};
    enum err usage = ERR_OK;
    if (!o.query)
        usage = err_set(&msg, ERR_INVALID, "--query is missing");
    else
        usage = cli_check_text("--query", o.query, &msg);
    if (!usage)
        usage = cli_check_not_input(NULL, "stdout", o.arg_count ? o.args[0] : "-", &msg);
    if (usage) {
        exit_code = cli_misuse("rerank", &msg);
    } else {
        enum err e = cli_worker_begin(&o, &msg);
        cli_catch_interrupt();
        if (!e)
            e = rerank(&r, &msg);
        exit_code = e ? cli_fail("rerank", &msg) : CLI_EXIT_DONE;
    }
    if (r.in_open)
        lines_close(&r.in);
    cli_engine_close(&r.engine);
    encoding_free(&r.query);
    encoding_free(&r.document);
    buf_free(&r.texts);
    buf_free(&r.joined);
    mem_free(r.ends);
    mem_free(r.results);
    mem_free(r.query_row);
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
