// The parent's side of a worker process with the real program: the same bits as a replica of this
// process, batches and steps, across kills in the middle of them; a cache that is gone with its
// life is told; a quarantine computes one piece at a time and ends when it is idle; nothing is
// left.
#include "compute/cpu/cpu.h"
#include "engine/model.h"
#include "engine/replica_local.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/processes.h"
#include "tests/kit/replica_kit.h"
#include "tests/kit/worker_replica.h"

#include <signal.h>
#include <stdlib.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define GENERATOR "tests/golden/data/tiny_chat"

enum { TEXTS = 24, MOST = 512, STEPS = 12, PROMPT = 20, CONTEXT = 64 };

static struct errmsg msg;
static struct device *device;
static struct replica *local;
static struct model *models[2];

static void load(struct replica *r, int which) {
    CHECK_OK(kit_replica_load(r, models[which], &msg), msg);
}

static struct replica *start(struct replica *reference) {
    struct replica *r = NULL;
    CHECK_OK(worker_replica_new(reference, NULL, &r, &msg), msg);
    return r;
}

static void wake(struct replica_work *w) { atomic_store((atomic_int *)w->ctx, 1); }
static void wait_for(atomic_int *done) { AWAIT(atomic_load(done)); }

// ---- batches

struct encoded {
    struct replica_batch b;
    int32_t ids[MOST], positions[MOST], types[MOST], ends[TEXTS + 1], skip[TEXTS];
    float *rows;
    atomic_int done;
};

static struct encoded *encoded_new(unsigned seed, bool normalize) {
    struct encoded *e = calloc(1, sizeof *e);
    size_t n = 0, vocab = model_vocab(models[0]), longest = models[0]->max_length;
    e->rows = calloc((size_t)TEXTS * models[0]->dim, sizeof *e->rows);
    for (size_t s = 0; s < TEXTS; s++) {
        size_t length = 1 + (seed * 7 + s * 5) % (longest < 20 ? longest : 20);
        for (size_t i = 0; i < length; i++, n++) {
            e->ids[n] = (int32_t)((seed * 131 + s * 17 + i * 3) % vocab);
            e->positions[n] = (int32_t)i;
        }
        e->ends[s + 1] = (int32_t)n;
    }
    e->b = (struct replica_batch){
        .work = {.model = models[0]->id,
                 .share = seed % 2 ? SHARE_BULK : SHARE_INTERACTIVE,
                 .done = wake,
                 .ctx = &e->done},
        .tokens = {.ids = e->ids,
                   .positions = e->positions,
                   .type_ids = e->types,
                   .cu_seqlens = e->ends,
                   .tokens = n,
                   .seqs = TEXTS},
        .skip = e->skip,
        .normalize = normalize,
        .rows = e->rows,
    };
    return e;
}

static void encoded_free(struct encoded *e) {
    free(e->rows);
    free(e);
}

// Computes it there, again where its life was lost. Returns how often that was.
static int encode_on(struct replica *r, struct encoded *e) {
    for (int again = 0;; again++) {
        atomic_store(&e->done, 0);
        memset(e->rows, 0, TEXTS * models[0]->dim * sizeof *e->rows);
        replica_encode(r, &e->b);
        wait_for(&e->done);
        if (e->b.work.err != ERR_LOST)
            return again;
        await_nap();
    }
}

static bool same_rows(struct replica *r, unsigned seed, bool normalize) {
    struct encoded *a = encoded_new(seed, normalize), *b = encoded_new(seed, normalize);
    (void)encode_on(local, a);
    (void)encode_on(r, b);
    bool same = a->b.work.err == ERR_OK && b->b.work.err == ERR_OK &&
                memcmp(a->rows, b->rows, TEXTS * models[0]->dim * sizeof *a->rows) == 0;
    if (!same)
        fprintf(stderr, "    seed %u: %s %s\n", seed, err_name(b->b.work.err), b->b.work.msg.text);
    encoded_free(a);
    encoded_free(b);
    return same;
}

// ---- steps

// A text of one sequence, a step a token, with a mask in every second one.
struct told {
    int32_t ids[STEPS];
    float logprobs[STEPS];
    size_t count;
    bool lost;
};

static struct step_limits limits(void) {
    return (struct step_limits){.block_tokens = 16,
                                .max_tokens = 64,
                                .max_seqs = 4,
                                .max_logits = 16,
                                .max_context = CONTEXT};
}

static uint64_t open_place(struct replica *r) {
    struct step_engine_options o = {.limits = limits(), .blocks = 8, .kv_dtype = DTYPE_F32};
    uint64_t place = 0;
    CHECK_OK(replica_open_steps(r, models[1]->id, &o, &place, &msg), msg);
    return place;
}

static void on_computed(struct replica_step *s) { (void)s; }

// Three tokens in the first block.
static struct step_part short_part(void) {
    static const int32_t ids[] = {1, 2, 3}, blocks[] = {0};
    return (struct step_part){.sequence = 1,
                              .ids = ids,
                              .count = 3,
                              .blocks = blocks,
                              .block_count = 1,
                              .sampling = {.top_p = 1, .repetition_penalty = 1}};
}

// One step; false where its life was lost.
static bool run_step(struct replica *r, uint64_t place, uint64_t life, struct step *step,
                     const uint32_t *mask) {
    atomic_int done = 0;
    struct replica_step s = {
        .work = {.model = models[1]->id, .share = SHARE_DECODE, .done = wake, .ctx = &done},
        .place = place,
        .life = life,
        .step = step,
        .computed = on_computed,
    };
    replica_submit_step(r, &s);
    if (mask) {
        step->parts[0].masks[0] = mask;
        step->parts[0].mask_count = 1;
    }
    replica_draw_step(r, &s);
    wait_for(&done);
    if (s.work.err != ERR_LOST)
        CHECK_OK(s.work.err, s.work.msg);
    return s.work.err == ERR_OK;
}

static struct told tell(struct replica *r, uint64_t place, int kill_at) {
    struct told t = {0};
    struct step *step;
    static int32_t tokens[CONTEXT];
    static const int32_t blocks[] = {3, 1, 5, 0};
    static uint32_t mask[4096];
    struct step_limits l = limits();
    uint64_t life = replica_health(r).life;
    memset(mask, 0x55, sizeof mask);
    CHECK(step_new(&l, &step) == ERR_OK);
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (i * 13 + 5) % (int32_t)model_vocab(models[1]);
    for (size_t i = 0; i < STEPS && !t.lost; i++) {
        size_t known = PROMPT + i;
        if ((int)i == kill_at)
            (void)!kill((pid_t)replica_health(r).pid, SIGKILL);
        struct step_part part = {
            .sequence = 77,
            .ids = i == 0 ? tokens : tokens + known - 1,
            .count = i == 0 ? PROMPT : 1,
            .context = i == 0 ? 0 : known - 1,
            .blocks = blocks,
            .block_count = 4,
            .wanted = 1,
            .draws = true,
            .sampling = {.temperature = 0.9F, .top_p = 1, .repetition_penalty = 1.1F, .seed = 9},
            .position = known,
            .tokens = tokens,
            .prompt_len = PROMPT,
            .logged = i,
            .want_logprob = true,
            .masked = i % 2 == 1,
        };
        step_clear(step);
        CHECK(step_add(step, &part) != NULL);
        t.lost = !run_step(r, place, life, step, part.masked ? mask : NULL);
        if (t.lost)
            break;
        CHECK_INT(step->parts[0].drawn, 1);
        t.ids[i] = tokens[known] = step->parts[0].results[0].id;
        t.logprobs[i] = step->parts[0].results[0].logprob;
        t.count++;
        CHECK(!part.masked || t.ids[i] % 2 == 0);
    }
    step_free(step);
    return t;
}

static bool same_told(const struct told *a, const struct told *b) {
    return a->count == STEPS && b->count == STEPS && memcmp(a->ids, b->ids, sizeof a->ids) == 0 &&
           memcmp(a->logprobs, b->logprobs, sizeof a->logprobs) == 0;
}

// ---- the tests

static void test_bits(struct replica *reference) {
    struct replica *r = start(reference);
    CHECK_STR(replica_facts(r)->name, replica_facts(local)->name);
    CHECK(strncmp(replica_facts(r)->describe, "worker: cpu", 11) == 0);
    CHECK_INT(replica_facts(r)->kv_block_tokens, replica_facts(local)->kv_block_tokens);
    load(r, 0);
    CHECK_OK(replica_size_batches(r, MOST, &msg), msg);
    load(r, 1);
    CHECK_INT(replica_weight_bytes(r, models[0]->id), replica_weight_bytes(local, models[0]->id));
    bool same = true;
    for (unsigned seed = 0; seed < 40; seed++)
        same = same_rows(r, seed, seed % 3 == 0) && same;
    CHECK(same);
    uint64_t here = open_place(local), there = open_place(r);
    struct replica_step_sizes a, b;
    struct step_limits l = limits();
    CHECK_OK(replica_size_steps(local, models[1]->id, &l, DTYPE_F32, &a, &msg), msg);
    CHECK_OK(replica_size_steps(r, models[1]->id, &l, DTYPE_F32, &b, &msg), msg);
    CHECK_INT(a.block_bytes, b.block_bytes);
    CHECK(b.workspace_bytes >= a.workspace_bytes && replica_step_bytes(r, there) > 0);
    struct told want = tell(local, here, -1), got = tell(r, there, -1);
    CHECK(same_told(&want, &got));
    // killed in the middle: the cache is gone, and said to be; then it is told anew
    for (int at = 0; at < STEPS; at += 3) {
        uint64_t life = replica_health(r).life;
        got = tell(r, there, at);
        CHECK(got.lost && memcmp(got.ids, want.ids, got.count * sizeof *got.ids) == 0);
        CHECK(worker_replica_await(r, life + 1));
        got = tell(r, there, -1);
        CHECK(same_told(&want, &got));
    }
    CHECK(replica_health(r).losses[LOSS_KILLED] >= 4);
    // a step whose cache came to be in the life before is not computed
    struct step *step;
    struct step_part part = short_part();
    CHECK(step_new(&l, &step) == ERR_OK && step_add(step, &part));
    CHECK(!run_step(r, there, replica_health(r).life - 1, step, NULL));
    CHECK(run_step(r, there, replica_health(r).life, step, NULL));
    step_free(step);
    replica_close_steps(r, there);
    replica_close_steps(local, here);
    replica_unload(r, models[1]->id);
    CHECK(same_rows(r, 1, true));
    replica_free(r);
}

// Killed again and again under batches: each is computed in the end, with its bits.
static void test_kills(void) {
    enum { KILLS = 30 };
    size_t fds = own_descriptors();
    struct replica *r = start(local);
    load(r, 0);
    CHECK_OK(replica_size_batches(r, MOST, &msg), msg);
    bool same = true;
    int lost = 0;
    for (unsigned i = 0; i < KILLS; i++) {
        struct encoded *a = encoded_new(i, true), *b = encoded_new(i, true);
        uint64_t life = replica_health(r).life;
        (void)encode_on(local, a);
        pid_t pid = (pid_t)replica_health(r).pid;
        atomic_store(&b->done, 0);
        replica_encode(r, &b->b);
        CHECK(pid > 0 && kill(pid, SIGKILL) == 0);
        wait_for(&b->done);
        lost += b->b.work.err == ERR_LOST;
        if (b->b.work.err == ERR_LOST)
            (void)encode_on(r, b);
        same = same && b->b.work.err == ERR_OK &&
               memcmp(a->rows, b->rows, TEXTS * models[0]->dim * sizeof *a->rows) == 0;
        CHECK(worker_replica_await(r, life + 1));
        encoded_free(a);
        encoded_free(b);
    }
    CHECK(same);
    CHECK(lost > 0);
    struct replica_health h = replica_health(r);
    CHECK_INT(h.losses[LOSS_KILLED], KILLS);
    CHECK_INT(h.starts, KILLS + 1);
    replica_free(r);
    CHECK_INT(own_descriptors(), fds);
}

static void test_quarantine(void) {
    struct replica *like = start(local);
    load(like, 0);
    load(like, 1);
    struct replica_worker_options o = worker_replica_options(NULL, like);
    o.idle_us = 50000;
    struct replica *r = NULL;
    CHECK_OK(replica_worker_new(&o, &r, &msg), msg);
    load(r, 0);
    load(r, 1);
    CHECK_OK(replica_size_batches(r, MOST, &msg), msg);
    uint64_t here = open_place(local), there = open_place(r);
    CHECK_INT(replica_health(r).starts, 0);
    CHECK(same_rows(r, 3, true));
    struct told want = tell(local, here, -1), got = tell(r, there, -1);
    if (got.lost) // it had been idle in between
        got = tell(r, there, -1);
    CHECK(same_told(&want, &got));
    CHECK(same_rows(r, 4, false));
    AWAIT(replica_health(r).pid == 0);
    struct replica_health h = replica_health(r);
    for (int i = 0; i < LOSS_COUNT; i++)
        CHECK_INT(h.losses[i], 0);
    CHECK(same_rows(r, 5, false)); // and once more
    replica_close_steps(local, here);
    replica_free(r);
    replica_free(like);
}

// Masks that do not fit the region beside their step's own block, or not at all, end that step with
// the cause, not as if its sender had cancelled it; the life goes on.
static void test_large_masks(size_t region_bytes) {
    enum { ROWS = 9, PARTS = 16 };
    struct replica_worker_options with = worker_replica_options(local, NULL);
    struct replica *r = NULL;
    with.region_bytes = region_bytes;
    CHECK_OK(replica_worker_new(&with, &r, &msg), msg);
    load(r, 1);
    struct step_engine_options o = {.limits = {.block_tokens = 16,
                                               .max_tokens = ROWS * PARTS,
                                               .max_seqs = PARTS,
                                               .max_logits = ROWS * PARTS,
                                               .max_context = 16},
                                    .blocks = PARTS,
                                    .kv_dtype = DTYPE_F32};
    uint64_t place = 0;
    CHECK_OK(replica_open_steps(r, models[1]->id, &o, &place, &msg), msg);
    CHECK(worker_replica_await(r, 1)); // the canary of its steps, too
    static const int32_t ids[ROWS] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static uint32_t mask[4096];
    struct step *step;
    int32_t blocks[PARTS];
    memset(mask, 0x55, sizeof mask);
    CHECK(step_new(&o.limits, &step) == ERR_OK);
    for (int i = 0; i < PARTS; i++) {
        blocks[i] = i;
        struct step_part part = {.sequence = (uint64_t)i + 1,
                                 .ids = ids,
                                 .count = ROWS,
                                 .blocks = &blocks[i],
                                 .block_count = 1,
                                 .wanted = ROWS,
                                 .draws = true,
                                 .sampling = {.top_p = 1, .repetition_penalty = 1},
                                 .position = 1,
                                 .tokens = ids,
                                 .prompt_len = 1,
                                 .masked = true};
        CHECK(step_add(step, &part) != NULL);
    }
    atomic_int done = 0;
    struct replica_step s = {
        .work = {.model = models[1]->id, .share = SHARE_DECODE, .done = wake, .ctx = &done},
        .place = place,
        .life = replica_health(r).life,
        .step = step,
        .computed = on_computed,
    };
    replica_submit_step(r, &s);
    for (int i = 0; i < PARTS; i++) {
        for (int k = 0; k < ROWS; k++)
            step->parts[i].masks[k] = mask;
        step->parts[i].mask_count = ROWS;
    }
    replica_draw_step(r, &s);
    wait_for(&done);
    CHECK_INT(s.work.err, ERR_NOMEM);
    CHECK(strstr(s.work.msg.text, "masks") != NULL);
    step_clear(step);
    struct step_part plain = short_part();
    CHECK(step_add(step, &plain) != NULL);
    CHECK(run_step(r, place, 1, step, NULL)); // in the same life
    step_free(step);
    replica_free(r);
}

static void test_no_program(void) {
    struct replica_worker_options o = worker_replica_options(NULL, NULL);
    o.program = "/no/such/trine-worker";
    struct replica *r = NULL;
    CHECK_INT(replica_worker_new(&o, &r, &msg), ERR_NOT_FOUND);
    CHECK(r == NULL && strstr(msg.text, "/no/such/trine-worker") != NULL);
}

int main(void) {
    CHECK_OK(worker_replica_begin(&msg), msg);
    struct cpu_options cpu = {.threads = 1};
    CHECK_OK(cpu_device_new(&cpu, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &local, &msg), msg);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kit_model_load(i ? GENERATOR : EMBEDDER, &models[i], &msg), msg);
        CHECK_OK(kit_open_files(models[i], &msg), msg);
        load(local, i);
    }
    CHECK_OK(replica_size_batches(local, MOST, &msg), msg);
    test_no_program();
    test_bits(local);
    test_bits(NULL);
    test_kills();
    test_quarantine();
    test_large_masks(4096); // not at all
    test_large_masks(8192);
    replica_free(local);
    for (int i = 0; i < 2; i++)
        model_release(models[i]);
    cpu_device_free(device);
    worker_replica_end();
    return check_done();
}
