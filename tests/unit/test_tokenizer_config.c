// What stands beside tokenizer.json: contradictions that are refused by name, what is read of each
// file, memory that runs out. That the outcome is transformers' is held by test_tokenizer_goldens
// (tokenizers_config).
#include "base/fault.h"
#include "tests/unit/test_weights_files.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_config.h"

#include "base/buf.h"

#define WORDS "tests/golden/data/tokenizers/uncased/tokenizer.json"
#define PAIRS "tests/golden/data/tokenizers_bpe/gpt2/tokenizer.json"
#define SPLIT "tests/golden/data/tokenizers_bpe/qwen2/tokenizer.json"
#define SMOLLM "tests/golden/data/tokenizers_bpe/smollm/tokenizer.json"
#define QWEN35 "tests/golden/data/tokenizers_bpe/qwen35/tokenizer.json"
#define FRAMED "tests/golden/data/tokenizers_bpe/llama3/tokenizer.json"

static const struct {
    const char *json, *config, *words; // words NULL: it loads
} cases[] = {
    {WORDS, "{\"tokenizer_class\":\"BertTokenizer\"}", NULL},
    {WORDS, "{\"tokenizer_class\":\"FooTokenizer\",\"cls_token\":\"a\"}", NULL},
    {WORDS, "{\"tokenizer_class\":\"Qwen2TokenizerFast\"}",
     "tokenizer_class 'Qwen2TokenizerFast' does not fit tokenizer.json, whose model is WordPiece"},
    {WORDS, "{\"tokenizer_class\":\"T5Tokenizer\"}", "whose model is WordPiece"},
    {WORDS, "{\"tokenizer_class\":\"BertTokenizer\",\"cls_token\":\"the\"}",
     "'cls_token' is 'the', but tokenizer.json puts before a text '[CLS]'"},
    {WORDS, "{\"tokenizer_class\":\"BertTokenizer\",\"sep_token\":{\"content\":\"the\"}}",
     "'sep_token' is 'the', but tokenizer.json puts behind a text '[SEP]'"},
    {WORDS, "{\"tokenizer_class\":\"BertTokenizer\",\"unk_token\":\"the\"}",
     "'unk_token' is 'the', but tokenizer.json has as its model's '[UNK]'"},
    {WORDS, "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":1}", "'do_lower_case'"},
    {WORDS, "{\"truncation_side\":\"top\"}", "'truncation_side' is 'top'"},
    {WORDS, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"a\"}}}",
     "'added_tokens_decoder': 'x' must be an id"},
    {WORDS, "{\"added_tokens_decoder\":{\"7\":{}}}", "'added_tokens_decoder': '7' must be an id"},
    {WORDS, "{\"added_tokens_decoder\":[]}", "'added_tokens_decoder' must be an object"},
    {WORDS, "{\"fix_mistral_regex\":true}", "tokenizer_config.json: 'fix_mistral_regex' is true"},
    {WORDS, "[]", "not a JSON object"},
    {PAIRS, "{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_prefix_space\":true}", NULL},
    {PAIRS, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"add_prefix_space\":true}",
     "'add_prefix_space' is true, but tokenizer.json's pre_tokenizer says false"},
    {PAIRS, "{\"tokenizer_class\":\"BertTokenizer\"}", "whose model is BPE"},
    {PAIRS, "{\"tokenizer_class\":\"Qwen2Tokenizer\"}",
     "'Qwen2Tokenizer' does not fit tokenizer.json, which splits a text otherwise"},
    {FRAMED, "{\"tokenizer_class\":\"Qwen2TokenizerFast\"}", "splits a text otherwise"},
    {SMOLLM, "{\"tokenizer_class\":\"Qwen2Tokenizer\"}", "splits a text otherwise"},
    {SMOLLM, "{\"tokenizer_class\":\"GPT2Tokenizer\"}", NULL},
    {SPLIT, "{\"tokenizer_class\":\"GPT2Tokenizer\"}",
     "'GPT2Tokenizer' does not fit tokenizer.json, which has a normalizer"},
    {FRAMED, "{\"tokenizer_class\":\"GPT2TokenizerFast\"}", "which says 'ignore_merges'"},
    {QWEN35, "{\"tokenizer_class\":\"Qwen2Tokenizer\"}", NULL},
    {PAIRS, "{\"tokenizer_class\":\"RobertaTokenizer\"}",
     "'RobertaTokenizer' does not fit tokenizer.json, which does not frame texts and pairs"},
    {SPLIT, "{\"tokenizer_class\":\"RobertaTokenizerFast\"}", "splits a text otherwise"},
    {WORDS, "{\"tokenizer_class\":\"MPNetTokenizer\"}", "'MPNetTokenizer' does not fit"},
    {WORDS, "{\"model_input_names\":[\"input_ids\"]}", NULL},
    {WORDS, "{\"model_input_names\":[1]}", "'model_input_names' must be an array of strings"},
    {SPLIT, "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"add_prefix_space\":true}",
     "'add_prefix_space' is true"},
    {SPLIT, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"add_prefix_space\":true}", NULL},
    {SPLIT, "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"add_bos_token\":true}", NULL},
    {SPLIT, "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":false}", NULL},
    {SPLIT, "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":true}",
     "'add_bos_token' is true, but tokenizer.json puts nothing before a text"},
    {FRAMED, "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_bos_token\":true}", NULL},
    {FRAMED, "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_bos_token\":false}",
     "'add_bos_token' is false, but tokenizer.json puts <|start|> before a text"},
    {FRAMED,
     "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":true,\"bos_token\":\"<|end|>\"}",
     "'bos_token' is '<|end|>', but tokenizer.json puts before a text '<|start|>'"},
    {FRAMED, "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true}",
     "'add_eos_token' is true, but tokenizer.json puts nothing behind a text"},
    {FRAMED, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"add_bos_token\":false}", NULL},
};

static enum err load(const struct temp_folder *t, struct tokenizer **out, struct errmsg *msg) {
    return tokenizer_load(t->path, 0, out, msg);
}

static void check_cases(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct temp_folder t = temp_new();
        struct tokenizer *tokenizer = NULL;
        struct errmsg msg = {0};
        temp_copy(&t, "tokenizer.json", cases[i].json);
        temp_text(&t, "tokenizer_config.json", cases[i].config);
        enum err e = load(&t, &tokenizer, &msg);
        if (!CHECK(cases[i].words ? e && strstr(msg.text, cases[i].words) : !e))
            fprintf(stderr, "    case %zu: %s\n", i, msg.text);
        tokenizer_free(tokenizer);
        temp_free(&t);
    }
}

// A normalizer of another kind counts where the arguments mean the same.
static void check_other_normalizer(void) {
    static const struct {
        const char *config;
        bool loads;
    } of[] = {
        {"{}", true},
        {"{\"do_lower_case\":true}", false}, // which would set Chinese apart as well
        {"{\"do_lower_case\":true,\"tokenize_chinese_chars\":false}", true},
        {"{\"do_lower_case\":false,\"tokenize_chinese_chars\":false}", false},
        {"{\"do_lower_case\":true,\"tokenize_chinese_chars\":false,\"strip_accents\":false}",
         false},
    };
    size_t n;
    char *text = temp_read(WORDS, &n);
    cJSON *root = cJSON_Parse(text);
    cJSON_ReplaceItemInObject(root, "normalizer",
                              cJSON_Parse("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
                                          "\"NFD\"},{\"type\":\"StripAccents\"},{\"type\":"
                                          "\"Lowercase\"}]}"));
    char *changed = cJSON_PrintUnformatted(root);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        struct temp_folder t = temp_new();
        struct tokenizer *tokenizer = NULL;
        struct errmsg msg = {0};
        temp_text(&t, "tokenizer.json", changed);
        temp_text(&t, "config.json", "{\"model_type\":\"bert\"}");
        temp_text(&t, "tokenizer_config.json", of[i].config);
        enum err e = load(&t, &tokenizer, &msg);
        if (!CHECK(of[i].loads ? !e : e == ERR_UNSUPPORTED && strstr(msg.text, "make them agree")))
            fprintf(stderr, "    case %zu: %s\n", i, msg.text);
        tokenizer_free(tokenizer);
        temp_free(&t);
    }
    cJSON_free(changed);
    cJSON_Delete(root);
    mem_free(text);
}

static void check_described(const char *json, const char *name, const char *file,
                            const char *want) {
    struct temp_folder t = temp_new();
    struct tokenizer *tokenizer = NULL;
    struct errmsg msg = {0};
    struct buf out = {0};
    temp_copy(&t, "tokenizer.json", json);
    temp_text(&t, name, file);
    CHECK_OK(load(&t, &tokenizer, &msg), msg);
    if (tokenizer)
        tokenizer_describe(tokenizer, &out);
    if (!CHECK(out.data && strstr(out.data, want)))
        fprintf(stderr, "    \"%s\" is not in \"%s\"\n", want, out.data ? out.data : "");
    buf_free(&out);
    tokenizer_free(tokenizer);
    temp_free(&t);
}

static void check_side(void) {
    struct temp_folder t = temp_new();
    struct tokenizer *tokenizer = NULL;
    struct errmsg msg = {0};
    temp_copy(&t, "tokenizer.json", PAIRS);
    CHECK_OK(load(&t, &tokenizer, &msg), msg);
    CHECK(tokenizer_side(tokenizer) == TRUNCATE_RIGHT);
    tokenizer_free(tokenizer);
    temp_text(&t, "tokenizer_config.json", "{\"truncation_side\":\"left\"}");
    CHECK_OK(load(&t, &tokenizer, &msg), msg);
    CHECK(tokenizer_side(tokenizer) == TRUNCATE_LEFT);
    tokenizer_free(tokenizer);
    temp_free(&t);
}

// A token that is only named gets an id where the model has a row for it, else it stays text.
static void check_rows(void) {
    for (int room = 0; room < 2; room++) {
        struct temp_folder t = temp_new();
        struct tokenizer *tokenizer = NULL;
        struct errmsg msg = {0};
        temp_copy(&t, "tokenizer.json", PAIRS);
        CHECK_OK(load(&t, &tokenizer, &msg), msg);
        size_t rows = tokenizer_vocab_size(tokenizer);
        tokenizer_free(tokenizer);
        temp_text(&t, "tokenizer_config.json", "{\"pad_token\":\"<pad>\"}");
        CHECK_OK(tokenizer_load(t.path, rows + (size_t)room, &tokenizer, &msg), msg);
        CHECK_INT(tokenizer_token_id(tokenizer, "<pad>", 5), room ? (int32_t)rows : -1);
        tokenizer_free(tokenizer);
        temp_free(&t);
    }
}

// What transformers 4 and 5 write into the file themselves has a rule.
static void check_rules(void) {
    static const char *const written[] = {"add_bos_token",
                                          "add_eos_token",
                                          "add_prefix_space",
                                          "added_tokens_decoder",
                                          "additional_special_tokens",
                                          "backend",
                                          "bos_token",
                                          "chat_template",
                                          "clean_up_tokenization_spaces",
                                          "cls_token",
                                          "do_basic_tokenize",
                                          "do_lower_case",
                                          "eos_token",
                                          "errors",
                                          "extra_special_tokens",
                                          "is_local",
                                          "legacy",
                                          "local_files_only",
                                          "mask_token",
                                          "max_length",
                                          "model_input_names",
                                          "model_max_length",
                                          "name_or_path",
                                          "never_split",
                                          "pad_to_multiple_of",
                                          "pad_token",
                                          "pad_token_type_id",
                                          "padding_side",
                                          "processor_class",
                                          "sep_token",
                                          "sp_model_kwargs",
                                          "spaces_between_special_tokens",
                                          "special_tokens_map_file",
                                          "split_special_tokens",
                                          "stride",
                                          "strip_accents",
                                          "tokenize_chinese_chars",
                                          "tokenizer_class",
                                          "tokenizer_file",
                                          "truncation_side",
                                          "truncation_strategy",
                                          "unk_token",
                                          "use_default_system_prompt"};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        if (!CHECK(key_rules_find(&tokenizer_config_keys, written[i]) != NULL))
            fprintf(stderr, "    %s\n", written[i]);
    CHECK(key_rules_find(&tokenizer_config_keys, "do_upper_case") == NULL);
    CHECK(key_rules_find(&tokenizer_json_keys, "pre_tokenizer") != NULL);
}

static void check_memory(const char *folder) {
    struct errmsg msg = {0};
    long nth = 1;
    for (; nth < 1000000; nth++) {
        struct tokenizer *t = NULL;
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = tokenizer_load(folder, 0, &t, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= nth;
        fault_disarm();
        tokenizer_free(t);
        if (!reached) {
            CHECK_OK(e, msg);
            break;
        }
        if (e != ERR_NOMEM)
            CHECK_INT(e, ERR_NOMEM);
        nth += nth > 400 ? nth % 61 : 0; // the tree's nodes are all alike
    }
    CHECK(nth > 60 && nth < 1000000);
}

int main(void) {
    json_init();
    check_cases();
    check_other_normalizer();
    check_described(WORDS, "sentence_bert_config.json", "{\"do_lower_case\":true}",
                    "normalizer: Lowercase, BertNormalizer(");
    check_described(PAIRS, "sentence_distilbert_config.json", "{\"do_lower_case\":true}",
                    "normalizer: Lowercase\n");
    check_described(PAIRS, "sentence_bert_config.json", "{\"do_lower_case\":false}",
                    "normalizer: none\n");
    check_described(PAIRS, "tokenizer_config.json", "{\"truncation_side\":\"left\"}",
                    "texts are cut at their beginning");
    check_described(PAIRS, "tokenizer_config.json", "{\"split_special_tokens\":true}",
                    "what spells a special token in a text is text");
    check_side();
    check_rows();
    check_rules();
    check_memory("tests/golden/data/tokenizers_config/listed");
    check_memory("tests/golden/data/tokenizers_config/added_file");
    check_memory("tests/golden/data/tokenizers_config/special_map");
    return check_done();
}
