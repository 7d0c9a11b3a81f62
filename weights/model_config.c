// See model_config.h. The keys, and what an absent one stands for, are tables
// (model_config_keys.c); what shapes can show wrong is then checked against the tensors.
#include "weights/model_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/architectures.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_rules.h"
#include "weights/model_config_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20 };

// Those of pretraining count as none.
enum { HEAD_NONE, HEAD_LABELS, HEAD_OTHER };

static const struct architecture known[] = {
    {"BertModel", "bert", MODEL_ARCH_BERT, HEAD_NONE},
    {"BertForMaskedLM", NULL, MODEL_ARCH_BERT, HEAD_NONE},
    {"BertForPreTraining", NULL, MODEL_ARCH_BERT, HEAD_NONE},
    {"BertForSequenceClassification", NULL, MODEL_ARCH_BERT, HEAD_LABELS},
    {"BertForNextSentencePrediction", NULL, MODEL_ARCH_BERT, HEAD_OTHER},
    {"BertForTokenClassification", NULL, MODEL_ARCH_BERT, HEAD_OTHER},
    {"BertLMHeadModel", NULL, MODEL_ARCH_BERT, HEAD_OTHER},
    {"BertForQuestionAnswering", NULL, MODEL_ARCH_BERT, HEAD_OTHER},
    {"BertForMultipleChoice", NULL, MODEL_ARCH_BERT, HEAD_OTHER},
    {"DistilBertModel", "distilbert", MODEL_ARCH_DISTILBERT, HEAD_NONE},
    {"DistilBertForMaskedLM", NULL, MODEL_ARCH_DISTILBERT, HEAD_NONE},
    {"DistilBertForSequenceClassification", NULL, MODEL_ARCH_DISTILBERT, HEAD_LABELS},
    {"DistilBertForTokenClassification", NULL, MODEL_ARCH_DISTILBERT, HEAD_OTHER},
    {"DistilBertForQuestionAnswering", NULL, MODEL_ARCH_DISTILBERT, HEAD_OTHER},
    {"DistilBertForMultipleChoice", NULL, MODEL_ARCH_DISTILBERT, HEAD_OTHER},
};
static const struct architectures architectures = {
    known, sizeof known / sizeof *known,
    "BertModel, BertForMaskedLM, BertForSequenceClassification, DistilBertModel, "
    "DistilBertForMaskedLM, DistilBertForSequenceClassification",
    "bert, distilbert"};

bool model_config_arch(const cJSON *root, enum model_arch *out) {
    const struct architecture *a;
    if (architectures_find(&architectures, root, &a, NULL))
        return false;
    *out = (enum model_arch)a->arch;
    return true;
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

static enum err read_labels(const cJSON *names, struct model_config *c, struct errmsg *msg) {
    const cJSON *item;
    if (names && (!cJSON_IsObject(names) || !names->child))
        return err_set(msg, ERR_INVALID, "'id2label' must be an object with at least one label");
    int listed = names ? cJSON_GetArraySize(names) : 0;
    if (listed > MODEL_MAX_LABELS)
        return err_set(msg, ERR_INVALID, "'id2label' has %d labels, at most %d are taken", listed,
                       MODEL_MAX_LABELS);
    // where both are there id2label counts, as in transformers
    size_t n = listed ? (size_t)listed : c->labels ? c->labels : 2; // transformers' default
    c->label_names = mem_calloc(n, sizeof *c->label_names);
    if (!c->label_names)
        return err_set(msg, ERR_NOMEM, "no memory for %zu labels", n);
    c->labels = n;
    // no key stands twice, so n keys below n are all of them
    if (listed) {
        cJSON_ArrayForEach(item, names) {
            enum err e = read_label(item, c, msg);
            if (e)
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

static enum err read_said(const cJSON *root, struct model_said *said, struct errmsg *msg) {
    struct model_config *c = &said->config;
    const struct architecture *a = NULL;
    enum err e = architectures_read(&architectures, root, &a, msg);
    if (e)
        return e;
    c->arch = (enum model_arch)a->arch;
    c->classification = a->head == HEAD_LABELS;
    c->head_is_other = a->head == HEAD_OTHER;
    c->norm_eps = 1e-12F; // where no key says it
    snprintf(c->architecture, sizeof c->architecture, "%s", a->name);
    e = key_rules_check(model_config_keys(c->arch), root, msg);
    return e ? e : key_rules_read(model_config_keys(c->arch), root, NULL, said, msg);
}

static enum err read_config(const char *name, const cJSON *root, struct model_config *out,
                            struct errmsg *msg) {
    struct model_said said = {0};
    struct model_config *c = &said.config;
    enum err e = read_said(root, &said, msg);
    if (!e && c->hidden % c->heads != 0)
        e = err_set(msg, ERR_INVALID, "%zu attention heads do not divide the hidden size %zu",
                    c->heads, c->hidden);
    if (!e && c->classification)
        e = read_labels(said.id2label, c, msg);
    if (c->labels == 1 && c->scores == MODEL_SCORES_SOFTMAX)
        c->scores = MODEL_SCORES_SIGMOID;
    *out = *c;
    if (e)
        model_config_free(out);
    return e ? err_prefix(msg, e, "%s", name) : ERR_OK;
}

// A GGUF file says nothing of labels: converters drop the head.
static enum err read_gguf(const struct gguf *g, struct model_config *c, struct errmsg *msg) {
    static const char *const name = "bert";
    struct gguf_keys k = {.g = g, .arch = "", .msg = msg};
    gguf_keys_choose(&k, &name, 1, "bert is, and qwen2, qwen3, llama as decoders");
    if (!k.failed)
        k.failed = gguf_rules_check(g, &model_config_gguf_keys, msg);
    c->arch = MODEL_ARCH_BERT;
    snprintf(c->architecture, sizeof c->architecture, "%s", name);
    gguf_keys_read(&k, &model_config_gguf_keys, c);
    c->vocab = gguf_keys_rows(&k, "token_embd.weight", MODEL_MAX_VOCAB);
    c->type_vocab = gguf_keys_rows(&k, "token_types.weight", MODEL_MAX_TYPES);
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

bool model_config_in_range(const struct model_config *c) {
    return c->arch <= MODEL_ARCH_DISTILBERT && c->activation <= ACTIVATION_SILU &&
           c->scores <= MODEL_SCORES_LOGITS && c->hidden >= 1 && c->hidden <= MODEL_MAX_HIDDEN &&
           c->layers >= 1 && c->layers <= MODEL_MAX_LAYERS && c->heads >= 1 &&
           c->hidden % c->heads == 0 && c->ffn >= 1 && c->ffn <= MODEL_MAX_FFN && c->vocab >= 1 &&
           c->vocab <= MODEL_MAX_VOCAB && c->max_positions >= 1 &&
           c->max_positions <= MODEL_MAX_POSITIONS && c->type_vocab <= MODEL_MAX_TYPES &&
           c->norm_eps > 0 && c->norm_eps < 1 && c->labels <= MODEL_MAX_LABELS &&
           (!c->classification || c->labels >= 1);
}

void model_config_free(struct model_config *c) {
    for (size_t i = 0; c->label_names && i < c->labels; i++)
        mem_free(c->label_names[i]);
    mem_free(c->label_names);
    *c = (struct model_config){0};
}
