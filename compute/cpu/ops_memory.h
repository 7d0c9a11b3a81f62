// The device table's memory, as compute/device.h has it: weights, workspaces, the cache of keys and
// values. Thread rule: as every operation.
#ifndef TRINE_COMPUTE_CPU_OPS_MEMORY_H
#define TRINE_COMPUTE_CPU_OPS_MEMORY_H

#include "compute/device.h"

enum err cpu_weight_prepare(struct device *d, enum weight_kind kind,
                            const struct weight_part *parts, size_t n, struct precision precision,
                            struct weight **out, struct errmsg *msg);
void cpu_weight_free(struct device *d, struct weight *w);
size_t cpu_weight_bytes(const struct weight *w);
enum err cpu_workspace_new(struct device *d, size_t bytes, struct arena *out);
void cpu_workspace_free(struct device *d, struct arena *a);
size_t cpu_kv_block_bytes(const struct device *d, const struct kv_shape *shape);
enum err cpu_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                    struct errmsg *msg);
void cpu_kv_free(struct device *d, struct kv_cache *kv);
void cpu_kv_store(struct device *d, const struct kv_store_args *a);

#endif
