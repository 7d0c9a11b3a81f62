// See service.h.
#include "service/service.h"

#include <string.h>

// The length of a name without the tag that Ollama's clients put behind it.
static size_t untagged(const char *name) {
    static const char tag[] = ":latest";
    size_t n = strlen(name), t = sizeof tag - 1;
    return n > t && strcmp(name + n - t, tag) == 0 ? n - t : n;
}

static bool same_name(const char *a, const char *b, bool exactly) {
    if (exactly)
        return strcmp(a, b) == 0;
    size_t n = untagged(a);
    return n == untagged(b) && memcmp(a, b, n) == 0;
}

static bool is_named(const struct model *m, const char *name, bool exactly) {
    bool is = same_name(m->name, name, exactly);
    for (size_t i = 0; i < m->alias_count && !is; i++)
        is = same_name(m->aliases[i], name, exactly);
    return is;
}

static struct model *find_named(const struct service *s, const char *name, bool exactly) {
    for (size_t i = 0; i < s->model_count; i++)
        if (is_named(s->models[i], name, exactly))
            return s->models[i];
    return NULL;
}

struct model *service_find_model(const struct service *s, const char *name, enum task task) {
    if (name) {
        struct model *m = find_named(s, name, true);
        return m ? m : find_named(s, name, false);
    }
    for (size_t i = 0; i < s->model_count; i++)
        if (s->models[i]->task == task)
            return s->models[i];
    return NULL;
}

const char *service_model_name(const struct service *s, const char *name) {
    static const char *const placeholders[] = {"", "dummy", "tgi"};
    if (!name || find_named(s, name, true))
        return name;
    bool none = strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
    for (size_t i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
        none = none || strcmp(name, placeholders[i]) == 0;
    return none ? NULL : name;
}
