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

void gguf_keys_name(const struct gguf_keys *k, const char *name, char key[GGUF_KEY_SIZE]) {
    snprintf(key, GGUF_KEY_SIZE, "%s.%s", k->arch, name);
}

size_t gguf_keys_count(struct gguf_keys *k, const char *name, int64_t max, size_t fallback) {
    char key[GGUF_KEY_SIZE];
    int64_t v = 0;
    if (k->failed)
        return fallback;
    gguf_keys_name(k, name, key);
    k->failed = gguf_get_int(k->g, key, 1, max, (int64_t)fallback, &v, k->msg);
    if (!k->failed && v == 0)
        k->failed = err_set(k->msg, ERR_INVALID, "%s: key '%s' is missing", gguf_path(k->g), key);
    return (size_t)v;
}

double gguf_keys_float(struct gguf_keys *k, const char *name, double min, double max,
                       double fallback) {
    char key[GGUF_KEY_SIZE];
    double v = fallback;
    if (k->failed)
        return fallback;
    gguf_keys_name(k, name, key);
    k->failed = gguf_get_float(k->g, key, fallback, &v, k->msg);
    if (!k->failed && gguf_has(k->g, key) && !(v >= min && v <= max))
        k->failed = err_set(k->msg, ERR_INVALID, "%s: key '%s': %g is not in %g to %g",
                            gguf_path(k->g), key, v, min, max);
    return v;
}

void gguf_keys_expect(struct gguf_keys *k, const char *name, bool want, const char *why) {
    char key[GGUF_KEY_SIZE];
    bool is = want;
    if (k->failed)
        return;
    gguf_keys_name(k, name, key);
    k->failed = gguf_get_bool(k->g, key, want, &is, k->msg);
    if (!k->failed && is != want)
        k->failed = err_set(k->msg, ERR_UNSUPPORTED, "%s: key '%s': %s", gguf_path(k->g), key, why);
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
