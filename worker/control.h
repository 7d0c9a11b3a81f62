// What changes what the worker has: loads, unloads, sizes, places of steps. Role: one thread that
// does these in the order in which they came, beside what is computed meanwhile, and answers each.
// Model files come as descriptors (FILES) before the LOAD that reads them: nothing is opened here.
// Thread rule: control_push by the thread that receives; made and freed by main.
#ifndef TRINE_WORKER_CONTROL_H
#define TRINE_WORKER_CONTROL_H

#include "worker/link.h"
#include "worker/tables.h"

enum { CONTROL_MOST = 1024 }; // requests that may wait at once

struct control_thread;

// All are borrowed until it is freed. most_files: of a model at once. ERR_NOMEM, ERR_IO.
enum err control_new(struct link *link, struct replica *replica, struct tables *tables,
                     size_t most_files, struct control_thread **out, struct errmsg *msg) MUST_CHECK;
// Whether it has nothing to do: it can be freed at once then.
bool control_is_idle(struct control_thread *c);
// What it is doing is done first; what waits is dropped. NULL is fine.
void control_free(struct control_thread *c);

// Copies the message; takes its descriptors over. Ends the process where there is no memory for it.
void control_push(struct control_thread *c, struct channel_message *m);
// Whether messages of this type are the thread's.
bool control_takes(uint16_t type);

#endif
