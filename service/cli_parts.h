// What several commands read: small input files. Role: shared by chat --render, generate and
// cli_answer.h. Thread rule: main thread.
#ifndef TRINE_SERVICE_CLI_PARTS_H
#define TRINE_SERVICE_CLI_PARTS_H

#include "base/buf.h"

// A text of at most max bytes, "-" being stdin, appended to out; it must be UTF-8 without NUL.
// ERR_CANCELLED when stdin is waited for and cli_interrupted.
enum err cli_read_text(const char *path, size_t max, struct buf *out,
                       struct errmsg *msg) MUST_CHECK;

#endif
