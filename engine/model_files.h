// The files that loading a model's weights reads. Role: opens them once, so that a replica in
// another process, which may open none, gets them as descriptors, and each of its lives the same
// ones, whatever has become of the folder meanwhile. Thread rule: any thread.
#ifndef TRINE_ENGINE_MODEL_FILES_H
#define TRINE_ENGINE_MODEL_FILES_H

#include "base/file_set.h"
#include "engine/model.h"

// The weights (of one file, of shards with their index, of the parts of a GGUF file), and what its
// pooler is made from. Their contents are checked as a load checks them, but for the weights'
// numbers. *out is the caller's (file_set_free). Errors as those of replica_load, of which only
// ERR_TOO_LARGE is new: more files than a set has.
enum err model_files_open(const struct model *m, struct file_set **out,
                          struct errmsg *msg) MUST_CHECK;

#endif
