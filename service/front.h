// The front pool: our own threads between sockets and the scheduler. Role: parsing, tokenizing and
// rendering run here, on roomy stacks, never on a socket's or the scheduler's thread. A task never
// waits for compute: it hands a job over and returns, and the job's end posts the next task.
// Quick work (small bodies, small renders) goes first, then big renders, then big bodies; at least
// one thread takes quick work only, so that nothing waits behind a 2,048-text parse.
// Thread rule: front_post from any thread; a worker belongs to the task that runs on it.
#ifndef TRINE_SERVICE_FRONT_H
#define TRINE_SERVICE_FRONT_H

#include "engine/model.h"

#include <stdint.h>

struct front;
struct front_worker;

enum front_queue { FRONT_QUICK, FRONT_BIG_RENDER, FRONT_BIG_PARSE, FRONT_QUEUES };

// Embedded in what is to be run; the pool borrows it from front_post until `run` is called.
struct front_task {
    struct front_task *next;
    void (*run)(struct front_task *task, struct front_worker *worker);
};

struct front_options {
    int threads;        // 0: max(2, CPUs) + 2; at least 2
    int nice;           // 0: the process's own
    size_t stack_bytes; // 0: 1 MiB
};

struct front_stats {
    size_t threads, idle;
    size_t queued[FRONT_QUEUES];
    uint64_t run[FRONT_QUEUES];
};

// ERR_NOMEM, ERR_IO (a thread does not start; those that did are ended).
enum err front_start(const struct front_options *options, struct front **out,
                     struct errmsg *msg) MUST_CHECK;
// Never fails and never blocks for longer than the queue's lock.
void front_post(struct front *f, struct front_task *task, enum front_queue queue);
// Runs what is queued, ends the threads and frees. Nothing may be posted once it has been called
// but by the tasks that it still runs.
void front_stop(struct front *f); // NULL is fine
struct front_stats front_read_stats(struct front *f);
// A model that no task finds any more (registry_remove): the workers' scratches for it go, those of
// workers in a task when it has ended. Any thread.
void front_forget_model(struct front *f, uint64_t model);

// The worker's own scratch for this model's tokenizer, made at first use. ERR_NOMEM.
enum err front_worker_scratch(struct front_worker *w, const struct model *m,
                              struct tokenizer_scratch **out) MUST_CHECK;
// Reusable encodings of the worker (0 to 2) and a text buffer: contents last until its next task.
enum { FRONT_ENCODINGS = 3 };
struct encoding *front_worker_encoding(struct front_worker *w, size_t i);
struct buf *front_worker_text(struct front_worker *w);

#endif
