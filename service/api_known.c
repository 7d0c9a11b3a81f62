// See api_known.h.
#include "service/api_known.h"

#include "service/api_request.h"
#include "service/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_ALONE "put it before your texts yourself, or send \"prompt_name\""

static const struct api_known everywhere[] = {
    API_READ("model"),
    API_IDLE("user"),
    API_IDLE("prompt_cache_key"),
    // vectors of another kind
    API_REFUSE("late_chunking", "false", NULL),
    API_REFUSE("return_multivector", "false", NULL),
    API_REFUSE("return_sparse", "false", NULL),
    API_REFUSE("return_dense", "true", NULL),
    API_REFUSE("return_colbert_vecs", "false", NULL),
    API_REFUSE("output_value", "sentence_embedding", NULL),
    API_REFUSE("precision", "float32", "send \"embedding_type\""),
    API_REFUSE("normalize", "true", NULL),
    API_REFUSE("normalized", "true", NULL),
    API_REFUSE("dim", "", "send \"dimensions\""),
    API_REFUSE("dims", "", "send \"dimensions\""),
    API_REFUSE("images", "[]", "only text is taken"),
    API_REFUSE("image", "", "only text is taken"),
    API_REFUSE("modality", "text", "only text is taken"),
    // texts changed on their way
    API_REFUSE("max_tokens", "", "send \"truncate\"; the length is the model's"),
    API_REFUSE("is_query", "", "send \"input_type\": \"query\" or \"document\""),
    API_REFUSE("instruction", "", TEXT_ALONE),
    API_REFUSE("query_instruction", "", TEXT_ALONE),
    API_REFUSE("prompt", "", TEXT_ALONE),
    API_REFUSE("add_special_tokens", "true", NULL),
    API_REFUSE("max_chunks_per_doc", "1", "a document that is too long is cut, not divided"),
    API_REFUSE("rewrite_query", "false", NULL),
    API_REFUSE("relevant_spans", "[]|{}", NULL),
    // scores of another kind
    API_REFUSE("raw_scores", "false", NULL),
    API_REFUSE("use_activation", "true", NULL),
    API_REFUSE("activation", "true", NULL),
    API_REFUSE("softmax_temp", "1", NULL),
    API_REFUSE("return_logits", "false", NULL),
    API_REFUSE("return_embeddings", "false", NULL),
    // another job
    API_REFUSE("stream", "false", "POST /v1/completions and /v1/chat/completions stream"),
    API_REFUSE("max_new_tokens", "", API_GENERATES),
    API_REFUSE("candidate_labels", "[]", NULL), // Hugging Face's tasks, on the same paths
    API_REFUSE("hypothesis_template", "", NULL),
    API_REFUSE("multi_label", "false", NULL),
    API_REFUSE("aggregation_strategy", "none", NULL),
    API_REFUSE("src_lang", "", NULL),
    API_REFUSE("tgt_lang", "", NULL),
    API_REFUSE("targets", "[]", NULL),
    API_REFUSE("messages", "[]", "POST /v1/chat/completions answers messages"),
};
const struct api_known_table api_known_everywhere = API_TABLE(everywhere, NULL);

static const struct api_known jobs[] = {
    API_READ("truncate"),    API_READ("truncation_direction"),   API_READ("priority"),
    API_READ("prompt_name"), API_SAME("truncation", "truncate"),
};
const struct api_known_table api_known_jobs = API_TABLE(jobs, &api_known_everywhere);

// Parts of names that tell of a changed answer, whatever service the name comes from. Compared
// without case and without what joins the words of a name.
static const char *const telling[] = {
    "dimension",  "dtype",           "pooling",      "normaliz",     "truncat",
    "chunk",      "overlap",         "instruct",     "prompt",       "quantiz",
    "quantis",    "precision",       "activation",   "softmax",      "sigmoid",
    "sparse",     "colbert",         "multivector",  "threshold",    "minscore",
    "maxlength",  "doclength",       "querylength",  "specialtoken", "interaction",
    "matryoshka", "embeddim",        "embeddingdim", "outputdim",    "embeddingsize",
    "vectorsize", "embeddingformat", "outputformat", "kwargs",       "extrabody",
    "textprefix", "textsuffix",      "lowercase",
};
static const char telling_harmless[] = "false|0||[]|{}|float";

static const struct api_known *find_row(const struct api_known_table *table, const char *name) {
    for (; table; table = table->next)
        for (size_t i = 0; i < table->count; i++)
            if (strcmp(table->rows[i].name, name) == 0)
                return &table->rows[i];
    return NULL;
}

static bool has_telling_name(const char *name) {
    char plain[64];
    size_t n = 0;
    for (; *name && n + 1 < sizeof plain; name++) {
        if (*name >= 'A' && *name <= 'Z')
            plain[n++] = (char)(*name - 'A' + 'a');
        else if (*name != '_' && *name != '-' && *name != '.')
            plain[n++] = *name;
    }
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (strstr(plain, telling[i]))
            return true;
    return false;
}

static bool is_value(const cJSON *item, const char *word, size_t len) {
    char text[64];
    if (len >= sizeof text)
        return false;
    memcpy(text, word, len);
    text[len] = '\0';
    if (cJSON_IsBool(item))
        return strcmp(text, cJSON_IsTrue(item) ? "true" : "false") == 0;
    if (cJSON_IsNumber(item)) {
        char *end;
        double value = strtod(text, &end);
        return end != text && !*end && item->valuedouble <= value && item->valuedouble >= value;
    }
    if (cJSON_IsString(item))
        return strcmp(text, item->valuestring) == 0;
    const cJSON *only =
        cJSON_IsArray(item) && item->child && !item->child->next ? item->child : NULL;
    if (only && cJSON_IsString(only)) { // a list of one word
        size_t n = strlen(only->valuestring);
        return len == n + 2 && *text == '[' && text[n + 1] == ']' &&
               memcmp(text + 1, only->valuestring, n) == 0;
    }
    return !item->child && strcmp(text, cJSON_IsArray(item) ? "[]" : "{}") == 0;
}

static bool is_harmless(const cJSON *item, const char *words) {
    for (;; words++) {
        size_t n = strcspn(words, "|");
        if (is_value(item, words, n))
            return true;
        words += n;
        if (!*words)
            return false;
    }
}

// "", [] and {} ask for nothing, whatever the name.
static bool is_empty(const cJSON *item) {
    return (cJSON_IsString(item) && !*item->valuestring) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static enum err refuse(const char *name, const char *harmless, const char *instead,
                       struct api_error *err) {
    err->status = 400;
    const char *shown = api_shown_name(name);
    if (shown != name && !harmless)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", NULL,
                        "the body has a parameter that is not supported here");
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", shown == name ? name : NULL,
                    "'%s' %s%s%s", shown,
                    harmless ? "with this value would change the answer, and this route does not "
                               "support it"
                             : "is not a parameter that is supported here",
                    instead ? "; " : "", instead ? instead : "");
}

// Of integers that doubles would round what is spelled counts.
static bool is_same(const struct api_request *q, const cJSON *a, const cJSON *b) {
    if (!cJSON_Compare(a, b, true))
        return false;
    if (!cJSON_IsNumber(a) || !q->tree || fabs(a->valuedouble) < 9007199254740992.0)
        return true;
    const struct json_node *root = json_tree_root(q->tree), *x = json_node_get(root, a->string),
                           *y = json_node_get(root, b->string);
    return !x || !y || (x->len == y->len && memcmp(x->text, y->text, x->len) == 0);
}

// A member that is read: what is sent for it elsewhere, under another name or outside of
// `parameters`, has no other value.
static enum err check_twin(struct api_request *q, const struct api_known *row, const cJSON *item,
                           bool nested, struct api_error *err) {
    const char *name;
    q->renamed = q->renamed || row->means;
    const cJSON *first = api_sent(q, row->means ? row->means : row->name, &name);
    if (!first || first == item || is_same(q, first, item))
        return ERR_OK;
    err->status = 400;
    return api_fail(err, ERR_INVALID, "invalid_value", name,
                    "'%s' and '%s%s' mean the same and have two values; send one", name,
                    nested ? "parameters." : "", row->name);
}

// unused: how many are taken and change nothing.
static enum err check_item(struct api_request *q, const cJSON *item, bool nested, size_t *unused,
                           struct api_error *err) {
    const struct api_known *row = find_row(q->known, item->string);
    if (cJSON_IsNull(item) || (row && row->fate == API_TAKEN && !nested))
        return ERR_OK;
    if (row && (row->means || row->fate == API_TAKEN))
        return check_twin(q, row, item, nested, err);
    bool closed = q->known->closed, told = row && row->fate == API_NO_EFFECT;
    const char *harmless = row ? row->harmless : closed ? NULL : telling_harmless;
    bool refused = row ? row->fate == API_REFUSED : closed || has_telling_name(item->string);
    if (refused && !(harmless && is_harmless(item, harmless))) {
        if (!closed || !is_empty(item))
            return refuse(item->string, harmless, row ? row->instead : NULL, err);
        told = true;
    }
    if (told)
        api_ignore(q, "", item->string);
    ++*unused;
    return ERR_OK;
}

enum err api_know(struct api_request *q, const struct api_known_table *table,
                  struct api_error *err) {
    size_t unused = 0;
    const cJSON *nested = find_row(table, "parameters") ? json_get(q->body, "parameters") : NULL;
    if (nested && !cJSON_IsObject(nested))
        return api_fail(err, ERR_INVALID, "wrong_type", "parameters",
                        "'parameters' must be an object");
    q->known = table;
    q->parameters = nested;
    enum err e = ERR_OK;
    for (const cJSON *item = q->body->child; item && !e; item = item->next)
        e = check_item(q, item, false, &unused, err);
    for (const cJSON *item = nested ? nested->child : NULL; item && !e; item = item->next)
        e = check_item(q, item, true, &unused, err);
    if (!e && unused)
        metrics_count_unknown_fields(q->service->metrics, api_route_index(q->route), unused);
    return e;
}

void api_ignore(struct api_request *q, const char *where, const char *name) {
    struct buf *b = &q->ignored;
    size_t begin = b->len;
    buf_printf(b, "%s%s%s", begin ? ", " : "", where, api_shown_name(name));
    // each once, and no more of them than a header shows
    if (b->failed || !begin)
        return;
    const char *added = b->data + begin + 2, *seen = b->data;
    size_t n = b->len - begin - 2;
    bool again = begin > 400;
    for (; !again && seen < b->data + begin; seen += strcspn(seen, ",") + 2)
        again = strncmp(seen, added, n) == 0 && seen[n] == ',';
    if (again) {
        b->len = begin;
        b->data[begin] = '\0';
    }
}

// In one object: under its own name, else under another.
static const cJSON *find_in(const struct api_request *q, const cJSON *object, const char *key,
                            const char **name) {
    const cJSON *item = json_get(object, key);
    *name = key;
    const struct api_known_table *t = q->renamed ? q->known : NULL;
    for (; t && !item; t = t->next) {
        for (size_t i = 0; i < t->count && !item; i++) {
            if (!t->rows[i].means || strcmp(t->rows[i].means, key) != 0)
                continue;
            item = json_get(object, t->rows[i].name);
            *name = item ? t->rows[i].name : key;
        }
    }
    return item;
}

const cJSON *api_sent(const struct api_request *q, const char *key, const char **name) {
    const char *own;
    const cJSON *item = find_in(q, q->body, key, &own);
    if (!item && q->parameters)
        item = find_in(q, q->parameters, key, &own);
    if (name)
        *name = own;
    return item;
}
