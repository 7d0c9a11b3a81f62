// The engine as the command line asks for it. Role: what serve, embed, rerank, generate, chat and
// bench begin with. Thread rule: main thread; the parts by their own rules.
#ifndef TRINE_CLI_ENGINE_H
#define TRINE_CLI_ENGINE_H

#include "cli/options.h"

// The engine without models, for o->engine; a warning where it has more threads than there are
// processors, and an error that names --threads where the system gives no more threads.
enum err cli_engine_new(const struct cli_options *o, struct engine **out,
                        struct errmsg *msg) MUST_CHECK;

// One model ready to compute for one command.
struct cli_engine {
    struct engine *engine;
    struct model *model;         // held
    struct device *device;       // the engine's; NULL where it has none (--isolate)
    struct scheduler *scheduler; // the engine's
};

// Loads o->models[0] and runs the warm-up. On failure there is nothing to close. task: what the
// command does; a causal model without a task of its own does the same, else it keeps its own.
enum err cli_engine_open(const struct cli_options *o, struct cli_engine *e,
                         struct errmsg *msg) MUST_CHECK;
enum err cli_engine_open_for(enum model_task task, const struct cli_options *o,
                             struct cli_engine *e, struct errmsg *msg) MUST_CHECK;
void cli_engine_close(struct cli_engine *e);

#endif
