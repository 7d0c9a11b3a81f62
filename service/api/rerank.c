// See rerank.h. One job of (query, document) pairs; a model without a head embeds the query and
// the documents instead, and the answer says so.
#include "service/api/rerank.h"

#include "base/json_text.h"
#include "base/mem.h"
#include "engine/pair.h"
#include "engine/prompt.h"
#include "service/api/scores.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RANK_FIELDS = 16 };
enum shape { SHAPE_UNION, SHAPE_COHERE_V2, SHAPE_TEI, SHAPE_WEAVIATE };

struct document {
    const struct json_node *source;
    struct text text; // borrowed from the body, or from q->made
    size_t made_at;   // where it begins in q->made; SIZE_MAX: it is borrowed from the body
};

struct rank {
    float logit;
    size_t index;
};

struct rerank {
    enum shape shape;
    size_t n, top_n;
    bool raw, return_text, by_embedding;
    struct rank *ranks;          // [n], behind the documents in the same block
    struct document documents[]; // [n]
};

// ---- answers

static int by_rank(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static void read_results(struct api_request *q, struct rerank *r) {
    size_t dim = q->model->dim;
    for (size_t i = 0; i < r->n; i++) {
        const float *rows = q->job.out;
        float score = rows[i * dim]; // a reranker's row is its one logit
        if (r->by_embedding)         // row 0 is the query's vector; all are normalised
            score = api_dot(rows, rows + (i + 1) * dim, dim);
        r->ranks[i] = (struct rank){score, i};
    }
}

static void put_score(struct buf *out, const struct rerank *r, float logit) {
    api_score_print(out, r->raw || r->by_embedding ? logit : api_sigmoid(logit));
}

// The document as it was sent: a string as {"text": ...}, an object as itself.
static void put_document(struct buf *out, const struct document *d) {
    if (json_is(d->source, JSON_STRING)) {
        buf_puts(out, "{\"text\":");
        json_quote(out, d->text.bytes, d->text.len);
        buf_putc(out, '}');
        return;
    }
    json_node_print(out, d->source);
}

static void put_tei(struct api_request *q, const struct rerank *r) {
    struct buf *out = &q->response.body;
    buf_putc(out, '[');
    for (size_t i = 0; i < r->top_n; i++) {
        const struct document *d = &r->documents[r->ranks[i].index];
        buf_printf(out, "%s{\"index\":%zu,", i ? "," : "", r->ranks[i].index);
        if (r->return_text) {
            buf_puts(out, "\"text\":");
            json_quote(out, d->text.bytes, d->text.len);
            buf_putc(out, ',');
        }
        buf_puts(out, "\"score\":");
        put_score(out, r, r->ranks[i].logit);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

// Weaviate joins its objects and these scores by their order, which is the request's.
static void put_weaviate(struct api_request *q, const struct rerank *r) {
    struct buf *out = &q->response.body;
    buf_puts(out, "{\"scores\":[");
    for (size_t i = 0; i < r->n; i++) {
        buf_puts(out, i ? ",{\"document\":" : "{\"document\":");
        json_quote(out, r->documents[i].text.bytes, r->documents[i].text.len);
        buf_puts(out, ",\"score\":");
        put_score(out, r, r->ranks[i].logit);
        buf_putc(out, '}');
    }
    buf_puts(out, "]}");
}

static void put_meta(struct api_request *q, const struct rerank *r) {
    struct buf *out = &q->response.body;
    // Cohere bills a search unit for each 100 documents
    buf_printf(out,
               ",\"meta\":{\"api_version\":{\"version\":\"%s\"},\"billed_units\":"
               "{\"search_units\":%zu},\"tokens\":{\"input_tokens\":%zu}",
               r->shape == SHAPE_COHERE_V2 ? "2" : "1", (r->n + 99) / 100, q->tokens);
    if (q->cut)
        buf_printf(out,
                   ",\"warnings\":[\"documents that were longer than the model takes and were "
                   "truncated: %zu\"]",
                   q->cut);
    buf_putc(out, '}');
}

static enum err render(struct api_request *q, struct api_error *err) {
    (void)err;
    struct rerank *r = q->state;
    struct buf *out = &q->response.body;
    read_results(q, r);
    if (r->shape == SHAPE_WEAVIATE) {
        put_weaviate(q, r);
        return ERR_OK;
    }
    qsort(r->ranks, r->n, sizeof *r->ranks, by_rank);
    if (r->shape == SHAPE_TEI) {
        put_tei(q, r);
        return ERR_OK;
    }
    buf_puts(out, "{\"id\":");
    json_quote(out, q->http->id, strlen(q->http->id));
    if (r->shape == SHAPE_UNION) {
        buf_puts(out, ",\"model\":");
        json_quote(out, q->model->name, strlen(q->model->name));
    }
    buf_puts(out, ",\"results\":[");
    for (size_t i = 0; i < r->top_n; i++) {
        buf_printf(out, "%s{\"index\":%zu,\"relevance_score\":", i ? "," : "", r->ranks[i].index);
        put_score(out, r, r->ranks[i].logit);
        if (r->return_text) {
            buf_puts(out, ",\"document\":");
            put_document(out, &r->documents[r->ranks[i].index]);
        }
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    if (r->by_embedding)
        buf_puts(out, ",\"method\":\"embedding\"");
    if (r->shape == SHAPE_UNION)
        buf_printf(out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}", q->tokens,
                   q->tokens);
    put_meta(q, r);
    buf_putc(out, '}');
    return ERR_OK;
}

// ---- requests

// An object's text: as api_text_of_object has it, or its rank_fields that are strings. One field
// stands alone, several as "name: value" lines, the form that Cohere's guides give structured
// documents.
static enum err make_text(struct api_request *q, struct document *d, const struct json_node *fields,
                          struct api_place at, struct api_error *err) {
    size_t found = 0;
    d->made_at = q->made.len;
    if (!fields && !api_text_of_object(d->source, &q->made))
        return api_fail(err, ERR_INVALID, "missing_field", "documents",
                        "'%s' must be a string, or an object with a string 'text' or with "
                        "'content' of text parts",
                        at.text);
    for (const struct json_node *f = fields ? fields->child : NULL; f; f = f->next) {
        const struct json_node *value = json_node_value(d->source, f->text);
        if (!value)
            continue;
        if (!json_is(value, JSON_STRING))
            return api_fail(err, ERR_INVALID, "wrong_type", "documents",
                            "'%s' has a ranked field that is not a string", at.text);
        if (fields->count > 1)
            buf_printf(&q->made, "%s%s: ", found ? "\n" : "", f->text);
        buf_puts(&q->made, value->text);
        found++;
    }
    if (fields && !found)
        return api_fail(err, ERR_INVALID, "missing_field", "documents",
                        "'%s' is an object without any of 'rank_fields'", at.text);
    if (q->made.failed)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the documents' texts");
    d->text.len = q->made.len - d->made_at;
    return ERR_OK;
}

// An empty document is scored as any other: the row that it stands for is there.
static enum err read_document(struct api_request *q, struct document *d, size_t at, const char *key,
                              bool objects, const struct json_node *fields, struct api_error *err) {
    d->made_at = SIZE_MAX;
    if (json_is(d->source, JSON_STRING)) {
        d->text = (struct text){d->source->text, strlen(d->source->text)};
        return ERR_OK;
    }
    struct api_place place = api_place(key, false, at);
    if (objects && json_is(d->source, JSON_OBJECT))
        return make_text(q, d, fields, place, err);
    return api_fail(err, ERR_INVALID, "wrong_type", key, "'%s' must be a string%s", place.text,
                    objects ? " or an object with a 'text'" : "");
}

static enum err read_rank_fields(const struct api_request *q, const struct json_node **fields,
                                 struct api_error *err) {
    *fields = api_value(q, "rank_fields");
    bool good = !*fields || (json_is(*fields, JSON_ARRAY) && (*fields)->child);
    if (good && *fields && (*fields)->count > MAX_RANK_FIELDS)
        return api_fail(err, ERR_INVALID, "too_many_inputs", "rank_fields",
                        "'rank_fields' may hold at most %d names", MAX_RANK_FIELDS);
    for (const struct json_node *f = *fields && good ? (*fields)->child : NULL; f; f = f->next)
        good = good && json_is(f, JSON_STRING);
    if (good)
        return ERR_OK;
    return api_fail(err, ERR_INVALID, "wrong_type", "rank_fields",
                    "'rank_fields' must be a list of strings");
}

// Makes q->state with the documents' texts.
static enum err read_documents(struct api_request *q, const char *key, bool objects,
                               struct api_error *err) {
    const struct json_node *list = api_value(q, key), *fields;
    enum err e = read_rank_fields(q, &fields, err);
    if (e)
        return e;
    if (!list)
        return api_fail(err, ERR_INVALID, "missing_field", key, "'%s' is missing", key);
    if (!json_is(list, JSON_ARRAY))
        return api_fail(err, ERR_INVALID, "wrong_type", key, "'%s' must be a list", key);
    size_t n = list->count, most = q->service->options.max_client_batch;
    if (n == 0)
        return api_fail(err, ERR_INVALID, "empty_input", key, "'%s' is an empty list", key);
    if (n > most)
        return api_fail(err, ERR_INVALID, "too_many_inputs", key,
                        "'%s' holds %zu texts, at most %zu are allowed in a request", key, n, most);
    const size_t each = sizeof(struct document) + sizeof(struct rank);
    struct rerank *r =
        n > (SIZE_MAX - sizeof *r) / each ? NULL : mem_calloc(1, sizeof *r + n * each);
    q->state = r;
    if (!r)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for %zu documents", n);
    r->n = n;
    r->ranks = (struct rank *)(void *)(r->documents + n);
    size_t i = 0;
    for (const struct json_node *item = list->child; item && !e; item = item->next, i++) {
        r->documents[i].source = item;
        e = read_document(q, &r->documents[i], i, key, objects, fields, err);
    }
    for (i = 0; i < n && !e; i++) // only now does q->made stand still
        if (r->documents[i].made_at != SIZE_MAX)
            r->documents[i].text.bytes = q->made.data ? q->made.data + r->documents[i].made_at : "";
    return e;
}

static enum err encode_vectors(struct api_request *q, struct text query, const struct text *texts,
                               size_t n, const struct api_pair_rules *pair, struct api_texts *s,
                               struct api_error *err) {
    struct api_text_rules rules = {
        .model = q->model, .prompt = pair->prompt, .field = "query", .alone = true};
    enum err e = api_texts_reserve(s, n + 1, err);
    if (!e)
        e = api_texts_encode_one(q->worker, query, NULL, 0, &rules, s, err);
    if (e == ERR_INVALID)
        err->param = "query";
    if (e)
        return e;
    rules.field = pair->field;
    rules.alone = false;
    rules.prompt = prompt_for_document(q->model);
    rules.truncate = pair->truncate;
    rules.side = pair->side;
    // a document's own tokens, as for a reranker; a prompt counts as part of it
    rules.max_length = pair->max_document + tokenizer_special_count(q->model->tokenizer, false);
    return api_texts_encode_all(q->worker, texts, n, &rules, s, err);
}

static enum err encode(struct api_request *q, struct text query, const struct api_pair_rules *rules,
                       struct api_texts *s, struct api_error *err) {
    const struct rerank *r = q->state;
    struct text *texts = mem_alloc(r->n, sizeof *texts);
    if (!texts)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the documents");
    for (size_t i = 0; i < r->n; i++)
        texts[i] = r->documents[i].text;
    enum err e = r->by_embedding
                     ? encode_vectors(q, query, texts, r->n, rules, s, err)
                     : api_texts_encode_pairs(q->worker, query, texts, r->n, rules, s, err);
    mem_free(texts);
    return e;
}

// What goes before the query: of an embedder the prompt that it keeps for queries.
static enum err choose_prompt(const struct api_request *q, const char **prompt,
                              struct api_error *err) {
    bool named;
    enum err e = api_choose_named_prompt(q, prompt, &named, err);
    if (!e && !named && q->model->task == TASK_EMBED)
        *prompt = prompt_for_query(q->model);
    return e;
}

// Whether scores are logits; `normalize` says so too.
static enum err read_raw(const struct api_request *q, bool *raw, struct api_error *err) {
    bool normalize = true;
    enum err e = api_get_raw(q, raw, err);
    if (!e)
        e = api_get_bool(q, "normalize", true, &normalize, err);
    *raw = !e && (*raw || !normalize);
    return e;
}

static enum err read_numbers(const struct api_request *q, struct rerank *r,
                             struct api_pair_rules *rules, struct api_error *err) {
    int64_t top_n, max_document;
    enum err e = api_get_truncate(q, true, &rules->truncate, &rules->side, err);
    if (!e)
        e = api_get_int(q, "top_n", 0, INT32_MAX, 0, &top_n, err);
    if (!e)
        e = api_get_int(q, "max_tokens_per_doc", 1, INT32_MAX, 4096, &max_document, err);
    if (!e)
        e = read_raw(q, &r->raw, err);
    if (e)
        return e;
    rules->max_document = (size_t)max_document;
    r->top_n = top_n && (size_t)top_n < r->n ? (size_t)top_n : r->n; // 0: all
    return ERR_OK;
}

static enum err read_query(struct api_request *q, struct text *out, struct api_error *err) {
    enum err e = api_inputs_flatten(q->body.tree, api_value(q, "query"), "query", &q->made, err);
    if (e)
        return e;
    const struct json_node *query = api_value(q, "query");
    if (!query || !json_is(query, JSON_STRING))
        return api_fail(err, ERR_INVALID, query ? "wrong_type" : "missing_field", "query",
                        query ? "'query' must be a string" : "'query' is missing");
    if (!*query->text)
        return api_fail(err, ERR_INVALID, "empty_input", "query", "'query' is empty");
    *out = (struct text){query->text, strlen(query->text)};
    buf_reset(&q->made);
    return ERR_OK;
}

// Weaviate's answer has every document, with its text: what asks for another has no place in it.
static enum err check_weaviate(const struct api_request *q, const struct rerank *r,
                               struct api_error *err) {
    const char *name;
    if (r->top_n < r->n) {
        (void)api_sent(q, "top_n", &name);
        return api_fail(err, ERR_INVALID, "invalid_value", name,
                        "'%s' does not go with 'property', whose answer has every document's score",
                        name);
    }
    if (api_sent(q, "return_documents", &name) && !r->return_text)
        return api_fail(err, ERR_INVALID, "invalid_value", name,
                        "'%s' does not go with 'property', whose answer has the documents", name);
    return ERR_OK;
}

static enum err submit(struct api_request *q, struct text query, const char *key,
                       struct api_error *err) {
    struct rerank *r = q->state;
    struct api_pair_rules rules = {.model = q->model, .field = key};
    r->by_embedding = q->model->task == TASK_EMBED;
    struct api_texts s = {0};
    enum err e = read_numbers(q, r, &rules, err);
    if (!e && r->shape == SHAPE_WEAVIATE)
        e = check_weaviate(q, r, err);
    if (!e)
        e = choose_prompt(q, &rules.prompt, err);
    if (!e)
        e = encode(q, query, &rules, &s, err);
    if (e == ERR_INVALID && !err->param)
        err->param = key;
    if (!e && s.crowded)
        api_warn(q, PAIR_CROWDED, q->model->max_length, s.crowded);
    if (!e)
        e = api_request_set_job(q, &s, r->by_embedding, render, err);
    api_texts_free(&s);
    q->keep_body = r->return_text || r->shape == SHAPE_WEAVIATE;
    return e;
}

static const struct api_member shared[] = {
    API_READ("query"),
    API_READ("top_n"),
    API_READ("max_tokens_per_doc"),
    API_READ("raw_scores"),
    API_READ("use_activation"),
    API_READ("normalize"),
    API_SAME("top_k", "top_n"),
    API_SAME("activation", "use_activation"),
    API_REFUSE("limit", "0", "send \"top_n\""),
    API_REFUSE("num_results", "0", "send \"top_n\""),
    API_REFUSE("max_results", "0", "send \"top_n\""),
    API_REFUSE("top_results", "0", "send \"top_n\""),
    API_IDLE("return_len"), // the answer always says how many tokens there were
};
static const struct api_members shared_table = API_TABLE(shared, &api_members_jobs);

static const struct api_member documents[] = {
    API_READ("documents"),
    API_READ("rank_fields"),
    API_READ("return_documents"),
    API_IDLE("property"), // that it is there marks Weaviate's
    API_SAME("return_text", "return_documents"),
    API_SAME("return_input", "return_documents"),
};
static const struct api_members documents_table = API_TABLE(documents, &shared_table);

static const struct api_member texts[] = {
    API_READ("texts"),
    API_READ("parameters"),
    API_REFUSE("documents", "[]", "send 'texts' or 'documents', not both"),
    API_READ("return_text"),
    API_SAME("return_documents", "return_text"),
    API_SAME("return_input", "return_text"),
};
static const struct api_members texts_table = API_TABLE(texts, &shared_table);

static enum err prepare(struct api_request *q, enum shape shape, struct api_error *err) {
    static const enum model_task order[] = {TASK_RERANK, TASK_EMBED};
    bool tei = shape == SHAPE_TEI, show;
    const char *key = tei ? "texts" : "documents";
    struct text query = {0};
    enum err e = api_know(q, tei ? &texts_table : &documents_table, err);
    if (!e)
        e = api_choose_model(q, order, 2, err);
    if (!e)
        e = read_query(q, &query, err);
    if (!e)
        e = api_get_bool(q, tei ? "return_text" : "return_documents", shape == SHAPE_UNION, &show,
                         err);
    if (!e)
        e = read_documents(q, key, !tei, err);
    struct rerank *r = q->state;
    if (e || !r)
        return e;
    r->shape = shape;
    r->return_text = show;
    return submit(q, query, key, err);
}

enum err api_rerank_v2(struct api_request *q, struct api_error *err) {
    return prepare(q, SHAPE_COHERE_V2, err);
}

enum err api_rerank_tei(struct api_request *q, struct api_error *err) {
    q->dialect = API_DIALECT_TEI;
    return prepare(q, SHAPE_TEI, err);
}

static enum err rerank_weaviate(struct api_request *q, struct api_error *err) {
    q->dialect = API_DIALECT_TEI; // an `error` that is a string
    return prepare(q, SHAPE_WEAVIATE, err);
}

enum err api_rerank_v1(struct api_request *q, struct api_error *err) {
    return api_value(q, "property") ? rerank_weaviate(q, err) : prepare(q, SHAPE_UNION, err);
}

enum err api_rerank_either(struct api_request *q, struct api_error *err) {
    bool of_tei = api_value(q, "texts") != NULL;
    if (of_tei && api_value(q, "documents"))
        return api_fail(
            err, ERR_INVALID, "invalid_value", "documents",
            "'documents' (Cohere's and Jina's) and 'texts' (text-embeddings-inference's) "
            "exclude each other");
    return of_tei ? api_rerank_tei(q, err) : api_rerank_v1(q, err);
}
