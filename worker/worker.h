// The program trine-worker, or another with another device (trine-gpu): a process with one device
// and all models on it, for a parent that owns
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
#include "worker/sandbox.h"

struct device;

// What the command line says of the device: the words behind the log's, as NAME=VALUE.
struct worker_settings {
    const char *device; // "device=": which one, in words of its kind's; "": the first
    double memory;      // "memory=": of its own memory what may be used, over 0 to 1; 0: not said
};

// What a program computes on. Thread rule: main.
struct worker_device {
    const char *program; // "trine-worker", for lines on stderr
    enum sandbox_door door;
    // Before the door is closed: what only a path gives, libraries and a card's files. An error's
    // words go to the parent: ERR_UNSUPPORTED, ERR_NOT_FOUND: there is no such device; ERR_NOMEM.
    enum err (*open)(const struct worker_settings *s, struct errmsg *msg);
    // Behind it, once: on so many threads of the CPU.
    enum err (*make)(size_t threads, struct device **out, struct errmsg *msg);
    void (*free)(struct device *d);
    // For --probe by hand: prints what there is, one JSON object, and returns an exit status. NULL:
    // it has nothing to tell.
    int (*probe)(void);
};

// The socket is descriptor 3, the region 4. Returns, or ends the process with, an enum wire_end.
// hooks: NULL, but in a test's build; borrowed. argv: the name, "main" or "quarantine" (for ps),
// the log's least level, "json" or "text", settings.
int worker_main(int argc, char **argv, const struct worker_device *device,
                const struct worker_hooks *hooks);

#endif
