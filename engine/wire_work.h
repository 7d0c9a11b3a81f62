// The messages of work: ENCODE and BATCH_DONE, STEP, DRAW and STEP_DONE. See wire.h, whose
// rules hold here. Bulk is given and taken as memory of one's own, aligned as WIRE_ALIGN says; what
// is read points into it, and it is kept until the work is done.
// Thread rule: pure functions.
#ifndef TRINE_ENGINE_WIRE_WORK_H
#define TRINE_ENGINE_WIRE_WORK_H

#include "engine/wire.h"

// How a piece of work ended.
struct wire_done {
    struct errmsg verdict;
    int64_t began_us; // on the monotonic clock; 0: it was not begun
};

// ---- batches

// Of the batch's work model and share go across, not whose it is. dim: floats of a row.
enum err wire_size_encode(const struct replica_batch *b, size_t dim, struct wire_block *out,
                          struct errmsg *msg) MUST_CHECK;
// bulk: the block's request bytes, of which every one is written.
void wire_write_encode(struct pack_writer *w, const struct replica_batch *b, unsigned char *bulk);

// What a batch on the worker may have.
struct wire_batch_limits {
    size_t tokens, seqs; // that the workspaces are made for
};
// model: the one that wire_subject names; NULL: there is none, which is at fault. Fills *out but
// for its rows and the rest of its work; *answer: the bytes of its rows, [S, dim] floats.
enum err wire_read_encode(const struct channel_message *m, const unsigned char *bulk,
                          const struct wire_model *model, const struct wire_batch_limits *limits,
                          struct replica_batch *out, size_t *answer, struct errmsg *msg) MUST_CHECK;

// The rows are the answer's bulk as they are: no function writes or reads them.
void wire_write_batch_done(struct pack_writer *w, enum err e, const struct errmsg *msg,
                           int64_t began_us);
// b: the block that the request was in. An answer that is no error has all of its rows. When the
// worker says that it began is moved to lie between sent_us and now_us.
enum err wire_read_batch_done(const struct channel_message *m, const struct wire_block *b,
                              int64_t sent_us, int64_t now_us, struct wire_done *out,
                              struct errmsg *msg) MUST_CHECK;

// ---- steps

// s->place, work.share, prompt_part and step go across.
enum err wire_size_step(const struct replica_step *s, struct wire_block *out,
                        struct errmsg *msg) MUST_CHECK;
// draw: the draw is released with it, for no part is masked.
void wire_write_step(struct pack_writer *w, const struct replica_step *s, bool draw,
                     unsigned char *bulk);
// place: the one that wire_subject names; NULL: there is none, which is at fault. Fills `step`,
// which step_new made with the place's limits, by step_add, and of *out: step, share and model,
// prompt_part. *answer: the bytes of its results at most.
enum err wire_read_step(const struct channel_message *m, const unsigned char *bulk,
                        const struct wire_place *place, struct step *step, struct replica_step *out,
                        bool *draw, size_t *answer, struct errmsg *msg) MUST_CHECK;

// The masks of the step's parts. A block without bytes: there are none, and no bulk goes with it.
enum err wire_size_draw(const struct step *s, size_t vocab, struct wire_block *out,
                        struct errmsg *msg) MUST_CHECK;
void wire_write_draw(struct pack_writer *w, const struct step *s, size_t vocab,
                     unsigned char *bulk);
// Puts them into the parts of the step as wire_read_step made it: replica_draw_step is to follow.
enum err wire_read_draw(const struct channel_message *m, const unsigned char *bulk, size_t vocab,
                        struct step *s, struct errmsg *msg) MUST_CHECK;

// bulk: the answer's room; returns the bytes that were written there, 0 where e is an error.
size_t wire_write_step_done(struct pack_writer *w, const struct step *s, enum err e,
                            const struct errmsg *msg, int64_t began_us, unsigned char *bulk);
// The step as it was sent, with the masks that it is drawn by; its parts get their results. Where
// the verdict is an error they are as they were; behind a fault they are nobody's.
enum err wire_read_step_done(const struct channel_message *m, const unsigned char *bulk,
                             struct step *s, size_t vocab, int64_t sent_us, int64_t now_us,
                             struct wire_done *out, struct errmsg *msg) MUST_CHECK;

#endif
