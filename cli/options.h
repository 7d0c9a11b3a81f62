// The options of every subcommand: one table of names, types, ranges and help texts. A value comes
// from the flags, the environment (TRINE_MAX_LENGTH for --max-length), a --config file (JSON, same
// names) or the default; the first of these that has one wins. Role: turns argv into one struct of
// checked values. It opens no model and no input.
// An empty environment variable counts as unset; a list in a variable is separated by commas. A
// variable TRINE_... or a key of the file that is no option is an error. When a flag is given twice
// the last one counts; flags that contradict each other are wrong usage.
// Thread rule: main thread. Strings borrow from argv, the environment and the struct itself.
#ifndef TRINE_CLI_OPTIONS_H
#define TRINE_CLI_OPTIONS_H

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "engine/engine.h"
#include "service/service.h"

#include <stdbool.h>
#include <stddef.h>

enum cli_command {
    CLI_SERVE = 1 << 0,
    CLI_EMBED = 1 << 1,
    CLI_RERANK = 1 << 2,
    CLI_TOKENIZE = 1 << 3,
    CLI_INSPECT = 1 << 4,
    CLI_PULL = 1 << 5,
    CLI_BENCH = 1 << 6,
    CLI_GENERATE = 1 << 7,
    CLI_CHAT = 1 << 8,
};

// The values of a list option, as they were given.
struct cli_list {
    const char **items; // [count], owned
    size_t count;
    bool from_flags; // else from the environment, the file or a default
};

// One model as it is asked for, with the --alias, --task, --max-length, --pooling and
// --chat-template that belong to it.
struct cli_model {
    const char *name;          // served name; NULL: none was given
    const char *spec;          // folder or name in the store: what store_resolve takes
    struct cli_list aliases;   // further names; items borrowed
    int task;                  // -1: the model's own; else enum model_task
    int pool_mode;             // -1: the folder's; else enum pool_mode
    size_t max_length;         // 0: the folder's
    const char *chat_template; // NULL: the model's own
};

// Values of the choice options, in the order of their choices.
enum cli_input_format { CLI_INPUT_AUTO, CLI_INPUT_LINES, CLI_INPUT_JSONL, CLI_INPUT_CSV };
enum cli_output_format { CLI_OUTPUT_AUTO, CLI_OUTPUT_JSONL, CLI_OUTPUT_NPY, CLI_OUTPUT_F32 };
enum cli_empty { CLI_EMPTY_ERROR, CLI_EMPTY_SKIP, CLI_EMPTY_EMBED };
enum cli_tristate { CLI_AUTO, CLI_YES, CLI_NO };

struct cli_options {
    bool help;

    // Models and compute.
    struct cli_model *models; // [model_count], owned
    size_t model_count;
    struct engine_options engine;
    bool quiet;
    int log_level; // enum log_level
    bool log_json;

    // serve
    struct service_options service;
    bool check;

    // embed
    const char *output; // NULL: stdout
    int input_format, output_format, empty, normalize, header;
    const char *field, *id, *prompt_name;
    bool resume;

    // rerank
    const char *query;
    size_t top_n; // 0: all
    bool raw_scores, native, json;

    // tokenize
    const char *pair;
    bool ids, jsonl, decode, no_special;
    int truncate; // enum truncate_strategy

    // generate and chat
    size_t max_tokens;                                    // 0: the rest of the context
    double temperature, top_p, min_p, repetition_penalty; // NAN: the model's
    int top_k;                                            // -1: the model's
    const char *seed;                                     // NULL: random
    const char *grammar, *json_schema;                    // files; NULL: none
    const char *system, *render;
    bool ignore_eos, echo;
    struct cli_list stops;

    // pull
    const char *file; // that file alone; NULL: a whole model

    // bench
    size_t texts;
    size_t streams, prompt_tokens; // of generate; prompt_tokens 0: not said

    // Arguments that are not options, in order; borrowed from argv.
    const char **args; // [arg_count], owned
    size_t arg_count;

    // The parser's own.
    struct cli_list cors_origins, model_specs, aliases, tasks, max_lengths, poolings,
        chat_templates;
    const char *served_name, *config_path;
    const char *device, *worker, *worker_backoff;
    char *found_worker; // owned by worker.c
    int log_format, dtype, worker_watchdog_ms, worker_sentinel_ms;
    cJSON *config;
    struct cli_list owned;           // pieces of environment lists, owned
    struct cli_list given, settings; // names of options that flags, or lasting settings, gave
};

// argv[0] is the subcommand's name. On failure *exit_code is 2 (a wrong flag or argument) or 1 (a
// wrong value in the environment or the config file) and msg says which and why. o is always valid
// for cli_options_free afterwards. With o->help set nothing else was checked.
enum err cli_options_parse(enum cli_command command, int argc, char **argv, struct cli_options *o,
                           int *exit_code, struct errmsg *msg) MUST_CHECK;
void cli_options_free(struct cli_options *o);

// True when a flag gave this option; cli_set: when anything but the default did.
bool cli_given(const struct cli_options *o, const char *name);
bool cli_set(const struct cli_options *o, const char *name);

// As cli_options_parse, for a command's first line: prints the help (to stdout) or the failure (to
// stderr) itself. False: return *exit_code; there is nothing to free.
bool cli_options_read(enum cli_command command, int argc, char **argv, struct cli_options *o,
                      int *exit_code) MUST_CHECK;

// The table, for options.c and the help texts.
enum cli_type { CLI_FLAG, CLI_STRING, CLI_INT, CLI_SIZE, CLI_REAL, CLI_CHOICE, CLI_LIST };

struct cli_option {
    const char *name;
    char letter; // short form, 0: none
    enum cli_type type;
    unsigned commands; // enum cli_command, or-ed
    bool flag_only;    // belongs to one run: neither environment nor config file sets it
    size_t offset;    // of its field: bool, const char *, int, size_t, double, int, struct cli_list
    int64_t min, max; // CLI_INT, CLI_SIZE and CLI_REAL
    const char *value;    // its value in the help: "N", or the choices "auto|cpu"
    const char *fallback; // the default, as it would be typed; NULL: zero or none
    const char *help;
    const char *refusal; // said behind "is not one of ..." where the reason is worth it; or NULL
};

struct cli_command_info {
    enum cli_command command;
    const char *name;
    const char *synopsis; // "[FILE...]"
    size_t min_args, max_args;
    const char *about;    // paragraphs for --help
    const char *examples; // whole lines
};

extern const struct cli_option cli_option_table[];
extern const size_t cli_option_count;
extern const struct cli_command_info cli_command_table[];
extern const size_t cli_command_count;

const struct cli_command_info *cli_command_find(enum cli_command command);

struct buf;
// The whole help text of a command.
void cli_help(enum cli_command command, struct buf *out);

#endif
