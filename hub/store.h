// The model store: where a `--model` argument's files lie. Role: turns a folder, a .gguf file or a
// model's name into a path, and says where `trine pull` puts a name. It downloads nothing and does
// not look into a model's files beyond their being there.
// The store is $TRINE_HOME, else $XDG_CACHE_HOME/trine, else ~/.cache/trine; the model org/name is
// the folder <store>/models/org/name. Behind it the Hugging Face cache is read ($HF_HUB_CACHE, else
// $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub), laid out as
// huggingface_hub's file_download.py has it: models--org--name/snapshots/<commit>, refs/main.
// Thread rule: any thread, while nothing sets the environment. Every *path is the caller's
// (mem_free).
#ifndef TRINE_HUB_STORE_H
#define TRINE_HUB_STORE_H

#include "base/err.h"

#include <stdbool.h>

// ERR_NOT_FOUND when no variable names a place (no HOME either), ERR_NOMEM.
enum err store_root(char **path, struct errmsg *msg) MUST_CHECK;

// True for what the hub calls a repository id: "name" or "org/name", each part 1 to 96 of
// [A-Za-z0-9_.-], beginning and ending with a letter, digit or underscore, no "--" and no "..",
// not ending ".git". Such a name is safe as a path below the store. (huggingface_hub,
// utils/_validators.py.)
bool store_name_valid(const char *name);

// True for a relative path that stays where it is put: parts parted by single '/', none empty, "."
// or "..", no backslash, no control byte, at most 512 bytes.
bool store_file_valid(const char *file);

// A model by its name: "org/name"; "name" where just one org has it; "org/name/file.gguf" for one
// of several files. The result is a folder, or a .gguf file (also where a folder holds that alone).
// The store is asked first, then the Hugging Face cache (refs/main, else the newest complete
// snapshot). ERR_INVALID: no name at all, or one that means several models (they are listed).
// ERR_NOT_FOUND names where was looked and `trine pull`.
// An existing folder or .gguf file is taken as it is. A folder that holds nothing but one .gguf
// file gives that file.
enum err store_resolve(const char *arg, char **path, struct errmsg *msg) MUST_CHECK;

#endif
