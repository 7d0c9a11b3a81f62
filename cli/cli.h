// The program's subcommands. Role: what main.c dispatches to, and the few things that all commands
// share: how a failure is told, how an interrupt is noticed. Each command is one file, NAME.c.
// argv[0] is the subcommand's name. A command returns the exit code: 0 done, 1 failed, 2 wrong
// usage, 130 interrupted. Data goes to stdout, everything else to stderr.
// Thread rule: main thread; cli_interrupted from any.
#ifndef TRINE_CLI_CLI_H
#define TRINE_CLI_CLI_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { CLI_EXIT_DONE = 0, CLI_EXIT_FAILED = 1, CLI_EXIT_USAGE = 2, CLI_EXIT_INTERRUPTED = 130 };

int cli_serve(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_rerank(int argc, char **argv);
int cli_generate(int argc, char **argv);
int cli_chat(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_pull(int argc, char **argv);
int cli_bench(int argc, char **argv);

// One line to stderr, "trine NAME: words", control characters made harmless; returns the exit code
// that belongs to it: 130 for ERR_CANCELLED, else 1.
int cli_fail(const char *command, const struct errmsg *msg);
// The same for wrong usage, with "(see 'trine NAME --help')" behind it; returns 2.
int cli_misuse(const char *command, const struct errmsg *msg);

// A text given as an argument must be UTF-8; `what` names it in the message.
enum err cli_check_text(const char *what, const char *text, struct errmsg *msg) MUST_CHECK;

// From now on the first SIGINT or SIGTERM only sets a flag, and a second one ends the process at
// once. For commands that must put something in order before they end.
void cli_catch_interrupt(void);
bool cli_interrupted(void);
// Clears the flag after a SIGINT: the next one is a first one again. False, with nothing changed,
// when the signal was another.
bool cli_forget_interrupt(void);
const atomic_bool *cli_interrupt_flag(void);

#endif
