// See body.h.
#include "service/api/body.h"

#include "service/api/telling.h"

#include <math.h>
#include <string.h>

enum { MOST_NAME = 64, IGNORED_MOST = 400 }; // bytes of names

const char *api_shown_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && n <= MOST_NAME && name[n] == '\0' ? name : "?";
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
static bool is_same(const struct json_node *a, const struct json_node *b) {
    if (!json_is_same(a, b))
        return false;
    return a->kind != JSON_NUMBER || fabs(a->number) < 9007199254740992.0 ||
           (a->len == b->len && memcmp(a->text, b->text, a->len) == 0);
}

// A member that is read: what is sent for it elsewhere, under another name or outside of
// `parameters`, has no other value.
static enum err check_twin(struct api_body *b, const struct api_member *row,
                           const struct json_node *item, bool nested, struct api_error *err) {
    const char *name;
    b->renamed = b->renamed || row->means;
    const struct json_node *first = api_body_sent(b, row->means ? row->means : row->name, &name);
    if (!first || first == item || is_same(first, item))
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
static enum err refuse_spelling(const struct api_body *b, const char *name,
                                const struct api_member *row, struct api_error *err) {
    const char *shown = api_shown_name(name);
    if (is_subject(row->name) && !api_body_sent(b, row->name, NULL))
        return api_fail(err, ERR_INVALID, "missing_field", row->name,
                        "'%s' is missing; '%s' is not read here", row->name, shown);
    err->status = 400;
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", shown == name ? name : NULL,
                    "'%s' is not read here; send \"%s\"", shown, row->name);
}

// An object that no route reads is looked into for what would be read, or refused, outside of it.
static enum err check_holder(const struct api_body *b, const struct json_node *holder,
                             struct api_error *err) {
    for (const struct json_node *item = holder->child; item; item = item->next) {
        const struct api_member *row = api_member_find(b->members, item->key);
        row = row ? row : api_member_spelled(b->members, item->key);
        const struct api_telling *t = row ? NULL : api_telling_find(item->key);
        bool read = row && (row->means || row->fate == API_TAKEN);
        bool counts = read || t || (row && row->fate == API_REFUSED);
        const char *harmless = row ? row->harmless : t ? t->harmless : NULL;
        if (!counts || json_is(item, JSON_NULL) || json_is_empty(item) ||
            (harmless && api_member_harmless(item, harmless)))
            continue;
        err->status = 400;
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter",
                        api_shown_name(holder->key) == holder->key ? holder->key : NULL,
                        "'%s' has '%s', which is not read there; %s", api_shown_name(holder->key),
                        api_shown_name(item->key),
                        read ? "send it beside your texts" : "it would change the answer");
    }
    return ERR_OK;
}

// A member that no table of an open route has: by what its name tells.
static enum err check_unknown(const struct api_body *b, const struct json_node *item, bool nested,
                              struct api_error *err) {
    const struct api_telling *t = api_telling_find(item->key);
    if (json_is_empty(item))
        return ERR_OK;
    if (t && !api_member_harmless(item, t->harmless))
        return refuse(item->key, t->harmless, NULL, err);
    return json_is(item, JSON_OBJECT) && !nested && api_telling_holder(item->key)
               ? check_holder(b, item, err)
               : ERR_OK;
}

// unused: how many are taken and change nothing.
static enum err check_item(struct api_body *b, const struct json_node *item, bool nested,
                           size_t *unused, struct api_error *err) {
    const struct api_member *row = api_member_find(b->members, item->key);
    if (json_is(item, JSON_NULL) || (row && row->fate == API_TAKEN && !nested))
        return ERR_OK;
    if (row && (row->means || row->fate == API_TAKEN))
        return check_twin(b, row, item, nested, err);
    bool closed = b->members->closed;
    if (!row && !closed) {
        row = api_member_spelled(b->members, item->key);
        if (row && (row->means || row->fate == API_TAKEN)) {
            if (!json_is_empty(item))
                return refuse_spelling(b, item->key, row, err);
            row = NULL;
        }
    }
    bool told = row && row->fate == API_NO_EFFECT;
    bool refused = row ? row->fate == API_REFUSED : closed;
    if (!row && !closed) {
        enum err e = check_unknown(b, item, nested, err);
        if (e)
            return e;
    }
    if (refused && !(row && row->harmless && api_member_harmless(item, row->harmless))) {
        if (!closed || !json_is_empty(item))
            return refuse(item->key, row ? row->harmless : NULL, row ? row->instead : NULL, err);
        told = true;
    }
    if (told)
        api_body_ignore(b, "", item->key);
    ++*unused;
    return ERR_OK;
}

enum err api_body_check(struct api_body *b, const struct api_members *table, size_t *unused,
                        struct api_error *err) {
    *unused = 0;
    const struct json_node *nested =
        api_member_find(table, "parameters") ? json_node_value(b->root, "parameters") : NULL;
    if (nested && !json_is(nested, JSON_OBJECT))
        return api_fail(err, ERR_INVALID, "wrong_type", "parameters",
                        "'parameters' must be an object");
    b->members = table;
    b->parameters = nested;
    enum err e = ERR_OK;
    for (const struct json_node *item = b->root->child; item && !e; item = item->next)
        e = check_item(b, item, false, unused, err);
    for (const struct json_node *item = nested ? nested->child : NULL; item && !e;
         item = item->next)
        e = check_item(b, item, true, unused, err);
    return e;
}

void api_body_ignore(struct api_body *body, const char *where, const char *name) {
    struct buf *b = &body->ignored;
    size_t begin = b->len;
    buf_printf(b, "%s%s%s", begin ? ", " : "", where, api_shown_name(name));
    // each once, and no more of them than a header shows
    if (b->failed || !begin)
        return;
    const char *added = b->data + begin + 2, *seen = b->data;
    size_t n = b->len - begin - 2;
    bool again = begin > IGNORED_MOST;
    for (; !again && seen < b->data + begin; seen += strcspn(seen, ",") + 2)
        again = strncmp(seen, added, n) == 0 && seen[n] == ',';
    if (again) {
        b->len = begin;
        b->data[begin] = '\0';
    }
}

// In one object: under its own name, else under another.
static const struct json_node *find_in(const struct api_body *b, const struct json_node *object,
                                       const char *key, const char **name) {
    const struct json_node *item = json_node_value(object, key);
    *name = key;
    const struct api_members *t = b->renamed ? b->members : NULL;
    for (; t && !item; t = t->next) {
        for (size_t i = 0; i < t->count && !item; i++) {
            if (!t->rows[i].means || strcmp(t->rows[i].means, key) != 0)
                continue;
            item = json_node_value(object, t->rows[i].name);
            *name = item ? t->rows[i].name : key;
        }
    }
    return item;
}

const struct json_node *api_body_sent(const struct api_body *b, const char *key,
                                      const char **name) {
    const char *own;
    const struct json_node *item = find_in(b, b->root, key, &own);
    if (!item && b->parameters)
        item = find_in(b, b->parameters, key, &own);
    if (name)
        *name = own;
    return item;
}
