// See wire.h: what all messages have in common, and those of control.
#include "engine/wire_internal.h"

#include "base/utf8.h"
#include "base/version.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    MOST_THREADS = 4096,
    COMMIT_BYTES = 64,
    MOST_BLOCK_TOKENS = 1024,
    MOST_AHEAD = 2,
};
// Far above what is used, low enough that no product of two of them and a small number overflows.
#define MOST_TOKENS ((uint64_t)1 << 26)
#define MOST_SEQS ((uint64_t)1 << 16)
#define MOST_BYTES ((uint64_t)1 << 52)

// ---- which there are

struct wire_rule {
    const char *name;
    bool to_worker, is_work; // of work: its number, and bulk, as it says
    bool bulk, descriptors, empty;
    size_t values;  // of a request's ANSWER
    bool unbounded; // the last of these may be SIZE_MAX: more than a size counts
};

static const struct wire_rule rules[] = {
    [WIRE_HELLO] = {"HELLO", .to_worker = true},
    [WIRE_FILES] = {"FILES", .to_worker = true, .descriptors = true},
    [WIRE_LOAD] = {"LOAD", .to_worker = true, .values = 1},
    [WIRE_UNLOAD] = {"UNLOAD", .to_worker = true},
    [WIRE_SIZE_BATCHES] = {"SIZE_BATCHES", .to_worker = true, .values = 1},
    [WIRE_SIZE_STEPS] = {"SIZE_STEPS", .to_worker = true, .values = 2, .unbounded = true},
    [WIRE_OPEN_STEPS] = {"OPEN_STEPS", .to_worker = true, .values = 1},
    [WIRE_CLOSE_STEPS] = {"CLOSE_STEPS", .to_worker = true},
    [WIRE_ENCODE] = {"ENCODE", .to_worker = true, .bulk = true},
    [WIRE_STEP] = {"STEP", .to_worker = true, .bulk = true},
    [WIRE_DRAW] = {"DRAW", .to_worker = true, .bulk = true},
    [WIRE_CANCEL] = {"CANCEL", .to_worker = true, .empty = true},
    [WIRE_READY] = {"READY", .values = 0},
    [WIRE_ANSWER] = {"ANSWER", .values = 0},
    [WIRE_BATCH_DONE] = {"BATCH_DONE", .bulk = true},
    [WIRE_STEP_COMPUTED] = {"STEP_COMPUTED", .empty = true},
    [WIRE_STEP_DONE] = {"STEP_DONE", .bulk = true},
    [WIRE_PROGRESS] = {"PROGRESS", .values = 0},
};

static const struct wire_rule *rule_of(uint16_t type) {
    size_t n = sizeof rules / sizeof *rules;
    return type < n && rules[type].name ? &rules[type] : NULL;
}

const char *wire_type_name(uint16_t type) {
    const struct wire_rule *r = rule_of(type);
    return r ? r->name : "?";
}

enum err wire_check_message(const struct channel_message *m, bool to_worker, struct errmsg *msg) {
    const struct wire_rule *r = rule_of(m->type);
    if (!r || r->to_worker != to_worker)
        return err_set(msg, ERR_INVALID, "a message of type %u, which is none of this direction",
                       (unsigned)m->type);
    if ((m->sequence == 0) != (m->type == WIRE_PROGRESS))
        return err_set(msg, ERR_INVALID, "%s: its number is %llu", r->name,
                       (unsigned long long)m->sequence);
    if (!r->bulk && (m->bulk_length || m->bulk_offset || m->bulk_checksum))
        return err_set(msg, ERR_INVALID, "%s: it has bulk", r->name);
    if (r->descriptors != (m->fd_count > 0))
        return err_set(msg, ERR_INVALID, "%s: it has %zu descriptors", r->name, m->fd_count);
    if (r->empty != (m->payload_length == 0))
        return err_set(msg, ERR_INVALID, "%s: its payload has %zu bytes", r->name,
                       m->payload_length);
    return ERR_OK;
}

uint64_t wire_subject(const unsigned char *payload, size_t length) {
    struct pack_reader r = pack_reader_of(payload, length);
    return pack_get_u64(&r);
}

enum err wire_end_payload(const struct channel_message *m, const struct pack_reader *r, bool sane,
                          struct errmsg *msg) {
    if (pack_done(r) && sane)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "%s: its payload of %zu bytes %s", wire_type_name(m->type),
                   m->payload_length,
                   !r->failed && r->at < r->length ? "goes on behind its end"
                   : r->failed                     ? "is not of its form"
                                                   : "has a number out of its range");
}

// ---- blocks

enum err wire_block_of(size_t request, size_t answer, struct wire_block *out, struct errmsg *msg) {
    size_t up, bytes;
    if (__builtin_add_overflow(request, (size_t)WIRE_ALIGN - 1, &up) ||
        __builtin_add_overflow(up / WIRE_ALIGN * WIRE_ALIGN, answer, &bytes))
        return err_set(msg, ERR_TOO_LARGE, "a piece of work is larger than a size counts");
    *out = (struct wire_block){.request = request, .answer = answer, .bytes = bytes};
    return ERR_OK;
}

enum err wire_place_answer(const struct channel_message *request, size_t answer,
                           size_t region_bytes, uint64_t *offset, struct errmsg *msg) {
    struct wire_block b = {0};
    uint64_t from = request->bulk_offset;
    if (request->bulk_length > region_bytes || from > region_bytes ||
        wire_block_of((size_t)request->bulk_length, answer, &b, msg) ||
        b.bytes > region_bytes - (size_t)from)
        return err_set(msg, ERR_INVALID, "%s: no room for its answer of %zu bytes in the region",
                       wire_type_name(request->type), answer);
    *offset = from + wire_answer_at(&b);
    return ERR_OK;
}

enum err wire_check_answer(const struct channel_message *answer, const struct wire_block *b,
                           uint64_t offset, struct errmsg *msg) {
    if (answer->bulk_length == 0 ||
        (answer->bulk_offset == offset + wire_answer_at(b) && answer->bulk_length <= b->answer))
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "%s: its %llu bytes of bulk are not where its answer belongs",
                   wire_type_name(answer->type), (unsigned long long)answer->bulk_length);
}

void wire_model_of(const struct replica_spec *s, struct wire_model *out) {
    *out = (struct wire_model){
        .model = s->model,
        .task = s->task,
        .causal = s->causal,
        .max_length = s->max_length,
        .dim = s->dim,
        .vocab = s->causal ? s->decoder_config.vocab : s->config.vocab,
        .types = s->causal ? 0 : s->config.type_vocab,
    };
}

// ---- words

// One line of valid UTF-8.
static bool is_line(const char *s) {
    for (const char *c = s; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return utf8_valid(s, strlen(s), NULL);
}

void wire_put_verdict(struct pack_writer *w, enum err e, const struct errmsg *msg) {
    char words[WIRE_WORDS + 1] = "";
    if (e && msg)
        memcpy(words, msg->text, WIRE_WORDS); // as much as there is room for
    utf8_tidy(words);
    if (e && !words[0])
        snprintf(words, sizeof words, "it failed without a word (%s)", err_name(e));
    pack_put_u32(w, (uint32_t)e);
    pack_put_string(w, words);
}

void wire_get_verdict(struct pack_reader *r, struct errmsg *out) {
    char words[WIRE_WORDS + 1];
    enum err e = (enum err)pack_get_below(r, ERR_COUNT);
    pack_get_string(r, words, sizeof words);
    // that a life ended is for the parent to say
    if (e == ERR_LOST || (e == ERR_OK) != (words[0] == '\0') || !is_line(words))
        r->failed = true;
    out->code = e;
    snprintf(out->text, sizeof out->text, "%s", words);
}

// ---- HELLO and READY

static void put_build(struct pack_writer *w) {
    pack_put_u32(w, WIRE_VERSION);
    pack_put_string(w, version_commit);
}

// theirs, ours: the program that wrote it, and this one.
static enum err check_build(struct pack_reader *r, const char *theirs, const char *ours,
                            struct errmsg *msg) {
    char commit[COMMIT_BYTES];
    uint32_t version = pack_get_u32(r);
    pack_get_string(r, commit, sizeof commit);
    if (r->failed || !is_line(commit))
        return err_set(msg, ERR_INVALID, "%s does not say what build it is of", theirs);
    if (version != WIRE_VERSION || strcmp(commit, version_commit) != 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "%s is of another build (protocol %u, commit %s) than %s (protocol %d, "
                       "commit %s): build both programs ('make' does), or install both from one "
                       "build",
                       theirs, (unsigned)version, commit, ours, WIRE_VERSION, version_commit);
    return ERR_OK;
}

void wire_write_hello(struct pack_writer *w, const struct wire_hello *h) {
    put_build(w);
    pack_put_u32(w, (uint32_t)h->threads);
    pack_put_u64(w, h->region_bytes);
}

enum err wire_read_hello(const struct channel_message *m, struct wire_hello *out,
                         struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    enum err e = check_build(&r, "trine", "trine-worker", msg);
    if (e)
        return e;
    out->threads = pack_get_u32(&r);
    out->region_bytes = pack_get_u64(&r);
    bool sane = out->threads >= 1 && out->threads <= MOST_THREADS && out->region_bytes > 0 &&
                out->region_bytes <= MOST_BYTES;
    return wire_end_payload(m, &r, sane, msg);
}

void wire_write_ready(struct pack_writer *w, const struct wire_ready *ready) {
    put_build(w);
    wire_put_verdict(w, ready->verdict.code, &ready->verdict);
    if (ready->verdict.code)
        return;
    pack_put_string(w, ready->facts.name);
    pack_put_string(w, ready->facts.describe);
    pack_put_u32(w, (uint32_t)ready->facts.kv_block_tokens);
    pack_put_u32(w, (uint32_t)ready->facts.steps_ahead);
    pack_put_u32(w, (uint32_t)ready->facts.bulk_ahead);
    pack_put_u32(w, (uint32_t)ready->facts.batch_tokens);
    pack_put_u64(w, ready->facts.memory_bytes);
    pack_put_u32(w, ready->walls);
}

// It becomes a header's value and a metric's label.
static bool is_name(const char *s) {
    size_t n = strlen(s);
    return n > 0 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n;
}

enum err wire_read_ready(const struct channel_message *m, struct wire_ready *out,
                         struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    enum err e = check_build(&r, "trine-worker", "trine", msg);
    if (e)
        return e;
    struct replica_facts *f = &out->facts;
    *out = (struct wire_ready){0};
    wire_get_verdict(&r, &out->verdict);
    if (out->verdict.code)
        return wire_end_payload(m, &r, true, msg);
    pack_get_string(&r, f->name, sizeof f->name);
    pack_get_string(&r, f->describe, sizeof f->describe);
    f->kv_block_tokens = pack_get_u32(&r);
    f->steps_ahead = pack_get_u32(&r);
    f->bulk_ahead = pack_get_u32(&r);
    f->batch_tokens = pack_get_u32(&r);
    f->memory_bytes = pack_get_u64(&r);
    out->walls = pack_get_u32(&r);
    bool sane = is_name(f->name) && is_line(f->describe) && f->kv_block_tokens >= 1 &&
                f->kv_block_tokens <= MOST_BLOCK_TOKENS && f->steps_ahead <= 1 &&
                f->bulk_ahead <= MOST_AHEAD && f->batch_tokens <= MOST_TOKENS &&
                f->memory_bytes <= MOST_BYTES && !(out->walls & ~(uint32_t)WIRE_WALLS_ALL);
    return wire_end_payload(m, &r, sane, msg);
}

// ---- requests of control

static enum err read_number(const struct channel_message *m, uint64_t *out, uint64_t most,
                            struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    *out = pack_get_u64(&r);
    return wire_end_payload(m, &r, *out >= 1 && *out <= most, msg);
}

void wire_write_unload(struct pack_writer *w, uint64_t model) { pack_put_u64(w, model); }

enum err wire_read_unload(const struct channel_message *m, uint64_t *model, struct errmsg *msg) {
    return read_number(m, model, UINT64_MAX, msg);
}

void wire_write_size_batches(struct pack_writer *w, size_t tokens) { pack_put_u64(w, tokens); }

enum err wire_read_size_batches(const struct channel_message *m, size_t *tokens,
                                struct errmsg *msg) {
    uint64_t n;
    enum err e = read_number(m, &n, MOST_TOKENS, msg);
    *tokens = e ? 0 : (size_t)n;
    return e;
}

static void put_limits(struct pack_writer *w, const struct step_limits *l) {
    pack_put_u64(w, l->block_tokens);
    pack_put_u64(w, l->max_tokens);
    pack_put_u64(w, l->max_seqs);
    pack_put_u64(w, l->max_logits);
    pack_put_u64(w, l->max_context);
}

static bool get_limits(struct pack_reader *r, struct step_limits *l) {
    uint64_t block = pack_get_u64(r), tokens = pack_get_u64(r), seqs = pack_get_u64(r),
             logits = pack_get_u64(r), context = pack_get_u64(r);
    *l = (struct step_limits){.block_tokens = (size_t)block,
                              .max_tokens = (size_t)tokens,
                              .max_seqs = (size_t)seqs,
                              .max_logits = (size_t)logits,
                              .max_context = (size_t)context};
    return block >= 1 && block <= MOST_BLOCK_TOKENS && tokens >= 1 && tokens <= MOST_TOKENS &&
           seqs >= 1 && seqs <= MOST_SEQS && logits >= 1 && logits <= MOST_TOKENS && context >= 1 &&
           context <= MOST_TOKENS;
}

static enum dtype get_dtype(struct pack_reader *r, bool *sane) {
    enum dtype t = (enum dtype)pack_get_below(r, DTYPE_COUNT);
    *sane = *sane && (t == DTYPE_F32 || t == DTYPE_F16);
    return t;
}

void wire_write_size_steps(struct pack_writer *w, const struct wire_size_steps *s) {
    pack_put_u64(w, s->model);
    put_limits(w, &s->limits);
    pack_put_u32(w, (uint32_t)s->kv_dtype);
}

enum err wire_read_size_steps(const struct channel_message *m, struct wire_size_steps *out,
                              struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    out->model = pack_get_u64(&r);
    bool sane = get_limits(&r, &out->limits) && out->model > 0;
    out->kv_dtype = get_dtype(&r, &sane);
    return wire_end_payload(m, &r, sane, msg);
}

void wire_write_open_steps(struct pack_writer *w, const struct wire_place *p) {
    pack_put_u64(w, p->model);
    pack_put_u64(w, p->place);
    put_limits(w, &p->options.limits);
    pack_put_u64(w, p->options.blocks);
    pack_put_u32(w, (uint32_t)p->options.kv_dtype);
}

enum err wire_read_open_steps(const struct channel_message *m, const struct wire_model *model,
                              struct wire_place *out, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    *out = (struct wire_place){.model = pack_get_u64(&r)};
    out->place = pack_get_u64(&r);
    bool sane = get_limits(&r, &out->options.limits) && out->place > 0;
    uint64_t blocks = pack_get_u64(&r);
    out->options.kv_dtype = get_dtype(&r, &sane);
    // a slot's number is an int32_t
    sane = sane && blocks >= 1 && blocks <= INT32_MAX / out->options.limits.block_tokens;
    out->options.blocks = (size_t)blocks;
    enum err e = wire_end_payload(m, &r, sane, msg);
    if (e)
        return e;
    if (!model || model->model != out->model || model->task != TASK_GENERATE)
        return err_set(msg, ERR_INVALID, "OPEN_STEPS: model %llu is none that generates here",
                       (unsigned long long)out->model);
    out->vocab = model->vocab;
    out->max_length = model->max_length;
    return ERR_OK;
}

void wire_write_close_steps(struct pack_writer *w, uint64_t place) { pack_put_u64(w, place); }

enum err wire_read_close_steps(const struct channel_message *m, uint64_t *place,
                               struct errmsg *msg) {
    return read_number(m, place, UINT64_MAX, msg);
}

// ---- ANSWER

static size_t values_of(enum wire_type request) {
    const struct wire_rule *r = rule_of((uint16_t)request);
    return r ? r->values : 0;
}

// Sums of many of them stay far below SIZE_MAX, which is none of them but where it means something.
static bool is_value(enum wire_type request, size_t i, uint64_t v) {
    const struct wire_rule *r = rule_of((uint16_t)request);
    return v <= MOST_BYTES || (v == SIZE_MAX && r && r->unbounded && i + 1 == r->values);
}

void wire_write_answer(struct pack_writer *w, enum wire_type request, enum err e,
                       const struct errmsg *msg, const uint64_t values[WIRE_VALUES]) {
    pack_put_u32(w, (uint32_t)request);
    wire_put_verdict(w, e, msg);
    for (size_t i = 0; !e && i < values_of(request); i++)
        pack_put_u64(w, values[i]);
}

enum err wire_read_answer(const struct channel_message *m, enum wire_type request,
                          struct wire_answer *out, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    *out = (struct wire_answer){0};
    bool sane = pack_get_u32(&r) == (uint32_t)request;
    wire_get_verdict(&r, &out->verdict);
    for (size_t i = 0; !out->verdict.code && i < values_of(request); i++) {
        out->values[i] = pack_get_u64(&r);
        sane = sane && is_value(request, i, out->values[i]);
    }
    return wire_end_payload(m, &r, sane, msg);
}

// ---- PROGRESS

void wire_write_progress(struct pack_writer *w, const struct replica_stats *s) {
    pack_put_i64(w, s->heartbeat_us);
    for (int i = 0; i < SHARE_COUNT; i++)
        pack_put_i64(w, s->used_us[i]);
    pack_put_u64(w, s->yields);
    pack_put_u64(w, s->workspace_bytes);
}

enum err wire_read_progress(const struct channel_message *m, const struct replica_stats *before,
                            int64_t life_us, int64_t now_us, struct replica_stats *out,
                            struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    out->heartbeat_us = pack_get_i64(&r);
    bool sane = out->heartbeat_us >= before->heartbeat_us && out->heartbeat_us <= now_us;
    int64_t left = life_us;
    for (int i = 0; i < SHARE_COUNT; i++) {
        int64_t used = out->used_us[i] = pack_get_i64(&r);
        sane = sane && used >= before->used_us[i] && used <= left;
        left -= sane ? used : 0;
    }
    out->yields = pack_get_u64(&r);
    uint64_t bytes = pack_get_u64(&r);
    sane = sane && out->yields >= before->yields && bytes <= MOST_BYTES;
    out->workspace_bytes = (size_t)bytes;
    return wire_end_payload(m, &r, sane, msg);
}
