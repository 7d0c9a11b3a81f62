// See pair_frame.h.
#include "engine/pair_frame.h"

#include "base/mem.h"
#include "tokenizer/encoding.h"

#include <string.h>

static const char prefix[] =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    "the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n"
    "<|im_start|>user\n";
static const char suffix[] = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
static const struct tokenizer_options bare = {.truncate = TRUNCATE_NONE};

static enum err encode_piece(const struct tokenizer *t, struct tokenizer_scratch *s,
                             const char *text, int32_t **ids, size_t *len, struct errmsg *msg) {
    struct encoding e = {0};
    enum err err = tokenizer_encode(t, s, (struct text){text, strlen(text)}, NULL, &bare, &e, msg);
    *ids = e.ids; // the encoding's other arrays are let go
    *len = e.len;
    e.ids = NULL;
    encoding_free(&e);
    return err;
}

enum err pair_frame_new(const struct tokenizer *t, struct pair_frame *out, struct errmsg *msg) {
    *out = (struct pair_frame){0};
    struct tokenizer_scratch *s;
    enum err e = tokenizer_scratch_new(t, &s);
    if (e)
        return err_set(msg, e, "no memory for a tokenizer's scratch");
    e = encode_piece(t, s, prefix, &out->prefix, &out->prefix_len, msg);
    if (!e)
        e = encode_piece(t, s, suffix, &out->suffix, &out->suffix_len, msg);
    tokenizer_scratch_free(s);
    return e;
}

void pair_frame_free(struct pair_frame *f) {
    mem_free(f->prefix);
    mem_free(f->suffix);
    *f = (struct pair_frame){0};
}
