// See model_config.h. Absent keys take the values that transformers' BertConfig and
// DistilBertConfig give them; what shapes can show wrong is then checked against the tensors.
#include "weights/model_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/config_keys.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 16 << 20,
    // far above any model, low enough that no product of two overflows
    MAX_HIDDEN = 1 << 16,
    MAX_LAYERS = 1 << 10,
    MAX_FFN = 1 << 20,
    MAX_VOCAB = 1 << 24,
    MAX_POSITIONS = 1 << 20,
    MAX_TYPES = 1 << 10,
    MAX_LABELS = 1 << 16,
};

// Those of pretraining count as none.
enum model_head { MODEL_HEAD_NONE, MODEL_HEAD_LABELS, MODEL_HEAD_OTHER };

static const struct {
    const char *name;
    enum model_arch arch;
    enum model_head head;
} architectures[] = {
    {"BertModel", MODEL_ARCH_BERT, MODEL_HEAD_NONE},
    {"BertForMaskedLM", MODEL_ARCH_BERT, MODEL_HEAD_NONE},
    {"BertForPreTraining", MODEL_ARCH_BERT, MODEL_HEAD_NONE},
    {"BertForSequenceClassification", MODEL_ARCH_BERT, MODEL_HEAD_LABELS},
    {"BertForNextSentencePrediction", MODEL_ARCH_BERT, MODEL_HEAD_OTHER},
    {"BertForTokenClassification", MODEL_ARCH_BERT, MODEL_HEAD_OTHER},
    {"BertLMHeadModel", MODEL_ARCH_BERT, MODEL_HEAD_OTHER},
    {"BertForQuestionAnswering", MODEL_ARCH_BERT, MODEL_HEAD_OTHER},
    {"BertForMultipleChoice", MODEL_ARCH_BERT, MODEL_HEAD_OTHER},
    {"DistilBertModel", MODEL_ARCH_DISTILBERT, MODEL_HEAD_NONE},
    {"DistilBertForMaskedLM", MODEL_ARCH_DISTILBERT, MODEL_HEAD_NONE},
    {"DistilBertForSequenceClassification", MODEL_ARCH_DISTILBERT, MODEL_HEAD_LABELS},
    {"DistilBertForTokenClassification", MODEL_ARCH_DISTILBERT, MODEL_HEAD_OTHER},
    {"DistilBertForQuestionAnswering", MODEL_ARCH_DISTILBERT, MODEL_HEAD_OTHER},
    {"DistilBertForMultipleChoice", MODEL_ARCH_DISTILBERT, MODEL_HEAD_OTHER},
};
#define SUPPORTED                                                                                  \
    "BertModel, BertForMaskedLM, BertForSequenceClassification, DistilBertModel, "                 \
    "DistilBertForMaskedLM, DistilBertForSequenceClassification are"

// transformers activations.py ACT2CLS; gelu_fast and gelu_accurate are the tanh form spelled anew.
static const struct {
    const char *name;
    enum activation activation;
} activations[] = {
    {"gelu", ACTIVATION_GELU},
    {"gelu_python", ACTIVATION_GELU},
    {"gelu_new", ACTIVATION_GELU_TANH},
    {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
    {"gelu_python_tanh", ACTIVATION_GELU_TANH},
    {"gelu_fast", ACTIVATION_GELU_TANH},
    {"gelu_accurate", ACTIVATION_GELU_TANH},
    {"relu", ACTIVATION_RELU},
    {"silu", ACTIVATION_SILU},
    {"swish", ACTIVATION_SILU},
    {"tanh", ACTIVATION_TANH},
};

static enum err read_architecture(const cJSON *root, struct model_config *c, struct errmsg *msg) {
    const cJSON *list = json_get(root, "architectures");
    const char *name = NULL, *type;
    if (list && !(cJSON_IsArray(list) && (!list->child || cJSON_IsString(list->child))))
        return err_set(msg, ERR_INVALID, "'architectures' must be an array of strings");
    enum err e = json_get_string(root, "model_type", NULL, &type, msg);
    if (e)
        return e;
    if (list && list->child)
        name = list->child->valuestring;
    else if (type && strcmp(type, "bert") == 0)
        name = "BertModel";
    else if (type && strcmp(type, "distilbert") == 0)
        name = "DistilBertModel";
    else if (type)
        return err_set(msg, ERR_UNSUPPORTED,
                       "model_type '%.64s' is not supported (bert, distilbert are)", type);
    else
        return err_set(msg, ERR_INVALID, "neither 'architectures' nor 'model_type' is there");
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(architectures[i].name, name) != 0)
            continue;
        c->arch = architectures[i].arch;
        c->classification = architectures[i].head == MODEL_HEAD_LABELS;
        c->head_is_other = architectures[i].head == MODEL_HEAD_OTHER;
        snprintf(c->architecture, sizeof c->architecture, "%s", name);
        return ERR_OK;
    }
    return err_set(msg, ERR_UNSUPPORTED, "architecture '%.64s' is not supported (" SUPPORTED ")",
                   name);
}

bool model_config_arch(const cJSON *root, enum model_arch *out) {
    struct model_config c = {0};
    if (read_architecture(root, &c, NULL))
        return false;
    *out = c.arch;
    return true;
}

// transformers goes by model_type, and would make another model of such a file.
static enum err check_type(const cJSON *root, const struct model_config *c, struct errmsg *msg) {
    const char *own = c->arch == MODEL_ARCH_BERT ? "bert" : "distilbert", *type;
    enum err e = json_get_string(root, "model_type", own, &type, msg);
    if (!e && strcmp(type, own) != 0)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "model_type '%.64s' contradicts the architecture '%s', which is of '%s'", type,
                    c->architecture, own);
    return e;
}

// The first of the two spellings that is there, in [1, max].
static enum err read_count(const cJSON *root, const char *key, const char *other, int64_t max,
                           int64_t fallback, size_t *out, struct errmsg *msg) {
    int64_t v;
    const char *used = other && !json_get(root, key) && json_get(root, other) ? other : key;
    enum err e = json_get_int(root, used, 1, max, fallback, &v, msg);
    if (!e)
        *out = (size_t)v;
    return e;
}

static enum err read_shapes(const cJSON *root, struct model_config *c, struct errmsg *msg) {
    bool bert = c->arch == MODEL_ARCH_BERT;
    double eps = 1e-12;
    enum err e = read_count(root, bert ? "hidden_size" : "dim", "hidden_size", MAX_HIDDEN, 768,
                            &c->hidden, msg);
    if (!e)
        e = read_count(root, bert ? "num_hidden_layers" : "n_layers", "num_hidden_layers",
                       MAX_LAYERS, bert ? 12 : 6, &c->layers, msg);
    if (!e)
        e = read_count(root, bert ? "num_attention_heads" : "n_heads", "num_attention_heads",
                       MAX_HIDDEN, 12, &c->heads, msg);
    if (!e)
        e = read_count(root, bert ? "intermediate_size" : "hidden_dim", NULL, MAX_FFN, 3072,
                       &c->ffn, msg);
    if (!e)
        e = read_count(root, "vocab_size", NULL, MAX_VOCAB, 30522, &c->vocab, msg);
    if (!e)
        e = read_count(root, "max_position_embeddings", NULL, MAX_POSITIONS, 512, &c->max_positions,
                       msg);
    if (!e && bert)
        e = read_count(root, "type_vocab_size", NULL, MAX_TYPES, 2, &c->type_vocab, msg);
    if (!e && bert) // DistilBERT's is fixed in its code
        e = json_get_double(root, "layer_norm_eps", 1e-30, 0.1, 1e-12, &eps, msg);
    if (e)
        return e;
    if (c->hidden % c->heads != 0)
        return err_set(msg, ERR_INVALID, "%zu attention heads do not divide the hidden size %zu",
                       c->heads, c->hidden);
    c->norm_eps = (float)eps;
    return ERR_OK;
}

static enum err read_activation(const cJSON *root, struct model_config *c, struct errmsg *msg) {
    const char *key = c->arch == MODEL_ARCH_BERT ? "hidden_act" : "activation", *name;
    enum err e = json_get_string(root, key, "gelu", &name, msg);
    if (e)
        return e;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) == 0) {
            c->activation = activations[i].activation;
            return ERR_OK;
        }
    }
    return err_set(msg, ERR_UNSUPPORTED,
                   "%s '%.64s' is not supported (gelu, gelu_python, gelu_new, gelu_pytorch_tanh, "
                   "gelu_python_tanh, gelu_fast, gelu_accurate, relu, silu, swish, tanh are)",
                   key, name);
}

// id2label is {"0": "name", ...}: every number below its size once, in any order.
static enum err read_label(const cJSON *item, struct model_config *c, struct errmsg *msg) {
    char *end;
    unsigned long i = strtoul(item->string, &end, 10);
    char canonical[24];
    snprintf(canonical, sizeof canonical, "%lu", i);
    if (strcmp(canonical, item->string) != 0 || i >= c->labels)
        return err_set(msg, ERR_INVALID, "'id2label' has the key '%.32s', not 0 to %zu",
                       item->string, c->labels - 1);
    char number[32];
    const char *name = item->valuestring;
    if (cJSON_IsNumber(item)) { // a label may be a number: 0, 1, -1, 0.5
        snprintf(number, sizeof number, "%.9g", item->valuedouble);
        name = number;
    } else if (!cJSON_IsString(item)) {
        return err_set(msg, ERR_INVALID, "'id2label' names neither a string nor a number for %lu",
                       i);
    }
    c->label_names[i] = mem_strndup(name, strlen(name));
    return c->label_names[i] ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for a label");
}

static enum err read_labels(const cJSON *root, struct model_config *c, struct errmsg *msg) {
    const cJSON *names = json_get(root, "id2label"), *item;
    int64_t told;
    enum err e = json_get_int(root, "num_labels", 1, MAX_LABELS, 0, &told, msg);
    if (e)
        return e;
    if (names && (!cJSON_IsObject(names) || !names->child))
        return err_set(msg, ERR_INVALID, "'id2label' must be an object with at least one label");
    int listed = names ? cJSON_GetArraySize(names) : 0;
    if (listed > MAX_LABELS)
        return err_set(msg, ERR_INVALID, "'id2label' has %d labels, at most %d are taken", listed,
                       MAX_LABELS);
    // where both are there id2label counts, as in transformers
    size_t n = listed ? (size_t)listed : told ? (size_t)told : 2; // transformers' default
    c->label_names = mem_calloc(n, sizeof *c->label_names);
    if (!c->label_names)
        return err_set(msg, ERR_NOMEM, "no memory for %zu labels", n);
    c->labels = n;
    // no key stands twice, so n keys below n are all of them
    if (listed) {
        cJSON_ArrayForEach(item, names) {
            if ((e = read_label(item, c, msg)))
                return e;
        }
        return ERR_OK;
    }
    for (size_t i = 0; i < n; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "LABEL_%zu", i);
        if (!(c->label_names[i] = mem_strndup(name, (size_t)len)))
            return err_set(msg, ERR_NOMEM, "no memory for a label");
    }
    return ERR_OK;
}

static enum err read_scores(const cJSON *root, struct model_config *c, struct errmsg *msg) {
    static const struct {
        const char *name;
        enum label_scores scores;
    } types[] = {
        {"multi_label_classification", LABEL_SCORES_SIGMOID},
        {"single_label_classification", LABEL_SCORES_SOFTMAX},
        {"regression", LABEL_SCORES_LOGITS},
    };
    const char *type;
    enum err e = json_get_string(root, "problem_type", NULL, &type, msg);
    c->scores = LABEL_SCORES_SOFTMAX;
    size_t i = 0, n = sizeof types / sizeof *types;
    for (; !e && type && i < n; i++) {
        if (strcmp(types[i].name, type) != 0)
            continue;
        c->scores = types[i].scores;
        break;
    }
    if (!e && type && i == n)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "problem_type '%.64s' is not supported (multi_label_classification, "
                    "single_label_classification, regression are)",
                    type);
    if (c->labels == 1 && c->scores == LABEL_SCORES_SOFTMAX)
        c->scores = LABEL_SCORES_SIGMOID;
    return e;
}

static enum err read_config(const char *name, const cJSON *root, struct model_config *out,
                            struct errmsg *msg) {
    *out = (struct model_config){0};
    enum err e = cJSON_IsObject(root) ? ERR_OK : err_set(msg, ERR_INVALID, "not a JSON object");
    if (!e)
        e = read_architecture(root, out, msg);
    if (!e)
        e = check_type(root, out, msg);
    if (!e)
        e = key_rules_check(config_keys_encoder(out->arch), root, msg);
    if (!e)
        e = read_shapes(root, out, msg);
    if (!e)
        e = read_activation(root, out, msg);
    if (!e && out->classification)
        e = read_labels(root, out, msg);
    if (!e && out->classification)
        e = read_scores(root, out, msg);
    if (e) {
        model_config_free(out);
        return err_prefix(msg, e, "%s", name);
    }
    return ERR_OK;
}

// A GGUF file says nothing of labels: converters drop the head.
static enum err read_gguf(const struct gguf *g, struct model_config *c, struct errmsg *msg) {
    static const char *const name = "bert";
    struct gguf_keys k = {.g = g, .arch = "", .msg = msg};
    gguf_keys_choose(&k, &name, 1, "bert is, and qwen2, qwen3, llama as decoders");
    if (!k.failed)
        k.failed = gguf_rules_check(g, msg);
    gguf_keys_expect(&k, "attention.causal", false, "a causal encoder is not supported");
    c->arch = MODEL_ARCH_BERT;
    snprintf(c->architecture, sizeof c->architecture, "%s", name);
    c->hidden = gguf_keys_count(&k, "embedding_length", MAX_HIDDEN, 0);
    c->layers = gguf_keys_count(&k, "block_count", MAX_LAYERS, 0);
    c->heads = gguf_keys_count(&k, "attention.head_count", MAX_HIDDEN, 0);
    c->ffn = gguf_keys_count(&k, "feed_forward_length", MAX_FFN, 0);
    c->max_positions = gguf_keys_count(&k, "context_length", MAX_POSITIONS, 0);
    c->norm_eps = (float)gguf_keys_float(&k, "attention.layer_norm_epsilon", 1e-30, 0.1, 1e-12);
    c->vocab = gguf_keys_rows(&k, "token_embd.weight", MAX_VOCAB);
    c->type_vocab = gguf_keys_rows(&k, "token_types.weight", MAX_TYPES);
    c->activation = ACTIVATION_GELU;
    if (k.failed)
        return k.failed;
    return c->hidden % c->heads == 0
               ? ERR_OK
               : err_set(msg, ERR_INVALID,
                         "%s: %zu attention heads do not divide the hidden size %zu", gguf_path(g),
                         c->heads, c->hidden);
}

static enum err load_gguf(const char *path, struct model_config *out, struct errmsg *msg) {
    struct gguf *g;
    enum err e = gguf_open(path, &g, msg);
    if (!e)
        e = read_gguf(g, out, msg);
    gguf_close(g);
    return e;
}

static enum err load_folder(const char *folder, struct model_config *out, struct errmsg *msg) {
    char *path = file_join(folder, "config.json");
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open config.json", folder);
    cJSON *root;
    enum err e = json_parse_file(path, MAX_CONFIG_BYTES, &root, msg);
    if (!e)
        e = read_config(path, root, out, msg);
    cJSON_Delete(root);
    mem_free(path);
    return e;
}

enum err model_config_load(const char *path, struct model_config *out, struct errmsg *msg) {
    *out = (struct model_config){0};
    return file_exists(path) && !file_is_dir(path) ? load_gguf(path, out, msg)
                                                   : load_folder(path, out, msg);
}

enum err model_config_parse(const char *name, const char *text, size_t len,
                            struct model_config *out, struct errmsg *msg) {
    *out = (struct model_config){0};
    cJSON *root;
    enum err e = json_parse(text, len, &json_limits_file, &root, NULL, msg);
    if (e)
        return err_prefix(msg, e, "%s", name);
    e = read_config(name, root, out, msg);
    cJSON_Delete(root);
    return e;
}

void model_config_free(struct model_config *c) {
    for (size_t i = 0; c->label_names && i < c->labels; i++)
        mem_free(c->label_names[i]);
    mem_free(c->label_names);
    *c = (struct model_config){0};
}
