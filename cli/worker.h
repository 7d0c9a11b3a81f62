// The worker process as the command line asks for it. Role: finds its program and forks the
// spawner, which must be the first thing that a command does after its options are read. Thread
// rule: main thread, while it is the only one.
#ifndef TRINE_CLI_WORKER_H
#define TRINE_CLI_WORKER_H

#include "cli/options.h"

struct spawner;

// Where o asks for a worker (--isolate, --device worker, cuda, and auto where there is the program
// for a GPU): fills o->engine.worker, for engine_open; the spawner is stopped by cli_worker_end,
// after engine_close. Else nothing happens.
// ERR_NOT_FOUND: there is no such program; ERR_IO, ERR_NOMEM: the spawner cannot be forked.
enum err cli_worker_begin(struct cli_options *o, struct errmsg *msg) MUST_CHECK;
void cli_worker_end(struct cli_options *o);

#endif
