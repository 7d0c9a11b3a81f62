// Applies what the files beside tokenizer.json say: it changes the tree of tokenizer.json before
// that is read. The files: tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// config.json where the others name no class, and sentence_bert_config.json, whose do_lower_case
// puts a Lowercase before the normalizer as sentence-transformers 5 and 6 do.
// Role: the tokenizer's class decides what counts, as in transformers. Its classes build parts anew
// from their arguments: BERT's builds its normalizer, GPT-2's the leading space, every class the
// tokens that it names. When releases 4 and 5 of transformers make different tokenizers of the same
// files, we do not guess: the contradiction is refused by name. Sources followed: transformers 4
// (tokenization_utils_base.py, tokenization_utils_fast.py, models/*/tokenization_*_fast.py) and 5
// (tokenization_utils_tokenizers.py, models/auto). Thread rule: one thread.
#ifndef TRINE_TOKENIZER_TOKENIZER_CONFIG_H
#define TRINE_TOKENIZER_TOKENIZER_CONFIG_H

#include "base/json.h"
#include "tokenizer/vocab.h"
#include "weights/key_rules.h"

enum tokenizer_class { // what a class of transformers is, with or without "Fast" at its end
    CLASS_PLAIN,       // takes tokenizer.json as it is; so does a class that is not known
    CLASS_BERT,
    CLASS_GPT2,
    CLASS_ROBERTA,
    CLASS_QWEN2,
    CLASS_LLAMA,
    CLASS_OTHER, // of another kind of model than those that are read here
};

// Whether a class gives token types to the model when no model_input_names says it.
enum tokenizer_class_types {
    TYPES_GIVEN,
    TYPES_NONE,
    TYPES_UNCLEAR, // given by release 4 of transformers, not by 5
};

struct tokenizer_files {
    // tokenizer_config.json, with what special_tokens_map.json says in it. (When it has an
    // added_tokens_decoder, special_tokens_map.json does not count.) NULL: neither file exists.
    cJSON *config;
    cJSON *added_tokens; // added_tokens.json
    cJSON *model;        // config.json
    const char *class;   // as a file names it, "" where none does; borrowed from the two
    enum tokenizer_class kind;
    enum tokenizer_class_types types;
    bool named; // a file names the class; else it is that of the model_type, if any
    bool lower; // sentence_bert_config.json says do_lower_case
};

// Reads the files that exist and checks them against their rules; free it in either case.
enum err tokenizer_files_read(const char *folder, struct tokenizer_files *out,
                              struct errmsg *msg) MUST_CHECK;
void tokenizer_files_free(struct tokenizer_files *f);

// Changes all of `root`, an object in the form of tokenizer.json, except the tokens. Adds members
// of our own: split_special_tokens (what spells a special token is text), cut_left, no_token_types
// (the model reads none), unclear_token_types (tokenizer_types_unclear). ERR_UNSUPPORTED (a
// contradiction, a class that does not fit), ERR_INVALID, ERR_NOMEM.
enum err tokenizer_config_apply(cJSON *root, const struct tokenizer_files *f,
                                struct errmsg *msg) MUST_CHECK;

// Adds the files' tokens to root's added_tokens. vocab: the model's; vocab_size: how many rows the
// model has, 0 when it is not known. ERR_INVALID, ERR_NOMEM.
enum err tokenizer_config_tokens(cJSON *root, const struct vocab *vocab,
                                 const struct tokenizer_files *f, size_t vocab_size,
                                 struct errmsg *msg) MUST_CHECK;

// The spelling of a token that is given as a string or as an object; NULL when it is neither.
const char *tokenizer_config_spelling(const cJSON *item);

extern const struct key_rules tokenizer_config_keys;
extern const struct key_rules tokenizer_special_map_keys;
extern const struct key_rules tokenizer_json_keys;
extern const struct key_rules tokenizer_added_tokens_keys; // each is a token

#endif
