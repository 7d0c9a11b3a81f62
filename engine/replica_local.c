// See replica_local.h.
#include "engine/replica_local.h"

#include "base/mem.h"

struct local {
    struct replica head;
    struct device *device;
    pthread_mutex_t mutex; // guards what is below
    struct replica_model **models;
    size_t model_count, model_room;
};

static struct local *local_of(struct replica *r) { return (struct local *)r; }

// Room for one more. Mutex held.
static bool make_room(struct local *l) {
    if (l->model_count < l->model_room)
        return true;
    size_t room = l->model_room ? 2 * l->model_room : 4;
    struct replica_model **more = mem_realloc(l->models, room, sizeof(struct replica_model *));
    if (!more)
        return false;
    l->models = more;
    l->model_room = room;
    return true;
}

static enum err load(struct replica *r, const struct model *m, struct errmsg *msg) {
    struct local *l = local_of(r);
    struct replica_model *loaded;
    enum err e = replica_model_load(m, l->device, &loaded, msg);
    if (e)
        return e;
    pthread_mutex_lock(&l->mutex);
    if (make_room(l)) {
        l->models[l->model_count++] = loaded;
        loaded = NULL;
    }
    pthread_mutex_unlock(&l->mutex);
    if (!loaded)
        return ERR_OK;
    replica_model_free(loaded);
    return err_set(msg, ERR_NOMEM, "%s: no memory", m->path);
}

// Its place in the list; model_count: none. Mutex held.
static size_t place_of(const struct local *l, uint64_t model) {
    size_t i = 0;
    while (i < l->model_count && l->models[i]->model->id != model)
        i++;
    return i;
}

struct replica_model *replica_local_find(struct replica *r, uint64_t model) {
    struct local *l = local_of(r);
    pthread_mutex_lock(&l->mutex);
    size_t at = place_of(l, model);
    struct replica_model *found = at < l->model_count ? l->models[at] : NULL;
    pthread_mutex_unlock(&l->mutex);
    return found;
}

static void unload(struct replica *r, uint64_t model) {
    struct local *l = local_of(r);
    struct replica_model *gone = NULL;
    pthread_mutex_lock(&l->mutex);
    size_t at = place_of(l, model);
    if (at < l->model_count) {
        gone = l->models[at];
        l->models[at] = l->models[--l->model_count];
    }
    pthread_mutex_unlock(&l->mutex);
    replica_model_free(gone);
}

static size_t weight_bytes(struct replica *r, uint64_t model) {
    const struct replica_model *m = replica_local_find(r, model);
    return m ? m->weight_bytes : 0;
}

static void free_local(struct replica *r) {
    struct local *l = local_of(r);
    for (size_t i = 0; i < l->model_count; i++)
        replica_model_free(l->models[i]);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l->models);
    mem_free(l);
}

enum err replica_local_new(struct device *d, struct replica **out, struct errmsg *msg) {
    static const struct replica_ops ops = {
        .load = load, .unload = unload, .weight_bytes = weight_bytes, .free = free_local};
    *out = NULL;
    struct local *l = mem_calloc(1, sizeof *l);
    if (!l)
        return err_set(msg, ERR_NOMEM, "no memory for a replica");
    l->head.ops = &ops;
    l->device = d;
    pthread_mutex_init(&l->mutex, NULL);
    *out = &l->head;
    return ERR_OK;
}

struct device *replica_local_device(const struct replica *r) {
    return ((const struct local *)r)->device;
}
