// The size of a cache's blocks is the device's word: a generator on one that wants others has them,
// and its texts are the same to the bit.
#include "tests/kit/test_device.h"
#include "tests/unit/generator_kit.h"

enum { MANY = 6 };

int main(void) {
    static const size_t sizes[] = {32, 16, 64};
    struct errmsg msg = {0};
    struct device *d = NULL;
    CHECK_OK(test_device_new(&(struct cpu_options){.threads = 2}, &d, &msg), msg);
    if (!d)
        return check_done();
    CHECK_INT(d->kv_block_tokens, sizes[0]);
    struct replica_model loaded = kit_load(d);
    struct inline_replica replica;
    struct kit_gen *expected[MANY];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        d->kv_block_tokens = sizes[i];
        inline_replica_init(&replica, &loaded);
        struct generator *g = kit_generator(&replica, NULL, true, 0);
        struct generation_stats stats = {0};
        struct forward_hooks none = {0};
        struct kit_gen *t[MANY];
        for (uint32_t s = 0; s < MANY; s++) {
            t[s] = kit_gen_new(s, NULL, NULL);
            generator_submit(g, &t[s]->g);
        }
        while (inline_replica_step(g, &none))
            ;
        generator_add_stats(g, &stats);
        CHECK_INT(stats.kv_tokens, stats.kv_blocks * sizes[i]);
        struct kv_shape one = decoder_kv_shape(loaded.decoder, sizes[i], 1, DTYPE_F32);
        CHECK_INT(stats.kv_bytes, stats.kv_blocks * d->ops->kv_block_bytes(d, &one));
        for (uint32_t s = 0; s < MANY; s++) {
            CHECK(t[s]->ended == 1 && t[s]->g.produced == KIT_OUTPUT);
            if (i == 0)
                expected[s] = t[s];
            else
                CHECK(kit_same(t[s], expected[s]));
            if (i > 0)
                free(t[s]);
        }
        generator_free(g);
    }
    for (uint32_t s = 0; s < MANY; s++)
        free(expected[s]);
    decoder_free(loaded.decoder);
    test_device_free(d);
    return check_done();
}
