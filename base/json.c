// See json.h.
#include "base/json.h"

#include "base/file.h"
#include "base/json_node.h"
#include "base/mem.h"

#include <string.h>

static void *hook_malloc(size_t n) { return mem_alloc(n, 1); }

void json_init(void) {
    cJSON_Hooks hooks = {.malloc_fn = hook_malloc, .free_fn = mem_free};
    cJSON_InitHooks(&hooks);
}

enum err json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **root,
                    struct json_issue *issue, struct errmsg *msg) {
    enum { NUMBER_MOST = 63 }; // characters of one that cJSON reads
    struct json_limits own = *limits;
    own.max_number = NUMBER_MOST;
    *root = NULL;
    enum err e = json_check(text, len, &own, issue, msg);
    if (e)
        return e;
    *root = cJSON_ParseWithLength(text, len);
    // the text is valid and within cJSON's own limits, so only memory can have failed
    return *root ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory to parse %zu bytes of JSON", len);
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

// Makes a node of a scalar, so that both trees are read with the same messages; *n is the place for
// it.
static const struct json_node *view(const cJSON *item, struct json_node *n) {
    *n = (struct json_node){.kind = JSON_OBJECT}; // or an array: what no scalar is
    if (!item)
        return NULL;
    if (cJSON_IsBool(item)) {
        n->kind = cJSON_IsTrue(item) ? JSON_TRUE : JSON_FALSE;
    } else if (cJSON_IsNumber(item)) {
        n->kind = JSON_NUMBER;
        n->number = item->valuedouble;
    } else if (cJSON_IsString(item)) {
        n->kind = JSON_STRING;
        n->text = item->valuestring;
    }
    return n;
}

enum err json_get_int(const cJSON *object, const char *key, int64_t min, int64_t max,
                      int64_t fallback, int64_t *out, struct errmsg *msg) {
    struct json_node n;
    return json_node_int(view(json_get(object, key), &n), key, min, max, fallback, out, msg);
}

enum err json_get_double(const cJSON *object, const char *key, double min, double max,
                         double fallback, double *out, struct errmsg *msg) {
    struct json_node n;
    return json_node_double(view(json_get(object, key), &n), key, min, max, fallback, out, msg);
}

enum err json_get_bool(const cJSON *object, const char *key, bool fallback, bool *out,
                       struct errmsg *msg) {
    struct json_node n;
    return json_node_bool(view(json_get(object, key), &n), key, fallback, out, msg);
}

enum err json_get_string(const cJSON *object, const char *key, const char *fallback,
                         const char **out, struct errmsg *msg) {
    struct json_node n;
    return json_node_string(view(json_get(object, key), &n), key, fallback, out, msg);
}
