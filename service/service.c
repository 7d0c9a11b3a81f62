// See service.h.
#include "service/service.h"

#include <string.h>

struct model *service_find_model(const struct service *s, const char *name, enum model_task task) {
    return name ? registry_find(s->models, name) : registry_first(s->models, task);
}

const char *service_model_name(const struct service *s, const char *name) {
    static const char *const placeholders[] = {"", "dummy", "tgi"};
    if (!name || registry_has(s->models, name))
        return name;
    bool none = strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
    for (size_t i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
        none = none || strcmp(name, placeholders[i]) == 0;
    return none ? NULL : name;
}
