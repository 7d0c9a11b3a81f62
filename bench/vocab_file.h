// A vocabulary as a file, for programs that try grammars: little-endian u32 count, u32 count of end
// tokens, their ids as u32, then per token u16 length and bytes (tools/parity_grammar.py writes
// it).
#ifndef TRINE_BENCH_VOCAB_FILE_H
#define TRINE_BENCH_VOCAB_FILE_H

#include "grammar/grammar.h"

#include <stdio.h>
#include <stdlib.h>

struct vocab_file {
    unsigned char *data;
    struct grammar_token *tokens;
    uint32_t n;
    struct grammar_vocab *vocab;
};

static inline uint32_t vocab_file_u32(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// Exits with a message when the file is not one.
static inline struct vocab_file vocab_file_open(const char *path) {
    struct vocab_file f = {0};
    FILE *in = fopen(path, "rb");
    size_t cap = (size_t)64 << 20, len = 0;
    f.data = malloc(cap);
    if (in && f.data)
        len = fread(f.data, 1, cap, in);
    if (in)
        fclose(in);
    size_t at = 8;
    bool ok = len >= 8;
    uint32_t ends = ok ? vocab_file_u32(f.data + 4) : 0;
    f.n = ok ? vocab_file_u32(f.data) : 0;
    ok = ok && len - 8 >= (size_t)ends * 4;
    int32_t *end_ids = calloc((size_t)ends + 1, sizeof *end_ids);
    f.tokens = calloc((size_t)f.n + 1, sizeof *f.tokens);
    ok = ok && end_ids && f.tokens;
    for (uint32_t i = 0; ok && i < ends; i++, at += 4)
        end_ids[i] = (int32_t)vocab_file_u32(f.data + at);
    for (uint32_t i = 0; ok && i < f.n; i++) {
        ok = len - at >= 2;
        size_t n = ok ? f.data[at] | (size_t)f.data[at + 1] << 8 : 0;
        at += 2;
        ok = ok && len - at >= n;
        if (ok)
            f.tokens[i] = (struct grammar_token){(const char *)f.data + at, n};
        at += n;
    }
    struct errmsg msg = {0};
    if (!ok || grammar_vocab_new(f.tokens, f.n, end_ids, ends, &f.vocab, &msg)) {
        fprintf(stderr, "%s: not a vocabulary file %s\n", path, msg.text);
        exit(1);
    }
    free(end_ids);
    return f;
}

static inline void vocab_file_close(struct vocab_file *f) {
    grammar_vocab_free(f->vocab);
    free(f->tokens);
    free(f->data);
}

#endif
