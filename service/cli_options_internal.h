// What the files of the option parser share; nothing else includes it. Thread rule: main thread.
#ifndef TRINE_SERVICE_CLI_OPTIONS_INTERNAL_H
#define TRINE_SERVICE_CLI_OPTIONS_INTERNAL_H

#include "service/cli_options.h"

// Who said a value, for messages: "--port", "TRINE_PORT", "file.json: port".
struct cli_source {
    char who[256];
};

enum err cli_list_add(struct cli_list *list, const char *item, struct errmsg *msg) MUST_CHECK;

// A whole decimal number in [min, max].
enum err cli_parse_number(const char *text, int64_t min, int64_t max, int64_t *out,
                          const struct cli_source *from, struct errmsg *msg) MUST_CHECK;
// The place of text among opt->value's choices.
enum err cli_parse_choice(const struct cli_option *opt, const char *text, int *out,
                          const struct cli_source *from, struct errmsg *msg) MUST_CHECK;

// o->models from the lists. *exit_code as in cli_options_parse.
enum err cli_join_models(enum cli_command command, struct cli_options *o, int *exit_code,
                         struct errmsg *msg) MUST_CHECK;

#endif
