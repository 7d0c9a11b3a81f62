// The worker's work in hand: batches and steps. Role: reads them from messages, gives them to the
// replica, and sends what comes of them. What a message has in the region is copied out before it
// is looked at; results are written where the parent has left room for them.
// A piece's memory is kept for the next piece: nothing is allocated once the largest has been seen.
// Thread rule: the thread that receives and computes, which is one.
#ifndef TRINE_WORKER_WORK_H
#define TRINE_WORKER_WORK_H

#include "worker/link.h"
#include "worker/tables.h"
#include "worker/ticker.h"

enum { WORK_MOST = 256 }; // pieces in hand at once

struct work;

// All are borrowed until it is freed. ERR_NOMEM.
enum err work_new(struct link *link, struct tables *tables, struct work **out,
                  struct errmsg *msg) MUST_CHECK;
// Where it goes, before the first message.
void work_attach(struct work *w, struct replica *replica, struct ticker *ticker);
// Nothing is in hand. NULL is fine.
void work_free(struct work *w);

// ENCODE, STEP, DRAW or CANCEL. What breaks a rule ends the process.
void work_take(struct work *w, const struct channel_message *m);
bool work_is_in_hand(const struct work *w);
// All of it ends at the next pause: nobody wants it any more.
void work_cancel_all(struct work *w);

#endif
