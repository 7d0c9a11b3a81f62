// Admission: the room of the queue, in tokens. Role: who is let in, and what those are told who are
// not; no order, no time. A request is large when it would take a quarter of the queue or more.
// Large ones have room of their own, as much again, which small ones never take: so however busy
// the small ones keep the queue, a large one waits for other large ones at most. One that is larger
// than that room is let in alone.
// The room may be less for a while; what is large stays what it was.
// Thread rule: the scheduler's mutex.
#ifndef TRINE_ENGINE_ADMISSION_H
#define TRINE_ENGINE_ADMISSION_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct admission {
    size_t full;  // the room: tokens of small requests, and as many of large ones
    size_t limit; // what is given of it now
    size_t small, large;
};

static inline bool admission_is_large(const struct admission *a, size_t tokens) {
    return tokens >= a->full / 4 && tokens > 1;
}
static inline size_t admission_held(const struct admission *a) { return a->small + a->large; }

// ERR_OVERLOADED: there is no room.
enum err admission_take(struct admission *a, size_t tokens, struct errmsg *msg) MUST_CHECK;
// Without a question: a request's true size, which is known later.
void admission_add(struct admission *a, size_t tokens, bool large);
// As many, and on the side, as were taken or added.
void admission_give(struct admission *a, size_t tokens, bool large);

#endif
