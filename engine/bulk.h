// Bulk work in input order: read -> tokenize -> compute -> write, all at once, in constant memory.
// Role: keeps a fixed ring of chunks in motion, so that reading, tokenizing and writing hide behind
// compute. It knows no formats.
// A failure (or the end of the input) lets every chunk before it be written first; a stop drops
// what is in motion. Thread rule: bulk_run on one thread, which does the writing; producers are its
// own threads.
#ifndef TRINE_ENGINE_BULK_H
#define TRINE_ENGINE_BULK_H

#include "engine/scheduler.h"

// Some texts and, after compute, their rows.
struct bulk_chunk {
    struct buf bytes;   // the texts, end to end
    struct buf labels;  // one more string for each text (an id, say), end to end
    size_t *text_ends;  // [count] where each ends in bytes
    size_t *label_ends; // [count] the same in labels
    size_t count, cap;
    uint64_t mark;            // read's own: how far the input was read (progress)
    size_t tokens, truncated; // tokens to compute; texts that were cut
    struct job job;           // job.out: [count, model->dim]
    size_t token_cap;         // of job.ids and job.type_ids
    enum err err;             // of tokenizing
    struct errmsg msg;
    int state; // bulk.c's own
    struct bulk *bulk;
};

struct bulk_options {
    struct scheduler *scheduler;
    const struct model *model;
    bool normalize;
    size_t texts_per_chunk;  // 0: 128
    size_t bytes_per_chunk;  // 0: 64 KiB; a chunk is full when it reaches either
    int producers;           // threads that tokenize; 0: one
    const atomic_bool *stop; // ERR_CANCELLED soon after it becomes true; may be NULL
    void *ctx;

    // Producer threads, one at a time, in input order: adds texts until bulk_chunk_full. Returning
    // with room left is the end of the input.
    enum err (*read)(void *ctx, struct bulk_chunk *c, struct errmsg *msg);
    // Producer threads, several at once: text i of a chunk to tokens. *skip as in struct job.
    enum err (*encode)(void *ctx, struct tokenizer_scratch *s, struct text text,
                       struct encoding *out, int32_t *skip, struct errmsg *msg);
    // The calling thread, in input order.
    enum err (*write)(void *ctx, const struct bulk_chunk *c, struct errmsg *msg);
    // The calling thread, a few times a second. May be NULL.
    void (*tick)(void *ctx);
};

enum err bulk_run(const struct bulk_options *options, struct errmsg *msg) MUST_CHECK;

// Copies. ERR_NOMEM.
enum err bulk_chunk_add(struct bulk_chunk *c, struct text text, struct text label,
                        struct errmsg *msg) MUST_CHECK;
bool bulk_chunk_full(const struct bulk_chunk *c);
struct text bulk_chunk_text(const struct bulk_chunk *c, size_t i);
struct text bulk_chunk_label(const struct bulk_chunk *c, size_t i);

#endif
