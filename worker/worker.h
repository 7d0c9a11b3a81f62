// The program trine-worker: a process with one device and all models on it, for a parent that owns
// everything else. Role: its life from main on: checks what it was given, closes the door behind
// itself (sandbox.h), says what it is, and then receives and computes on one thread until the
// parent closes the socket. It gets token ids, block tables, sampling parameters and masks, and
// model files as descriptors; it gives rows, ids and log-probabilities. It never sees a text, a key
// or a client. The thread that reads the socket is the one that computes: between a message and its
// forward there is no other thread to be woken. It looks for messages in the pauses of a forward as
// well, so that urgent work and cancels are seen then. Loads and the like have a thread of their
// own (control.h). Thread rule: main.
#ifndef TRINE_WORKER_WORKER_H
#define TRINE_WORKER_WORKER_H

#include "worker/hooks.h"

// The socket is descriptor 3, the region 4. Returns, or ends the process with, an enum wire_end.
// hooks: NULL, but in a test's build; borrowed.
int worker_main(int argc, char **argv, const struct worker_hooks *hooks);

#endif
