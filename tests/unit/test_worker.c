// The worker's program, driven by hand over its socket: the same bits as a replica in this process
// has, for every task; what may not be sent to it; and how it ends. What its threads may do behind
// the closed door is test_worker_faults.c's. Under the thread sanitizer the worker is built with it
// too: a race there is its exit status.
#define _GNU_SOURCE // processes
#include "channel/spawner.h"
#include "engine/wire_spec.h"
#include "tests/unit/worker_kit.h"

#include <fcntl.h>
#include <unistd.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define GENERATOR "tests/golden/data/tiny_chat"

static const char *const encoders[] = {
    EMBEDDER,
    "tests/golden/data/bert-bf16-sharded",
    "tests/golden/data/bert-max-dense-st6",
    "tests/golden/data/bert-cross-encoder",
    "tests/golden/data/distilbert-classifier",
    "tests/golden/data/gguf/bert-last-f16.gguf",
    "tests/golden/data/causal/qwen3-embedding",
    "tests/golden/data/causal/qwen3-reranker.gguf",
};
enum { ENCODERS = sizeof encoders / sizeof *encoders };

// ---- starting

static void test_by_hand(void) {
    int fds[2], status = 0;
    char said[512] = {0};
    CHECK(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(SPAWNER_SOCKET_FD);
        close(SPAWNER_REGION_FD);
        execl(kit_program, kit_program, NULL);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n = 0, r; (r = read(fds[0], said + n, sizeof said - 1 - (size_t)n)) > 0; n += r)
        ;
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_BY_HAND);
    CHECK(strncmp(said, "trine-worker ", 13) == 0 && strchr(said, '\n') == said + strlen(said) - 1);
}

// Of a thread of the worker's: a line of /proc's status.
static bool status_says(pid_t pid, const char *thread, const char *line) {
    char path[128], text[4096] = {0};
    snprintf(path, sizeof path, "/proc/%ld/task/%s/status", (long)pid, thread);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    return n > 0 && strstr(text, line) != NULL;
}

static void test_start(void) {
    struct worker_driver d;
    struct wire_ready ready = {0};
    char thread[32];
    CHECK(driver_start(&d, kit_program, KIT_REGION, NULL));
    CHECK(driver_greet(&d, KIT_THREADS, &ready));
    CHECK_STR(ready.facts.name, "cpu");
    CHECK(strstr(ready.facts.describe, "cpu, 2 threads, ") == ready.facts.describe);
    CHECK_INT(ready.facts.kv_block_tokens, kit_device->kv_block_tokens);
    CHECK_INT(ready.walls, sandbox_is_built ? WIRE_WALLS_ALL : WIRE_WALL_PRIVILEGES);
    snprintf(thread, sizeof thread, "%ld", (long)d.pid);
    CHECK(status_says(d.pid, thread, "NoNewPrivs:\t1"));
    CHECK(!sandbox_is_built || status_says(d.pid, thread, "Seccomp:\t2"));
    kit_end_well(&d);
}

// ---- batches

static void test_encoders(void) {
    struct worker_driver d;
    struct errmsg msg = {0};
    if (!kit_start(&d, NULL))
        return;
    for (int i = 0; i < ENCODERS; i++) {
        struct model *m = kit_model(encoders[i]);
        CHECK_OK(kit_replica_load(kit_local, m, &msg), msg);
        CHECK_OK(driver_load(&d, m, &msg), msg);
        for (int n = 0; n < 6; n++) {
            struct kit_batch *k =
                kit_batch_new(m, n % 2 ? 200 : 20, 30, n % 2 ? SHARE_BULK : SHARE_INTERACTIVE);
            if (!kit_same_bits(&d, k))
                fprintf(stderr, "    %s, batch %d\n", encoders[i], n);
            kit_batch_free(k);
        }
        replica_unload(kit_local, m->id);
        model_release(m);
    }
    kit_end_well(&d);
}

// The portable kernels multiply by a library, which is loaded before the door is closed.
static void test_portable(void) {
    struct cpu_options o = {.threads = KIT_THREADS, .isa = "generic"};
    struct replica *before = kit_local;
    struct worker_driver d;
    struct wire_ready ready = {0};
    struct device *device = NULL;
    struct errmsg msg = {0};
    struct model *m = kit_model(EMBEDDER);
    CHECK_OK(cpu_device_new(&o, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &kit_local, &msg), msg);
    CHECK_OK(replica_size_batches(kit_local, KIT_TOKENS, &msg), msg);
    CHECK_OK(kit_replica_load(kit_local, m, &msg), msg);
    setenv("TRINE_CPU", "generic", 1);
    CHECK(driver_start(&d, kit_program, KIT_REGION, NULL));
    unsetenv("TRINE_CPU");
    CHECK(driver_greet(&d, KIT_THREADS, &ready));
    CHECK_STR(ready.facts.describe, device->describe);
    CHECK(strstr(ready.facts.describe, "generic, openblas") != NULL);
    CHECK_INT(kit_size_batches(&d, KIT_TOKENS), ERR_OK);
    CHECK_OK(driver_load(&d, m, &msg), msg);
    struct kit_batch *k = kit_batch_new(m, 200, 30, SHARE_BULK);
    CHECK(kit_same_bits(&d, k));
    kit_batch_free(k);
    CHECK_INT(WEXITSTATUS(driver_end(&d, NULL)), WIRE_END_CLOSED);
    replica_free(kit_local);
    cpu_device_free(device);
    model_release(m);
    kit_local = before;
}

enum { BULKS = 64 };

// Sends all, in their order, and `urgent` behind them; with `cancel`, cancels the second half. How
// many were computed before the urgent one, and how many were cancelled.
static bool send_and_count(struct worker_driver *d, struct kit_batch *const bulk[BULKS],
                           struct kit_batch *urgent, bool cancel, int *before, int *cancelled) {
    struct channel_message c = {.type = WIRE_CANCEL, .life = DRIVER_LIFE, .sequence = 1};
    struct errmsg msg = {0};
    int computed = 0;
    *before = *cancelled = 0;
    for (int i = 0; i < BULKS; i++)
        kit_send(d, bulk[i]);
    kit_send(d, urgent);
    // the first one is of what is long done: nothing happens
    for (int i = BULKS / 2; cancel && i <= BULKS; i++) {
        CHECK_OK(channel_send(d->socket, &c, true, &msg), msg);
        c.sequence = i < BULKS ? bulk[i]->out.sequence : 1;
    }
    for (int n = 0; n <= BULKS; n++) {
        if (!CHECK(driver_receive(d)))
            return false;
        struct kit_batch *k = d->last.sequence == urgent->out.sequence ? urgent : NULL;
        for (int i = 0; i < BULKS && !k; i++)
            if (d->last.sequence == bulk[i]->out.sequence)
                k = bulk[i];
        if (!CHECK(k != NULL))
            return false;
        enum err e = driver_read_batch(d, &k->b, &k->out, &msg);
        if (k == urgent)
            *before = computed;
        CHECK(e == ERR_OK || (e == ERR_CANCELLED && cancel && k != urgent));
        *cancelled += e == ERR_CANCELLED;
        computed += e == ERR_OK && k != urgent;
    }
    return true;
}

// Bulk is set aside for what is urgent though its message comes in the middle of it; what is
// cancelled ends; progress is told meanwhile. On a machine that is busy all bulk may be done before
// the urgent one is sent: then it is tried again.
static void test_order(void) {
    struct worker_driver d;
    struct errmsg msg = {0};
    struct model *m = kit_model(EMBEDDER);
    if (!kit_start(&d, NULL))
        return;
    CHECK_OK(kit_replica_load(kit_local, m, &msg), msg);
    CHECK_OK(driver_load(&d, m, &msg), msg);
    struct kit_batch *bulk[BULKS], *urgent = kit_batch_new(m, 10, 10, SHARE_INTERACTIVE);
    float *want = kit_want(urgent);
    for (int i = 0; i < BULKS; i++)
        bulk[i] = kit_batch_new(m, KIT_TOKENS, 30, SHARE_BULK);
    int before = BULKS, cancelled = 0, none;
    bool goes_on = true;
    for (int i = 0; i < 50 && before == BULKS && goes_on; i++)
        goes_on = send_and_count(&d, bulk, urgent, false, &before, &none);
    CHECK(goes_on && before < BULKS);
    CHECK(memcmp(want, urgent->b.rows, urgent->b.tokens.seqs * m->dim * sizeof *want) == 0);
    for (int i = 0; i < 50 && cancelled == 0 && goes_on; i++)
        goes_on = send_and_count(&d, bulk, urgent, true, &before, &cancelled);
    CHECK(goes_on && cancelled > 0 && cancelled <= BULKS / 2);
    // work goes on for as long as it takes to hear of progress
    for (int i = 0; i < 2000 && d.progresses == 0 && goes_on; i++) {
        kit_send(&d, bulk[0]);
        goes_on = kit_receive(&d, bulk[0], &msg) == ERR_OK;
    }
    CHECK(goes_on);
    CHECK(d.progresses > 0 && d.progress.used_us[SHARE_BULK] > 0 && d.progress.heartbeat_us > 0);
    // what is in hand when the socket closes ends with it
    for (int i = 0; i < BULKS; i++)
        kit_send(&d, bulk[i]);
    kit_end_well(&d);
    free(want);
    for (int i = 0; i < BULKS; i++)
        kit_batch_free(bulk[i]);
    kit_batch_free(urgent);
    replica_unload(kit_local, m->id);
    model_release(m);
}

// ---- steps

enum { PLACE = 5, STEP_TOKENS = 64, BLOCK = 32, BLOCKS = 8, PROMPT = 40, DRAWN = 12 };

static const struct step_engine_options step_options = {.limits = {.block_tokens = BLOCK,
                                                                   .max_tokens = STEP_TOKENS,
                                                                   .max_seqs = 3,
                                                                   .max_logits = 16,
                                                                   .max_context = 2 * BLOCK},
                                                        .blocks = BLOCKS,
                                                        .kv_dtype = DTYPE_F32};

struct drawn_text {
    int32_t tokens[PROMPT + DRAWN];
    float logprobs[DRAWN];
    size_t known;
};

// Where the texts are: in the worker, or in this process (d NULL).
struct side {
    struct worker_driver *d;
    uint64_t place;
    struct step *step;
    struct drawn_text texts[2];
};

static void computed(struct replica_step *s) { replica_draw_step(kit_local, s); }

static void run_step(const struct model *m, const struct side *side, double prompt_part) {
    struct kit_wait wait = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct errmsg msg = {0};
    struct driver_step out;
    struct replica_step s = {.place = side->place, .life = 1, .step = side->step};
    bool masked = side->step->parts[0].masked;
    s.work.model = m->id;
    s.work.share = prompt_part < 1 ? SHARE_DECODE : SHARE_PREFILL;
    s.prompt_part = prompt_part;
    s.work.done = kit_done;
    s.work.ctx = &wait;
    s.computed = computed;
    if (!side->d) {
        replica_submit_step(kit_local, &s);
        kit_wait(&wait);
        CHECK_OK(s.work.err, s.work.msg);
        return;
    }
    driver_send_step(side->d, &s, !masked, &out);
    if (masked) {
        CHECK(driver_receive(side->d) && side->d->last.type == WIRE_STEP_COMPUTED &&
              side->d->last.sequence == out.sequence);
        driver_send_draw(side->d, &s, model_vocab(m), &out);
    }
    CHECK(driver_receive(side->d));
    CHECK_OK(driver_read_step(side->d, &s, model_vocab(m), &out, &msg), msg);
}

// Both texts' next tokens: the first one greedy, with a mask in every third step, the second one
// drawn by its seed, with penalties.
static void advance(const struct model *m, struct side *side, size_t nth, const uint32_t *mask) {
    static const int32_t blocks[2][2] = {{0, 3}, {5, 1}};
    step_clear(side->step);
    for (size_t i = 0; i < 2; i++) {
        struct drawn_text *t = &side->texts[i];
        size_t count = nth == 0 ? PROMPT / 2 + i : 1;
        t->known = nth == 0 ? count : t->known;
        struct step_part p = {.sequence = i + 1,
                              .ids = t->tokens + t->known - count,
                              .count = count,
                              .context = t->known - count,
                              .blocks = blocks[i],
                              .block_count = 2,
                              .wanted = 1,
                              .draws = true,
                              .sampling = {.top_p = 1, .repetition_penalty = 1},
                              .position = t->known,
                              .tokens = t->tokens,
                              .prompt_len = PROMPT / 2 + i,
                              .logged = t->known - (PROMPT / 2 + i),
                              .top = 2,
                              .want_logprob = true,
                              .masked = i == 0 && nth % 3 == 2};
        if (i == 1)
            p.sampling = (struct sampling){.temperature = 0.9F,
                                           .top_p = 0.95F,
                                           .repetition_penalty = 1.3F,
                                           .frequency_penalty = 0.5F,
                                           .seed = 77};
        struct step_part *in = step_add(side->step, &p);
        if (CHECK(in != NULL) && p.masked) {
            in->masks[0] = mask;
            in->mask_count = 1;
        }
    }
    run_step(m, side, nth == 0 ? 1 : 0);
    for (size_t i = 0; i < 2; i++) {
        const struct step_part *p = &side->step->parts[i];
        struct drawn_text *t = &side->texts[i];
        if (!CHECK(p->drawn == 1 && p->err == ERR_OK && !p->late))
            return;
        t->tokens[t->known++] = p->results[0].id;
        t->logprobs[nth] = p->results[0].logprob;
    }
}

static void open_place(struct worker_driver *d, const struct model *m) {
    unsigned char payload[512];
    struct errmsg msg = {0};
    uint64_t values[WIRE_VALUES] = {0};
    struct wire_place place = {.place = PLACE, .model = m->id, .options = step_options};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    wire_write_open_steps(&w, &place);
    CHECK_OK(driver_ask(d, WIRE_OPEN_STEPS, &w, values, &msg), msg);
    CHECK(values[0] > 0);
}

static void check_sizes(struct worker_driver *d, const struct model *m) {
    unsigned char payload[512];
    struct errmsg msg = {0};
    uint64_t values[WIRE_VALUES] = {0};
    struct replica_step_sizes sizes = {0};
    struct wire_size_steps ask = {
        .model = m->id, .limits = step_options.limits, .kv_dtype = DTYPE_F32};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    wire_write_size_steps(&w, &ask);
    CHECK_OK(driver_ask(d, WIRE_SIZE_STEPS, &w, values, &msg), msg);
    CHECK_OK(replica_size_steps(kit_local, m->id, &ask.limits, ask.kv_dtype, &sizes, &msg), msg);
    CHECK(values[0] == sizes.block_bytes && values[1] == sizes.workspace_bytes);
}

static void test_steps(void) {
    struct worker_driver d;
    struct errmsg msg = {0};
    struct side here = {0}, there = {.d = &d, .place = PLACE};
    struct model *m = kit_model(GENERATOR);
    if (!kit_start(&d, NULL))
        return;
    CHECK_OK(kit_replica_load(kit_local, m, &msg), msg);
    CHECK_OK(driver_load(&d, m, &msg), msg);
    check_sizes(&d, m);
    CHECK_OK(replica_open_steps(kit_local, m->id, &step_options, &here.place, &msg), msg);
    open_place(&d, m);
    CHECK(!step_new(&step_options.limits, &here.step) &&
          !step_new(&step_options.limits, &there.step));
    for (size_t i = 0; i < 2 * PROMPT; i++)
        here.texts[i % 2].tokens[i / 2] = there.texts[i % 2].tokens[i / 2] =
            (int32_t)(kit_random() % model_vocab(m));
    size_t words = (model_vocab(m) + 31) / 32;
    uint32_t *mask = calloc(words, sizeof *mask);
    for (size_t i = 0; i < words; i++)
        mask[i] = 0x11111111U &
                  (i + 1 == words && model_vocab(m) % 32 ? (1U << model_vocab(m) % 32) - 1 : ~0U);
    for (size_t n = 0; n < DRAWN; n++) {
        advance(m, &here, n, mask);
        advance(m, &there, n, mask);
    }
    CHECK(memcmp(here.texts, there.texts, sizeof here.texts) == 0);
    CHECK(here.texts[0].tokens[PROMPT / 2 + 2] % 4 == 0); // the mask's
    unsigned char payload[64];
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    wire_write_close_steps(&w, PLACE);
    CHECK_OK(driver_ask(&d, WIRE_CLOSE_STEPS, &w, NULL, &msg), msg);
    open_place(&d, m); // again
    kit_end_well(&d);
    replica_close_steps(kit_local, here.place);
    replica_unload(kit_local, m->id);
    model_release(m);
    step_free(here.step);
    step_free(there.step);
    free(mask);
}

// ---- what is refused

// Files that cannot be listed are that request's error, and not in the way of another model's.
static void refuse_files(struct worker_driver *d, uint64_t model, unsigned char *payload) {
    static const char *const twice[] = {"/a", "/a"};
    const int fds[] = {STDERR_FILENO, STDERR_FILENO};
    struct errmsg msg = {0};
    struct wire_answer answer = {0};
    struct pack_writer w = pack_writer_of(payload, CHANNEL_PAYLOAD_BYTES);
    CHECK_INT(wire_write_files(&w, model, twice, 2), 2);
    uint64_t sequence = driver_send(d, WIRE_FILES, &w, fds, 2);
    CHECK(driver_receive(d) && d->last.sequence == sequence);
    CHECK_OK(wire_read_answer(&d->last, WIRE_FILES, &answer, &msg), msg);
    CHECK_INT(answer.verdict.code, ERR_INVALID);
}

// A load that cannot be is its own error, and the worker goes on.
static void test_refused_loads(void) {
    static unsigned char payload[CHANNEL_PAYLOAD_BYTES];
    struct worker_driver d;
    struct errmsg msg = {0};
    struct model *m = kit_model(EMBEDDER);
    struct replica_spec spec;
    if (!kit_start(&d, NULL))
        return;
    model_spec(m, &spec);
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    CHECK_OK(wire_write_load(&w, &spec, 0, &msg), msg); // none of its files
    CHECK_INT(driver_ask(&d, WIRE_LOAD, &w, NULL, &msg), ERR_NOT_FOUND);
    CHECK(strstr(msg.text, "bert-mean-st6") != NULL);
    w = pack_writer_of(payload, sizeof payload);
    CHECK_OK(wire_write_load(&w, &spec, 3, &msg), msg); // files that have not come
    CHECK_INT(driver_ask(&d, WIRE_LOAD, &w, NULL, &msg), ERR_INVALID);
    refuse_files(&d, m->id + 1, payload);
    w = pack_writer_of(payload, sizeof payload);
    CHECK_OK(driver_load(&d, m, &msg), msg);
    CHECK_OK(kit_replica_load(kit_local, m, &msg), msg);
    struct kit_batch *k = kit_batch_new(m, 30, 10, SHARE_INTERACTIVE);
    CHECK(kit_same_bits(&d, k));
    wire_write_unload(&w, m->id);
    CHECK_OK(driver_ask(&d, WIRE_UNLOAD, &w, NULL, &msg), msg);
    CHECK_OK(driver_load(&d, m, &msg), msg); // once more
    CHECK(kit_same_bits(&d, k));
    kit_batch_free(k);
    kit_end_well(&d);
    replica_unload(kit_local, m->id);
    model_release(m);
}

enum fault {
    OTHER_LIFE,
    NO_MODEL,
    OUTSIDE,
    CHECKSUM,
    TWICE,
    HELLO_AGAIN,
    FROM_WORKER,
    LARGE,
    SECOND_LOAD,
    STRAY_DRAW,
    UNLOAD_BUSY,
    FAULTS,
};

// Sends batches and behind them what must not come while one is in hand; again where a busy machine
// had them done before that.
static void disturb_work(struct worker_driver *d, const struct model *m, bool unload) {
    enum { BURST = 32 };
    unsigned char payload[64];
    struct errmsg msg = {0};
    struct channel_message draw = {.type = WIRE_DRAW, .life = DRIVER_LIFE};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    struct kit_batch *large = kit_batch_new(m, KIT_TOKENS, 30, SHARE_BULK);
    wire_write_unload(&w, m->id);
    for (bool lives = true; lives;) {
        uint64_t offsets[BURST];
        for (int i = 0; i < BURST; i++) {
            kit_send(d, large);
            offsets[i] = large->out.offset;
        }
        draw.sequence = large->out.sequence;
        if (unload)
            driver_send(d, WIRE_UNLOAD, &w, NULL, 0);
        else if (channel_send(d->socket, &draw, true, &msg))
            lives = false;
        for (int i = 0; i < BURST + unload && lives; i++)
            lives = driver_receive(d);
        for (int i = 0; i < BURST; i++)
            region_give(&d->space, offsets[i]);
        if (lives && unload)
            CHECK_OK(driver_load(d, m, &msg), msg);
    }
    kit_batch_free(large);
}

static void send_fault(struct worker_driver *d, struct model *m, enum fault f) {
    unsigned char payload[4096];
    struct errmsg msg = {0};
    struct wire_block block;
    struct kit_batch *k =
        kit_batch_new(m, f == LARGE ? KIT_TOKENS : 20, f == LARGE ? 30 : 10, SHARE_BULK);
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    if (f == NO_MODEL)
        k->b.work.model = 999;
    CHECK_OK(wire_size_encode(&k->b, k->dim, &block, &msg), msg);
    wire_write_encode(&w, &k->b, region_base(d->region));
    struct channel_message e = {.type = WIRE_ENCODE,
                                .life = f == OTHER_LIFE ? DRIVER_LIFE + 1 : DRIVER_LIFE,
                                .sequence = 1000,
                                .payload = payload,
                                .payload_length = w.length,
                                .bulk_length = block.request};
    e.bulk_checksum = channel_checksum(region_base(d->region), block.request) ^ (f == CHECKSUM);
    if (f == OUTSIDE)
        e.bulk_offset = region_size(d->region);
    if (f == HELLO_AGAIN || f == FROM_WORKER) {
        struct wire_hello hello = {.threads = 1, .region_bytes = region_size(d->region)};
        w = pack_writer_of(payload, sizeof payload);
        wire_write_hello(&w, &hello);
        e = (struct channel_message){.type = WIRE_HELLO,
                                     .life = DRIVER_LIFE,
                                     .sequence = 1000,
                                     .payload = payload,
                                     .payload_length = w.length};
        if (f == FROM_WORKER)
            e.type = WIRE_READY;
    }
    if (f == SECOND_LOAD) {
        (void)!driver_load(d, m, &msg);
    } else if (f == STRAY_DRAW || f == UNLOAD_BUSY) { // of batches; beside them
        disturb_work(d, m, f == UNLOAD_BUSY);
    } else {
        for (int i = 0; i < (f == TWICE ? 64 : 1); i++)
            CHECK(channel_send(d->socket, &e, true, &msg) == ERR_OK || i > 0);
    }
    kit_batch_free(k);
}

static void test_broken_rules(void) {
    struct model *m = kit_model(EMBEDDER);
    struct errmsg msg = {0};
    for (int f = 0; f < FAULTS; f++) {
        struct worker_driver d;
        char *words;
        if (!kit_start(&d, NULL))
            return;
        CHECK_OK(driver_load(&d, m, &msg), msg);
        if (f == LARGE)
            CHECK_INT(kit_size_batches(&d, 64), ERR_OK);
        send_fault(&d, m, (enum fault)f);
        while (driver_receive(&d))
            ;
        int status = driver_wait(&d, &words);
        if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_BROKEN_RULE) ||
            !CHECK(strstr(words, "trine-worker: ") != NULL))
            fprintf(stderr, "    fault %d: status %x: %s\n", f, status, words);
        mem_free(words);
    }
    model_release(m);
}

// Before HELLO nothing else is heard, and the region is the one that it says.
static void test_first_message(void) {
    struct worker_driver d;
    struct errmsg msg = {0};
    unsigned char payload[256];
    for (int i = 0; i < 2; i++) {
        CHECK(driver_start(&d, kit_program, KIT_REGION, NULL));
        struct pack_writer w = pack_writer_of(payload, sizeof payload);
        struct wire_hello hello = {.threads = 1, .region_bytes = 2 * KIT_REGION};
        if (i == 0)
            wire_write_unload(&w, 1);
        else
            wire_write_hello(&w, &hello);
        driver_send(&d, i == 0 ? WIRE_UNLOAD : WIRE_HELLO, &w, NULL, 0);
        CHECK(!driver_receive(&d));
        int status = driver_wait(&d, NULL);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_BROKEN_RULE);
    }
    CHECK(driver_start(&d, kit_program, KIT_REGION, NULL)); // a parent that says nothing
    kit_end_well(&d);
    (void)msg;
}

int main(void) {
    alarm(300); // nothing here waits for long, but a worker that is at fault may say nothing
    kit_begin("trine-worker");
    test_by_hand();
    test_start();
    test_encoders();
    test_portable();
    test_order();
    test_steps();
    test_refused_loads();
    test_broken_rules();
    test_first_message();
    kit_end();
    return check_done();
}
