// How tests load a model on a replica. Thread rule: as replica_load.
#ifndef TRINE_TESTS_KIT_REPLICA_KIT_H
#define TRINE_TESTS_KIT_REPLICA_KIT_H

#include "engine/model.h"
#include "engine/replica.h"

static inline MUST_CHECK enum err kit_replica_load(struct replica *r, const struct model *m,
                                                   struct errmsg *msg) {
    struct replica_spec spec;
    model_spec(m, &spec);
    return replica_load(r, &spec, msg);
}

#endif
