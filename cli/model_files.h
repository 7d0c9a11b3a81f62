// Finds out whether a command's output would overwrite a file of the model that it reads. Role:
// compares the files themselves, not their names. Thread rule: main thread.
#ifndef TRINE_CLI_MODEL_FILES_H
#define TRINE_CLI_MODEL_FILES_H

#include "base/err.h"

// ERR_INVALID when output (NULL: stdout) is a file of the model `spec` (a folder, a .gguf file or a
// part of one, a name in the store), whatever it is called: another spelling, a link of either
// kind, a redirection. Also when it would be a new file in a model's folder with a name like those
// of the model's files. What earlier runs wrote there (.jsonl, .npy, ...) does not belong to the
// model. what: what the message calls the output. ERR_NOMEM.
enum err cli_check_not_model(const char *output, const char *what, const char *spec,
                             struct errmsg *msg) MUST_CHECK;

#endif
