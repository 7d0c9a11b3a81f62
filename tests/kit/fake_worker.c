// See fake_worker.h.
#include "tests/kit/fake_worker.h"

#include "base/clock.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAKES = 512, WAITING = WORKER_FLIGHTS, FIRST_PID = 1 << 20 };

struct fake {
    struct fake_workers *all;
    pthread_t thread;
    int socket;
    struct region *region;
    uint64_t life;
    atomic_bool over, killed;
    bool reaped, by_signal;
    struct channel_buffer buffer;
    struct fake_batch {
        struct channel_message m; // of an ENCODE that was not answered
        size_t tokens, seqs;
    } waiting[WAITING];
    size_t waiting_count;
    _Alignas(64) unsigned char bulk[1 << 20];
};

struct fake_workers {
    pthread_mutex_t mutex;
    struct fake *fakes[FAKES];
    size_t count;
    atomic_int fault, alive, most;
    atomic_int seen[64];
    atomic_bool held;
};

void fake_worker_row(const int32_t *ids, size_t n, bool normalize, float row[FAKE_DIM]) {
    float sum = normalize ? 100 : 0;
    for (size_t i = 0; i < n; i++)
        sum += (float)ids[i] / 4;
    for (int j = 0; j < FAKE_DIM; j++)
        row[j] = sum + (float)j;
}

struct replica_spec fake_worker_spec(uint64_t model) {
    return (struct replica_spec){
        .model = model,
        .name = "fake",
        .path = "fake",
        .files = "fake",
        .task = TASK_EMBED,
        .max_length = FAKE_LENGTH,
        .dim = FAKE_DIM,
        .config = {.vocab = FAKE_VOCAB, .type_vocab = 2, .max_positions = FAKE_LENGTH},
        .pool_mode = -1,
    };
}

// Takes a fault that is of this kind.
static bool meets(struct fake_workers *f, enum fake_fault fault) {
    int want = (int)fault;
    return atomic_compare_exchange_strong(&f->fault, &want, FAKE_NONE);
}

static void send_it(struct fake *k, const struct channel_message *m) {
    (void)!channel_send(k->socket, m, true, NULL);
}

static void answer(struct fake *k, const struct channel_message *to, enum err e, uint64_t value) {
    unsigned char bytes[1024];
    struct pack_writer p = pack_writer_of(bytes, sizeof bytes);
    struct errmsg msg;
    const uint64_t values[WIRE_VALUES] = {value, value};
    err_set(&msg, e, "so it was told");
    wire_write_answer(&p, (enum wire_type)to->type, e, &msg, values);
    send_it(k, &(struct channel_message){.type = WIRE_ANSWER,
                                         .life = k->life,
                                         .sequence = to->sequence,
                                         .payload = bytes,
                                         .payload_length = p.length});
}

static void ready(struct fake *k, uint64_t sequence) {
    unsigned char bytes[1024];
    struct pack_writer p = pack_writer_of(bytes, sizeof bytes);
    struct wire_ready r = {.facts = {.name = "cpu", .describe = "a fake", .kv_block_tokens = 16}};
    wire_write_ready(&p, &r);
    send_it(k, &(struct channel_message){.type = WIRE_READY,
                                         .life = k->life,
                                         .sequence = sequence,
                                         .payload = bytes,
                                         .payload_length = p.length});
}

// The rows of what stands in k->bulk, into the region behind the request.
static void compute(struct fake *k, struct fake_batch *w, bool wrong, bool wrong_last,
                    struct channel_message *out) {
    struct channel_message *m = &w->m;
    struct wire_model model;
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL);
    struct replica_batch b;
    struct wire_batch_limits limits = {1 << 16, 1 << 16};
    size_t length;
    uint64_t offset;
    wire_model_of(&spec, &model);
    model.model = wire_subject(m->payload, m->payload_length);
    if (region_copy_out(k->region, m->bulk_offset, m->bulk_length, m->bulk_checksum, k->bulk,
                        NULL) ||
        wire_read_encode(m, k->bulk, &model, &limits, &b, &length, NULL) ||
        wire_place_answer(m, length, region_size(k->region), &offset, NULL))
        abort(); // the replica's fault
    w->tokens = b.tokens.tokens;
    w->seqs = b.tokens.seqs;
    float *rows = region_at(k->region, offset, length);
    for (size_t s = 0; s < b.tokens.seqs; s++) {
        int32_t at = b.tokens.cu_seqlens[s];
        fake_worker_row(b.tokens.ids + at, (size_t)(b.tokens.cu_seqlens[s + 1] - at), b.normalize,
                        rows + s * FAKE_DIM);
        if (wrong || (wrong_last && s + 1 == b.tokens.seqs))
            rows[s * FAKE_DIM + 1] += 1;
    }
    *out = (struct channel_message){.type = WIRE_BATCH_DONE,
                                    .life = k->life,
                                    .sequence = m->sequence,
                                    .bulk_offset = offset,
                                    .bulk_length = length,
                                    .bulk_checksum = channel_checksum(rows, length)};
}

static void garbage(struct fake *k) {
    unsigned char bytes[100];
    memset(bytes, 0x5a, sizeof bytes);
    (void)!send(k->socket, bytes, sizeof bytes, MSG_NOSIGNAL);
}

// Answers a batch, or does what it is told to. False: the process ends.
static bool encode(struct fake *k, struct fake_batch *w) {
    struct fake_workers *f = k->all;
    unsigned char bytes[1024];
    struct pack_writer p = pack_writer_of(bytes, sizeof bytes);
    struct channel_message m;
    uint32_t tokens = 0;
    memcpy(&tokens, w->m.payload + 16, sizeof tokens);
    bool is_canary = tokens == SENTINEL_COUNT;
    bool wrong = is_canary ? meets(f, FAKE_CANARY) : meets(f, FAKE_NUMBERS);
    if (!is_canary && meets(f, FAKE_CLOSES))
        return false;
    if (!is_canary && meets(f, FAKE_KILLED)) {
        k->by_signal = true;
        return false;
    }
    if (!is_canary && meets(f, FAKE_SILENT))
        return true;
    compute(k, w, wrong, !is_canary && meets(f, FAKE_ROW), &m);
    enum err e = is_canary                ? ERR_OK
                 : meets(f, FAKE_NOMEM)   ? ERR_NOMEM
                 : meets(f, FAKE_CANCELS) ? ERR_CANCELLED
                                          : ERR_OK;
    struct errmsg msg;
    err_set(&msg, e, "no memory for this batch");
    wire_write_batch_done(&p, e, &msg, clock_now_us());
    m.payload = bytes;
    m.payload_length = p.length;
    if (e)
        m.bulk_offset = m.bulk_length = m.bulk_checksum = 0;
    if (is_canary) {
        send_it(k, &m);
        return true;
    }
    if (meets(f, FAKE_LIFE))
        m.life++;
    if (meets(f, FAKE_SEQUENCE))
        m.sequence += 1000;
    if (meets(f, FAKE_TWICE))
        send_it(k, &m);
    if (meets(f, FAKE_CHECKSUM))
        m.bulk_checksum ^= 1;
    if (meets(f, FAKE_SHORT))
        m.payload_length--;
    if (meets(f, FAKE_ROWS_LESS)) {
        m.bulk_length -= FAKE_DIM * sizeof(float);
        m.bulk_checksum =
            channel_checksum(region_at(k->region, m.bulk_offset, m.bulk_length), m.bulk_length);
    }
    if (meets(f, FAKE_PLACE)) {
        m.bulk_offset = 0;
        m.bulk_checksum = channel_checksum(region_at(k->region, 0, m.bulk_length), m.bulk_length);
    }
    if (meets(f, FAKE_TYPE))
        m.type = 60;
    if (meets(f, FAKE_STEP))
        m.type = WIRE_STEP_DONE;
    if (meets(f, FAKE_READY_SECOND))
        ready(k, 1);
    if (meets(f, FAKE_GARBAGE))
        garbage(k);
    send_it(k, &m);
    return true;
}

static void cancel(struct fake *k, uint64_t sequence) {
    unsigned char bytes[1024];
    for (size_t i = 0; i < k->waiting_count; i++) {
        if (k->waiting[i].m.sequence != sequence)
            continue;
        struct pack_writer p = pack_writer_of(bytes, sizeof bytes);
        struct errmsg msg;
        err_set(&msg, ERR_CANCELLED, "cancelled");
        wire_write_batch_done(&p, ERR_CANCELLED, &msg, 0);
        send_it(k, &(struct channel_message){.type = WIRE_BATCH_DONE,
                                             .life = k->life,
                                             .sequence = sequence,
                                             .payload = bytes,
                                             .payload_length = p.length});
        free((void *)(uintptr_t)k->waiting[i].m.payload);
        k->waiting[i] = k->waiting[--k->waiting_count];
        return;
    }
}

static void put_aside(struct fake *k, const struct channel_message *m) {
    unsigned char *copy = malloc(m->payload_length);
    if (!copy || k->waiting_count == WAITING)
        abort();
    memcpy(copy, m->payload, m->payload_length);
    k->waiting[k->waiting_count] = (struct fake_batch){.m = *m};
    k->waiting[k->waiting_count++].m.payload = copy;
    if ((int)k->waiting_count > atomic_load(&k->all->most))
        atomic_store(&k->all->most, (int)k->waiting_count);
}

static bool answer_first(struct fake *k) {
    struct fake_batch w = k->waiting[0];
    k->waiting_count--;
    memmove(k->waiting, k->waiting + 1, k->waiting_count * sizeof *k->waiting);
    bool goes_on = encode(k, &w);
    free((void *)(uintptr_t)w.m.payload);
    return goes_on;
}

// One message. False: the process ends.
static bool take(struct fake *k, struct channel_message *m) {
    struct fake_workers *f = k->all;
    struct errmsg msg;
    size_t tokens;
    if (wire_check_message(m, true, &msg)) { // the replica's fault
        fprintf(stderr, "fake worker: %s\n", msg.text);
        abort();
    }
    k->life = m->life;
    atomic_fetch_add(&f->seen[m->type], 1);
    switch (m->type) {
    case WIRE_HELLO:
        if (meets(f, FAKE_NO_READY))
            return false;
        if (meets(f, FAKE_NO_WORD))
            return true;
        ready(k, m->sequence);
        return true;
    case WIRE_ENCODE:
        put_aside(k, m);
        return true;
    case WIRE_CANCEL:
        cancel(k, m->sequence);
        return true;
    case WIRE_LOAD:
        if (meets(f, FAKE_MUTE))
            return true;
        answer(k, m, meets(f, FAKE_NO_LOAD) ? ERR_NOMEM : ERR_OK, 1000);
        return true;
    case WIRE_SIZE_BATCHES:
        if (wire_read_size_batches(m, &tokens, NULL))
            abort();
        answer(k, m, tokens > FAKE_BATCH_MOST ? ERR_NOMEM : ERR_OK, 64);
        return true;
    default:
        answer(k, m, ERR_OK, 64);
        return true;
    }
}

static void *fake_run(void *arg) {
    struct fake *k = arg;
    bool goes_on = true;
    while (goes_on && !atomic_load(&k->killed)) {
        struct channel_message m;
        bool answers = k->waiting_count > 0 && !atomic_load(&k->all->held);
        struct pollfd fd = {.fd = k->socket, .events = POLLIN};
        if (poll(&fd, 1, answers ? 0 : 1) > 0) {
            enum err e = channel_receive(k->socket, &k->buffer, &m, false, NULL);
            goes_on = !e ? take(k, &m) : e == ERR_OVERLOADED;
        } else if (answers) {
            goes_on = answer_first(k);
        }
    }
    while (k->waiting_count > 0)
        free((void *)(uintptr_t)k->waiting[--k->waiting_count].m.payload);
    region_free(k->region);
    close(k->socket);
    atomic_store(&k->over, true);
    return NULL;
}

// ---- as a starter

static enum err fake_spawn(void *ctx, int socket, int region, pid_t *pid, struct errmsg *msg) {
    struct fake_workers *f = ctx;
    struct fake *k = aligned_alloc(64, sizeof *k);
    if (!k || f->count == FAKES)
        abort();
    memset(k, 0, sizeof *k);
    k->all = f;
    k->socket = dup(socket);
    enum err e = region_open(dup(region), 0, &k->region, msg);
    struct thread_options t = {.name = "fake"};
    if (!e)
        e = thread_start(&k->thread, &t, fake_run, k, msg);
    if (e)
        abort();
    pthread_mutex_lock(&f->mutex);
    *pid = FIRST_PID + (pid_t)f->count;
    f->fakes[f->count++] = k;
    pthread_mutex_unlock(&f->mutex);
    atomic_fetch_add(&f->alive, 1);
    return ERR_OK;
}

static struct fake *fake_at(struct fake_workers *f, pid_t pid) {
    pthread_mutex_lock(&f->mutex);
    struct fake *k = f->fakes[pid - FIRST_PID];
    pthread_mutex_unlock(&f->mutex);
    return k;
}

static void fake_kill(void *ctx, pid_t pid) { atomic_store(&fake_at(ctx, pid)->killed, true); }

static bool fake_reap(void *ctx, pid_t pid, int *status) {
    struct fake_workers *f = ctx;
    struct fake *k = fake_at(f, pid);
    if (!atomic_load(&k->over))
        return false;
    pthread_join(k->thread, NULL);
    *status = atomic_load(&k->killed) || k->by_signal ? SIGKILL : 3 << 8;
    k->reaped = true;
    atomic_fetch_sub(&f->alive, 1);
    return true;
}

struct fake_workers *fake_workers_new(void) {
    struct fake_workers *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

void fake_workers_free(struct fake_workers *f) {
    for (size_t i = 0; i < f->count; i++)
        free(f->fakes[i]);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

struct worker_starter fake_workers_starter(struct fake_workers *f) {
    return (struct worker_starter){
        .spawn = fake_spawn, .kill = fake_kill, .reap = fake_reap, .ctx = f};
}
void fake_workers_set(struct fake_workers *f, enum fake_fault fault) {
    atomic_store(&f->fault, (int)fault);
}
void fake_workers_hold(struct fake_workers *f, bool hold) { atomic_store(&f->held, hold); }
int fake_workers_started(const struct fake_workers *f) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&f->mutex;
    pthread_mutex_lock(mutex);
    int n = (int)f->count;
    pthread_mutex_unlock(mutex);
    return n;
}
int fake_workers_alive(const struct fake_workers *f) {
    return atomic_load((atomic_int *)(uintptr_t)&f->alive);
}
int fake_workers_encoding_most(const struct fake_workers *f) {
    return atomic_load((atomic_int *)(uintptr_t)&f->most);
}
int fake_workers_seen(const struct fake_workers *f, enum wire_type type) {
    return atomic_load((atomic_int *)(uintptr_t)&f->seen[type]);
}
