// What a replica is told of a model and what it says of itself: the spec is enough and is its own
// afterwards, what memory there is stands in it, and facts and sizes are those of the device.
#include "compute/cpu/cpu.h"
#include "engine/model.h"
#include "engine/replica_local.h"
#include "tests/check.h"
#include "tests/kit/replica_kit.h"

#include <stdlib.h>
#include <string.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define CLASSIFIER "tests/golden/data/bert-classifier"
#define GENERATOR "tests/golden/data/tiny_chat"

static struct device *device;
static struct replica *replica;

static struct model *model_at(const char *path) {
    struct errmsg msg = {0};
    struct model *m = NULL;
    CHECK_OK(kit_model_load(path, &m, &msg), msg);
    return m;
}

static void told(void) {
    struct model *m = model_at(CLASSIFIER);
    struct replica_spec spec;
    model_spec(m, &spec);
    CHECK_INT(spec.model, m->id);
    CHECK(spec.name == m->name && spec.path == m->path && spec.files == m->files);
    CHECK(spec.task == TASK_CLASSIFY && !spec.causal && spec.sources == NULL);
    CHECK_INT(spec.max_length, m->max_length);
    CHECK_INT(spec.dim, m->config.labels);
    CHECK(m->config.label_names != NULL && spec.config.label_names == NULL);
    CHECK(spec.room.limit.bytes > 0 && spec.room.resident > 0 && spec.room.limit.source[0]);
    model_release(m);
}

// The spec's strings and the model are gone, and what was loaded by them is used.
static void on_its_own(void) {
    struct model *m = model_at(EMBEDDER);
    struct errmsg msg = {0};
    struct replica_spec spec;
    model_spec(m, &spec);
    uint64_t id = spec.model;
    char *name = strdup(spec.name), *path = strdup(spec.path), *files = strdup(spec.files);
    spec.name = name;
    spec.path = path;
    spec.files = files;
    CHECK_OK(replica_load(replica, &spec, &msg), msg);
    memset(name, '#', strlen(name));
    free(name);
    free(path);
    free(files);
    memset(&spec, 0xff, sizeof spec);
    model_release(m);
    CHECK(replica_weight_bytes(replica, id) > 0);
    CHECK_OK(replica_size_batches(replica, 64, &msg), msg);
    replica_unload(replica, id);
    CHECK_INT(replica_weight_bytes(replica, id), 0);
}

// The room is what the spec says, whatever the system has.
static void room(void) {
    struct model *m = model_at(EMBEDDER);
    struct errmsg msg = {0};
    struct replica_spec spec;
    model_spec(m, &spec);
    spec.room.limit.bytes = spec.room.resident + 1000;
    snprintf(spec.room.limit.source, sizeof spec.room.limit.source, "as was said");
    CHECK_ERROR(replica_load(replica, &spec, &msg), ERR_TOO_LARGE, msg, "(as was said)");
    CHECK(strstr(msg.text, m->path) == msg.text);
    spec.room.resident = SIZE_MAX - 10; // no sum of it is small
    CHECK_INT(replica_load(replica, &spec, &msg), ERR_TOO_LARGE);
    CHECK_INT(replica_weight_bytes(replica, spec.model), 0);
    model_release(m);
}

static void of_itself(void) {
    const struct replica_facts *f = replica_facts(replica);
    CHECK_STR(f->name, "cpu");
    CHECK_STR(f->describe, device->describe);
    CHECK_INT(f->kv_block_tokens, device->kv_block_tokens);
    CHECK(f->steps_ahead == 0 && f->bulk_ahead == 0);
    struct replica_health h = replica_health(replica);
    CHECK(h.condition == REPLICA_UP && h.life == 1 && h.pid == 0 && h.why[0] == '\0');
    replica_watch(replica, NULL, NULL);
    replica_retry(replica);
    CHECK_INT(replica_health(replica).life, 1);
}

static void sizes(void) {
    struct model *m = model_at(GENERATOR), *e = model_at(EMBEDDER);
    struct errmsg msg = {0};
    struct replica_spec spec;
    struct replica_step_sizes s = {0}, half = {0}, wide = {0};
    uint64_t place = 0;
    struct step_engine_options o = {.limits = {.block_tokens = 32,
                                               .max_tokens = 40,
                                               .max_seqs = 4,
                                               .max_logits = 6,
                                               .max_context = 64},
                                    .blocks = 2,
                                    .kv_dtype = DTYPE_F32};
    CHECK_INT(replica_size_steps(replica, m->id, &o.limits, DTYPE_F32, &s, &msg), ERR_INTERNAL);
    model_spec(m, &spec);
    CHECK_OK(replica_load(replica, &spec, &msg), msg);
    CHECK_OK(replica_size_steps(replica, m->id, &o.limits, DTYPE_F32, &s, &msg), msg);
    CHECK_OK(replica_size_steps(replica, m->id, &o.limits, DTYPE_F16, &half, &msg), msg);
    CHECK(half.block_bytes > 0 && half.block_bytes < s.block_bytes);
    CHECK_INT(half.workspace_bytes, s.workspace_bytes);
    CHECK_OK(replica_open_steps(replica, m->id, &o, &place, &msg), msg);
    CHECK_INT(replica_step_bytes(replica, place), s.workspace_bytes);
    replica_close_steps(replica, place);
    o.limits.max_tokens = 80;
    CHECK_OK(replica_size_steps(replica, m->id, &o.limits, DTYPE_F32, &wide, &msg), msg);
    CHECK(wide.workspace_bytes > s.workspace_bytes && wide.block_bytes == s.block_bytes);
    model_spec(e, &spec);
    CHECK_OK(replica_load(replica, &spec, &msg), msg); // one that has no steps
    CHECK_INT(replica_size_steps(replica, e->id, &o.limits, DTYPE_F32, &s, &msg), ERR_INTERNAL);
    replica_unload(replica, e->id);
    replica_unload(replica, m->id);
    model_release(e);
    model_release(m);
}

static void faults(void) {
    for (int f = 0; f < STEP_FAULT_COUNT; f++) {
        CHECK_INT(step_fault_err((enum step_fault)f) == ERR_OK, f == STEP_FAULT_NONE);
        CHECK_INT(*step_fault_words((enum step_fault)f) == '\0', f == STEP_FAULT_NONE);
    }
    CHECK_INT(step_fault_err(STEP_FAULT_MEMORY), ERR_NOMEM);
    CHECK_INT(step_fault_err(STEP_FAULT_NONFINITE), ERR_NONFINITE);
    CHECK_INT(step_fault_err((enum step_fault)77), ERR_INTERNAL); // no such one
    CHECK(*step_fault_words((enum step_fault)77) != '\0');
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &replica, &msg), msg);
    if (replica) {
        told();
        on_its_own();
        room();
        of_itself();
        sizes();
        faults();
    }
    replica_free(replica);
    cpu_device_free(device);
    return check_done();
}
