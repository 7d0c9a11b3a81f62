// An output that is a file of the model that is read would end the model. Role: finds that out, by
// the files themselves and not by their names. Thread rule: main thread.
#ifndef TRINE_CLI_MODEL_FILES_H
#define TRINE_CLI_MODEL_FILES_H

#include "base/err.h"

// ERR_INVALID when output (NULL: stdout) is a file of the model `spec` (a folder, a .gguf file or a
// part of one, a name in the store) by whatever name: another spelling, a link of either kind, a
// redirection; or when it would be a new file in a model's folder under a name as its files have.
// What earlier runs wrote there (.jsonl, .npy, ...) is none of the model. what: how the message
// calls the output. ERR_NOMEM.
enum err cli_check_not_model(const char *output, const char *what, const char *spec,
                             struct errmsg *msg) MUST_CHECK;

#endif
