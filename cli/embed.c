// trine embed: texts in bulk to vectors. Role: joins input, model and output, which do the work.
// Thread rule: main thread; read and encode run on bulk.h's producers.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/embed_input.h"
#include "cli/embed_output.h"
#include "cli/engine.h"
#include "cli/fingerprint.h"
#include "cli/model_files.h"
#include "cli/parts.h"
#include "cli/worker.h"
#include "engine/bulk.h"
#include "engine/prompt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct embed_run {
    const struct cli_options *o;
    struct cli_engine engine;
    struct embed_input input;
    struct embed_output output;
    struct progress progress;
    const char *prompt; // NULL: none
    size_t left_out;    // tokens of it kept out of the pool
    struct buf joined;  // the producer's own: prompt and text
    struct tokenizer_options encode;
    // The reading thread's own: texts of an earlier run that are passed over, and their
    // fingerprint.
    uint64_t passed, passed_texts;

    uint64_t rows, tokens, truncated; // of this run
    uint64_t mark;                    // input bytes behind the rows written
    int64_t begun_us;
};

// --- bulk callbacks ---

static enum err check_passed(struct embed_run *r, bool more, struct errmsg *msg) {
    bool same = more && r->passed_texts == r->output.journal.texts;
    if (same)
        return ERR_OK;
    return err_set(msg, ERR_INVALID,
                   "cannot resume: the first %llu texts of %s%s are not those of the interrupted "
                   "run; give the same input, or start anew without --resume",
                   (unsigned long long)r->output.resumed, r->o->arg_count ? r->o->args[0] : "stdin",
                   r->o->arg_count > 1 ? ", ..." : "");
}

static enum err pass_over(struct embed_run *r, bool *more, struct errmsg *msg) {
    struct embed_record record;
    for (*more = true; r->passed < r->output.resumed; r->passed++) {
        enum err e = embed_input_next(&r->input, &record, more, msg);
        if (e)
            return e;
        if (!*more)
            break;
        r->passed_texts = embed_output_fingerprint(r->passed_texts, record.id, record.text);
    }
    return check_passed(r, r->passed == r->output.resumed, msg);
}

static enum err read_texts(void *ctx, struct bulk_chunk *c, struct errmsg *msg) {
    struct embed_run *r = ctx;
    bool more = true;
    enum err e = r->passed < r->output.resumed ? pass_over(r, &more, msg) : ERR_OK;
    while (!e && more && !bulk_chunk_full(c)) {
        struct embed_record record;
        if (!(e = embed_input_next(&r->input, &record, &more, msg)) && more)
            e = bulk_chunk_add(c, record.text, record.id, msg);
    }
    c->mark = embed_input_bytes(&r->input);
    return e;
}

static enum err encode_text(void *ctx, struct tokenizer_scratch *s, struct text text,
                            struct encoding *out, int32_t *skip, struct errmsg *msg) {
    struct embed_run *r = ctx;
    enum err e =
        prompt_encode(r->engine.model, s, r->prompt, text, NULL, &r->encode, &r->joined, out, msg);
    if (!e)
        *skip = (int32_t)prompt_skip(r->left_out, out);
    return e;
}

static enum err write_rows(void *ctx, const struct bulk_chunk *c, struct errmsg *msg) {
    struct embed_run *r = ctx;
    r->output.truncated += c->truncated;
    for (size_t i = 0; i < c->count; i++) {
        enum err e = embed_output_row(&r->output, bulk_chunk_label(c, i), bulk_chunk_text(c, i),
                                      c->job.out + i * r->output.dim, msg);
        if (e)
            return e;
    }
    r->rows += c->count;
    r->tokens += c->tokens;
    r->truncated += c->truncated;
    r->mark = c->mark;
    return embed_output_settle(&r->output, msg);
}

static void tick(void *ctx) {
    struct embed_run *r = ctx;
    double total = (double)r->input.total, fraction = total > 0 ? (double)r->mark / total : -1;
    if (progress_is_due(&r->progress, fraction))
        progress_show(&r->progress, NULL, fraction, "%" PRIu64 " texts, %.0f/s", r->rows,
                      (double)r->rows / progress_seconds(&r->progress));
}

// --- preparation ---

static enum err choose_prompt(struct embed_run *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    r->prompt = m->st.default_prompt;
    enum err err = ERR_OK;
    if (r->o->prompt_name)
        err = prompt_by_name(m, "--prompt-name", r->o->prompt_name, &r->prompt, msg);
    if (err)
        return err;
    struct tokenizer_scratch *s;
    struct encoding work = {0};
    err = tokenizer_scratch_new(m->tokenizer, &s);
    if (err)
        return err_set(msg, err, "no memory for the tokenizer");
    err = prompt_tokens_left_out(m, s, r->prompt, &work, &r->left_out, msg);
    encoding_free(&work);
    tokenizer_scratch_free(s);
    return err;
}

static bool normalizes(const struct embed_run *r) {
    if (r->o->normalize == CLI_AUTO)
        return r->engine.model->pooling.normalizes;
    return r->o->normalize == CLI_YES;
}

// Everything that the bytes of a row depend on, except the texts.
static enum err identify(struct embed_run *r, struct embed_journal *j, struct errmsg *msg) {
    static const char *const formats[] = {"auto", "jsonl", "npy", "f32"};
    const struct cli_options *o = r->o;
    const struct model *m = r->engine.model;
    uint64_t h;
    enum err e = fingerprint_model(m->path, &h, msg);
    if (e)
        return e;
    char model[32], length[32], id[280];
    snprintf(model, sizeof model, "%016llx", (unsigned long long)h);
    snprintf(length, sizeof length, "%zu", m->max_length);
    snprintf(id, sizeof id, "%.256s", o->id ? o->id : "");
    // The last word of "cpu, 2 threads, avx512": another kernel set gives other last bits.
    const char *device = replica_facts(r->engine.engine->replica)->describe;
    const char *kernels = strrchr(device, ' ');
    const struct {
        const char *key, *value;
    } facts[] = {
        {"the model", model},
        {"the program's version", version_number},
        {"the kernel set", kernels ? kernels + 1 : device},
        {"--format", formats[embed_output_format(o)]},
        {"--normalize", normalizes(r) ? "yes" : "no"},
        {"--pooling", m->pooling.mode_name},
        {"--max-length", length},
        {"the prompt", r->prompt ? r->prompt : ""},
        {"--field", o->field},
        {"--id", id},
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !e; i++)
        e = embed_journal_identify(j, facts[i].key, facts[i].value, msg);
    return e;
}

static enum err open_output(struct embed_run *r, struct errmsg *msg) {
    struct embed_journal journal = {0};
    enum err e = ERR_OK;
    if (r->o->output) {
        size_t n = strlen(r->o->output) + sizeof ".partial";
        char *partial = mem_alloc(n, 1);
        if (!partial)
            return err_set(msg, ERR_NOMEM, "no memory");
        snprintf(partial, n, "%s.partial", r->o->output);
        e = embed_journal_new(partial, &journal, msg);
        mem_free(partial);
        if (!e)
            e = identify(r, &journal, msg);
    }
    if (e)
        embed_journal_free(&journal);
    else
        e = embed_output_open(&r->output, r->o, r->engine.model->dim, &journal, msg);
    return e;
}

static enum err prepare(struct embed_run *r, struct errmsg *msg) {
    enum err e = embed_input_open(&r->input, r->o, cli_interrupt_flag(), msg);
    if (!e)
        e = cli_engine_open_for(TASK_EMBED, r->o, &r->engine, msg);
    if (e)
        return e;
    const struct model *m = r->engine.model;
    if (m->task != TASK_EMBED)
        return err_set(msg, ERR_UNSUPPORTED, "%s is %s model: it gives no embeddings%s", m->name,
                       model_task_noun(m->task),
                       m->task == TASK_RERANK ? "; use trine rerank" : "");
    r->encode = (struct tokenizer_options){
        .add_special_tokens = true,
        .truncate = TRUNCATE_LONGEST_FIRST,
        .side = tokenizer_side(m->tokenizer),
        .max_length = m->max_length,
    };
    r->passed_texts = FINGERPRINT_START;
    if (cli_given(r->o, "id") && embed_output_format(r->o) != CLI_OUTPUT_JSONL)
        log_warn("--id: only JSONL holds ids; the rows are in the order of the input");
    e = choose_prompt(r, msg);
    return e ? e : open_output(r, msg);
}

// --- the command ---

static void summarize(const struct embed_run *r) {
    double seconds = (double)(clock_now_us() - r->begun_us) / 1e6;
    if (seconds < 1e-6)
        seconds = 1e-6;
    if (r->output.resumed)
        fprintf(stderr, "resumed behind %llu texts that were done\n",
                (unsigned long long)r->output.resumed);
    fprintf(stderr, "embedded %llu texts (%llu tokens) in %.3f s: %.1f texts/s, %.0f tokens/s\n",
            (unsigned long long)r->rows, (unsigned long long)r->tokens, seconds,
            (double)r->rows / seconds, (double)r->tokens / seconds);
    if (r->truncated)
        fprintf(stderr, "%llu texts were longer than %zu tokens and were cut\n",
                (unsigned long long)r->truncated, r->engine.model->max_length);
}

static enum err embed(struct embed_run *r, struct errmsg *msg) {
    enum err e = prepare(r, msg);
    if (e)
        return e;
    struct bulk_options bulk = {
        .scheduler = r->engine.scheduler,
        .model = r->engine.model,
        .normalize = normalizes(r),
        .stop = cli_interrupt_flag(),
        .ctx = r,
        .read = read_texts,
        .encode = encode_text,
        .write = write_rows,
        .tick = tick,
    };
    progress_begin(&r->progress, STDERR_FILENO, r->o->quiet);
    r->begun_us = clock_now_us();
    e = bulk_run(&bulk, msg);
    progress_clear(&r->progress);
    if (!e)
        e = embed_output_finish(&r->output, msg);
    if (!e && !r->o->quiet)
        summarize(r);
    return e;
}

// Refuses to write what is read: the inputs, by whatever name, also through the files that stand
// beside FILE until it is complete.
static enum err check_output(const struct cli_options *o, struct errmsg *msg) {
    static const char *const endings[] = {"", ".partial", ".partial.json"};
    struct buf path = {0}, what = {0};
    if (!o->output)
        return embed_input_check_output(o, NULL, "stdout", msg);
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !e; i++) {
        buf_reset(&path);
        buf_reset(&what);
        buf_printf(&path, "%s%s", o->output, endings[i]);
        buf_printf(&what, "-o %s%s%s", o->output, i ? " by way of " : "", i ? path.data : "");
        if (path.failed || what.failed)
            e = err_set(msg, ERR_NOMEM, "no memory for a file's name");
        else if (!(e = embed_input_check_output(o, path.data, what.data, msg)) && o->config_path)
            e = cli_check_not_input(path.data, what.data, o->config_path, msg);
        if (!e)
            e = cli_check_not_model(path.data, what.data, o->models[0].spec, msg);
    }
    buf_free(&path);
    buf_free(&what);
    return e;
}

static enum err check_usage(const struct cli_options *o, struct errmsg *msg) {
    if (o->resume && !o->output)
        return err_set(msg, ERR_INVALID, "--resume goes with -o FILE");
    for (size_t i = 0; i < o->arg_count && o->resume; i++)
        if (strcmp(o->args[i], "-") == 0)
            return err_set(msg, ERR_INVALID, "--resume reads the input again, which stdin cannot");
    if (o->resume && o->arg_count == 0)
        return err_set(msg, ERR_INVALID,
                       "--resume reads the input again, which stdin cannot: name the FILE");
    struct stat st;
    if (o->resume && stat(o->output, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(msg, ERR_INVALID,
                       "--resume: -o %s is no file that a run could be resumed in", o->output);
    enum err e = check_output(o, msg);
    if (!e)
        e = embed_input_check_flags(o, msg);
    return e ? e : embed_output_check_name(o, msg);
}

int cli_embed(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_EMBED, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    if (o.output && strcmp(o.output, "-") == 0)
        o.output = NULL;
    if (check_usage(&o, &msg)) {
        exit_code = cli_misuse("embed", &msg);
        cli_options_free(&o);
        return exit_code;
    }
    struct embed_run r = {.o = &o, .output.sink.fd = -1};
    enum err e = cli_worker_begin(&o, &msg);
    cli_catch_interrupt();
    if (!e)
        e = embed(&r, &msg);
    exit_code = e ? cli_fail("embed", &msg) : CLI_EXIT_DONE;
    embed_output_close(&r.output, o.resume);
    buf_free(&r.joined);
    embed_input_close(&r.input);
    cli_engine_close(&r.engine);
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
