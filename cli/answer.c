// See answer.h.
#include "cli/answer.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/parts.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MAX_GRAMMAR_BYTES = 1 << 20, LOOK_US = 50000 };

// --- options ---

static enum err read_seed(struct cli_answers *a, struct errmsg *msg) {
    const char *seed = a->o->seed;
    if (!seed) {
        if (getrandom(&a->sampling.seed, sizeof a->sampling.seed, 0) != sizeof a->sampling.seed)
            return err_set(msg, ERR_INTERNAL, "the system gives no random numbers");
        return ERR_OK;
    }
    bool minus = *seed == '-';
    size_t digits = strspn(seed + minus, "0123456789");
    errno = 0;
    a->sampling.seed = minus ? (uint64_t)strtoll(seed, NULL, 10) : strtoull(seed, NULL, 10);
    if (digits == 0 || seed[minus + digits] || errno)
        return err_set(msg, ERR_INVALID, "--seed: '%.40s' is not a whole number of 64 bits", seed);
    return ERR_OK;
}

static enum err read_stops(struct cli_answers *a, struct errmsg *msg) {
    struct text strings[STOP_STRINGS_MAX];
    const struct cli_list *list = &a->o->stops;
    if (list->count > STOP_STRINGS_MAX)
        return err_set(msg, ERR_INVALID, "--stop: at most %d texts", STOP_STRINGS_MAX);
    for (size_t i = 0; i < list->count; i++) {
        enum err e = cli_check_text("--stop", list->items[i], msg);
        if (e)
            return e;
        strings[i] = (struct text){list->items[i], strlen(list->items[i])};
    }
    return text_stop_strings_compile(strings, list->count, &a->stops, msg);
}

static enum err check_usage(struct cli_answers *a, struct errmsg *msg) {
    const struct cli_options *o = a->o;
    if (o->grammar && o->json_schema)
        return err_set(msg, ERR_INVALID, "--grammar and --json-schema: choose one");
    if (o->ignore_eos && (o->grammar || o->json_schema))
        return err_set(msg, ERR_INVALID, "--ignore-eos does not go with %s",
                       o->grammar ? "--grammar" : "--json-schema");
    if (!isnan(o->repetition_penalty) && o->repetition_penalty < 1e-3)
        return err_set(msg, ERR_INVALID, "--repetition-penalty: must be above 0");
    enum err e = read_seed(a, msg);
    return e ? e : read_stops(a, msg);
}

static enum err compile_schema(const struct buf *text, struct grammar **out, struct errmsg *msg) {
    struct json_tree *tree = NULL;
    struct buf warnings = {0};
    enum err e = json_tree_parse(text->data ? text->data : "", text->len, &json_limits_request,
                                 &tree, NULL, msg);
    if (!e)
        e = grammar_from_schema(json_tree_root(tree), &warnings, out, msg);
    if (!e && warnings.len)
        fprintf(stderr, "%.*s%s", (int)warnings.len, warnings.data,
                warnings.data[warnings.len - 1] == '\n' ? "" : "\n");
    buf_free(&warnings);
    json_tree_free(tree);
    return e;
}

static enum err read_grammar(struct cli_answers *a, struct errmsg *msg) {
    const char *path = a->o->grammar ? a->o->grammar : a->o->json_schema;
    struct buf text = {0};
    if (!path)
        return ERR_OK;
    enum err e = cli_read_text(path, MAX_GRAMMAR_BYTES, &text, msg);
    if (!e) {
        if (a->o->json_schema)
            e = compile_schema(&text, &a->grammar, msg);
        else
            e = grammar_from_gbnf(text.data ? text.data : "", text.len, &a->grammar, msg);
        if (e)
            (void)err_prefix(msg, e, "%s", path);
    }
    buf_free(&text);
    return e;
}

enum err cli_answers_init(struct cli_answers *a, const struct cli_options *o, int *exit_code,
                          struct errmsg *msg) {
    *a = (struct cli_answers){.o = o};
    pthread_mutex_init(&a->mutex, NULL);
    *exit_code = CLI_EXIT_FAILED;
    if (thread_cond_init(&a->cond))
        return err_set(msg, ERR_NOMEM, "no memory for a condition variable");
    enum err e = check_usage(a, msg);
    if (e) {
        *exit_code = e == ERR_INVALID ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
        return e;
    }
    return read_grammar(a, msg);
}

static float choose(double option, float model, float otherwise) {
    return !isnan(option) ? (float)option : isfinite(model) ? model : otherwise;
}

void cli_answers_use(struct cli_answers *a, const struct cli_engine *engine) {
    const struct cli_options *o = a->o;
    const struct generation_config *c = &engine->model->generation;
    struct sampling *s = &a->sampling;
    int32_t top_k = o->top_k >= 0 ? (int32_t)o->top_k : c->top_k;
    a->scheduler = engine->scheduler;
    a->model = engine->model;
    s->temperature = choose(o->temperature, c->temperature, 1);
    s->top_p = choose(o->top_p, c->top_p, 1);
    s->min_p = choose(o->min_p, c->min_p, 0);
    s->top_k = top_k > 0 ? top_k : 0;
    s->repetition_penalty = choose(o->repetition_penalty, c->repetition_penalty, 1);
    if (s->top_p <= 0) // as over HTTP: the likeliest token alone
        s->top_p = FLT_MIN;
}

void cli_answers_free(struct cli_answers *a) {
    text_stop_strings_free(&a->stops);
    grammar_free(a->grammar);
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->mutex);
    *a = (struct cli_answers){0};
}

enum err cli_answers_encode(const struct cli_answers *a, struct text text, bool add_special_tokens,
                            struct encoding *out, struct errmsg *msg) {
    const struct tokenizer_options options = {.add_special_tokens = add_special_tokens,
                                              .truncate = TRUNCATE_NONE};
    struct tokenizer_scratch *s;
    if (tokenizer_scratch_new(a->model->tokenizer, &s))
        return err_set(msg, ERR_NOMEM, "no memory for the tokenizer");
    enum err e = tokenizer_encode(a->model->tokenizer, s, text, NULL, &options, out, msg);
    tokenizer_scratch_free(s);
    if (!e && out->len == 0)
        e = err_set(msg, ERR_INVALID, "the prompt is empty");
    return e;
}

// --- an answer ---

struct giving {
    struct cli_answers *a;
    struct generation g;
    bool over; // under the mutex
    struct text_stream text;
    size_t taken;
};

static void signal_main(struct giving *w, bool over) {
    pthread_mutex_lock(&w->a->mutex);
    w->over = w->over || over;
    pthread_cond_signal(&w->a->cond);
    pthread_mutex_unlock(&w->a->mutex);
}

static void on_progress(struct generation *g) { signal_main(g->ctx, false); }

static void on_done(struct generation *g) { signal_main(g->ctx, true); }

// Waits for more of the log, for its end, or for an interrupt; when the answer is to end, only for
// its end. True: the log is complete. A signal handler cannot wake a condition variable, so the
// flag is looked at now and then.
static bool wait_for_more(struct giving *w) {
    struct cli_answers *a = w->a;
    pthread_mutex_lock(&a->mutex);
    while (!w->over && (atomic_load(&w->g.cancelled) || w->text.stopped ||
                        (atomic_load_explicit(&w->g.produced, memory_order_acquire) == w->taken &&
                         !cli_interrupted())))
        (void)thread_cond_wait_until(&a->cond, &a->mutex, clock_now_us() + LOOK_US);
    bool over = w->over;
    pthread_mutex_unlock(&a->mutex);
    return over;
}

static enum err take_tokens(struct giving *w, bool over, struct buf *out, struct errmsg *msg) {
    size_t have = atomic_load_explicit(&w->g.produced, memory_order_acquire);
    enum err e = ERR_OK;
    for (; w->taken < have && !w->text.stopped && !e; w->taken++)
        e = text_stream_add(&w->text, w->g.ids[w->taken], out, msg);
    if (!e && over)
        e = text_stream_end(&w->text, out, msg);
    return e;
}

static enum err write_fresh(struct giving *w, bool over, bool keep, struct sink *out,
                            struct cli_answer *answer, struct errmsg *msg) {
    size_t before = out->buf.len;
    enum err e = take_tokens(w, over, &out->buf, msg);
    size_t fresh = out->buf.len - before;
    if (e || fresh == 0)
        return e;
    answer->line_open = out->buf.data[out->buf.len - 1] != '\n';
    if (keep)
        buf_append(&answer->text, out->buf.data + before, fresh);
    if (answer->text.failed)
        return err_set(msg, ERR_NOMEM, "no memory for an answer's text");
    return sink_flush(out, msg);
}

// After an interrupt the text ends where it is: what was held back is not written.
static enum err follow(struct giving *w, bool keep, struct sink *out, struct cli_answer *answer,
                       struct errmsg *msg) {
    enum err e = ERR_OK;
    for (bool over = false; !over;) {
        over = wait_for_more(w);
        answer->interrupted = answer->interrupted || cli_interrupted();
        if (!e && !answer->interrupted)
            e = write_fresh(w, over, keep, out, answer, msg);
        if (w->text.stopped)
            atomic_store(&w->g.stop_wanted, true);
        if (e || answer->interrupted)
            atomic_store(&w->g.cancelled, true);
    }
    if (answer->interrupted || e == ERR_CANCELLED) {
        answer->interrupted = true;
        return ERR_OK;
    }
    if (e || !w->g.err)
        return e;
    *msg = w->g.msg;
    return w->g.err;
}

static enum err choose_length(const struct cli_answers *a, size_t prompt_len, size_t *tokens,
                              struct errmsg *msg) {
    size_t context = scheduler_context(a->scheduler, a->model);
    if (prompt_len >= context && context < a->model->max_length)
        return err_set(msg, ERR_INVALID,
                       "the prompt has %zu tokens, which leaves no room for an answer; the KV "
                       "cache holds %zu, fewer than the model's context of %zu: raise "
                       "--kv-cache-mib",
                       prompt_len, context, a->model->max_length);
    if (prompt_len >= context)
        return err_set(msg, ERR_INVALID,
                       "the prompt has %zu tokens, which leaves no room for an answer; this "
                       "model's context is %zu tokens",
                       prompt_len, context);
    *tokens = context - prompt_len;
    if (a->o->max_tokens && a->o->max_tokens < *tokens)
        *tokens = a->o->max_tokens;
    return ERR_OK;
}

enum err cli_answer_give(struct cli_answers *a, const int32_t *prompt, size_t prompt_len, bool keep,
                         struct sink *out, struct cli_answer *answer, struct errmsg *msg) {
    *answer = (struct cli_answer){.prompt_tokens = prompt_len};
    struct giving w = {
        .a = a,
        .g = {.model = a->model,
              .prompt = prompt,
              .prompt_len = prompt_len,
              .sampling = a->sampling,
              .ignore_eos = a->o->ignore_eos,
              .progress = on_progress,
              .done = on_done,
              .ctx = &w},
    };
    const struct grammar_vocab *vocab;
    enum err e = choose_length(a, prompt_len, &w.g.max_tokens, msg);
    if (!e && a->grammar) {
        e = model_grammar_vocab(a->model, &vocab, msg);
        if (!e)
            e = grammar_state_new(a->grammar, vocab, &w.g.grammar, msg);
        if (!e)
            e = grammar_state_limit(w.g.grammar, w.g.max_tokens, NULL, msg);
        w.g.grammar_of = a->o->grammar ? "--grammar" : "--json-schema";
    }
    if (!e && !(w.g.ids = mem_alloc(w.g.max_tokens, sizeof *w.g.ids)))
        e = err_set(msg, ERR_NOMEM, "no memory for %zu tokens", w.g.max_tokens);
    text_stream_init(&w.text, a->model->tokenizer, true, &a->stops);
    if (!e) {
        scheduler_generate(a->scheduler, &w.g);
        e = follow(&w, keep, out, answer, msg);
    }
    answer->end = w.text.stopped ? GENERATION_STOP : w.g.end;
    answer->cached_tokens = w.g.cached_tokens;
    answer->new_tokens = w.taken;
    answer->drafted = w.g.drafted;
    answer->accepted = w.g.accepted;
    answer->prompt_s = (double)w.g.first_us / 1e6;
    answer->answer_s = (double)(w.g.total_us - w.g.first_us) / 1e6;
    text_stream_free(&w.text);
    grammar_state_free(w.g.grammar);
    mem_free(w.g.ids);
    return e;
}

void cli_answer_sum_up(const struct cli_answer *w) {
    const char *end = w->interrupted              ? "interrupted"
                      : w->end == GENERATION_STOP ? "stop"
                                                  : "length";
    fprintf(stderr, "%zu prompt tokens", w->prompt_tokens);
    if (w->cached_tokens)
        fprintf(stderr, " (%zu cached)", w->cached_tokens);
    if (w->new_tokens)
        fprintf(stderr, " in %.2f s", w->prompt_s);
    fprintf(stderr, ", %zu new tokens", w->new_tokens);
    if (w->new_tokens > 1 && w->answer_s > 0)
        fprintf(stderr, ", %.1f tok/s", (double)(w->new_tokens - 1) / w->answer_s);
    fprintf(stderr, ", finish: %s\n", end);
}

void cli_answer_free(struct cli_answer *answer) { buf_free(&answer->text); }
