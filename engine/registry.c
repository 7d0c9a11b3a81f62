// See registry.h. The list is in the order of ids, which is that of loading: a walk goes on behind
// the last one's id, whatever has gone meanwhile.
#include "engine/registry.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

struct registry {
    pthread_mutex_t mutex; // guards what is below
    struct model **items;  // [count], held
    size_t count, cap;
};

enum err registry_new(struct registry **out, struct errmsg *msg) {
    struct registry *r = *out = mem_calloc(1, sizeof *r);
    if (!r)
        return err_set(msg, ERR_NOMEM, "no memory for the list of models");
    pthread_mutex_init(&r->mutex, NULL);
    return ERR_OK;
}

void registry_free(struct registry *r) {
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        model_release(r->items[i]);
    pthread_mutex_destroy(&r->mutex);
    mem_free(r->items);
    mem_free(r);
}

// ---- names

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

// NULL: none. Mutex held.
static struct model *find(const struct registry *r, const char *name, bool exactly) {
    for (size_t i = 0; i < r->count; i++)
        if (is_named(r->items[i], name, exactly))
            return r->items[i];
    return NULL;
}

// A name is sent back in answers, as it is.
static bool can_be_shown(const char *name) {
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return *name && utf8_valid(name, strlen(name), NULL);
}

// Two under one name would make `model` a guess.
static enum err refuse_name(const char *name, struct errmsg *msg) {
    return err_set(msg, ERR_INVALID,
                   "two models are called '%s'; give one another name with --model NAME=PATH",
                   name);
}

static const char *name_at(const struct model_options *o, const char *own, size_t i) {
    return i ? o->aliases[i - 1] : own;
}

// names[n]: what each is served as, but for its aliases. Whether a name of model i is another's.
static enum err check_name(struct registry *r, const struct model_options *options,
                           char *const *names, size_t i, const char *name, struct errmsg *msg) {
    if (!can_be_shown(name))
        return err_set(msg, ERR_INVALID,
                       "the name '%s' is empty, no UTF-8, or has control characters; give the "
                       "model another one with --model NAME=PATH or --alias",
                       name);
    bool taken = registry_has(r, name);
    for (size_t j = 0; j < i; j++)
        for (size_t k = 0; k <= options[j].alias_count; k++)
            taken = taken || strcmp(name_at(&options[j], names[j], k), name) == 0;
    return taken ? refuse_name(name, msg) : ERR_OK;
}

enum err registry_check_names(struct registry *r, const struct model_options *options, size_t n,
                              struct errmsg *msg) {
    char **names = mem_calloc(n, sizeof *names);
    enum err e = names ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < n && !e; i++)
        e = (names[i] = model_served_name(&options[i])) ? ERR_OK : ERR_NOMEM;
    if (e)
        err_set(msg, e, "no memory for the models' names");
    for (size_t i = 0; i < n && !e; i++)
        for (size_t k = 0; k <= options[i].alias_count && !e; k++)
            e = check_name(r, options, names, i, name_at(&options[i], names[i], k), msg);
    for (size_t i = 0; names && i < n; i++)
        mem_free(names[i]);
    mem_free(names);
    return e;
}

// ---- coming and going

// Mutex held.
static enum err insert(struct registry *r, const struct model *m, struct errmsg *msg) {
    for (size_t k = 0; k <= m->alias_count; k++) {
        const char *name = k ? m->aliases[k - 1] : m->name;
        if (find(r, name, true))
            return refuse_name(name, msg);
    }
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 8;
        struct model **grown = mem_realloc(r->items, cap, sizeof(struct model *));
        if (!grown)
            return err_set(msg, ERR_NOMEM, "no memory for the list of models");
        r->items = grown;
        r->cap = cap;
    }
    size_t at = r->count++;
    for (; at > 0 && r->items[at - 1]->id > m->id; at--)
        r->items[at] = r->items[at - 1];
    r->items[at] = model_hold(m);
    return ERR_OK;
}

enum err registry_add(struct registry *r, const struct model *m, struct errmsg *msg) {
    pthread_mutex_lock(&r->mutex);
    enum err e = insert(r, m, msg);
    pthread_mutex_unlock(&r->mutex);
    return e;
}

bool registry_remove(struct registry *r, const struct model *m) {
    pthread_mutex_lock(&r->mutex);
    size_t at = 0;
    while (at < r->count && r->items[at] != m)
        at++;
    bool found = at < r->count;
    if (found)
        memmove(&r->items[at], &r->items[at + 1], (--r->count - at) * sizeof(struct model *));
    pthread_mutex_unlock(&r->mutex);
    if (found)
        model_release(m);
    return found;
}

// ---- lookups

struct model *registry_find(struct registry *r, const char *name) {
    pthread_mutex_lock(&r->mutex);
    struct model *m = find(r, name, true);
    if (!m)
        m = find(r, name, false);
    if (m)
        model_hold(m);
    pthread_mutex_unlock(&r->mutex);
    return m;
}

bool registry_has(struct registry *r, const char *name) {
    pthread_mutex_lock(&r->mutex);
    bool has = find(r, name, true) != NULL;
    pthread_mutex_unlock(&r->mutex);
    return has;
}

struct model *registry_first(struct registry *r, enum model_task task) {
    struct model *m = NULL;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->count && !m; i++)
        if (r->items[i]->task == task)
            m = model_hold(r->items[i]);
    pthread_mutex_unlock(&r->mutex);
    return m;
}

struct model *registry_next(struct registry *r, struct model *m) {
    struct model *next = NULL;
    uint64_t id = m ? m->id : 0;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->count && !next; i++)
        if (r->items[i]->id > id)
            next = model_hold(r->items[i]);
    pthread_mutex_unlock(&r->mutex);
    model_release(m);
    return next;
}

size_t registry_count(struct registry *r) {
    pthread_mutex_lock(&r->mutex);
    size_t n = r->count;
    pthread_mutex_unlock(&r->mutex);
    return n;
}
