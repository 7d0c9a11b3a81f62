// See key_rules.h.
#include "weights/key_rules.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NAME = 200,
    MAX_VALUE = 160, // longer than any neutral one
    MAX_NAMED = 12,  // unknown keys in a warning
};

static bool fits(const struct key_rule *r, const char *name) {
    size_t n = strlen(r->name);
    if (n > 0 && r->name[n - 1] == '*')
        return strncmp(r->name, name, n - 1) == 0;
    return strcmp(r->name, name) == 0 || (r->other && strcmp(r->other, name) == 0);
}

const struct key_rule *key_rules_find(const struct key_rules *t, const char *name) {
    for (; t; t = t->more)
        for (size_t i = 0; i < t->count; i++)
            if (fits(&t->rules[i], name))
                return &t->rules[i];
    return NULL;
}

// As `neutral` writes it; "" where it writes no such value.
static void spell(const cJSON *v, char out[MAX_VALUE]) {
    out[0] = '\0';
    if (cJSON_IsBool(v))
        snprintf(out, MAX_VALUE, "%s", cJSON_IsTrue(v) ? "true" : "false");
    else if (cJSON_IsNumber(v))
        snprintf(out, MAX_VALUE, "%.17g", v->valuedouble);
    else if (cJSON_IsString(v) && strlen(v->valuestring) < MAX_VALUE - 2)
        snprintf(out, MAX_VALUE, "\"%s\"", v->valuestring);
    else if (!cJSON_IsString(v) && !v->child)
        snprintf(out, MAX_VALUE, "%s", cJSON_IsArray(v) ? "[]" : "{}");
}

// Whether text[0..n) writes the value: 0, 0.0 and -0 are one number.
static bool is_same(const char *text, size_t n, const char *value) {
    if (strlen(value) == n && memcmp(value, text, n) == 0)
        return true;
    char *text_end, *value_end;
    double a = strtod(text, &text_end), b = strtod(value, &value_end);
    return *value && !*value_end && text_end == text + n && a == b;
}

bool key_rule_passes(const struct key_rule *r, const char *value) {
    for (const char *at = r->neutral; at && *at;) {
        size_t n = strcspn(at, "|");
        if (is_same(at, n, value))
            return true;
        at += n + (at[n] == '|');
    }
    return false;
}

static bool is_neutral(const struct key_rule *r, const cJSON *v) {
    char value[MAX_VALUE];
    spell(v, value);
    return cJSON_IsNull(v) || key_rule_passes(r, value);
}

static void print_value(const cJSON *v, char out[80]) {
    if (cJSON_IsString(v))
        snprintf(out, 80, "'%.64s'", v->valuestring);
    else if (cJSON_IsNumber(v))
        snprintf(out, 80, "%.9g", v->valuedouble);
    else if (cJSON_IsBool(v))
        snprintf(out, 80, "%s", cJSON_IsTrue(v) ? "true" : "false");
    else
        snprintf(out, 80, "%s", cJSON_IsArray(v) ? "a list" : "an object");
}

// " (absolute is)", " (a, b are)".
static void print_neutral(const char *neutral, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, " (");
    for (const char *at = neutral; *at && n + 8 < size; at++) {
        if (*at == '|')
            n += (size_t)snprintf(out + n, size - n, ", ");
        else if (*at != '"')
            out[n++] = *at;
    }
    snprintf(out + n, size - n, strchr(neutral, '|') ? " are)" : " is)");
}

static enum err refuse(const struct key_rule *r, const char *name, const cJSON *v,
                       struct errmsg *msg) {
    char value[80], passes[160] = "";
    print_value(v, value);
    if (r->neutral)
        print_neutral(r->neutral, passes, sizeof passes);
    return err_set(msg, ERR_UNSUPPORTED, "'%s' is %s, which is not supported%s", name, value,
                   passes);
}

// What both walks do: `see` and ctx may be absent, and so may msg.
struct key_walk {
    key_seen *see;
    void *ctx;
    bool refuse;
    struct errmsg *msg;
};

static enum err visit_object(const struct key_walk *w, const struct key_rules *t, const char *outer,
                             const cJSON *object);

static enum err visit(const struct key_walk *w, const struct key_rules *t, const char *outer,
                      const cJSON *v) {
    const cJSON *item;
    if (cJSON_IsObject(v))
        return visit_object(w, t, outer, v);
    if (!cJSON_IsArray(v))
        return ERR_OK;
    cJSON_ArrayForEach(item, v) {
        enum err e = cJSON_IsObject(item) ? visit_object(w, t, outer, item) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err visit_key(const struct key_walk *w, const struct key_rules *t, const char *outer,
                          const cJSON *item) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s%s%.100s", outer, *outer ? "." : "", item->string);
    const struct key_rule *r = key_rules_find(t, item->string);
    bool refused = r && r->fate == KEY_REFUSED && !is_neutral(r, item);
    if (refused && w->refuse)
        return refuse(r, name, item, w->msg);
    if (w->see)
        w->see(w->ctx, name,
               !r                       ? KEY_UNKNOWN
               : r->fate != KEY_REFUSED ? r->fate
               : refused                ? KEY_REFUSED
                                        : KEY_NO_EFFECT);
    return r && r->inner ? visit(w, r->inner, name, item) : ERR_OK;
}

// The depth is that of the tables, two or three.
static enum err visit_object(const struct key_walk *w, const struct key_rules *t, const char *outer,
                             const cJSON *object) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        enum err e = visit_key(w, t, outer, item);
        if (e)
            return e;
    }
    return ERR_OK;
}

enum err key_rules_check(const struct key_rules *t, const cJSON *root, struct errmsg *msg) {
    const struct key_walk w = {.refuse = true, .msg = msg};
    return visit(&w, t, "", root);
}

void key_rules_walk(const struct key_rules *t, const cJSON *root, key_seen *see, void *ctx) {
    const struct key_walk w = {.see = see, .ctx = ctx};
    enum err e = visit(&w, t, "", root);
    (void)e; // nothing is refused in this walk
}

// ---- unknown ones ----

bool key_is_listed(const char *names, const char *key) {
    size_t n = strlen(key);
    for (const char *at = names; at && *at; at = strstr(at, ", ") ? strstr(at, ", ") + 2 : NULL)
        if (strncmp(at, key, n) == 0 && (at[n] == '\0' || at[n] == ','))
            return true;
    return false;
}

void key_unknown_see(void *ctx, const char *key, enum key_fate fate) {
    struct key_unknown *u = ctx;
    if (fate != KEY_UNKNOWN || u->count > MAX_NAMED || key_is_listed(u->names.data, key))
        return;
    if (u->count++ < MAX_NAMED)
        buf_printf(&u->names, "%s%s", u->names.len ? ", " : "", key);
}

void key_unknown_warn(const struct key_unknown *u, const char *file) {
    if (u->count && !u->names.failed)
        log_warn("%s: unknown keys, which are ignored: %s%s", file, u->names.data,
                 u->count > MAX_NAMED ? ", ..." : "");
}
