// What a GGUF file's `tokenizer.ggml.pre` means: it names how texts are cut, which stands for a
// split pattern and for settings that the file does not repeat. Many names mean the same.
// Role: the table of names; knows no file. Thread rule: constants.
#ifndef TRINE_TOKENIZER_GGUF_PRE_H
#define TRINE_TOKENIZER_GGUF_PRE_H

#include "tokenizer/split.h"

struct gguf_pre {
    enum split_kind split;
    bool digits;        // each digit is set apart first
    bool nfc;           // the normalizer of the tokenizer.json that such files are made from
    bool ignore_merges; // a word that is a piece is taken whole
    bool add_bos;       // where the file does not say
};

// False: not known. name NULL: the file has none, which is "default".
bool gguf_pre_find(const char *name, size_t len, struct gguf_pre *out);

#endif
