// See architectures.h.
#include "weights/architectures.h"

#include <string.h>

static const char NAMES[] = "architectures", TYPE[] = "model_type";
static const struct key_rule key_list[] = {
    {.name = NAMES, .fate = KEY_HONOURED},
    {.name = TYPE, .fate = KEY_HONOURED},
};
const struct key_rules architecture_keys = {KEY_RULES(key_list)};

enum err architectures_find(const struct architectures *all, const cJSON *root,
                            const struct architecture **out, struct errmsg *msg) {
    const cJSON *list = json_get(root, NAMES);
    const char *type;
    *out = NULL;
    if (list && !(cJSON_IsArray(list) && (!list->child || cJSON_IsString(list->child))))
        return err_set(msg, ERR_INVALID, "'%s' must be an array of strings", NAMES);
    enum err e = json_get_string(root, TYPE, NULL, &type, msg);
    if (e)
        return e;
    const char *name = list && list->child ? list->child->valuestring : NULL;
    if (!name && !type)
        return err_set(msg, ERR_INVALID, "neither '%s' nor '%s' is there", NAMES, TYPE);
    for (size_t i = 0; i < all->count; i++) {
        const char *own = name ? all->list[i].name : all->list[i].model_type;
        if (own && strcmp(own, name ? name : type) == 0) {
            *out = &all->list[i];
            return ERR_OK;
        }
    }
    return err_set(msg, ERR_UNSUPPORTED, "%s '%.64s' is not supported (%s are)",
                   name ? "architecture" : TYPE, name ? name : type,
                   name ? all->names : all->types);
}

const char *architectures_name(const cJSON *root) {
    const cJSON *list = json_get(root, NAMES);
    return cJSON_IsArray(list) && cJSON_IsString(list->child) ? list->child->valuestring : "";
}

static enum err check_type(const struct architectures *all, const struct architecture *a,
                           const cJSON *root, struct errmsg *msg) {
    const char *own = "", *type;
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].arch == a->arch && all->list[i].model_type)
            own = all->list[i].model_type;
    enum err e = json_get_string(root, TYPE, own, &type, msg);
    if (!e && strcmp(type, own) != 0)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "%s '%.64s' contradicts the architecture '%s', which is of '%s'", TYPE, type,
                    a->name, own);
    return e;
}

enum err architectures_read(const struct architectures *all, const cJSON *root,
                            const struct architecture **out, struct errmsg *msg) {
    *out = NULL;
    if (!cJSON_IsObject(root))
        return err_set(msg, ERR_INVALID, "not a JSON object");
    enum err e = architectures_find(all, root, out, msg);
    return *out ? check_type(all, *out, root, msg) : e;
}
