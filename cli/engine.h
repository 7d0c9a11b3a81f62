// A model ready to compute for one command: device, model and scheduler joined. Role: what embed,
// rerank and bench begin with. Thread rule: main thread; the parts by their own rules.
#ifndef TRINE_CLI_ENGINE_H
#define TRINE_CLI_ENGINE_H

#include "cli/options.h"
#include "engine/scheduler.h"

struct cli_engine {
    struct device *device;
    struct model *model;
    struct scheduler *scheduler;
};

// Loads o->models[0] and runs the warm-up. On failure there is nothing to close. task: what the
// command does; a causal model without a task of its own does the same, else it keeps its own.
enum err cli_engine_open(const struct cli_options *o, struct cli_engine *e,
                         struct errmsg *msg) MUST_CHECK;
enum err cli_engine_open_for(enum task task, const struct cli_options *o, struct cli_engine *e,
                             struct errmsg *msg) MUST_CHECK;
void cli_engine_close(struct cli_engine *e);

#endif
