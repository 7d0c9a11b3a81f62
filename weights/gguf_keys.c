// See gguf_keys.h.
#include "weights/gguf_keys.h"

#include <stdio.h>
#include <string.h>

bool gguf_string_is(struct gguf_string s, const char *text) {
    return s.bytes && strlen(text) == s.len && memcmp(text, s.bytes, s.len) == 0;
}

size_t gguf_keys_choose(struct gguf_keys *k, const char *const *names, size_t n,
                        const char *supported) {
    struct gguf_string a;
    if (k->failed)
        return 0;
    k->failed = gguf_get_string(k->g, "general.architecture", &a, k->msg);
    if (k->failed)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (gguf_string_is(a, names[i])) {
            k->arch = names[i];
            return i;
        }
    if (!a.bytes)
        k->failed = err_set(k->msg, ERR_INVALID, "%s: key 'general.architecture' is missing",
                            gguf_path(k->g));
    else
        k->failed =
            err_set(k->msg, ERR_UNSUPPORTED, "%s: architecture '%.*s' is not supported (%s)",
                    gguf_path(k->g), (int)(a.len < 64 ? a.len : 64), a.bytes, supported);
    return 0;
}

static enum err read_count(const struct gguf_keys *k, const struct key_rule *r, const char *key,
                           double *out) {
    int64_t v = 0;
    bool zero = r->kind == KEY_READ_EXPECT_ZERO;
    enum err e = gguf_get_int(k->g, key, (int64_t)r->min, zero ? INT32_MAX : (int64_t)r->max,
                              (int64_t)r->fallback, &v, k->msg);
    *out = (double)v;
    if (!e && zero && v > 0)
        e = err_set(k->msg, ERR_UNSUPPORTED, "%s: key '%s': %s", gguf_path(k->g), key, r->why);
    return e;
}

static enum err read_number(const struct gguf_keys *k, const struct key_rule *r, const char *key,
                            double *out) {
    enum err e = gguf_get_float(k->g, key, r->fallback, out, k->msg);
    if (!e && gguf_has(k->g, key) && !(*out >= r->min && *out <= r->max))
        e = err_set(k->msg, ERR_INVALID, "%s: key '%s': %g is not in %g to %g", gguf_path(k->g),
                    key, *out, r->min, r->max);
    return e;
}

static enum err read_bool(const struct gguf_keys *k, const struct key_rule *r, const char *key,
                          double *out) {
    bool want = r->fallback > 0, is = want;
    enum err e = gguf_get_bool(k->g, key, want, &is, k->msg);
    *out = is;
    if (!e && r->kind == KEY_READ_EXPECT && is != want)
        e = err_set(k->msg, ERR_UNSUPPORTED, "%s: key '%s': %s", gguf_path(k->g), key, r->why);
    return e;
}

static enum err read_choice(const struct gguf_keys *k, const struct key_rule *r, const char *key,
                            double *out) {
    struct gguf_string s = {0};
    char known[128];
    enum err e = gguf_get_string(k->g, key, &s, k->msg);
    const struct key_choice *c = e || !s.bytes ? NULL : key_rule_choose(r, s.bytes, s.len);
    *out = c ? c->value : r->fallback;
    if (e || c || !s.bytes)
        return e;
    key_rule_list_choices(r, known, sizeof known);
    return err_set(k->msg, ERR_UNSUPPORTED, "%s: key '%s': '%.*s' is not supported (%s are)",
                   gguf_path(k->g), key, (int)(s.len < 64 ? s.len : 64), s.bytes, known);
}

static enum err read_field(const struct gguf_keys *k, const struct key_rule *r, void *into) {
    char key[GGUF_KEY_SIZE];
    double value = 0;
    enum err e = ERR_OK;
    snprintf(key, sizeof key, "%s.%s", k->arch, r->name);
    if (!gguf_has(k->g, key)) {
        if (r->required)
            return err_set(k->msg, ERR_INVALID, "%s: key '%s' is missing", gguf_path(k->g), key);
        if (r->keep)
            return ERR_OK;
    }
    switch (r->kind) {
    case KEY_READ_COUNT:
    case KEY_READ_INT:
    case KEY_READ_EXPECT_ZERO:
        e = read_count(k, r, key, &value);
        break;
    case KEY_READ_DOUBLE:
    case KEY_READ_FLOAT:
        e = read_number(k, r, key, &value);
        break;
    case KEY_READ_BOOL:
    case KEY_READ_EXPECT:
        e = read_bool(k, r, key, &value);
        break;
    case KEY_READ_CHOICE:
        e = read_choice(k, r, key, &value);
        break;
    case KEY_READ_ELSEWHERE:
    case KEY_READ_STRING:
    case KEY_READ_NODE:
        return ERR_OK;
    }
    if (!e)
        key_rule_put(r, value, into);
    return e;
}

void gguf_keys_read(struct gguf_keys *k, const struct key_rules *t, void *into) {
    for (const struct key_rules *own = t; own; own = own->more)
        for (size_t i = 0; !k->failed && key_rules_are_read(t, own) && i < own->count; i++)
            if (key_rule_is_read(&own->rules[i], into))
                k->failed = read_field(k, &own->rules[i], into);
}

bool gguf_find_tensor(const struct gguf *g, const char *name, struct tensor *out) {
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        *out = gguf_tensor_at(g, i);
        if (strcmp(out->name, name) == 0)
            return true;
    }
    *out = (struct tensor){0};
    return false;
}

size_t gguf_keys_rows(struct gguf_keys *k, const char *name, size_t max) {
    struct tensor t;
    if (k->failed)
        return 0;
    if (!gguf_find_tensor(k->g, name, &t) || t.rank != 2)
        k->failed = err_set(k->msg, ERR_INVALID, "%s: tensor '%s' of two dimensions is missing",
                            gguf_path(k->g), name);
    else if (t.shape[0] > max)
        k->failed = err_set(k->msg, ERR_INVALID, "%s: tensor '%s': %zu rows, at most %zu are taken",
                            gguf_path(k->g), name, t.shape[0], max);
    return t.rank == 2 ? t.shape[0] : 0;
}
