// A 64-bit fingerprint of bytes and of a model's files. It detects an accident (another file, an
// edited text), not an attack. Thread rule: pure functions over what the caller holds.
#ifndef TRINE_CLI_FINGERPRINT_H
#define TRINE_CLI_FINGERPRINT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

// Of a sequence of byte strings. Their lengths count: ("a", "bc") and ("ab", "c") differ.
uint64_t fingerprint_add(uint64_t h, const void *bytes, size_t n);
#define FINGERPRINT_START UINT64_C(0x9e3779b97f4a7c15)

// Of a .gguf file, or of every .json, .txt and .safetensors file of a model folder and its module
// folders: names and contents. ERR_IO, ERR_NOMEM.
enum err fingerprint_model(const char *path, uint64_t *out, struct errmsg *msg) MUST_CHECK;

#endif
