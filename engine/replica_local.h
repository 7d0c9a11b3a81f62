// The replica that is a device of this process. Role: makes one (replica.h is how it is used).
// Thread rule: as replica.h.
#ifndef TRINE_ENGINE_REPLICA_LOCAL_H
#define TRINE_ENGINE_REPLICA_LOCAL_H

#include "engine/replica.h"
#include "engine/replica_model.h"

// Starts the thread that drives the device. The device stays the caller's, who lets the replica go
// first. ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err replica_local_new(struct device *d, struct replica **out, struct errmsg *msg) MUST_CHECK;

// A loaded model, until it is unloaded; NULL: it is not loaded.
struct replica_model *replica_local_find(struct replica *r, uint64_t model);

#endif
