// See computed.h.
#include "engine/computed.h"

#include <stdio.h>
#include <string.h>

void computed_add(struct computed *c, const char *name) {
    for (size_t i = 0; i < COMPUTED_MOST; i++) {
        const char *have = atomic_load_explicit(&c->by[i], memory_order_relaxed);
        if (have && (have == name || strcmp(have, name) == 0))
            return;
        if (have)
            continue;
        atomic_store_explicit(&c->by[i], name, memory_order_release);
        return;
    }
}

void computed_join(struct computed *c, const struct computed *other) {
    for (size_t i = 0; i < COMPUTED_MOST; i++) {
        const char *name = atomic_load_explicit(&other->by[i], memory_order_acquire);
        if (name)
            computed_add(c, name);
    }
}

const char *computed_words(const struct computed *c, const char *otherwise,
                           char out[COMPUTED_BYTES]) {
    const char *names[COMPUTED_MOST] = {0};
    size_t n = 0, length = 0;
    for (size_t i = 0; i < COMPUTED_MOST; i++) {
        const char *name = atomic_load_explicit(&c->by[i], memory_order_acquire);
        size_t at = n;
        if (!name)
            break;
        for (; at > 0 && strcmp(names[at - 1], name) > 0; at--)
            names[at] = names[at - 1];
        names[at] = name;
        n++;
    }
    out[0] = '\0';
    for (size_t i = 0; i < n && length < COMPUTED_BYTES; i++)
        length += (size_t)snprintf(out + length, COMPUTED_BYTES - length, "%s%s", i ? ", " : "",
                                   names[i]);
    return n ? out : otherwise;
}
