// What a hostile worker can do to the side of it that this process has: a replica without a thread
// has a batch, a step and a masked step in flight and a request out, and gets the messages that the
// input says, with bulk that it says. Held: every piece of work is done exactly once, by its answer
// or with ERR_LOST when the life is ended; nothing but its results is written.
// An input: a byte (bit 0: the hello is out still, bit 1: the step's draw is released), then
// records: type, number, flags, length of bulk and of payload (u16, little-endian), these bytes.
#include "base/log.h"
#include "engine/replica_worker_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIM = 4, VOCAB = 64, SEQS = 3, TOKENS = 12, REGION = 1 << 18, WORKS = 3 };

static void must(bool ok) {
    if (!ok)
        abort();
}

static int done[WORKS];

static void on_done(struct replica_work *w) { done[(size_t)(uintptr_t)w->ctx]++; }
static void on_computed(struct replica_step *s) { (void)s; }

static struct worker_model *add_model(struct replica_worker *w) {
    struct worker_model *m = calloc(1, sizeof *m);
    must(m != NULL);
    m->wire = (struct wire_model){
        .model = 1, .task = TASK_EMBED, .max_length = 64, .dim = DIM, .vocab = VOCAB, .types = 2};
    m->entry.standing = WORKER_STANDS;
    m->entry.there = m->entry.checked = w->health.life;
    for (int i = 0; i < 2; i++) {
        must(!replica_worker_truth_init(&m->truth[i], DIM, NULL));
        m->truth[i].known = m->truth[i].agreed = true;
    }
    must(!replica_worker_batch_room(w, 64, NULL));
    w->sized_tokens = 64;
    return w->models = m;
}

static void add_place(struct replica_worker *w) {
    struct worker_place *p = calloc(1, sizeof *p);
    must(p != NULL);
    p->wire = (struct wire_place){.place = 1,
                                  .model = 1,
                                  .vocab = VOCAB,
                                  .options = {.limits = {.block_tokens = 16,
                                                         .max_tokens = 24,
                                                         .max_seqs = 3,
                                                         .max_logits = 9,
                                                         .max_context = 32},
                                              .blocks = 8}};
    p->entry.standing = WORKER_STANDS;
    p->entry.there = p->entry.checked = w->health.life;
    replica_worker_sentinel_part(VOCAB, 7, 1, p->room, &p->sentinel);
    must(!replica_worker_truth_init(&p->truth, 2, NULL));
    p->truth.known = p->truth.agreed = true;
    for (int i = 0; i < WORKER_COPIES; i++)
        must(step_new(&p->wire.options.limits, &p->copies[i].step) == ERR_OK);
    w->places = p;
}

static struct replica_worker *make(int *other) {
    struct replica_worker_options o = {.region_bytes = REGION, .threads = 1};
    struct replica_worker *w;
    struct region *region;
    int ends[2];
    must(!replica_worker_make(&o, &w, NULL));
    must(!channel_pair(ends, NULL));
    must(!region_new(REGION, &region, NULL));
    pthread_mutex_lock(&w->mutex);
    replica_worker_begin_life(w, ends[0], region, 0);
    add_model(w);
    add_place(w);
    pthread_mutex_unlock(&w->mutex);
    *other = ends[1];
    return w;
}

static const int32_t ids[TOKENS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const int32_t positions[TOKENS] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
static const int32_t ends[SEQS + 1] = {0, 4, 8, 12};
static const int32_t blocks[2] = {1, 2};
static const uint32_t mask[VOCAB / 32] = {0xff0f, 0xf0f};

struct works {
    struct replica_batch batch;
    struct replica_step steps[2];
    struct step *parts[2];
    float rows[SEQS * DIM + 1]; // and one behind it
};

static void submit(struct replica_worker *w, struct works *k, bool draw) {
    struct step_limits l = {
        .block_tokens = 16, .max_tokens = 16, .max_seqs = 2, .max_logits = 8, .max_context = 32};
    k->rows[SEQS * DIM] = 17;
    k->batch = (struct replica_batch){
        .work = {.model = 1, .share = SHARE_BULK, .done = on_done, .ctx = (void *)0},
        .tokens = {.ids = ids,
                   .positions = positions,
                   .cu_seqlens = ends,
                   .tokens = TOKENS,
                   .seqs = SEQS},
        .rows = k->rows};
    replica_encode(&w->head, &k->batch);
    for (int i = 0; i < 2; i++) {
        must(step_new(&l, &k->parts[i]) == ERR_OK);
        struct step_part part = {.sequence = 5,
                                 .ids = ids,
                                 .count = 4,
                                 .blocks = blocks,
                                 .block_count = 2,
                                 .wanted = 2,
                                 .draws = true,
                                 .sampling = {.top_p = 1, .repetition_penalty = 1},
                                 .position = 4,
                                 .tokens = ids,
                                 .prompt_len = 4,
                                 .top = 2,
                                 .want_logprob = true,
                                 .masked = i == 1};
        must(step_add(k->parts[i], &part) != NULL);
        k->steps[i] = (struct replica_step){.work = {.model = 1,
                                                     .share = SHARE_DECODE,
                                                     .done = on_done,
                                                     .ctx = (void *)(uintptr_t)(i + 1)},
                                            .place = 1,
                                            .life = w->health.life,
                                            .step = k->parts[i],
                                            .computed = on_computed};
        replica_submit_step(&w->head, &k->steps[i]);
        if (i == 1 && draw) {
            k->parts[i]->parts[0].masks[0] = k->parts[i]->parts[0].masks[1] = mask;
            k->parts[i]->parts[0].mask_count = 2;
            replica_draw_step(&w->head, &k->steps[i]);
        }
    }
}

// Where the bulk of a message is put: a flight's answer, or where the input says.
static void put_bulk(struct replica_worker *w, struct channel_message *m, const uint8_t *bulk,
                     size_t n, unsigned flags) {
    uint64_t at = (uint64_t)(flags >> 4) * 4096;
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < WORKER_FLIGHTS && !(flags & 2); i++)
        if (w->flights[i].work && w->flights[i].sequence == m->sequence)
            at = w->flights[i].offset + wire_answer_at(&w->flights[i].block);
    if (w->region && n > 0) {
        unsigned char *to = region_at(w->region, at, n);
        if (to)
            memcpy(to, bulk, n);
        m->bulk_offset = at;
        m->bulk_length = n;
        m->bulk_checksum = channel_checksum(bulk, n) ^ (flags & 4 ? 1 : 0);
    }
    pthread_mutex_unlock(&w->mutex);
}

// The next record. False: there is none.
static bool take_record(struct replica_worker *w, const uint8_t **data, size_t *left) {
    if (*left < 7)
        return false;
    const uint8_t *d = *data;
    size_t bulk = (size_t)d[3] | (size_t)(d[4] & 15) << 8, n = (size_t)d[5] | (size_t)d[6] << 8;
    if (bulk + n > *left - 7)
        return false;
    // a frame's own rules hold: channel_receive has seen to them (fuzz_channel_frame)
    struct channel_message m = {.type = d[0],
                                .sequence = d[1],
                                .life = w->health.life + (d[2] & 1),
                                .payload = d + 7 + bulk,
                                .payload_length = n};
    if (n <= CHANNEL_PAYLOAD_BYTES && d[0] != 0) {
        put_bulk(w, &m, d + 7, bulk, d[2]);
        replica_worker_take(w, &m);
    }
    *data += 7 + bulk + n;
    *left -= 7 + bulk + n;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct works k;
    int other;
    if (size == 0)
        return 0;
    log_init(LOG_LEVEL_OFF, false);
    memset(done, 0, sizeof done);
    struct replica_worker *w = make(&other);
    pthread_mutex_lock(&w->mutex);
    if (data[0] & 1) { // READY is to come, and nothing is in flight
        (void)replica_worker_run_errands(w);
    } else {
        w->phase = WORKER_UP;
        w->health.condition = REPLICA_UP;
        w->has_facts = true;
        w->errand = (struct worker_errand){0};
    }
    pthread_mutex_unlock(&w->mutex);
    submit(w, &k, data[0] & 2);
    pthread_mutex_lock(&w->mutex);
    (void)replica_worker_run_errands(w); // it is to be sized
    pthread_mutex_unlock(&w->mutex);
    data++;
    size--;
    while (take_record(w, &data, &size))
        ;
    pthread_mutex_lock(&w->mutex);
    replica_worker_end_life(w);
    while (replica_worker_deliver(w))
        ;
    pthread_mutex_unlock(&w->mutex);
    for (int i = 0; i < WORKS; i++)
        must(done[i] == 1);
    must(k.rows[SEQS * DIM] == 17);
    for (int i = 0; i < 2; i++)
        step_free(k.parts[i]);
    close(other);
    replica_worker_free_parts(w);
    return 0;
}
