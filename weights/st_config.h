// What sentence-transformers keeps beside a model: the length it cuts at, prompts, the similarity.
// Role: reads sentence_bert_config.json, tokenizer_config.json and
// config_sentence_transformers.json as versions 2 to 6 wrote them; each may be absent. Pooling and
// modules are pooling/'s. Source followed: sentence_transformers base/model.py and
// base/modules/transformer.py. One rule is our own: where max_seq_length and model_max_length
// disagree the smaller one counts, where sentence-transformers lets max_seq_length override. Thread
// rule: immutable after load.
#ifndef TRINE_WEIGHTS_ST_CONFIG_H
#define TRINE_WEIGHTS_ST_CONFIG_H

#include "base/err.h"

#include <stdbool.h>

// The first module's own file; older releases named it after the architecture. The first that is
// there counts.
enum { ST_CONFIG_NAMES = 3 };
extern const char *const st_config_names[ST_CONFIG_NAMES];

struct st_prompt {
    char *name, *text; // owned; text may be ""
};

struct st_config {
    size_t max_length;         // tokens, special ones included; 0: nothing limits it
    struct st_prompt *prompts; // [prompt_count], in the file's order
    size_t prompt_count;
    const char *default_prompt; // the text default_prompt_name stands for; NULL: none
    bool cross_encoder;         // the file is a CrossEncoder's
    char *activation;           // the class path of what its logits go through, owned; or NULL
    char similarity[16];        // "cosine", "dot", "euclidean", "manhattan"; "" where none is named
};

// max_positions: the model's own limit (0: none). `folder` may be a .gguf file, which says nothing
// of all this. `transformer` is where the first module's files lie, `folder` itself as a rule:
// sentence_bert_config.json and tokenizer_config.json are its. ERR_INVALID names file and key.
enum err st_config_load(const char *folder, const char *transformer, size_t max_positions,
                        struct st_config *out, struct errmsg *msg) MUST_CHECK;
void st_config_free(struct st_config *c);
// Forgets the prompts: they are those of another kind of model.
void st_config_drop_prompts(struct st_config *c);
// The prompt of that name; NULL when there is none.
const char *st_config_prompt(const struct st_config *c, const char *name);

#endif
