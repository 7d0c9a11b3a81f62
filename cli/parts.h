// What several commands do with files: read a small one whole, refuse an output that is an input,
// look at a name's ending. Role: shared by the commands. Thread rule: main thread.
#ifndef TRINE_CLI_PARTS_H
#define TRINE_CLI_PARTS_H

#include "base/buf.h"

#include <stdbool.h>

// Appends a text of at most max bytes to out; "-" is stdin. It must be UTF-8 without NUL.
// ERR_CANCELLED when stdin is waited for and cli_interrupted.
enum err cli_read_text(const char *path, size_t max, struct buf *out,
                       struct errmsg *msg) MUST_CHECK;

// ERR_INVALID when output (NULL: stdout) is the file that input ("-": stdin) is, by whatever name:
// another spelling, a link of either kind, /dev/stdin, a redirection. Terminals and other devices
// may be both. what: how the message calls the output, "-o x.txt".
enum err cli_check_not_input(const char *output, const char *what, const char *input,
                             struct errmsg *msg) MUST_CHECK;

// The ending of a path's last part, with its dot: ".txt"; "" when it has none.
const char *cli_ending(const char *path);
// True when the ending is in a list separated by '|', in upper or lower case.
bool cli_ending_is(const char *ending, const char *list);

#endif
