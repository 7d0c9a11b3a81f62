// What the files of the metrics' text share. Role: no other file includes it. Thread rule: as
// exposition.h.
#ifndef TRINE_SERVICE_API_EXPOSITION_INTERNAL_H
#define TRINE_SERVICE_API_EXPOSITION_INTERNAL_H

#include "base/buf.h"
#include "engine/engine.h"

// The two lines before a metric's samples; name without trine_.
void exposition_head(struct buf *out, const char *name, const char *type, const char *help);

// exposition_worker.c: nothing where models are computed by this process alone.
void exposition_put_workers(const struct engine *e, const struct scheduler_stats *s,
                            struct buf *out);

#endif
