// The compute threads: one job at a time, cut into tasks. Each thread begins with its own part of
// them, neighbouring tasks in order (the same rows in each operation are then in its own cache, the
// next weights behind the last ones), and then claims what the others have left. The caller takes
// part; between jobs the workers spin for a few tens of microseconds (the next operation of a
// forward pass comes sooner) and then sleep, so an idle process uses no CPU. A worker that wakes
// late is not waited for: the caller finishes the tasks without it. Thread rule: team_run from one
// thread at a time, team_run_beside from one other at a time.
#ifndef TRINE_COMPUTE_CPU_TEAM_H
#define TRINE_COMPUTE_CPU_TEAM_H

#include "base/err.h"

#include <stddef.h>

struct team;

// Runs one task; `worker` in [0, threads) is unique among those running now (0 is the caller).
typedef void team_fn(void *job, size_t task, int worker);

// threads >= 1, the caller's own included. ERR_NOMEM, ERR_IO.
enum err team_new(int threads, struct team **out, struct errmsg *msg) MUST_CHECK;
void team_free(struct team *t); // NULL is fine
int team_threads(const struct team *t);

// fn(job, 0 .. tasks - 1), in any order and on any worker; returns when all are done.
void team_run(struct team *t, size_t tasks, team_fn *fn, void *job);
// The same beside the thread that calls team_run: until its first call on the whole team (that call
// waits then), from there on by the caller alone, worker 0 to it, so that what is computed keeps
// its threads.
void team_run_beside(struct team *t, size_t tasks, team_fn *fn, void *job);

#endif
