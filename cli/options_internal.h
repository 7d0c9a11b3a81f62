// What the files of the option parser share. Role: no other file includes it. Thread rule: main
// thread.
#ifndef TRINE_CLI_OPTIONS_INTERNAL_H
#define TRINE_CLI_OPTIONS_INTERNAL_H

#include "cli/options.h"

// Where a value comes from, for messages: "--port", "TRINE_PORT", "file.json: port".
struct cli_source {
    char who[256];
};

enum err cli_list_add(struct cli_list *list, const char *item, struct errmsg *msg) MUST_CHECK;

enum err cli_no_memory(struct errmsg *msg); // ERR_NOMEM, and says so

// text NULL: a flag without a value.
enum err cli_set_value(struct cli_options *o, const struct cli_option *opt, const char *text,
                       const struct cli_source *from, struct errmsg *msg) MUST_CHECK;

// A whole decimal number in [min, max].
enum err cli_parse_number(const char *text, int64_t min, int64_t max, int64_t *out,
                          const struct cli_source *from, struct errmsg *msg) MUST_CHECK;
// The index of text among opt->value's choices.
enum err cli_parse_choice(const struct cli_option *opt, const char *text, int *out,
                          const struct cli_source *from, struct errmsg *msg) MUST_CHECK;

// The option of these commands whose name is nearest to this one. lasting: only options that the
// environment and the file may set. NULL: none is near.
const struct cli_option *cli_nearest_option(const char *name, unsigned commands, bool lasting);

// ERR_INVALID names a variable TRINE_... that belongs to no option, and the option that may have
// been meant.
enum err cli_check_environment(struct errmsg *msg) MUST_CHECK;
// Reads o->config_path into o->config; every key must be an option's name.
enum err cli_load_config(struct cli_options *o, struct errmsg *msg) MUST_CHECK;
// The option's value from the environment, else from the file; *set: one of them has it.
enum err cli_set_from_settings(struct cli_options *o, const struct cli_option *opt, bool *set,
                               struct errmsg *msg) MUST_CHECK;

// ERR_INVALID for flags that contradict each other, or that another one leaves without effect.
enum err cli_check_together(enum cli_command command, const struct cli_options *o,
                            struct errmsg *msg) MUST_CHECK;

// The device, and what is said of a worker process: into o->engine, checked together. isolates: the
// command has these options, and not the device alone. *exit_code as in cli_options_parse.
enum err cli_join_device(struct cli_options *o, bool isolates, int *exit_code,
                         struct errmsg *msg) MUST_CHECK;

// Fills o->models from the lists. *exit_code as in cli_options_parse.
enum err cli_join_models(enum cli_command command, struct cli_options *o, int *exit_code,
                         struct errmsg *msg) MUST_CHECK;

#endif
