// Every operation that looks something up by an index that it is given refuses one that lies
// beyond; and memory that is cut from a larger block has borders that AddressSanitizer sees.
#include "base/poison.h"
#include "compute/cpu/slab.h"
#include "tests/precisions.h"
#include "tests/unit/device_rig.h"

#include <limits.h>
#include <stdint.h>

enum { WORKSPACE = 8 << 20, D = 32 };

static void refused(struct device *d, const char *part) {
    struct errmsg msg = {0};
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    CHECK(strstr(msg.text, part) != NULL);
    CHECK(device_sync(d, &msg) == ERR_OK);
}

static void accepted(struct device *d) {
    struct errmsg msg = {0};
    CHECK_OK(device_sync(d, &msg), msg);
}

static struct weight *table(struct device *d, size_t rows) {
    float *x = rig_floats(rows * D, 1);
    struct weight_part part = {.w = {"t", x, DTYPE_F32, 2, {rows, D}, NULL, 0}};
    struct weight *w = NULL;
    struct errmsg msg = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_TABLE, &part, 1, PRECISION_F32, &w, &msg), msg);
    free(x);
    return w;
}

static void test_embed(struct device *d) {
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct weight *words = table(d, 50), *types = table(d, 1), *positions = table(d, 8);
    int32_t ids[3] = {0, 49, 7}, kinds[3] = {0, 0, 0}, places[3] = {0, 7, 2};
    struct embed_args a = {
        .tables = {words, types, positions}, .index = {ids, kinds, places}, .count = 3};
    struct mat y = rig_mat(d, &ws, 3, D, NULL);
    d->ops->embed(d, &a, y);
    accepted(d);
    const int32_t beyond[] = {50, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        ids[2] = beyond[i];
        d->ops->embed(d, &a, y);
        refused(d, "of table 0, which has 50");
    }
    ids[2] = 7;
    kinds[1] = 1; // a pair's second text, of a model with one type
    d->ops->embed(d, &a, y);
    refused(d, "embed: row 1 of table 1, which has 1");
    kinds[1] = 0;
    places[0] = 8;
    d->ops->embed(d, &a, y);
    refused(d, "embed: row 8 of table 2, which has 8");
    places[0] = 0;
    d->ops->embed(d, &a, y);
    accepted(d);
    d->ops->weight_free(d, words);
    d->ops->weight_free(d, types);
    d->ops->weight_free(d, positions);
    d->ops->workspace_free(d, &ws);
}

static void test_rows(struct device *d) {
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct mat x = rig_mat(d, &ws, 6, D, NULL), y = rig_mat(d, &ws, 2, D, NULL);
    int32_t rows[2] = {5, 0}, cu[3] = {0, 2, 6};
    for (size_t r = 0; r < 6; r++)
        memset(x.data + r * x.ld, 0, D * sizeof *x.data);
    d->ops->gather(d, x, rows, y);
    accepted(d);
    rows[1] = 6;
    d->ops->gather(d, x, rows, y);
    refused(d, "gather");
    rows[1] = -1;
    d->ops->gather(d, x, rows, y);
    refused(d, "gather");
    struct pool_args pool = {.mode = POOL_LAST, .x = x, .out = y, .cu_seqlens = cu, .seqs = 2};
    struct attention_args attention = {.q = x,
                                       .k = x,
                                       .v = x,
                                       .out = rig_mat(d, &ws, 6, D, NULL),
                                       .cu_seqlens = cu,
                                       .seqs = 2,
                                       .heads = 2,
                                       .head_dim = D / 2,
                                       .scale = 1};
    static const int32_t bad[][3] = {{0, 2, 7}, {0, 7, 6}, {-1, 2, 6}, {0, 2, -1}, {4, 2, 6}};
    for (int causal = 0; causal < 2; causal++) {
        attention.causal = causal;
        d->ops->attention(d, &attention);
        accepted(d);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            attention.cu_seqlens = bad[i];
            d->ops->attention(d, &attention);
            refused(d, "attention: 2 sequences");
        }
        attention.cu_seqlens = cu;
    }
    d->ops->pool(d, &pool);
    accepted(d);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pool.cu_seqlens = bad[i];
        d->ops->pool(d, &pool);
        refused(d, "pool: 2 sequences");
    }
    d->ops->workspace_free(d, &ws);
}

static void test_cache(struct device *d) {
    struct errmsg msg = {0};
    struct arena ws = rig_workspace(d, WORKSPACE);
    const struct kv_shape shape = {.layers = 1,
                                   .kv_heads = 1,
                                   .head_dim = D,
                                   .block_tokens = 16,
                                   .blocks = 2,
                                   .dtype = DTYPE_F32};
    struct kv_cache *kv = NULL;
    CHECK_OK(d->ops->kv_new(d, &shape, &kv, &msg), msg);
    struct mat x = rig_mat(d, &ws, 2, D, NULL), out = rig_mat(d, &ws, 2, D, NULL);
    for (size_t r = 0; r < 2; r++)
        memset(x.data + r * x.ld, 0, D * sizeof *x.data);
    int32_t slots[2] = {0, 1}, cu[2] = {0, 2}, context[1] = {2}, blocks[2] = {0, 1};
    struct kv_store_args store = {.kv = kv, .k = x, .v = x, .slots = slots};
    struct paged_attention_args a = {.kv = kv,
                                     .q = x,
                                     .out = out,
                                     .cu_seqlens = cu,
                                     .context_lens = context,
                                     .block_tables = blocks,
                                     .table_stride = 2,
                                     .seqs = 1,
                                     .heads = 1,
                                     .scale = 1};
    d->ops->kv_store(d, &store);
    d->ops->paged_attention(d, &a);
    accepted(d);
    slots[1] = 32;
    d->ops->kv_store(d, &store);
    refused(d, "kv_store");
    blocks[0] = 2;
    d->ops->paged_attention(d, &a);
    refused(d, "paged_attention");
    blocks[0] = -1;
    d->ops->paged_attention(d, &a);
    refused(d, "paged_attention");
    blocks[0] = 0;
    context[0] = 33; // a block more than the table has
    d->ops->paged_attention(d, &a);
    refused(d, "paged_attention");
    context[0] = 3;
    cu[1] = 3; // a row more than the queries have
    d->ops->paged_attention(d, &a);
    refused(d, "paged_attention");
    d->ops->kv_free(d, kv);
    d->ops->workspace_free(d, &ws);
}

#ifdef POISON_KNOWN
// Each byte of the block is its owner's, and none beside it anybody's.
static bool has_borders(const char *p, size_t n, bool before) {
    return !poisoned(p) && !poisoned(p + n - 1) && poisoned(p + n) && (!before || poisoned(p - 1));
}

static void test_slabs(void) {
    struct slab_list s = {0};
    enum { SIZE = 300 << 10 }; // several share a slab
    struct slab_block a = slab_alloc(&s, SIZE + 5), b = slab_alloc(&s, SIZE);
    CHECK(a.slab && a.slab == b.slab);
    CHECK(has_borders(a.data, SIZE + 5, false) && has_borders(b.data, SIZE, true));
    slab_free(&s, b);
    CHECK(poisoned(b.data) && poisoned((char *)b.data + SIZE - 1)); // freed, though the slab stands
    slab_free(&s, a);
    struct slab_block again = slab_alloc(&s, SIZE);
    CHECK(again.slab && has_borders(again.data, SIZE, false));
    for (size_t i = 0; i < SIZE; i++)
        if (((char *)again.data)[i]) {
            CHECK(!"a block is zero at first");
            break;
        }
    slab_free(&s, again);
    slab_free_all(&s);
    // a large one has a block of its own, rounded up to huge pages
    struct slab_block large = slab_alloc(&s, (5 << 20) + 3);
    CHECK(!large.slab && has_borders(large.data, (5 << 20) + 3, false));
    slab_free(&s, large);
}

static void test_arena(void) {
    static const size_t sizes[] = {4096, 9 << 20}; // from the heap, and the system's own pages
    for (size_t i = 0; i < 2; i++) {
        struct arena a;
        CHECK(arena_init(&a, sizes[i]) == ERR_OK);
        char *p = arena_alloc(&a, 100, 1), *q = arena_alloc(&a, 3, 4);
        CHECK(p && q && has_borders(p, 100, false) && has_borders(q, 12, true));
        arena_reset(&a);
        CHECK(poisoned(p) && poisoned(q)); // the last pass's memory
        CHECK(arena_alloc(&a, 100, 1) == p && has_borders(p, 100, false));
        arena_free(&a);
    }
}
#endif

int main(void) {
    struct device *d = rig_device(NULL, 2, CPU_GEMM_AUTO);
    test_embed(d);
    test_rows(d);
    test_cache(d);
    d->ops->free(d);
#ifdef POISON_KNOWN
    test_slabs();
    test_arena();
#endif
    return check_done();
}
