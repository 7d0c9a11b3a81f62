// The tables of keys tell the truth: a key that one calls honoured is read, for a value of a type
// that no reader takes is an error of the file; a key that one calls without effect may have it.
#include "pooling/module_keys.h"
#include "pooling/modules.h"
#include "tests/unit/test_weights_files.h"
#include "weights/config_keys.h"
#include "weights/decoder_config.h"
#include "weights/generation_config.h"
#include "weights/model_config.h"
#include "weights/st_config.h"

enum { VOCAB = 100 };

// [[]] fits nothing: it is no number, string, object or list of strings.
static cJSON *nonsense(void) {
    cJSON *list = cJSON_CreateArray();
    cJSON_AddItemToArray(list, cJSON_CreateArray());
    return list;
}

static cJSON *parse(const char *text) {
    cJSON *root = NULL;
    temp_must(json_parse(text, strlen(text), &json_limits_file, &root, NULL, NULL) == ERR_OK, text);
    return root;
}

// What a file of a kind is read with: ERR_OK, or its reader's refusal.
typedef enum err reads(const cJSON *root, struct errmsg *msg);

static struct temp_folder folder;

static void put(const char *name, const cJSON *root) {
    char *text = cJSON_PrintUnformatted(root);
    temp_must(text != NULL, "a text");
    temp_text(&folder, name, text);
    cJSON_free(text);
}

static enum err read_model_config(const cJSON *root, struct errmsg *msg) {
    struct model_config c;
    put("config.json", root);
    enum err e = model_config_load(folder.path, &c, msg);
    model_config_free(&c);
    return e;
}

static enum err read_decoder_config(const cJSON *root, struct errmsg *msg) {
    struct decoder_config c;
    struct generation_config g;
    put("config.json", root);
    enum err e = decoder_config_load(folder.path, &c, msg);
    if (!e)
        e = generation_config_load(folder.path, VOCAB, &g, msg); // eos_token_id
    if (!e)
        generation_config_free(&g);
    return e;
}

static enum err read_generation_config(const cJSON *root, struct errmsg *msg) {
    struct generation_config g;
    put("generation_config.json", root);
    enum err e = generation_config_load(folder.path, VOCAB, &g, msg);
    if (!e)
        generation_config_free(&g);
    unlink(temp_path(&folder, "generation_config.json"));
    return e;
}

static enum err read_st(const char *name, const cJSON *root, struct errmsg *msg) {
    struct st_config c;
    put(name, root);
    enum err e = st_config_load(folder.path, folder.path, 64, &c, msg);
    if (!e)
        st_config_free(&c);
    unlink(temp_path(&folder, name));
    return e;
}

static enum err read_sentence_bert(const cJSON *root, struct errmsg *msg) {
    return read_st("sentence_bert_config.json", root, msg);
}

static enum err read_sentence_transformers(const cJSON *root, struct errmsg *msg) {
    return read_st("config_sentence_transformers.json", root, msg);
}

static enum err read_modules(const cJSON *root, struct errmsg *msg) {
    struct modules m;
    char pooling[128];
    cJSON *list = cJSON_CreateArray();
    cJSON_AddItemReferenceToArray(list, (cJSON *)root);
    cJSON_AddItemToArray(
        list, parse("{\"type\":\"sentence_transformers.models.Pooling\",\"path\":\"1_Pooling\"}"));
    enum err e = modules_read_list(list, &m, pooling, msg);
    cJSON_Delete(list);
    return e;
}

static enum err read_pooling(const cJSON *root, struct errmsg *msg) {
    struct pooling_config c;
    return modules_read_pooling(root, &c, msg);
}

static enum err read_dense(const cJSON *root, struct errmsg *msg) {
    struct module_dense c;
    return modules_read_dense(root, &c, msg);
}

// Read by others than these, tokenizer/ and the command line; or where rope_scaling is not there
// (test_rope).
static bool is_elsewhere(const char *key) {
    static const char *const keys[] = {"do_lower_case", "rope_parameters", "sentence_transformers",
                                       "sbert_ce_default_activation_function"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

// A key that becomes nonsense is an error of the file, which names it; or it has no effect.
static void hold_one(const char *base, const char *within, const char *name, enum key_fate fate,
                     reads *read) {
    struct errmsg msg = {0};
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(name, "*"), name);
    cJSON *root = parse(base), *at = within ? cJSON_GetObjectItem(root, within) : root;
    cJSON_DeleteItemFromObjectCaseSensitive(at, key);
    cJSON_AddItemToObject(at, key, nonsense());
    enum err e = read(root, &msg);
    bool idle = fate == KEY_NO_EFFECT;
    if (!CHECK(idle ? e == ERR_OK : e == ERR_INVALID || e == ERR_UNSUPPORTED) ||
        (!idle && !CHECK(strstr(msg.text, key) != NULL)))
        fprintf(stderr, "    %s%s%s: %s: %s\n", within ? within : "", within ? "." : "", key,
                err_name(e), msg.text);
    cJSON_Delete(root);
}

// Of `base`, or of its member `within`, each key in turn becomes nonsense.
static void holds(const char *base, const char *within, const struct key_rules *rules,
                  reads *read) {
    struct errmsg msg = {0};
    cJSON *root = parse(base);
    CHECK_OK(read(root, &msg), msg);
    cJSON_Delete(root);
    for (const struct key_rules *t = rules; t; t = t->more) {
        for (size_t i = 0; i < t->count; i++) {
            const struct key_rule *r = &t->rules[i];
            // an earlier table's rule counts; "x*" stands for the key "x" here
            if (key_rules_find(rules, r->name) != r || is_elsewhere(r->name))
                continue;
            hold_one(base, within, r->name, r->fate, read);
            if (r->other)
                hold_one(base, within, r->other, r->fate, read);
        }
    }
}

#define CLASSIFIER(name) "{\"architectures\":[\"" name "ForSequenceClassification\"]}"
#define DECODER(name, more)                                                                        \
    "{\"architectures\":[\"" name "ForCausalLM\"],\"num_hidden_layers\":1" more "}"
#define WINDOW ",\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":0"
#define YARN                                                                                       \
    ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,"                                      \
    "\"original_max_position_embeddings\":64}"
#define LLAMA3                                                                                     \
    ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":2,\"low_freq_factor\":1,"           \
    "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}"

// Keys of llama3 and of yarn stand in one table, and are read for their own type only.
static void test_rope(void) {
    static const char *const yarn[] = {"beta_fast", "beta_slow",      "attention_factor",
                                       "mscale",    "mscale_all_dim", "truncate"};
    static const char *const llama3[] = {"low_freq_factor", "high_freq_factor"};
    static const char *const both[] = {"rope_theta", "factor", "original_max_position_embeddings",
                                       "partial_rotary_factor", "rope_type"};
    const struct {
        const char *base, *within;
        const char *const *keys;
        size_t n;
    } cases[] = {{DECODER("Llama", YARN), "rope_scaling", yarn, 6},
                 {DECODER("Llama", YARN), "rope_scaling", both, 5},
                 {DECODER("Llama", LLAMA3), "rope_parameters", llama3, 2},
                 {DECODER("Llama", LLAMA3), "rope_parameters", both, 5}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t i = 0; i < cases[c].n; i++) {
            struct errmsg msg = {0};
            cJSON *root = parse(cases[c].base), *at = cJSON_GetObjectItem(root, cases[c].within);
            cJSON_DeleteItemFromObjectCaseSensitive(at, cases[c].keys[i]);
            cJSON_AddItemToObject(at, cases[c].keys[i], nonsense());
            CHECK(read_decoder_config(root, &msg) == ERR_INVALID);
            CHECK(strstr(msg.text, cases[c].keys[i]) != NULL);
            cJSON_Delete(root);
        }
}

int main(void) {
    json_init();
    folder = temp_new();
    holds(CLASSIFIER("Bert"), NULL, model_config_keys(MODEL_ARCH_BERT), read_model_config);
    holds(CLASSIFIER("DistilBert"), NULL, model_config_keys(MODEL_ARCH_DISTILBERT),
          read_model_config);
    holds(DECODER("Qwen2", YARN WINDOW), NULL, decoder_config_keys(DECODER_ARCH_QWEN2),
          read_decoder_config);
    holds(DECODER("Qwen3", YARN WINDOW), NULL, decoder_config_keys(DECODER_ARCH_QWEN3),
          read_decoder_config);
    holds(DECODER("Llama", YARN), NULL, decoder_config_keys(DECODER_ARCH_LLAMA),
          read_decoder_config);
    holds(DECODER("Mistral", YARN), NULL, decoder_config_keys(DECODER_ARCH_MISTRAL),
          read_decoder_config);
    test_rope();
    temp_text(&folder, "config.json", "{}");
    holds("{}", NULL, &config_keys_generation, read_generation_config);
    holds("{}", NULL, &config_keys_sentence_bert, read_sentence_bert);
    holds("{\"model_type\":\"CrossEncoder\"}", NULL, &config_keys_sentence_transformers,
          read_sentence_transformers);
    holds("{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"}", NULL,
          &module_list_keys, read_modules);
    holds("{}", NULL, &pooling_keys, read_pooling);
    holds("{\"in_features\":2,\"out_features\":2}", NULL, &module_dense_keys, read_dense);
    temp_free(&folder);
    return check_done();
}
