// Options that do not go together: two that contradict each other, and one that another leaves
// without effect. Role: the table of such pairs, as far as the options alone show it; the commands
// check what depends on inputs or the model. Only flags are checked: a setting in the environment
// or the file is shared by all commands. See options_internal.h.
#include "cli/options_internal.h"

#include "tokenizer/tokenizer.h"

#include <stddef.h>
#include <string.h>

enum { GENERATES = CLI_GENERATE | CLI_CHAT };

// --b does nothing, or the opposite, beside --a.
static const struct pair {
    unsigned commands;
    const char *a, *b;
    const char *why;
} pairs[] = {
    {CLI_RERANK, "raw-scores", "native", "choose one"},
    {CLI_TOKENIZE, "decode", "pair", "decoding takes ids"},
    {CLI_TOKENIZE, "decode", "max-length", "decoding cuts nothing"},
    {CLI_TOKENIZE, "decode", "truncate", "decoding cuts nothing"},
    {GENERATES, "grammar", "json-schema", "choose one"},
    {CLI_GENERATE, "ignore-eos", "grammar", "a grammar ends where it says"},
    {CLI_GENERATE, "ignore-eos", "json-schema", "a schema's answer ends where it says"},
};

// Without --needed, --option does nothing.
static const struct need {
    unsigned commands;
    const char *option, *needed;
} needs[] = {
    {CLI_TOKENIZE, "truncate", "max-length"},
};

// Options that chat --render does not read: it only prints a prompt.
static const char *const unused_by_render[] = {
    "system",   "max-tokens",     "temperature",        "top-p",
    "top-k",    "min-p",          "repetition-penalty", "seed",
    "stop",     "grammar",        "json-schema",        "kv-cache-mib",
    "kv-dtype", "no-speculation", "max-length",         "threads",
    "dtype",
};

static enum err check_render(const struct cli_options *o, struct errmsg *msg) {
    for (size_t i = 0; i < sizeof unused_by_render / sizeof *unused_by_render; i++)
        if (cli_given(o, unused_by_render[i]))
            return err_set(msg, ERR_INVALID, "--render and --%s: rendering generates nothing",
                           unused_by_render[i]);
    return ERR_OK;
}

enum err cli_check_together(enum cli_command command, const struct cli_options *o,
                            struct errmsg *msg) {
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((pairs[i].commands & command) && cli_given(o, pairs[i].a) && cli_given(o, pairs[i].b))
            return err_set(msg, ERR_INVALID, "--%s and --%s: %s", pairs[i].a, pairs[i].b,
                           pairs[i].why);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if ((needs[i].commands & command) && cli_given(o, needs[i].option) &&
            !cli_set(o, needs[i].needed))
            return err_set(msg, ERR_INVALID, "--%s does nothing without --%s", needs[i].option,
                           needs[i].needed);
    if (command == CLI_TOKENIZE && o->truncate == TRUNCATE_NONE && cli_given(o, "truncate") &&
        cli_given(o, "max-length"))
        return err_set(msg, ERR_INVALID,
                       "--truncate none and --max-length: one cuts, one does not");
    if (command == CLI_INSPECT && o->arg_count && cli_given(o, "model"))
        return err_set(msg, ERR_INVALID, "--model and '%.80s': one model only", o->args[0]);
    return command == CLI_CHAT && o->render ? check_render(o, msg) : ERR_OK;
}
