// See inputs.h.
#include "service/api/inputs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct api_place api_place(const char *field, bool alone, size_t at) {
    struct api_place p;
    if (alone)
        snprintf(p.text, sizeof p.text, "%s", field);
    else
        snprintf(p.text, sizeof p.text, "%s[%zu]", field, at);
    return p;
}

static enum err too_many(struct api_error *err, const char *name, size_t count, size_t max) {
    return api_fail(err, ERR_INVALID, "too_many_inputs", name,
                    "'%s' holds %zu inputs, at most %zu are allowed in a request", name, count,
                    max);
}

enum err api_empty_input(struct api_error *err, const char *name, struct api_place at,
                         const char *what) {
    return api_fail(err, ERR_INVALID, "empty_input", name, "'%s' %s", at.text, what);
}

static enum err check_ids(const struct json_node *list, size_t at, const struct api_inputs *of,
                          struct api_error *err) {
    const char *name = of->name;
    if (!list->child)
        return api_empty_input(err, name, api_place(name, of->single, at),
                               "is an empty list of token ids");
    for (const struct json_node *id = list->child; id; id = id->next) {
        if (!json_is(id, JSON_NUMBER))
            return api_fail(err, ERR_INVALID, "wrong_type", name,
                            "'%s' holds what is no token id: a list within must be of token ids "
                            "only",
                            api_place(name, of->single, at).text);
        double v = id->number;
        if (v < 0 || v != floor(v) || v > INT32_MAX)
            return api_fail(err, ERR_INVALID, "invalid_token_id", name,
                            "'%s' holds %.17g, which is no token id",
                            api_place(name, of->single, at).text, v);
    }
    return ERR_OK;
}

static enum err check_input(const struct json_node *item, size_t at, struct api_inputs *out,
                            struct api_error *err) {
    if (json_is(item, JSON_STRING) && *item->text)
        return ERR_OK;
    if (json_is(item, JSON_ARRAY)) {
        out->has_ids = true;
        return check_ids(item, at, out, err);
    }
    struct api_place place = api_place(out->name, out->single, at);
    if (json_is(item, JSON_STRING))
        return api_empty_input(err, out->name, place, "is an empty string");
    return api_fail(err, ERR_INVALID, "wrong_type", out->name, "'%s' must be a string%s",
                    place.text,
                    out->single ? ", a list of strings, a list of token ids or a list of lists of "
                                  "token ids"
                                : " or a list of token ids");
}

// ---- objects that hold a text

// The text of a member `content`: a string, or a list of strings and of {"type": "text", "text"}.
static bool join_content(const struct json_node *content, struct buf *out) {
    size_t begin = out->len;
    if (json_is(content, JSON_STRING)) {
        buf_puts(out, content->text);
        return true;
    }
    for (const struct json_node *part = json_is(content, JSON_ARRAY) ? content->child : NULL; part;
         part = part->next) {
        const struct json_node *text =
            json_is(part, JSON_OBJECT) ? json_node_value(part, "text") : part;
        if (!text || !json_is(text, JSON_STRING))
            return false;
        if (out->len > begin)
            buf_putc(out, '\n');
        buf_puts(out, text->text);
    }
    return json_is(content, JSON_ARRAY) && content->child;
}

bool api_text_of_object(const struct json_node *object, struct buf *out) {
    const struct json_node *text = json_node_value(object, "text");
    if (text && json_is(text, JSON_STRING)) {
        buf_puts(out, text->text);
        return true;
    }
    return !text && join_content(json_node_value(object, "content"), out);
}

enum err api_inputs_flatten(struct json_tree *tree, const struct json_node *value, const char *name,
                            struct buf *work, struct api_error *err) {
    bool alone = json_is(value, JSON_OBJECT);
    const struct json_node *item = alone ? value : json_is(value, JSON_ARRAY) ? value->child : NULL;
    for (size_t at = 0; item; item = alone ? NULL : item->next, at++) {
        if (!json_is(item, JSON_OBJECT))
            continue;
        buf_reset(work);
        if (!api_text_of_object(item, work))
            return api_fail(err, ERR_INVALID, "wrong_type", name,
                            "'%s' must be a string, or an object with a string 'text' or with "
                            "'content' of text parts; only text is taken",
                            api_place(name, alone, at).text);
        if (work->failed || !json_tree_set_string(tree, item, work->data, work->len))
            return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the texts");
    }
    return ERR_OK;
}

// ---- lists of texts

enum err api_inputs_read(const struct json_node *value, const char *name, size_t max_inputs,
                         struct api_inputs *out, struct api_error *err) {
    *out = (struct api_inputs){.value = value, .name = name};
    if (!value)
        return api_fail(err, ERR_INVALID, "missing_field", name, "'%s' is missing", name);
    if (json_is(value, JSON_ARRAY) && !value->child)
        return api_empty_input(err, name, api_place(name, true, 0), "is an empty list");
    out->single = !json_is(value, JSON_ARRAY) || json_is(value->child, JSON_NUMBER);
    if (out->single) {
        out->count = 1;
        return check_input(value, 0, out, err);
    }
    for (const struct json_node *item = value->child; item; item = item->next)
        out->count++;
    if (out->count > max_inputs)
        return too_many(err, name, out->count, max_inputs);
    size_t at = 0;
    for (const struct json_node *item = value->child; item; item = item->next, at++) {
        enum err e = check_input(item, at, out, err);
        if (e)
            return e;
    }
    return ERR_OK;
}

enum err api_inputs_read_list(const struct json_node *value, const char *name, size_t max_inputs,
                              struct api_inputs *out, struct api_error *err) {
    *out = (struct api_inputs){.value = value, .name = name};
    if (!value)
        return api_fail(err, ERR_INVALID, "missing_field", name, "'%s' is missing", name);
    if (!json_is(value, JSON_ARRAY))
        return api_fail(err, ERR_INVALID, "wrong_type", name, "'%s' must be a list of strings",
                        name);
    if (!value->child)
        return api_empty_input(err, name, api_place(name, true, 0), "is an empty list");
    for (const struct json_node *item = value->child; item; item = item->next)
        out->count++;
    if (out->count > max_inputs)
        return too_many(err, name, out->count, max_inputs);
    size_t at = 0;
    for (const struct json_node *item = value->child; item; item = item->next, at++) {
        if (!json_is(item, JSON_STRING))
            return api_fail(err, ERR_INVALID, "wrong_type", name, "'%s' must be a string",
                            api_place(name, false, at).text);
        if (!*item->text)
            return api_empty_input(err, name, api_place(name, false, at), "is an empty string");
    }
    return ERR_OK;
}
