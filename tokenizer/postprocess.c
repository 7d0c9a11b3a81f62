// See postprocess.h.
#include "tokenizer/postprocess.h"

#include "base/mem.h"
#include "tokenizer/vocab.h"

#include <string.h>

static enum err push(struct postprocess_template *t, struct postprocess_piece piece,
                     struct errmsg *msg) {
    struct postprocess_piece *pieces = mem_realloc(t->pieces, t->count + 1, sizeof *pieces);
    if (!pieces)
        return err_set(msg, ERR_NOMEM, "no memory for the post_processor");
    t->pieces = pieces;
    t->pieces[t->count++] = piece;
    t->special += piece.what == TEMPLATE_TOKEN;
    return ERR_OK;
}

static enum err fill(struct postprocess_template *t, const struct postprocess_piece *pieces,
                     size_t count, struct errmsg *msg) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && !e; i++)
        e = push(t, pieces[i], msg);
    return e;
}

// The ids that the special token `name` stands for.
static enum err push_special(const cJSON *specials, const char *name, int32_t type_id,
                             struct postprocess_template *t, struct errmsg *msg) {
    const cJSON *ids = json_get(json_get(specials, name), "ids"), *item;
    if (!cJSON_IsArray(ids))
        return err_set(msg, ERR_INVALID, "special token '%s' of the template has no 'ids'", name);
    cJSON_ArrayForEach(item, ids) {
        double id = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(id >= 0 && id <= VOCAB_ID_MAX) || id != (int32_t)id)
            return err_set(msg, ERR_INVALID, "special token '%s' of the template: bad id", name);
        enum err e = push(t, (struct postprocess_piece){TEMPLATE_TOKEN, (int32_t)id, type_id}, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err parse_piece(const cJSON *item, const cJSON *specials,
                            struct postprocess_template *t, struct errmsg *msg) {
    const cJSON *sequence = json_get(item, "Sequence");
    const cJSON *body = sequence ? sequence : json_get(item, "SpecialToken");
    const char *id = NULL;
    int64_t type_id = -1;
    enum err e = json_get_string(body, "id", NULL, &id, msg);
    if (!e)
        e = json_get_int(body, "type_id", 0, 1, -1, &type_id, msg);
    if (e)
        return e;
    if (!id || type_id < 0)
        return err_set(msg, ERR_INVALID, "template piece without 'id' and 'type_id'");
    if (!sequence)
        return push_special(specials, id, (int32_t)type_id, t, msg);
    if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
        return err_set(msg, ERR_INVALID, "template sequence '%s' is neither A nor B", id);
    enum postprocess_what what = *id == 'A' ? TEMPLATE_FIRST : TEMPLATE_SECOND;
    return push(t, (struct postprocess_piece){what, 0, (int32_t)type_id}, msg);
}

static enum err parse_template(const cJSON *json, const char *key, struct postprocess_template *t,
                               struct errmsg *msg) {
    const cJSON *list = json_get(json, key), *item;
    if (!cJSON_IsArray(list))
        return err_set(msg, ERR_INVALID, "TemplateProcessing needs '%s'", key);
    cJSON_ArrayForEach(item, list) {
        enum err e = parse_piece(item, json_get(json, "special_tokens"), t, msg);
        if (e)
            return e;
    }
    size_t seen[3] = {0};
    for (size_t i = 0; i < t->count; i++)
        seen[t->pieces[i].what]++;
    size_t second = strcmp(key, "pair") == 0;
    if (seen[TEMPLATE_FIRST] != 1 || seen[TEMPLATE_SECOND] != second)
        return err_set(msg, ERR_UNSUPPORTED, "template '%s' must hold %s once and nothing twice",
                       key, second ? "A and B" : "A");
    return ERR_OK;
}

// ["[SEP]", 102]
static enum err parse_named_id(const cJSON *json, const char *key, int32_t *id,
                               struct errmsg *msg) {
    const cJSON *item = cJSON_GetArrayItem(json_get(json, key), 1);
    double v = item ? item->valuedouble : -1;
    if (!cJSON_IsNumber(item) || !(v >= 0 && v <= VOCAB_ID_MAX) || v != (int32_t)v)
        return err_set(msg, ERR_INVALID, "'%s' must be a token and its id", key);
    *id = (int32_t)v;
    return ERR_OK;
}

static enum err parse_trimming(const cJSON *json, struct postprocess *out, struct errmsg *msg) {
    enum err e = json_get_bool(json, "trim_offsets", true, &out->trim_offsets, msg);
    return e ? e : json_get_bool(json, "add_prefix_space", true, &out->add_prefix_space, msg);
}

static enum err parse_bert(const cJSON *json, bool roberta, struct postprocess *out,
                           struct errmsg *msg) {
    int32_t cls = 0, sep = 0, second = roberta ? 0 : 1;
    enum err e = parse_named_id(json, "cls", &cls, msg);
    if (!e)
        e = parse_named_id(json, "sep", &sep, msg);
    if (!e && roberta)
        e = parse_trimming(json, out, msg);
    if (e)
        return e;
    struct postprocess_piece before = {TEMPLATE_TOKEN, cls, 0}, after = {TEMPLATE_TOKEN, sep, 0};
    struct postprocess_piece a = {TEMPLATE_FIRST, 0, 0}, b = {TEMPLATE_SECOND, 0, second};
    struct postprocess_piece end = {TEMPLATE_TOKEN, sep, second};
    struct postprocess_piece single[] = {before, a, after};
    struct postprocess_piece bert[] = {before, a, after, b, end};
    struct postprocess_piece rob[] = {before, a, after, after, b, end};
    e = fill(&out->single, single, 3, msg);
    return e ? e : fill(&out->pair, roberta ? rob : bert, roberta ? 6 : 5, msg);
}

static enum err parse_any(const cJSON *json, struct postprocess *out, struct errmsg *msg) {
    const char *type;
    enum err e = json_get_string(json, "type", NULL, &type, msg);
    if (e)
        return e;
    if (!type)
        return err_set(msg, ERR_INVALID, "post_processor without a 'type'");
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = json_get(json, "processors"), *item;
        if (!cJSON_IsArray(list))
            return err_set(msg, ERR_INVALID, "Sequence needs 'processors'");
        // JSON depth is at most 64, so nesting is too
        cJSON_ArrayForEach(item, list) {
            if ((e = parse_any(item, out, msg)))
                return e;
        }
        return ERR_OK;
    }
    static const char *const names[] = {"TemplateProcessing", "BertProcessing", "RobertaProcessing",
                                        "ByteLevel"};
    size_t k = 0;
    while (k < 4 && strcmp(names[k], type) != 0)
        k++;
    if (k == 4)
        return err_set(msg, ERR_UNSUPPORTED,
                       "post_processor '%s' is not supported (supported: BertProcessing, "
                       "ByteLevel, RobertaProcessing, Sequence, TemplateProcessing)",
                       type);
    bool byte_level = k == 3, trims = k > 1;
    if (trims && out->trims)
        return err_set(msg, ERR_UNSUPPORTED, "a Sequence of %s and %s is not supported",
                       out->name ? out->name : "ByteLevel", names[k]);
    out->trims |= trims;
    if (byte_level)
        return parse_trimming(json, out, msg);
    if (out->name)
        return err_set(msg, ERR_UNSUPPORTED, "a Sequence of %s and %s is not supported", out->name,
                       names[k]);
    out->name = names[k];
    if (k > 0)
        return parse_bert(json, k == 2, out, msg);
    e = parse_template(json, "single", &out->single, msg);
    return e ? e : parse_template(json, "pair", &out->pair, msg);
}

enum err postprocess_parse(const cJSON *json, struct postprocess *out, struct errmsg *msg) {
    *out = (struct postprocess){0};
    enum err e = json ? parse_any(json, out, msg) : ERR_OK;
    if (e || out->name)
        return e;
    out->name = out->trims ? "ByteLevel" : NULL;
    struct postprocess_piece plain[] = {{TEMPLATE_FIRST, 0, 0}, {TEMPLATE_SECOND, 0, 1}};
    e = fill(&out->single, plain, 1, msg);
    return e ? e : fill(&out->pair, plain, 2, msg);
}

void postprocess_drop_types(struct postprocess *p) {
    for (size_t i = 0; i < p->single.count; i++)
        p->single.pieces[i].type_id = 0;
    for (size_t i = 0; i < p->pair.count; i++)
        p->pair.pieces[i].type_id = 0;
}

void postprocess_free(struct postprocess *p) {
    mem_free(p->single.pieces);
    mem_free(p->pair.pieces);
    *p = (struct postprocess){0};
}
