// The KV block pool: references, prefixes found by their tokens and within one owner only, eviction
// from the end of the least recently used chain, and a random walk against a plain model of it.
#include "engine/kv_blocks.h"
#include "tests/check.h"

enum { BT = 4 };

static struct kv_blocks *pool(size_t blocks) {
    struct kv_blocks *b = NULL;
    struct errmsg msg = {0};
    CHECK_OK(kv_blocks_new(blocks, BT, &b, &msg), msg);
    return b;
}

// Publishes n tokens' whole blocks as one owner's chain; returns how many.
static size_t publish(struct kv_blocks *b, uint64_t owner, const int32_t *tokens, size_t n,
                      int32_t *chain) {
    size_t count = n / BT;
    for (size_t i = 0; i < count; i++) {
        int32_t block = kv_blocks_take(b);
        CHECK(block != KV_NO_BLOCK);
        chain[i] =
            kv_blocks_publish(b, owner, i ? chain[i - 1] : KV_NO_BLOCK, block, tokens + i * BT);
    }
    return count;
}

static void prefixes(void) {
    struct kv_blocks *b = pool(8);
    const int32_t text[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const int32_t other[12] = {1, 2, 3, 4, 5, 6, 7, 99, 9, 10, 11, 12};
    int32_t mine[3], found[3];
    CHECK_INT(publish(b, 7, text, 12, mine), 3);
    CHECK_INT(kv_blocks_held(b), 3);
    CHECK_INT(kv_blocks_match(b, 7, text, 12, found), 3);
    CHECK(memcmp(mine, found, sizeof mine) == 0);
    kv_blocks_release(b, found, 3);
    CHECK_INT(kv_blocks_match(b, 7, text, 11, found), 2); // whole blocks only
    kv_blocks_release(b, found, 2);
    CHECK_INT(kv_blocks_match(b, 7, other, 12, found), 1);
    kv_blocks_release(b, found, 1);
    CHECK_INT(kv_blocks_match(b, 8, text, 12, found), 0);    // another owner's
    CHECK_INT(kv_blocks_match(b, 7, text + 4, 8, found), 0); // the same tokens elsewhere
    kv_blocks_release(b, mine, 3);
    CHECK_INT(kv_blocks_held(b), 0);
    CHECK_INT(kv_blocks_kept(b), 3);
    CHECK_INT(kv_blocks_room(b), 8);
    // an equal chain computed a second time becomes the first one
    int32_t again[3];
    publish(b, 7, text, 12, again);
    CHECK(memcmp(mine, again, sizeof mine) == 0);
    CHECK_INT(kv_blocks_held(b), 3);
    kv_blocks_release(b, again, 3);
    kv_blocks_free(b);
}

// The device that held them is gone: nothing is found, kept ones are free, held ones stay held.
static void forgotten(void) {
    struct kv_blocks *b = pool(6);
    const int32_t text[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, more[4] = {7, 7, 7, 7};
    int32_t mine[3], other[1], found[3], taken[5];
    CHECK_INT(publish(b, 7, text, 12, mine), 3);
    CHECK_INT(publish(b, 7, more, 4, other), 1);
    kv_blocks_release(b, mine, 3);
    kv_blocks_forget(b);
    CHECK_INT(kv_blocks_kept(b), 0);
    CHECK_INT(kv_blocks_held(b), 1);
    CHECK_INT(kv_blocks_room(b), 5);
    CHECK_INT(kv_blocks_match(b, 7, text, 12, found), 0);
    CHECK_INT(kv_blocks_match(b, 7, more, 4, found), 0);
    for (int i = 0; i < 5; i++) {
        taken[i] = kv_blocks_take(b);
        CHECK(taken[i] != KV_NO_BLOCK && taken[i] != other[0]);
    }
    CHECK_INT(kv_blocks_take(b), KV_NO_BLOCK);
    kv_blocks_release(b, taken, 5);
    kv_blocks_release(b, other, 1); // it is not kept
    CHECK_INT(kv_blocks_kept(b), 0);
    CHECK_INT(kv_blocks_room(b), 6);
    CHECK_INT(publish(b, 7, text, 12, mine), 3); // and all goes on as in a new one
    kv_blocks_release(b, mine, 3);
    CHECK_INT(kv_blocks_match(b, 7, text, 12, found), 3);
    kv_blocks_release(b, found, 3);
    kv_blocks_free(b);
}

static void eviction(void) {
    struct kv_blocks *b = pool(4);
    const int32_t first[8] = {1, 1, 1, 1, 2, 2, 2, 2}, second[8] = {3, 3, 3, 3, 4, 4, 4, 4};
    int32_t a[2], c[2], found[2], taken[4];
    publish(b, 0, first, 8, a);
    publish(b, 0, second, 8, c);
    kv_blocks_release(b, a, 2);
    kv_blocks_release(b, c, 2);
    CHECK_INT(kv_blocks_match(b, 0, first, 8, found), 2); // now the more recently used
    kv_blocks_release(b, found, 2);
    taken[0] = kv_blocks_take(b);
    CHECK_INT(taken[0], c[1]); // the end of the other chain
    CHECK_INT(kv_blocks_match(b, 0, second, 8, found), 1);
    kv_blocks_release(b, found, 1);
    for (int i = 1; i < 4; i++)
        CHECK((taken[i] = kv_blocks_take(b)) != KV_NO_BLOCK);
    CHECK_INT(kv_blocks_take(b), KV_NO_BLOCK);
    CHECK_INT(kv_blocks_match(b, 0, first, 8, found), 0);
    kv_blocks_release(b, taken, 4);
    CHECK_INT(kv_blocks_room(b), 4);
    CHECK_INT(kv_blocks_kept(b), 0);
    kv_blocks_free(b);
}

// Many owners of few distinct texts, held and let go at random: what is matched must hold the
// tokens asked for, and nothing may be lost.
static void random_walk(void) {
    enum { BLOCKS = 24, HOLDERS = 10, LENGTH = 5 };
    struct kv_blocks *b = pool(BLOCKS);
    int32_t tokens_of[BLOCKS][BT] = {{0}}, chains[HOLDERS][LENGTH];
    size_t held[HOLDERS] = {0};
    uint32_t seed = 5;
    bool right = true, counted = true;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        size_t h = (seed >> 16) % HOLDERS;
        if (held[h] > 0) {
            kv_blocks_release(b, chains[h], held[h]);
            held[h] = 0;
            continue;
        }
        int32_t text[LENGTH * BT];
        for (int i = 0; i < LENGTH * BT; i++)
            text[i] = (int32_t)((seed >> 8) % 3 + (uint32_t)(i / BT) * ((seed >> 12) % 2));
        size_t n = kv_blocks_match(b, 0, text, LENGTH * BT, chains[h]);
        for (size_t i = 0; i < n; i++)
            right = right && memcmp(tokens_of[chains[h][i]], text + i * BT, sizeof *tokens_of) == 0;
        for (; n < LENGTH; n++) {
            int32_t block = kv_blocks_take(b);
            if (block == KV_NO_BLOCK)
                break;
            memcpy(tokens_of[block], text + n * BT, sizeof *tokens_of);
            chains[h][n] =
                kv_blocks_publish(b, 0, n ? chains[h][n - 1] : KV_NO_BLOCK, block, text + n * BT);
        }
        held[h] = n;
        counted = counted && kv_blocks_held(b) + kv_blocks_room(b) == BLOCKS;
    }
    CHECK(right);
    CHECK(counted);
    for (size_t h = 0; h < HOLDERS; h++)
        kv_blocks_release(b, chains[h], held[h]);
    CHECK_INT(kv_blocks_held(b), 0);
    CHECK_INT(kv_blocks_room(b), BLOCKS);
    kv_blocks_free(b);
}

int main(void) {
    prefixes();
    forgotten();
    eviction();
    random_walk();
    return check_done();
}
