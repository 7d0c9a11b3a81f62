// The keys of tokenizer_config.json, special_tokens_map.json and tokenizer.json, as rules. See
// tokenizer_config.h.
#include "tokenizer/tokenizer_config.h"

#define HONOURED(key)                                                                              \
    { .name = (key), .fate = KEY_HONOURED }
#define IDLE(key)                                                                                  \
    { .name = (key), .fate = KEY_NO_EFFECT }
#define REFUSED(key, passes)                                                                       \
    { .name = (key), .fate = KEY_REFUSED, .neutral = (passes) }
#define WITHIN(key, rules)                                                                         \
    { .name = (key), .fate = KEY_HONOURED, .inner = &(rules) }

static const struct key_rule token_list[] = {
    HONOURED("content"),    HONOURED("single_word"), HONOURED("lstrip"), HONOURED("rstrip"),
    HONOURED("normalized"), HONOURED("special"),     HONOURED("id"),     IDLE("__type"),
};
static const struct key_rules token = {KEY_RULES(token_list)};
static const struct key_rule tokens_list[] = {WITHIN("*", token)};
static const struct key_rules tokens = {KEY_RULES(tokens_list)};

#define NAMED                                                                                      \
    WITHIN("bos_token", token), WITHIN("eos_token", token), WITHIN("unk_token", token),            \
        WITHIN("sep_token", token), WITHIN("pad_token", token), WITHIN("cls_token", token),        \
        WITHIN("mask_token", token), WITHIN("additional_special_tokens", token),                   \
        HONOURED("extra_special_tokens")

// Keys that other files read: model_max_length (weights/st_config.c), chat_template and eos_token
// (weights/generation_config.c). Keys without effect: padding (ragged batches have none), tidying
// of the decoded text, and what only Python's own or SentencePiece tokenizers read.
static const struct key_rule config_list[] = {
    NAMED,
    HONOURED("tokenizer_class"),
    HONOURED("do_lower_case"),
    HONOURED("strip_accents"),
    HONOURED("tokenize_chinese_chars"),
    HONOURED("add_prefix_space"),
    HONOURED("add_bos_token"),
    HONOURED("add_eos_token"),
    WITHIN("added_tokens_decoder", tokens),
    HONOURED("split_special_tokens"),
    HONOURED("truncation_side"),
    HONOURED("model_input_names"),
    HONOURED("model_max_length"),
    HONOURED("chat_template"),
    IDLE("clean_up_tokenization_spaces"),
    IDLE("spaces_between_special_tokens"),
    IDLE("name_or_path"),
    IDLE("_name_or_path"),
    IDLE("_commit_hash"),
    IDLE("transformers_version"),
    IDLE("auto_map"),
    IDLE("processor_class"),
    IDLE("special_tokens_map_file"),
    IDLE("tokenizer_file"),
    IDLE("vocab_file"),
    IDLE("merges_file"),
    IDLE("tokenizer_type"),
    IDLE("use_fast"),
    IDLE("from_slow"),
    IDLE("backend"),
    IDLE("is_local"),
    IDLE("local_files_only"),
    IDLE("trust_remote_code"),
    IDLE("token"),
    IDLE("do_basic_tokenize"),
    IDLE("never_split"),
    IDLE("max_len"),
    IDLE("max_length"),
    IDLE("stride"),
    IDLE("truncation"),
    IDLE("truncation_strategy"),
    IDLE("padding"),
    IDLE("padding_side"),
    IDLE("pad_to_multiple_of"),
    IDLE("pad_token_type_id"),
    IDLE("pad_token_type"),
    IDLE("return_token_type_ids"),
    IDLE("return_tensors"),
    IDLE("errors"),
    IDLE("legacy"),
    IDLE("sp_model_kwargs"),
    IDLE("use_default_system_prompt"),
    IDLE("verbose"),
    IDLE("bos_token_id"),
    IDLE("eos_token_id"),
    IDLE("pad_token_id"),
    REFUSED("fix_mistral_regex", "false"), // a pattern put in for the file's own
    REFUSED("init_inputs", "[]"),
};
const struct key_rules tokenizer_config_keys = {KEY_RULES(config_list)};

static const struct key_rule map_list[] = {NAMED};
const struct key_rules tokenizer_special_map_keys = {KEY_RULES(map_list)};

static const struct key_rule added_list[] = {HONOURED("*")};
const struct key_rules tokenizer_added_tokens_keys = {KEY_RULES(added_list)};

// ---- tokenizer.json. The reader of each part refuses types that it does not know; these are the
// members that the readers read.

static const struct key_rule pattern_list[] = {HONOURED("Regex"), HONOURED("String")};
static const struct key_rules pattern = {KEY_RULES(pattern_list)};

static const struct key_rules part; // the parts of a Sequence are parts
static const struct key_rule part_list[] = {
    HONOURED("type"),
    WITHIN("normalizers", part),
    WITHIN("pretokenizers", part),
    WITHIN("processors", part),
    HONOURED("clean_text"),
    HONOURED("handle_chinese_chars"),
    HONOURED("strip_accents"),
    HONOURED("lowercase"),
    HONOURED("strip_left"),
    HONOURED("strip_right"),
    WITHIN("pattern", pattern),
    HONOURED("content"),
    HONOURED("behavior"),
    HONOURED("invert"),
    HONOURED("individual_digits"),
    HONOURED("add_prefix_space"),
    HONOURED("trim_offsets"),
    HONOURED("use_regex"),
    HONOURED("cls"),
    HONOURED("sep"),
    HONOURED("single"),
    HONOURED("pair"),
    HONOURED("special_tokens"),
    HONOURED("prefix"),
    HONOURED("cleanup"),
};
static const struct key_rules part = {KEY_RULES(part_list)};

static const struct key_rule model_list[] = {
    HONOURED("type"),
    HONOURED("vocab"),
    HONOURED("merges"),
    HONOURED("unk_token"),
    HONOURED("continuing_subword_prefix"),
    HONOURED("end_of_word_suffix"),
    HONOURED("max_input_chars_per_word"),
    HONOURED("fuse_unk"),
    HONOURED("byte_fallback"),
    HONOURED("ignore_merges"),
    HONOURED("dropout"),
};
static const struct key_rules model = {KEY_RULES(model_list)};

static const struct key_rule truncation_list[] = {HONOURED("direction"), IDLE("max_length"),
                                                  IDLE("strategy"), IDLE("stride")};
static const struct key_rules truncation = {KEY_RULES(truncation_list)};

static const struct key_rule json_list[] = {
    HONOURED("version"),           WITHIN("truncation", truncation), IDLE("padding"),
    WITHIN("added_tokens", token), WITHIN("normalizer", part),       WITHIN("pre_tokenizer", part),
    WITHIN("model", model),        WITHIN("post_processor", part),   WITHIN("decoder", part),
};
const struct key_rules tokenizer_json_keys = {KEY_RULES(json_list)};
