// How tests load a model, and bring it to a replica. Thread rule: as replica_load.
#ifndef TRINE_TESTS_KIT_REPLICA_KIT_H
#define TRINE_TESTS_KIT_REPLICA_KIT_H

#include "engine/model.h"
#include "engine/model_files.h"
#include "engine/replica.h"

// A model as it is without any option.
static inline MUST_CHECK enum err kit_model_load(const char *path, struct model **out,
                                                 struct errmsg *msg) {
    struct model_options o = {.path = path, .task = -1, .pool_mode = -1};
    return model_load(&o, out, msg);
}

static inline MUST_CHECK enum err kit_replica_load(struct replica *r, const struct model *m,
                                                   struct errmsg *msg) {
    struct replica_spec spec;
    model_spec(m, &spec);
    spec.precision.floats = COMPUTE_F32; // on every device: what tests compare is f32's bits
    return replica_load(r, &spec, msg);
}

// Opens what a load of it reads, as the engine does where a worker is to read it: kit_replica_load
// hands the descriptors on, and they are let go with the model.
static inline MUST_CHECK enum err kit_open_files(struct model *m, struct errmsg *msg) {
    return model_files_open(m, &m->sources, msg);
}

#endif
