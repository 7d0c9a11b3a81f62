// See json.h: the tree and its typed getters. The check is json_check.c.
#include "base/json.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

static void *hook_malloc(size_t n) { return mem_alloc(n, 1); }

void json_init(void) {
    cJSON_Hooks hooks = {.malloc_fn = hook_malloc, .free_fn = mem_free};
    cJSON_InitHooks(&hooks);
}

enum err json_parse_file(const char *path, size_t max_bytes, cJSON **root, struct errmsg *msg) {
    char *text;
    size_t len;
    *root = NULL;
    enum err e = file_read(path, max_bytes, &text, &len, msg);
    if (e)
        return e;
    static const char bom[] = "\xef\xbb\xbf";
    size_t skip = len >= 3 && memcmp(text, bom, 3) == 0 ? 3 : 0;
    e = json_parse(text + skip, len - skip, &json_limits_file, root, NULL, msg);
    mem_free(text);
    return e ? err_prefix(msg, e, "%s", path) : ERR_OK;
}

const cJSON *json_get(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

enum err json_get_int(const cJSON *object, const char *key, int64_t min, int64_t max,
                      int64_t fallback, int64_t *out, struct errmsg *msg) {
    const cJSON *item = json_get(object, key);
    *out = fallback;
    if (!item)
        return ERR_OK;
    double v = item->valuedouble;
    if (!cJSON_IsNumber(item) || v != floor(v))
        return err_set(msg, ERR_INVALID, "'%s' must be an integer", key);
    // a double holds integers exactly up to 2^53; every range asked for lies within
    if (v < (double)min || v > (double)max)
        return err_set(msg, ERR_INVALID, "'%s' is %.0f, outside %lld to %lld", key, v,
                       (long long)min, (long long)max);
    *out = (int64_t)v;
    return ERR_OK;
}

enum err json_get_double(const cJSON *object, const char *key, double min, double max,
                         double fallback, double *out, struct errmsg *msg) {
    const cJSON *item = json_get(object, key);
    *out = fallback;
    if (!item)
        return ERR_OK;
    if (!cJSON_IsNumber(item))
        return err_set(msg, ERR_INVALID, "'%s' must be a number", key);
    if (!(item->valuedouble >= min && item->valuedouble <= max))
        return err_set(msg, ERR_INVALID, "'%s' is %g, outside %g to %g", key, item->valuedouble,
                       min, max);
    *out = item->valuedouble;
    return ERR_OK;
}

enum err json_get_bool(const cJSON *object, const char *key, bool fallback, bool *out,
                       struct errmsg *msg) {
    const cJSON *item = json_get(object, key);
    *out = fallback;
    if (!item)
        return ERR_OK;
    if (!cJSON_IsBool(item))
        return err_set(msg, ERR_INVALID, "'%s' must be true or false", key);
    *out = cJSON_IsTrue(item);
    return ERR_OK;
}

enum err json_get_string(const cJSON *object, const char *key, const char *fallback,
                         const char **out, struct errmsg *msg) {
    const cJSON *item = json_get(object, key);
    *out = fallback;
    if (!item)
        return ERR_OK;
    if (!cJSON_IsString(item))
        return err_set(msg, ERR_INVALID, "'%s' must be a string", key);
    *out = item->valuestring;
    return ERR_OK;
}

void json_escape(struct buf *out, const char *s, size_t len) {
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(out, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            buf_append(out, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buf_append(out, "\\n", 2);
        else if (c == '\r')
            buf_append(out, "\\r", 2);
        else if (c == '\t')
            buf_append(out, "\\t", 2);
        else
            buf_append(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
    buf_append(out, s + from, len - from);
}

void json_quote(struct buf *out, const char *s, size_t len) {
    buf_putc(out, '"');
    json_escape(out, s, len);
    buf_putc(out, '"');
}
