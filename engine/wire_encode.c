// See wire_work.h: batches.
#include "engine/wire_internal.h"
#include "engine/wire_work.h"

#include "base/mem.h"

enum { HAS_TYPES = 1, HAS_SKIP = 2, NORMALIZES = 4, FLAGS_ALL = 7 };

// Numbers of four bytes in the bulk: cu_seqlens, ids, positions, and what is there of types and
// skips. 0: more than an int32_t counts.
static size_t numbers_of(size_t tokens, size_t seqs, uint32_t flags) {
    if (tokens > INT32_MAX || seqs > tokens)
        return 0;
    return seqs + 1 + (flags & HAS_TYPES ? 3 : 2) * tokens + (flags & HAS_SKIP ? seqs : 0);
}

static uint32_t flags_of(const struct replica_batch *b) {
    return (b->tokens.type_ids ? HAS_TYPES : 0) | (b->skip ? HAS_SKIP : 0) |
           (b->normalize ? NORMALIZES : 0);
}

enum err wire_size_encode(const struct replica_batch *b, size_t dim, struct wire_block *out,
                          struct errmsg *msg) {
    size_t seqs = b->tokens.seqs, tokens = b->tokens.tokens, floats, bytes;
    size_t numbers = numbers_of(tokens, seqs, flags_of(b));
    if (numbers == 0 || mem_mul_overflows(seqs, dim, &floats) ||
        mem_mul_overflows(floats, sizeof(float), &bytes))
        return err_set(msg, ERR_TOO_LARGE, "a batch of %zu tokens is larger than a size counts",
                       tokens);
    return wire_block_of(numbers * sizeof(int32_t), bytes, out, msg);
}

void wire_write_encode(struct pack_writer *w, const struct replica_batch *b, unsigned char *bulk) {
    const struct batch *t = &b->tokens;
    pack_put_u64(w, b->work.model);
    pack_put_u32(w, (uint32_t)b->work.share);
    pack_put_u32(w, flags_of(b));
    pack_put_u32(w, (uint32_t)t->tokens);
    pack_put_u32(w, (uint32_t)t->seqs);
    wire_put_array(&bulk, t->cu_seqlens, t->seqs + 1);
    wire_put_array(&bulk, t->ids, t->tokens);
    wire_put_array(&bulk, t->positions, t->tokens);
    if (t->type_ids)
        wire_put_array(&bulk, t->type_ids, t->tokens);
    if (b->skip)
        wire_put_array(&bulk, b->skip, t->seqs);
}

// Lengths of 1 to the model's most, and each sequence's positions from 0 on.
static bool are_sequences(const struct batch *t, size_t max_length) {
    const int32_t *cu = t->cu_seqlens;
    if (cu[0] != 0 || (size_t)cu[t->seqs] != t->tokens)
        return false;
    for (size_t s = 0; s < t->seqs; s++) // as long as all go up, all lie below the last
        if (cu[s] < 0 || cu[s + 1] <= cu[s] || (size_t)(cu[s + 1] - cu[s]) > max_length)
            return false;
    for (size_t s = 0; s < t->seqs; s++) {
        int32_t n = cu[s + 1] - cu[s], odd = 0;
        for (int32_t i = 0; i < n; i++)
            odd |= t->positions[cu[s] + i] ^ i;
        if (odd)
            return false;
    }
    return true;
}

static bool are_in_range(const struct replica_batch *b, const struct wire_model *model) {
    const struct batch *t = &b->tokens;
    return wire_ids_are_below(t->ids, t->tokens, model->vocab) &&
           (!t->type_ids || model->types == 0 ||
            wire_ids_are_below(t->type_ids, t->tokens, model->types)) &&
           (!b->skip || wire_ids_are_below(b->skip, t->seqs, (size_t)INT32_MAX + 1));
}

enum err wire_read_encode(const struct channel_message *m, const unsigned char *bulk,
                          const struct wire_model *model, const struct wire_batch_limits *limits,
                          struct replica_batch *out, size_t *answer, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    uint64_t number = pack_get_u64(&r);
    uint32_t share = pack_get_below(&r, SHARE_COUNT), flags = pack_get_u32(&r);
    size_t tokens = pack_get_u32(&r), seqs = pack_get_u32(&r);
    bool sane = (share == SHARE_INTERACTIVE || share == SHARE_BULK) &&
                !(flags & ~(uint32_t)FLAGS_ALL) && seqs >= 1;
    enum err e = wire_end_payload(m, &r, sane, msg);
    if (e)
        return e;
    if (!model || model->model != number || model->task == TASK_GENERATE)
        return err_set(msg, ERR_INVALID, "ENCODE: model %llu is none that encodes here",
                       (unsigned long long)number);
    if (tokens > limits->tokens || seqs > limits->seqs)
        return err_set(msg, ERR_INVALID,
                       "ENCODE: %zu tokens in %zu sequences, of at most %zu and %zu", tokens, seqs,
                       limits->tokens, limits->seqs);
    size_t numbers = numbers_of(tokens, seqs, flags), floats;
    if (numbers == 0 || m->bulk_length != numbers * sizeof(int32_t))
        return err_set(msg, ERR_INVALID, "ENCODE: %llu bytes of bulk for %zu tokens",
                       (unsigned long long)m->bulk_length, tokens);
    struct pack_reader rest = pack_reader_of(bulk, numbers * sizeof(int32_t));
    struct batch *t = &out->tokens;
    *t = (struct batch){.tokens = tokens, .seqs = seqs};
    t->cu_seqlens = wire_take_array(&rest, seqs + 1);
    t->ids = wire_take_array(&rest, tokens);
    t->positions = wire_take_array(&rest, tokens);
    t->type_ids = flags & HAS_TYPES ? wire_take_array(&rest, tokens) : NULL;
    out->skip = flags & HAS_SKIP ? wire_take_array(&rest, seqs) : NULL;
    out->normalize = flags & NORMALIZES;
    out->work.model = number;
    out->work.share = (enum share)share;
    if (rest.failed || !are_sequences(t, model->max_length) || !are_in_range(out, model))
        return err_set(msg, ERR_INVALID,
                       "ENCODE: a length, position, id or type is out of its range");
    if (mem_mul_overflows(seqs, model->dim, &floats) ||
        mem_mul_overflows(floats, sizeof(float), answer))
        return err_set(msg, ERR_INVALID, "ENCODE: rows of more than a size counts");
    return ERR_OK;
}

// ---- what came of it

void wire_write_batch_done(struct pack_writer *w, enum err e, const struct errmsg *msg,
                           int64_t began_us) {
    wire_put_verdict(w, e, msg);
    pack_put_i64(w, began_us);
}

enum err wire_get_done(const struct channel_message *m, int64_t sent_us, int64_t now_us,
                       struct wire_done *out, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    wire_get_verdict(&r, &out->verdict);
    int64_t began = pack_get_i64(&r);
    out->began_us = began == 0 ? 0 : began < sent_us ? sent_us : began > now_us ? now_us : began;
    return wire_end_payload(m, &r, began >= 0, msg);
}

enum err wire_read_batch_done(const struct channel_message *m, const struct wire_block *b,
                              int64_t sent_us, int64_t now_us, struct wire_done *out,
                              struct errmsg *msg) {
    enum err e = wire_get_done(m, sent_us, now_us, out, msg);
    if (e)
        return e;
    size_t wants = out->verdict.code ? 0 : b->answer;
    if (m->bulk_length != wants)
        return err_set(msg, ERR_INVALID, "BATCH_DONE: %llu bytes of rows, %zu are due",
                       (unsigned long long)m->bulk_length, wants);
    return ERR_OK;
}
