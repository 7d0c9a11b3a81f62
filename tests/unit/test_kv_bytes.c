// The bytes of a KV cache are counted in one place: what a generator sizes its cache by, what it
// says it has and what the device takes are one number, for heads that fill whole vectors and for
// those that do not.
#include "compute/cpu/kv.h"
#include "engine/generators.h"
#include "engine/replica_local.h"
#include "tests/kit/replica_kit.h"
#include "tests/unit/generator_kit.h"

enum { BLOCKS = 7, TOKENS = 32 };

static struct device *device;
static struct replica_model loaded;
static struct inline_replica at_once;

static void load(const char *path) {
    loaded = kit_load_path(device, path);
    kit_model.max_length = 4096;
    model_spec(&kit_model, &loaded.spec);
    inline_replica_init(&at_once, &loaded);
}

static void wake(void *ctx) { (void)ctx; }

// What the device takes for so many blocks.
static size_t taken(enum dtype dtype) {
    struct kv_shape shape = decoder_kv_shape(loaded.decoder, TOKENS, BLOCKS, dtype);
    struct kv_cache *kv = NULL;
    struct errmsg msg = {0};
    CHECK_OK(device->ops->kv_new(device, &shape, &kv, &msg), msg);
    size_t bytes = kv ? kv->block_bytes * BLOCKS : 0;
    device->ops->kv_free(device, kv);
    return bytes;
}

static void one_number(const char *path, size_t head_dim, size_t padded) {
    load(path);
    const struct decoder_config *c = &kit_model.decoder_config;
    CHECK_INT(c->head_dim, head_dim);
    for (int half = 0; half < 2; half++) {
        enum dtype dtype = half ? DTYPE_F16 : DTYPE_F32;
        size_t bytes = taken(dtype);
        // keys lie close, a value begins a vector
        CHECK_INT(bytes, BLOCKS * TOKENS * c->layers * c->kv_heads * (head_dim + padded) *
                             dtype_size(dtype));
        for (int short_of = 0; short_of < 2; short_of++) { // one byte less holds one block less
            struct generator_options o = {.model = &kit_model,
                                          .replica = &at_once.head,
                                          .kv_bytes = bytes - (size_t)short_of,
                                          .kv_dtype = dtype,
                                          .max_sequences = 2,
                                          .release = kit_release};
            size_t blocks = BLOCKS - (size_t)short_of;
            struct generator_size size = {0};
            struct generator *g = NULL;
            struct errmsg msg = {0};
            CHECK_OK(generator_choose_size(&o, &size, &msg), msg);
            CHECK_INT(size.blocks, blocks);
            CHECK_INT(size.cache_bytes, bytes / BLOCKS * blocks);
            CHECK_OK(generator_new(&o, &g, &msg), msg);
            struct generation_stats s = kit_stats(g);
            CHECK_INT(s.kv_blocks, blocks);
            CHECK_INT(s.kv_bytes, size.cache_bytes);
            CHECK_INT(s.kv_tokens, blocks * TOKENS);
            generator_free(g);
        }
    }
    decoder_free(loaded.decoder);
}

// The options that are served with come to the same cache, and to the same sum in the plan.
static void options(void) {
    static char path[] = "tests/golden/data/decoders/llama-linear-biases";
    load(path);
    kit_model.dtype = DTYPE_F32;
    kit_model.self = &kit_model;
    atomic_store(&kit_model.holds, 1);
    kit_model.causal = true;
    kit_model.path = kit_model.files = path;
    struct model *models[] = {&kit_model};
    struct replica *replica = NULL;
    struct errmsg msg = {0};
    size_t bytes = taken(DTYPE_F32);
    CHECK_OK(replica_local_new(device, &replica, &msg), msg);
    CHECK_OK(kit_replica_load(replica, &kit_model, &msg), msg);
    struct generators_options o = {
        .replica = replica, .cache_bytes = bytes, .release = kit_release, .wake = wake};
    struct memory_plans plan = {0};
    struct generators g;
    memory_plan_begin(&plan.machine);
    CHECK_OK(generators_init(&g, &o, models, 1, &plan, &msg), msg);
    struct generation_stats s = {0};
    generators_add_stats(&g, &s);
    CHECK_INT(plan.machine.caches, bytes);
    CHECK_INT(s.kv_bytes, bytes);
    CHECK_INT(generator_cache_bytes(g.items[0]), bytes);
    generators_free(&g);
    replica_free(replica);
    decoder_free(loaded.decoder);
}

static void refused(void) {
    struct kv_shape bad = {2, 2, CAUSAL_MAX_HEAD_DIM + 2, TOKENS, 1, DTYPE_F32, 0, 0};
    CHECK_INT(device->ops->kv_block_bytes(device, &bad), 0);
    bad = (struct kv_shape){SIZE_MAX / 8, 16, 128, TOKENS, 1, DTYPE_F32, 0, 0};
    CHECK_INT(device->ops->kv_block_bytes(device, &bad), 0);
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options cpu = {.threads = 1};
    CHECK_OK(test_device_new(&cpu, &device, &msg), msg);
    one_number("tests/golden/data/decoders/llama-linear-biases", 18, 32);
    one_number("tests/golden/data/decoders/qwen2-tied", 10, 16);
    one_number("tests/golden/data/decoders/qwen3-embedder", 16, 16);
    options();
    refused();
    test_device_free(device);
    return check_done();
}
