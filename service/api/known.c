// See api_known.h.
#include "service/api/known.h"

#include "service/api/request.h"
#include "service/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_ELSEWHERE "it holds no texts on this route"
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
    API_REFUSE("return_scores", "true", NULL),
    API_REFUSE("include_scores", "true", NULL),
    API_REFUSE("include_prompt", "true", NULL),
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
    // texts that another route reads by this name, and this one does not
    API_REFUSE("input", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("inputs", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("input_texts", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("texts", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("text", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("sentences", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("documents", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("passages", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("query", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("queries", "|[]", TEXTS_ELSEWHERE),
};
const struct api_known_table api_known_everywhere = API_TABLE(everywhere, NULL);

static const struct api_known jobs[] = {
    API_READ("truncate"),    API_READ("truncation_direction"),   API_READ("priority"),
    API_READ("prompt_name"), API_SAME("truncation", "truncate"),
};
const struct api_known_table api_known_jobs = API_TABLE(jobs, &api_known_everywhere);

// Parts of names that tell of a changed answer, whatever service the name comes from, with the
// values that ask for what is done anyway; "", [] and {} do of all. Compared without case and
// without what joins the words of a name.
#define NOT_ASKED "false|0|float"
static const struct telling {
    const char *part, *harmless;
    bool word; // whole words of the name only: a "model" is no "mode"
} telling[] = {
    // done in any case, so that false asks for another answer; first, as the first part that is
    // found counts
    {"normaliz", "true", false},
    {"normalis", "true", false},
    {"sort", "true|desc", true},
    {"sorted", "true", true},
    // the form of a vector
    {"dimension", NOT_ASKED, false},
    {"dtype", NOT_ASKED, false},
    {"pooling", NOT_ASKED, false},
    {"quantiz", NOT_ASKED, false},
    {"quantis", NOT_ASKED, false},
    {"precision", NOT_ASKED, false},
    {"endian", "little|native", false},
    {"sparse", NOT_ASKED, false},
    {"dense", "true", true},
    {"colbert", NOT_ASKED, false},
    {"multivector", NOT_ASKED, false},
    {"tokenembedding", NOT_ASKED, false},
    {"interaction", NOT_ASKED, false},
    {"matryoshka", NOT_ASKED, false},
    {"embeddim", NOT_ASKED, false},
    {"embeddingdim", NOT_ASKED, false},
    {"outputdim", NOT_ASKED, false},
    {"embeddingsize", NOT_ASKED, false},
    {"vectorsize", NOT_ASKED, false},
    {"embeddingformat", NOT_ASKED, false},
    {"outputformat", NOT_ASKED, false},
    {"outputtype", "float|dense", false},
    {"layer", "", true},
    {"layers", "", true},
    // texts
    {"truncat", NOT_ASKED, false},
    {"chunk", NOT_ASKED, false},
    {"overlap", NOT_ASKED, false},
    {"instruct", NOT_ASKED, false},
    {"prompt", NOT_ASKED, false},
    {"prefix", "", false},
    {"suffix", "", false},
    {"template", "", false},
    {"maxlength", NOT_ASKED, false},
    {"doclength", NOT_ASKED, false},
    {"querylength", NOT_ASKED, false},
    {"seqlen", NOT_ASKED, false},
    {"maxtokens", NOT_ASKED, false},
    {"inputtokens", NOT_ASKED, false},
    {"specialtoken", NOT_ASKED, false},
    {"lowercase", "", false},
    {"image", "", true},
    {"images", "", true},
    {"video", "", true},
    {"videos", "", true},
    {"audio", "", true},
    // scores, and which of them are answered
    {"activation", "", false},
    {"softmax", "", false},
    {"sigmoid", "", false},
    {"function", "", true},
    {"problemtype", "", false},
    {"threshold", NOT_ASKED, false},
    {"cutoff", NOT_ASKED, false},
    {"minscore", NOT_ASKED, false},
    {"score", NOT_ASKED, true},
    {"scores", NOT_ASKED, true},
    {"logits", NOT_ASKED, true},
    {"raw", NOT_ASKED, true},
    {"metric", "cosine|cos", true},
    {"similarity", "cosine|cos", true},
    {"filter", "", true},
    {"filters", "", true},
    // another model, or whatever
    {"lora", "", true},
    {"adapter", "", true},
    {"downstream", "", false},
    {"mode", "", true},
    {"kwargs", NOT_ASKED, false},
    {"extrabody", NOT_ASKED, false},
};
enum { MOST_TELLING = 64 }; // bytes of a name that are looked at
// What holds parameters in the bodies of other services, as a word of its name.
static const char *const holders[] = {"parameters", "params", "options", "config", "settings"};

static const struct api_known *find_row(const struct api_known_table *table, const char *name) {
    for (; table; table = table->next)
        for (size_t i = 0; i < table->count; i++)
            if (strcmp(table->rows[i].name, name) == 0)
                return &table->rows[i];
    return NULL;
}

static bool is_joint(char c) { return c == '_' || c == '-' || c == '.' || c == ' '; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

// Whether two names differ in case and in what joins their words at most.
static bool is_spelling_of(const char *a, const char *b) {
    for (;; a++, b++) {
        while (is_joint(*a))
            a++;
        while (is_joint(*b))
            b++;
        if (lower(*a) != lower(*b))
            return false;
        if (!*a)
            return true;
    }
}

// The row of a name that is another spelling (camelCase, dashes) of the row's.
static const struct api_known *find_spelling(const struct api_known_table *table,
                                             const char *name) {
    for (; table; table = table->next)
        for (size_t i = 0; i < table->count; i++)
            if (is_spelling_of(table->rows[i].name, name))
                return &table->rows[i];
    return NULL;
}

// A word begins behind what joins, and with a capital behind a small letter or a digit.
static bool begins_word(const char *name, size_t i) {
    bool capital = name[i] >= 'A' && name[i] <= 'Z';
    return i == 0 || is_joint(name[i - 1]) ||
           (capital && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z'));
}

// Whether the name's part from `at` on is `part`, and where that ends.
static bool part_at(const char *name, size_t at, const char *part, size_t *end) {
    for (; *part; at++) {
        if (is_joint(name[at]))
            continue;
        if (lower(name[at]) != *part++)
            return false;
    }
    *end = at;
    return true;
}

static bool has_part(const char *name, const char *part, bool word) {
    for (size_t i = 0, end; i < MOST_TELLING && name[i]; i++) {
        if (is_joint(name[i]) || (word && !begins_word(name, i)))
            continue;
        if (part_at(name, i, part, &end) &&
            (!word || !name[end] || is_joint(name[end]) || begins_word(name, end)))
            return true;
    }
    return false;
}

// What the name tells of; NULL: nothing.
static const struct telling *find_telling(const char *name) {
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (has_part(name, telling[i].part, telling[i].word))
            return &telling[i];
    return NULL;
}

static bool is_holder(const char *name) {
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++)
        if (has_part(name, holders[i], true))
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

// Whether a route has nothing to do without it.
static bool is_subject(const char *name) {
    static const char *const names[] = {"input", "inputs", "texts", "query", "documents", "ids"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

// A known member by another spelling of its name, which is not read so: by which it is.
static enum err refuse_spelling(const struct api_request *q, const char *name,
                                const struct api_known *row, struct api_error *err) {
    const char *shown = api_shown_name(name);
    if (is_subject(row->name) && !api_sent(q, row->name, NULL))
        return api_fail(err, ERR_INVALID, "missing_field", row->name,
                        "'%s' is missing; '%s' is not read here", row->name, shown);
    err->status = 400;
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", shown == name ? name : NULL,
                    "'%s' is not read here; send \"%s\"", shown, row->name);
}

// An object that no route reads is looked into for what would be read, or refused, outside of it.
static enum err check_holder(const struct api_request *q, const cJSON *holder,
                             struct api_error *err) {
    for (const cJSON *item = holder->child; item; item = item->next) {
        const struct api_known *row = find_row(q->known, item->string);
        row = row ? row : find_spelling(q->known, item->string);
        const struct telling *t = row ? NULL : find_telling(item->string);
        bool read = row && (row->means || row->fate == API_TAKEN);
        bool counts = read || t || (row && row->fate == API_REFUSED);
        const char *harmless = row ? row->harmless : t ? t->harmless : NULL;
        if (!counts || cJSON_IsNull(item) || is_empty(item) ||
            (harmless && is_harmless(item, harmless)))
            continue;
        err->status = 400;
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter",
                        api_shown_name(holder->string) == holder->string ? holder->string : NULL,
                        "'%s' has '%s', which is not read there; %s",
                        api_shown_name(holder->string), api_shown_name(item->string),
                        read ? "send it beside your texts" : "it would change the answer");
    }
    return ERR_OK;
}

// A member that no table of an open route has: by what its name tells.
static enum err check_unknown(const struct api_request *q, const cJSON *item, bool nested,
                              struct api_error *err) {
    const struct telling *t = find_telling(item->string);
    if (is_empty(item))
        return ERR_OK;
    if (t && !is_harmless(item, t->harmless))
        return refuse(item->string, t->harmless, NULL, err);
    return cJSON_IsObject(item) && !nested && is_holder(item->string) ? check_holder(q, item, err)
                                                                      : ERR_OK;
}

// unused: how many are taken and change nothing.
static enum err check_item(struct api_request *q, const cJSON *item, bool nested, size_t *unused,
                           struct api_error *err) {
    const struct api_known *row = find_row(q->known, item->string);
    if (cJSON_IsNull(item) || (row && row->fate == API_TAKEN && !nested))
        return ERR_OK;
    if (row && (row->means || row->fate == API_TAKEN))
        return check_twin(q, row, item, nested, err);
    bool closed = q->known->closed;
    if (!row && !closed) {
        row = find_spelling(q->known, item->string);
        if (row && (row->means || row->fate == API_TAKEN)) {
            if (!is_empty(item))
                return refuse_spelling(q, item->string, row, err);
            row = NULL;
        }
    }
    bool told = row && row->fate == API_NO_EFFECT;
    bool refused = row ? row->fate == API_REFUSED : closed;
    if (!row && !closed) {
        enum err e = check_unknown(q, item, nested, err);
        if (e)
            return e;
    }
    if (refused && !(row && row->harmless && is_harmless(item, row->harmless))) {
        if (!closed || !is_empty(item))
            return refuse(item->string, row ? row->harmless : NULL, row ? row->instead : NULL, err);
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
