// Texts that are being generated go on in mid-sentence on another device: their tokens and logprobs
// have the bits that they would have had, nothing is lost and nothing told twice, whatever was in
// flight; with drafts, grammars, penalties and seeds, one step ahead and not. And what comes of
// steps in flight when a text ends.
#include "tests/unit/generator_pair.h"

enum { MANY = 10 };

static struct generator_pair pair;
static struct kit_gen *expected[MANY];

static const struct grammar *grammar_of(uint32_t seed) {
    return seed % 4 == 1 ? pair.easy : seed % 4 == 2 ? pair.costly : NULL;
}

static struct kit_gen *gen_new(uint32_t seed) {
    return kit_gen_new(seed, grammar_of(seed), pair.vocab);
}

// Moves every few steps, with a step in flight that has come so far. `together` texts at a time:
// drafts are made where few of them run.
static void moves(size_t ahead, bool speculate, size_t every, uint32_t together) {
    struct generator *g = kit_generator(&pair.replicas[0], pair.masks, speculate, ahead);
    struct kit_gen *t[MANY];
    struct errmsg msg = {0};
    size_t steps = 0, moved = 0, drafted = 0, caught = 0;
    uint32_t submitted = 0;
    while ((generator_busy(g) || submitted < MANY) && steps < 100000) {
        for (uint32_t i = 0; i < together && submitted < MANY && generator_count(g) < together;
             i++) {
            t[submitted] = gen_new(submitted);
            generator_submit(g, &t[submitted]->g);
            submitted++;
        }
        struct step *s = generator_begin_step(g);
        if (!s) {
            await_nap();
            continue;
        }
        if (++steps % every == 0) {
            kit_go_until(g, s, (enum kit_stage)(moved % KIT_STAGES));
            caught += moved % KIT_STAGES == KIT_DRAWN && generator_begin_step(g) != NULL;
            moved++;
            CHECK_OK(generator_move(g, &pair.replicas[moved % 2].head, &msg), msg);
            continue;
        }
        kit_finish_step(g, s);
    }
    size_t equal = 0, once = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        equal += kit_same(t[i], expected[i]);
        once += t[i]->ended == 1 && !t[i]->shrank && t[i]->told == t[i]->g.produced;
        drafted += t[i]->g.accepted;
        free(t[i]);
    }
    CHECK_INT(equal, MANY);
    CHECK_INT(once, MANY);
    CHECK(moved >= 6);
    CHECK(!speculate || drafted > 0);
    CHECK_INT(caught > 0, ahead > 0); // a step that went ahead was in flight as well
    struct generation_stats s = {0};
    generator_add_stats(g, &s);
    CHECK_INT(s.kv_blocks_used, 0);
    generator_free(g);
}

// A device that breaks in the middle of a step, and the step taken back instead of failed.
static void after_a_failure(void) {
    struct generator *g = kit_generator(&pair.replicas[0], pair.masks, false, 1);
    struct kit_gen *t = gen_new(3);
    struct errmsg msg = {0};
    struct forward_hooks none = {0};
    generator_submit(g, &t->g);
    for (int i = 0; i < 5; i++)
        CHECK(inline_replica_step(g, &none));
    struct step *s = generator_begin_step(g); // behind the one that went ahead already
    CHECK(s != NULL && s->ids[0] == STEP_LAST_DRAWN);
    CHECK(generator_begin_step(g) == NULL);
    generator_take_back(g);
    CHECK((s = generator_begin_step(g)) != NULL && s->ids[0] != STEP_LAST_DRAWN);
    device_fail(pair.devices[0], ERR_INTERNAL, "a device that broke");
    CHECK_INT(step_engine_forward(inline_replica_engine(g), s, &none, &msg), ERR_INTERNAL);
    CHECK_OK(generator_move(g, &pair.replicas[1].head, &msg), msg);
    CHECK_INT(t->ended, 0);
    kit_run(g);
    CHECK(t->ended == 1 && kit_same(t, expected[3]));
    free(t);
    generator_free(g);
}

// Rows go ahead of tokens that are not known; where such a token ends its text, the end is told at
// once and the row counts for nothing: nothing is told of it, its blocks are free.
static void ended_ahead(void) {
    struct generator *g = kit_generator(&pair.replicas[0], pair.masks, false, 1);
    const struct kit_gen *whole = expected[3]; // drawn, without a grammar
    int32_t end = whole->ids[9];
    size_t first = 0;
    while (whole->ids[first] != end)
        first++;
    kit_model.generation.eos_ids = &end;
    kit_model.generation.eos_count = 1;
    struct kit_gen *t = gen_new(3);
    t->g.ignore_eos = false;
    generator_submit(g, &t->g);
    struct step *s = generator_begin_step(g), *next = NULL;
    size_t went_ahead = 0;
    CHECK(s != NULL);
    while (s && !t->ended) {
        kit_go_until(g, s, KIT_DRAWN);
        next = generator_begin_step(g);
        if (CHECK(next != NULL && next->seqs == 1))
            went_ahead += next->ids[0] == STEP_LAST_DRAWN;
        CHECK(generator_begin_step(g) == NULL);      // no further
        CHECK(!generator_fill_masks(g, next, true)); // not before the one before it has ended
        generator_end_step(g, s, true, ERR_OK, "");
        s = next;
    }
    CHECK_INT(went_ahead, first + 1);
    CHECK_INT(t->g.end, GENERATION_STOP);
    CHECK_INT(t->g.produced, first);
    CHECK(memcmp(t->ids, whole->ids, first * sizeof *t->ids) == 0);
    free(t); // the step in flight has nothing of the request's
    CHECK(generator_step_is_gone(s));
    kit_go_until(g, s, KIT_DRAWN);
    generator_end_step(g, s, true, ERR_OK, "");
    struct generation_stats stats = {0};
    generator_add_stats(g, &stats);
    CHECK_INT(stats.kv_blocks_used, 0);
    CHECK_INT(stats.output_tokens, first);
    CHECK_INT(stats.done, 1);
    kit_model.generation.eos_count = 0;
    // cancelled, with a step in flight: told at once, and freed with the step
    struct kit_gen *gone = gen_new(4), *stays = gen_new(3);
    generator_submit(g, &gone->g);
    generator_submit(g, &stays->g);
    CHECK((s = generator_begin_step(g)) != NULL);
    CHECK_INT(s->seqs, 2);
    atomic_store(&gone->g.cancelled, true);
    generator_tend(g);
    CHECK(gone->ended == 1 && gone->g.err == ERR_CANCELLED);
    free(gone);
    kit_go_until(g, s, KIT_DRAWN);
    generator_end_step(g, s, true, ERR_OK, "");
    CHECK_INT(stays->g.produced, 1);
    kit_run(g);
    CHECK(kit_same(stays, whole));
    free(stays);
    generator_free(g);
}

// Masks that come when the forward is over are in time; those that do not are waited for.
static void masks_in_time(size_t ahead) {
    struct generator *g = kit_generator(&pair.replicas[0], pair.masks, false, ahead);
    struct kit_gen *t = gen_new(2);
    size_t asked_again = 0, late = 0;
    generator_submit(g, &t->g);
    for (int i = 0; i < 200000 && !t->ended; i++) {
        struct step *s = generator_begin_step(g);
        if (!s) {
            await_nap();
            continue;
        }
        bool all = generator_fill_masks(g, s, false);
        kit_go_until(g, s, KIT_COMPUTED);
        if (!all && i % 2) { // a slow device: it comes meanwhile
            while (!generator_fill_masks(g, s, false))
                await_nap();
            asked_again++;
        }
        CHECK(generator_fill_masks(g, s, true));
        struct errmsg msg = {0};
        CHECK_OK(step_engine_draw(inline_replica_engine(g), s, &msg), msg);
        late += s->parts[0].late;
        CHECK(!(s->parts[0].late && s->parts[0].drawn));
        generator_end_step(g, s, true, ERR_OK, "");
    }
    CHECK(kit_same(t, expected[2]));
    CHECK(asked_again + late > 0); // it is costly
    free(t);
    generator_free(g);
}

int main(void) {
    generator_pair_open(&pair, 100);
    for (uint32_t i = 0; i < MANY && !check_failed; i++) {
        struct generator *g = kit_generator(&pair.replicas[0], pair.masks, false, 0);
        expected[i] = gen_new(i);
        generator_submit(g, &expected[i]->g);
        kit_run(g);
        CHECK(expected[i]->ended == 1 && expected[i]->g.produced == KIT_OUTPUT);
        generator_free(g);
    }
    for (size_t ahead = 0; ahead <= GENERATOR_AHEAD_MOST && !check_failed; ahead++) {
        moves(ahead, false, 5, MANY);
        moves(ahead, true, 7, 3);
        masks_in_time(ahead);
    }
    if (!check_failed) {
        after_a_failure();
        ended_ahead();
    }
    for (uint32_t i = 0; i < MANY; i++)
        free(expected[i]);
    generator_pair_close(&pair);
    return check_done();
}
