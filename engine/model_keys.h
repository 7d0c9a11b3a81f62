// What is done with each key of a model's files. Role: walks the JSON files of a folder with the
// rules that their readers keep (weights/key_rules.h), for the log and for `trine inspect`; reading
// and refusing is the readers' own business. Thread rule: any thread.
#ifndef TRINE_ENGINE_MODEL_KEYS_H
#define TRINE_ENGINE_MODEL_KEYS_H

#include "tokenizer/tokenizer.h"
#include "weights/key_rules.h"

// Calls `see` for every key of every file of the folder that can be read; `file` is the path within
// the folder, "metadata" of a GGUF file. transformer: as struct model's `files`. large:
// tokenizer.json too, which takes as long as the loading of it. Strings are valid during the call.
typedef void model_key_seen(void *ctx, const char *file, const char *key, enum key_fate fate);
void model_keys_each(const char *path, const char *transformer, bool large, model_key_seen *see,
                     void *ctx);

// One warning a file that has unknown keys, naming them. t: the folder's, which knows those of
// tokenizer.json.
void model_keys_warn(const char *path, const char *transformer, const struct tokenizer *t);

#endif
