// See control.h.
#include "worker/control.h"

#include "base/file_set.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/wire_spec.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct request {
    struct request *next;
    struct channel_message message; // its payload is `payload`
    unsigned char payload[];
};

struct control_thread {
    struct link *link;
    struct replica *replica;
    struct tables *tables;
    size_t most_files;
    struct file_set *files; // of the next LOAD; the thread's own, as the next
    uint64_t files_of;      // which model's they are; 0: there are none
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    // Under the mutex.
    struct request *head, **tail;
    size_t count; // with the one at hand
    bool ending;
};

static _Noreturn void refuse(const struct channel_message *m, const struct errmsg *msg) {
    link_end(WIRE_END_BROKEN_RULE, "%s: %s", wire_type_name(m->type), msg->text);
}

static void answer(struct control_thread *c, const struct channel_message *m, enum err e,
                   const struct errmsg *msg, uint64_t first, uint64_t second) {
    unsigned char payload[1024];
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    uint64_t values[WIRE_VALUES] = {first, second};
    struct channel_message a = {.type = WIRE_ANSWER, .sequence = m->sequence, .payload = payload};
    wire_write_answer(&w, m->type, e, msg, values);
    a.payload_length = w.length;
    link_send(c->link, &a, true);
}

// ---- models

static enum err add_files(struct control_thread *c, const struct channel_message *m,
                          struct wire_files *f, struct errmsg *msg) {
    if (wire_read_files(m, f, msg))
        refuse(m, msg);
    if (!c->files && !(c->files = file_set_new()))
        return err_set(msg, ERR_NOMEM, "the worker has no memory to list a model's files");
    if (c->files_of && c->files_of != f->model)
        link_end(WIRE_END_BROKEN_RULE, "FILES: of two models at once");
    c->files_of = f->model;
    if (file_set_count(c->files) + f->count > c->most_files)
        return err_set(msg, ERR_TOO_LARGE,
                       "%s: the model has more files than the worker may open: %zu are the most; "
                       "raise the hard limit of descriptors (ulimit -Hn, LimitNOFILE=), or join "
                       "the model's files",
                       f->paths[0], c->most_files);
    for (size_t i = 0; i < f->count; i++) {
        int own = dup(m->fds[i]); // the message's are closed with it
        if (own < 0)
            return err_set(msg, ERR_IO, "%s: dup: %s", f->paths[i], strerror(errno));
        enum err e = file_set_add(c->files, f->paths[i], own, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void forget_files(struct control_thread *c) {
    file_set_free(c->files);
    c->files = NULL;
    c->files_of = 0;
}

// A set that lacks one is of no use, and would be in the way of the next model's.
static void files(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    struct wire_files *f = mem_alloc(1, sizeof *f); // some 33 KB
    enum err e = f ? add_files(c, m, f, &msg)
                   : err_set(&msg, ERR_NOMEM, "the worker has no memory to list a model's files");
    mem_free(f);
    if (e)
        forget_files(c);
    answer(c, m, e, &msg, 0, 0);
}

// The model's files are the set's; there is nothing else to open.
static enum err load_model(struct control_thread *c, struct wire_load *l, struct errmsg *msg) {
    const struct worker_hooks *h = c->link->hooks;
    struct wire_model model;
    enum err e = h && h->load ? h->load(msg) : ERR_OK;
    if (!e && !c->files && !(c->files = file_set_new())) // none came: then there is none
        e = err_set(msg, ERR_NOMEM, "%s: no memory to load it", l->path);
    if (!e) {
        const struct file_set *before = file_set_use(c->files);
        e = replica_load(c->replica, &l->spec, msg);
        (void)file_set_use(before);
    }
    if (e)
        return e;
    wire_model_of(&l->spec, &model);
    e = tables_add_model(c->tables, &model, msg);
    if (e)
        replica_unload(c->replica, model.model);
    return e;
}

static enum err read_and_load(struct control_thread *c, const struct channel_message *m,
                              struct wire_load *l, struct errmsg *msg) {
    struct wire_model known;
    if (wire_read_load(m, l, msg))
        refuse(m, msg);
    if (tables_find_model(c->tables, l->spec.model, &known))
        link_end(WIRE_END_BROKEN_RULE, "LOAD: model %llu is loaded already",
                 (unsigned long long)l->spec.model);
    size_t have = c->files ? file_set_count(c->files) : 0;
    if (have != l->files || (have && c->files_of != l->spec.model))
        return err_set(msg, ERR_INVALID, "%s: %zu of %zu files of the model came", l->path, have,
                       l->files);
    return load_model(c, l, msg);
}

static void load(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    struct wire_load *l = mem_alloc(1, sizeof *l); // it holds paths
    enum err e = l ? read_and_load(c, m, l, &msg)
                   : err_set(&msg, ERR_NOMEM, "the worker has no memory to load a model");
    uint64_t bytes = l && !e ? replica_weight_bytes(c->replica, l->spec.model) : 0;
    forget_files(c);
    mem_free(l);
    answer(c, m, e, &msg, bytes, 0);
}

static void unload(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    uint64_t model;
    if (wire_read_unload(m, &model, &msg) || tables_remove_model(c->tables, model, &msg))
        refuse(m, &msg);
    replica_unload(c->replica, model);
    answer(c, m, ERR_OK, NULL, 0, 0);
}

static void size_batches(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    size_t tokens, bytes = 0;
    if (wire_read_size_batches(m, &tokens, &msg))
        refuse(m, &msg);
    enum err e = replica_size_batches(c->replica, tokens, &msg);
    if (!e) {
        tables_set_batch_tokens(c->tables, tokens);
        bytes = replica_read_stats(c->replica).workspace_bytes;
    }
    answer(c, m, e, &msg, bytes, 0);
}

// ---- steps

static void size_steps(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    struct wire_size_steps s;
    struct replica_step_sizes sizes = {0};
    if (wire_read_size_steps(m, &s, &msg))
        refuse(m, &msg);
    enum err e = replica_size_steps(c->replica, s.model, &s.limits, s.kv_dtype, &sizes, &msg);
    answer(c, m, e, &msg, sizes.block_bytes, sizes.workspace_bytes);
}

static void open_steps(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    struct wire_model model;
    struct wire_place place;
    uint64_t local = 0;
    bool known = tables_find_model(c->tables, wire_subject(m->payload, m->payload_length), &model);
    if (wire_read_open_steps(m, known ? &model : NULL, &place, &msg))
        refuse(m, &msg);
    enum err e = replica_open_steps(c->replica, place.model, &place.options, &local, &msg);
    if (!e && (e = tables_add_place(c->tables, &place, local, &msg))) {
        replica_close_steps(c->replica, local);
        if (e == ERR_INVALID)
            refuse(m, &msg);
    }
    answer(c, m, e, &msg, e ? 0 : replica_step_bytes(c->replica, local), 0);
}

static void close_steps(struct control_thread *c, const struct channel_message *m) {
    struct errmsg msg = {0};
    uint64_t place, local;
    if (wire_read_close_steps(m, &place, &msg) ||
        tables_remove_place(c->tables, place, &local, &msg))
        refuse(m, &msg);
    if (local)
        replica_close_steps(c->replica, local);
    answer(c, m, ERR_OK, NULL, 0, 0);
}

// ---- the thread

static void (*handler_of(uint16_t type))(struct control_thread *, const struct channel_message *) {
    switch (type) {
    case WIRE_FILES:
        return files;
    case WIRE_LOAD:
        return load;
    case WIRE_UNLOAD:
        return unload;
    case WIRE_SIZE_BATCHES:
        return size_batches;
    case WIRE_SIZE_STEPS:
        return size_steps;
    case WIRE_OPEN_STEPS:
        return open_steps;
    case WIRE_CLOSE_STEPS:
        return close_steps;
    default:
        return NULL;
    }
}

bool control_takes(uint16_t type) { return handler_of(type) != NULL; }

static void drop(struct request *r) {
    channel_close_fds(&r->message);
    mem_free(r);
}

static void *run(void *arg) {
    struct control_thread *c = arg;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (!c->ending && !c->head)
            pthread_cond_wait(&c->wake, &c->mutex);
        if (c->ending)
            break;
        struct request *r = c->head;
        if (!(c->head = r->next))
            c->tail = &c->head;
        pthread_mutex_unlock(&c->mutex);
        handler_of(r->message.type)(c, &r->message);
        drop(r);
        pthread_mutex_lock(&c->mutex);
        c->count--;
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static struct request *copy_of(const struct channel_message *m) {
    struct request *r = mem_alloc(1, sizeof *r + m->payload_length);
    if (!r)
        return NULL;
    r->next = NULL;
    r->message = *m;
    r->message.payload = r->payload;
    if (m->payload_length)
        memcpy(r->payload, m->payload, m->payload_length);
    return r;
}

void control_push(struct control_thread *c, struct channel_message *m) {
    struct request *r = copy_of(m);
    if (!r) {
        link_end(WIRE_END_NO_MEMORY, "no memory for %s", wire_type_name(m->type));
        return;
    }
    m->fd_count = 0;
    pthread_mutex_lock(&c->mutex);
    *c->tail = r;
    c->tail = &r->next;
    bool many = ++c->count > CONTROL_MOST;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    if (many)
        link_end(WIRE_END_BROKEN_RULE, "more than %d requests wait", CONTROL_MOST);
}

bool control_is_idle(struct control_thread *c) {
    pthread_mutex_lock(&c->mutex);
    bool idle = c->count == 0;
    pthread_mutex_unlock(&c->mutex);
    return idle;
}

static void free_parts(struct control_thread *c) {
    for (struct request *r = c->head, *next; r; r = next) {
        next = r->next;
        drop(r);
    }
    file_set_free(c->files);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

enum err control_new(struct link *link, struct replica *replica, struct tables *tables,
                     size_t most_files, struct control_thread **out, struct errmsg *msg) {
    *out = NULL;
    struct control_thread *c = mem_calloc(1, sizeof *c);
    if (!c || thread_cond_init(&c->wake)) {
        mem_free(c);
        return err_set(msg, ERR_NOMEM, "no memory for the thread of controls");
    }
    c->link = link;
    c->replica = replica;
    c->tables = tables;
    c->most_files = most_files;
    c->tail = &c->head;
    pthread_mutex_init(&c->mutex, NULL);
    struct thread_options o = {.name = "control"};
    enum err e = thread_start(&c->thread, &o, run, c, msg);
    if (e) {
        free_parts(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void control_free(struct control_thread *c) {
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->ending = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    free_parts(c);
}
