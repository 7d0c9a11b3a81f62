// What a replica must know of a model to load and run it. Role: plain data, so that it can be sent
// to another process: no tokenizer, no template, nothing of the model (model.h, which makes one)
// but the strings that are named here. They, and `sources`, are borrowed for the call that gets it.
// Thread rule: plain data.
#ifndef TRINE_ENGINE_REPLICA_SPEC_H
#define TRINE_ENGINE_REPLICA_SPEC_H

#include "compute/precision.h"
#include "engine/memory_plan.h"
#include "engine/model_task.h"
#include "weights/decoder_config.h"
#include "weights/model_config.h"

#include <stdint.h>

struct file_set;

struct replica_spec {
    uint64_t model;          // its number, from 1
    const char *name, *path; // as struct model has them: for messages; `path` for what pools, too
    const char *files;       // where the transformer's own files lie
    enum model_task task;
    bool causal;            // a decoder; else an encoder
    size_t max_length, dim; // tokens a sequence; floats in a result row
    // Of an encoder, without the labels' names (NULL): no replica has a use for them.
    struct model_config config;
    struct decoder_config decoder_config; // of a decoder
    struct precision precision;
    // Of TASK_EMBED, as struct model has them: what the pooler is made from.
    int pool_mode;
    bool pools_plainly, pool_normalizes;
    int32_t yes_id, no_id; // of a decoder's TASK_RERANK
    // What memory there is beside its weights: they are checked against it before they are read. A
    // load asks the system nothing.
    struct memory_plan room;
    // Its files, opened once and kept, so that whoever loads it later reads the same ones: a later
    // life of a replica, and what stands in for it. NULL: they are opened by their paths.
    const struct file_set *sources;
};

#endif
