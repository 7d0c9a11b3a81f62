// Models by name: who is found, who is refused, in which order they are listed, and that a model
// that was found stays whole though it is removed, from many threads at once.
#include "base/fault.h"
#include "base/json.h"
#include "base/thread.h"
#include "engine/registry.h"
#include "tests/check.h"

#define EMBEDDER "tests/golden/data/bert-last-f16"
#define RERANKER "tests/golden/data/bert-cross-encoder"

enum { READERS = 3, CHANGES = 2000 };

static struct model_options named(const char *path, const char *name, const char *const *aliases,
                                  size_t n) {
    return (struct model_options){.path = path,
                                  .name = name,
                                  .aliases = aliases,
                                  .alias_count = n,
                                  .task = -1,
                                  .pool_mode = -1};
}

static struct model *load(const struct model_options *o) {
    struct model *m = NULL;
    struct errmsg msg = {0};
    CHECK_OK(model_load(o, &m, &msg), msg);
    return m;
}

static struct registry *registry(void) {
    struct registry *r = NULL;
    struct errmsg msg = {0};
    CHECK_OK(registry_new(&r, &msg), msg);
    return r;
}

// Whether the name is that model's; the lookup's hold is let go of.
static bool is_found(struct registry *r, const char *name, const struct model *m) {
    struct model *found = registry_find(r, name);
    model_release(found);
    return found == m;
}

static void names(void) {
    static const char *const aliases[] = {"org/a", "x:latest"};
    struct registry *r = registry();
    struct errmsg msg = {0};
    struct model_options o[] = {named(EMBEDDER, "a", aliases, 2), named(RERANKER, "x", NULL, 0),
                                named(EMBEDDER, NULL, NULL, 0)};
    CHECK_OK(registry_check_names(r, o, 3, &msg), msg);
    struct model *a = load(&o[0]), *x = load(&o[1]);
    CHECK(!registry_find(r, "a") && !registry_first(r, TASK_EMBED) && !registry_next(r, NULL));
    CHECK_OK(registry_add(r, x, &msg), msg); // listed as they were loaded, not as they were added
    CHECK_OK(registry_add(r, a, &msg), msg);
    CHECK_INT(registry_count(r), 2);
    CHECK(is_found(r, "a", a) && is_found(r, "org/a", a) && is_found(r, "a:latest", a));
    CHECK(is_found(r, "x:latest", a) && is_found(r, "x", x)); // exactly so goes before
    CHECK(is_found(r, "org/a:latest", a) && is_found(r, "b", NULL) && is_found(r, "", NULL));
    CHECK(registry_has(r, "a") && !registry_has(r, "a:latest"));
    struct model *first = registry_next(r, NULL), *second = registry_next(r, first);
    CHECK(first == a && second == x && !registry_next(r, second));

    // taken: before it is loaded, and where it was loaded all the same
    CHECK(registry_check_names(r, &o[1], 1, &msg) == ERR_INVALID);
    CHECK_STR(msg.text, "two models are called 'x'; give one another name with --model NAME=PATH");
    struct model_options again = named(RERANKER, "y", (const char *const[]){"org/a"}, 1);
    struct model *y = load(&again);
    CHECK(registry_add(r, y, &msg) == ERR_INVALID);
    CHECK_STR(msg.text,
              "two models are called 'org/a'; give one another name with --model NAME=PATH");
    CHECK(is_found(r, "y", NULL));
    const char *const bad[] = {"", "a\nb", "\xff"};
    for (size_t i = 0; i < 3; i++) {
        struct model_options wrong = named(EMBEDDER, bad[i], NULL, 0);
        CHECK(registry_check_names(r, &wrong, 1, &msg) == ERR_INVALID);
    }
    struct model_options twins[] = {
        named(EMBEDDER, NULL, NULL, 0),
        named(RERANKER, "z", (const char *const[]){"bert-last-f16"}, 1)};
    CHECK(registry_check_names(r, twins, 2, &msg) == ERR_INVALID);

    // gone: its names are free again, and who holds it has it whole
    struct model *held = registry_find(r, "a");
    CHECK(registry_remove(r, a) && !registry_remove(r, a) && is_found(r, "org/a", NULL));
    CHECK_OK(registry_add(r, y, &msg), msg);
    CHECK(is_found(r, "org/a", y));
    model_release(a);
    CHECK_STR(held->name, "a");
    model_release(held);
    CHECK(registry_first(r, TASK_EMBED) == NULL);
    struct model *rerank = registry_first(r, TASK_RERANK);
    CHECK(rerank == x);
    model_release(rerank);
    model_release(x);
    model_release(y);
    registry_free(r);
    registry_free(NULL);
}

// A walk goes on behind the one that was removed under it.
static void walk(void) {
    static const char *const called[] = {"0", "1", "2", "3"};
    struct registry *r = registry();
    struct errmsg msg = {0};
    struct model *models[4];
    for (size_t i = 0; i < 4; i++) {
        struct model_options o = named(EMBEDDER, called[i], NULL, 0);
        models[i] = load(&o);
        CHECK(i == 0 || models[i]->id > models[i - 1]->id);
        CHECK_OK(registry_add(r, models[i], &msg), msg);
    }
    size_t seen = 0;
    for (struct model *m = NULL; (m = registry_next(r, m)); seen++) {
        CHECK_STR(m->name, called[seen < 2 ? seen : 3]);
        if (seen == 1)
            CHECK(registry_remove(r, models[1]) && registry_remove(r, models[2]));
    }
    CHECK_INT(seen, 3);
    for (size_t i = 0; i < 4; i++)
        model_release(models[i]);
    registry_free(r);
}

static void faults(void) {
    struct model_options o = named(EMBEDDER, "a", NULL, 0);
    struct model *m = load(&o);
    for (long n = 1; n < 20; n++) {
        struct registry *r = NULL;
        struct errmsg msg = {0};
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = registry_new(&r, &msg);
        if (!e)
            e = registry_check_names(r, &o, 1, &msg);
        if (!e)
            e = registry_add(r, m, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        CHECK(e == (reached ? ERR_NOMEM : ERR_OK));
        registry_free(r);
        if (!reached) {
            CHECK_INT(n, 5); // the registry, two for the names, the list
            break;
        }
    }
    model_release(m);
}

// ---- lookups while models come and go

struct shared {
    struct registry *registry;
    atomic_bool over;
    atomic_int wrong;
    atomic_uint_fast64_t found;
};

static void *read_on(void *arg) {
    struct shared *s = arg;
    while (!atomic_load(&s->over)) {
        struct model *m = registry_find(s->registry, "moving");
        if (m && (strcmp(m->name, "moving") != 0 || m->tokenizer == NULL))
            atomic_fetch_add(&s->wrong, 1);
        atomic_fetch_add(&s->found, m != NULL);
        model_release(m);
        uint64_t last = 0;
        bool stays = false, in_order = true;
        for (m = NULL; (m = registry_next(s->registry, m));) {
            stays = stays || strcmp(m->name, "stays") == 0;
            in_order = in_order && m->id > last;
            last = m->id;
        }
        if (!stays || !in_order)
            atomic_fetch_add(&s->wrong, 1);
    }
    return NULL;
}

static void from_threads(void) {
    struct shared s = {.registry = registry()};
    struct errmsg msg = {0};
    struct model_options stays = named(RERANKER, "stays", NULL, 0),
                         moving = named(EMBEDDER, "moving", NULL, 0);
    struct model *m = load(&stays);
    CHECK_OK(registry_add(s.registry, m, &msg), msg);
    model_release(m);
    pthread_t threads[READERS];
    struct thread_options t = {.name = "reader"};
    for (int i = 0; i < READERS; i++)
        CHECK_OK(thread_start(&threads[i], &t, read_on, &s, &msg), msg);
    for (int i = 0; i < CHANGES / 20 || (atomic_load(&s.found) < 100 && i < CHANGES); i++) {
        m = load(&moving);
        for (int k = 0; k < 20; k++) { // most of the time it is the same one that comes back
            CHECK_OK(registry_add(s.registry, m, &msg), msg);
            CHECK(registry_remove(s.registry, m));
        }
        model_release(m);
    }
    atomic_store(&s.over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(s.wrong, 0);
    CHECK(s.found > 0);
    registry_free(s.registry);
}

int main(void) {
    json_init();
    names();
    walk();
    faults();
    from_threads();
    return check_done();
}
