// Brings models to the replica that stands in for another one, when they are first wanted there.
// Role: one thread, which loads one model after the other, so that nobody who asks waits; what is
// computed there, and when it is wanted, is the scheduler's business.
// Thread rule: every function from any thread; spare_free when nobody asks any more.
#ifndef TRINE_ENGINE_SPARE_H
#define TRINE_ENGINE_SPARE_H

#include "engine/model.h"
#include "engine/replica.h"

struct spare;

enum spare_state {
    SPARE_ABSENT,  // nobody has wanted it
    SPARE_COMING,  // it is being loaded, or waits for that
    SPARE_THERE,   // loaded, and `loaded` has returned
    SPARE_REFUSED, // it cannot be loaded; tried again when it is wanted a while later
};

struct spare_options {
    struct replica *replica;
    // A model is loaded there: makes what else it needs. On an error it is unloaded again. On the
    // spare's thread.
    enum err (*loaded)(void *ctx, const struct model *m, struct errmsg *msg);
    void (*changed)(void *ctx); // a model's state has; on the spare's thread, quick
    void *ctx;
    int64_t again_us; // after a refusal
};

// ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err spare_start(const struct spare_options *options, struct spare **out,
                     struct errmsg *msg) MUST_CHECK;
// Once: ends the thread, behind the load at hand: nothing is brought any more. NULL is fine, here
// and below.
void spare_stop(struct spare *s);
// Unloads what was loaded here. Stopped.
void spare_free(struct spare *s);

// Has the model brought where it is not there yet; returns at once what it is. The model is held
// until spare_let_go. ERR_NOMEM counts as a refusal.
enum spare_state spare_want(struct spare *s, const struct model *m);
enum spare_state spare_look(struct spare *s, const struct model *m);
// Why it was refused: a copy of the words.
struct errmsg spare_refusal(struct spare *s, const struct model *m);
// It is not brought any more, and on return not being loaded: what `loaded` made can be taken away.
// Until spare_let_go.
void spare_bar(struct spare *s, const struct model *m);
// Unloads it where it was loaded here, and forgets it. Barred; nothing of it is there any more.
void spare_let_go(struct spare *s, const struct model *m);

#endif
