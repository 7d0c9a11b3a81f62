// The worker's heart, as the parent hears it: a PROGRESS message every 20 ms while work is in hand,
// with the replica's own counts, so that the parent knows what the time of a long batch went to,
// and that of a stopped process nothing is to be expected. Role: one small thread; between pieces
// of work it goes on ticking for a while, so that the next piece need not wake it, and then sleeps.
// Thread rule: made and freed by main; ticker_begin and ticker_end by the thread that computes.
#ifndef TRINE_WORKER_TICKER_H
#define TRINE_WORKER_TICKER_H

#include "engine/replica.h"
#include "worker/link.h"

enum { TICKER_US = 20000, TICKER_LINGERS_US = 1000000 };

struct ticker;

// Both are borrowed until it is freed. ERR_NOMEM, ERR_IO.
enum err ticker_new(struct link *link, struct replica *replica, struct ticker **out,
                    struct errmsg *msg) MUST_CHECK;
void ticker_free(struct ticker *t); // NULL is fine

// A piece of work has come; one is done.
void ticker_begin(struct ticker *t);
void ticker_end(struct ticker *t);

#endif
