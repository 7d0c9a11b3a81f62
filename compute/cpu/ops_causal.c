// See ops_causal.h. How work is cut never changes a bit of the result (see causal.h).
#include "compute/cpu/ops_causal.h"

#include "base/mem.h"
#include "compute/cpu/cpu_device.h"
#include "compute/cpu/kv.h"
#include "compute/cpu/share.h"

enum {
    SHARES_PER_THREAD = 4, // about: a thread that is held up holds up little
    LEAST_ROWS = 64,       // of the shares of a prompt: each reads all keys
    DECODE_ROWS = 4,       // fewer rows than these take no less time: reading takes it
    MAX_SEQS = 1 << 16,
    PARTIAL_FLOATS = 4 << 20, // states of parts that are computed apart
};

// How a sequence is cut: each kv head by rows and, if all rows are one share, by parts.
struct cut {
    size_t first_task;
    size_t shares, splits; // of a kv head; one of them is 1
    size_t part_from, part_to;
    size_t partials; // where its states are, floats
};

struct causal_plan {
    struct cut cuts[MAX_SEQS + 1];
    float partials[PARTIAL_FLOATS];
};

enum err ops_causal_plan_new(struct causal_plan **out, struct errmsg *msg) {
    *out = mem_map(1, sizeof **out);
    return *out ? ERR_OK : err_set(msg, ERR_NOMEM, "cpu device: no memory");
}

void ops_causal_plan_free(struct causal_plan *p) { mem_unmap(p, 1, sizeof *p); }

struct causal_job {
    struct cpu_device *d;
    const struct kv_cache *kv; // NULL: k and v
    struct mat q, k, v, out;
    const int32_t *cu_seqlens, *context_lens; // context_lens NULL: whole sequences
    const int32_t *tables;
    size_t table_stride;
    size_t layer, seqs, group, kv_heads, head_dim, window;
    float scale;
    size_t rows_per_share;
    struct cut *cuts;
    float *partials;
};

static size_t tokens_of(const struct causal_job *j, size_t s) {
    return (size_t)(j->cu_seqlens[s + 1] - j->cu_seqlens[s]);
}

static size_t context_of(const struct causal_job *j, size_t s) {
    return j->context_lens ? (size_t)j->context_lens[s] : tokens_of(j, s);
}

// What share `part` of sequence s and a kv head is given, without its rows.
static struct causal_share share_of(const struct causal_job *j, size_t s, size_t head, int worker) {
    size_t from = (size_t)j->cu_seqlens[s], col = head * j->group * j->head_dim;
    struct causal_share c = {
        .q = j->q.data + from * j->q.ld + col,
        .out = j->out.data + from * j->out.ld + col,
        .ldq = j->q.ld,
        .ldo = j->out.ld,
        .group = j->group,
        .head_dim = j->head_dim,
        .position = context_of(j, s) - tokens_of(j, s),
        .window = j->window,
        .scale = j->scale,
        .dtype = DTYPE_F32,
        .part_from = j->cuts[s].part_from,
        .part_to = j->cuts[s].part_to,
        .scratch = cpu_scratch(j->d, worker),
    };
    if (j->kv) {
        c.blocks = kv_head(j->kv, j->layer, head);
        c.block_bytes = j->kv->block_bytes;
        c.values = j->kv->values;
        c.block_tokens = j->kv->shape.block_tokens;
        c.table = j->tables + s * j->table_stride;
        c.dtype = j->kv->shape.dtype;
    } else {
        c.k = j->k.data + from * j->k.ld + head * j->head_dim;
        c.v = j->v.data + from * j->v.ld + head * j->head_dim;
        c.ldk = j->k.ld;
        c.ldv = j->v.ld;
    }
    return c;
}

static size_t sequence_of(const struct causal_job *j, size_t task) {
    size_t low = 0, high = j->seqs;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (j->cuts[mid].first_task <= task)
            low = mid;
        else
            high = mid;
    }
    return low;
}

// The states of one kv head of a sequence that is cut by parts.
static void place_partials(const struct causal_job *j, size_t s, size_t head,
                           struct causal_share *c) {
    const struct cut *cut = &j->cuts[s];
    c->rows = tokens_of(j, s) * j->group;
    c->part_stride = c->rows * causal_state(j->head_dim);
    c->partials =
        j->partials + cut->partials + head * (cut->part_to - cut->part_from) * c->part_stride;
}

static void share_task(void *job, size_t task, int worker) {
    const struct causal_job *j = job;
    size_t s = sequence_of(j, task);
    const struct cut *cut = &j->cuts[s];
    size_t cuts = cut->shares * cut->splits, head = (task - cut->first_task) / cuts;
    size_t at = (task - cut->first_task) % cuts, rows = tokens_of(j, s) * j->group;
    struct causal_share c = share_of(j, s, head, worker);
    if (cut->splits > 1) {
        size_t parts = cut->part_to - cut->part_from;
        place_partials(j, s, head, &c);
        c.part_from = cut->part_from + parts * at / cut->splits;
        c.part_to = cut->part_from + parts * (at + 1) / cut->splits;
        c.partials += (c.part_from - cut->part_from) * c.part_stride;
    } else {
        c.row = rows * at / cut->shares;
        c.rows = rows * (at + 1) / cut->shares - c.row;
        size_t from, to, last, unused;
        causal_range(&c, c.row, &from, &unused);
        causal_range(&c, c.row + c.rows - 1, &last, &to);
        c.part_from = from / CAUSAL_PART;
        c.part_to = ceil_div(to, CAUSAL_PART);
    }
    j->d->k->causal->attention(&c);
}

static void join_task(void *job, size_t task, int worker) {
    const struct causal_job *j = job;
    size_t s = task / j->kv_heads, head = task % j->kv_heads;
    if (j->cuts[s].splits <= 1)
        return;
    struct causal_share c = share_of(j, s, head, worker);
    place_partials(j, s, head, &c);
    j->d->k->causal->join(&c);
}

// About what a kv head of sequence s costs: rows x keys.
static double cost_of(const struct causal_job *j, size_t s) {
    size_t n = tokens_of(j, s);
    double keys = (double)context_of(j, s) - (double)n / 2;
    if (j->window && keys > (double)j->window)
        keys = (double)j->window;
    return keys * (double)at_least(n * j->group, DECODE_ROWS);
}

static void cut_sequences(struct causal_job *j, double share_cost, bool alone, bool *split) {
    size_t next = 0, partials = 0;
    for (size_t s = 0; s < j->seqs; s++) {
        struct cut *cut = &j->cuts[s];
        size_t n = tokens_of(j, s), to = context_of(j, s), first = to - n + 1;
        size_t rows = n * j->group;
        *cut = (struct cut){.first_task = next, .splits = 1};
        cut->part_from = j->window && first > j->window ? (first - j->window) / CAUSAL_PART : 0;
        cut->part_to = ceil_div(to, CAUSAL_PART);
        cut->shares = ceil_div(rows, j->rows_per_share);
        size_t parts = cut->part_to - cut->part_from;
        if (!alone && cut->shares == 1 && parts >= 4) {
            size_t room = parts * rows * causal_state(j->head_dim) * j->kv_heads;
            double splits = cost_of(j, s) / share_cost;
            if (splits >= 1.5 && room <= PARTIAL_FLOATS - partials) {
                cut->splits = at_most((size_t)(splits + 0.5), parts / 2);
                cut->partials = partials;
                partials += room;
                *split = true;
            }
        }
        next += j->kv_heads * cut->shares * cut->splits;
    }
    j->cuts[j->seqs] = (struct cut){.first_task = next};
}

static void run_causal(struct causal_job *j, struct cpu_device *d) {
    size_t threads = (size_t)team_threads(d->team), rows = j->q.rows * j->group;
    if (j->seqs > MAX_SEQS) {
        device_fail(&d->base, ERR_TOO_LARGE, "attention: %zu sequences, at most %d", j->seqs,
                    MAX_SEQS);
        return;
    }
    j->d = d;
    j->cuts = d->plan->cuts;
    j->partials = d->plan->partials;
    size_t shares = threads > 1 ? threads * SHARES_PER_THREAD : 1;
    double cost = 0;
    for (size_t s = 0; s < j->seqs; s++)
        cost += cost_of(j, s) * (double)j->kv_heads;
    j->rows_per_share = at_least(ceil_div(rows * j->kv_heads, shares), LEAST_ROWS);
    j->rows_per_share = at_most(j->rows_per_share, causal_rows(j->head_dim));
    bool split = false;
    cut_sequences(j, cost / (double)shares, threads == 1, &split);
    team_run(d->team, j->cuts[j->seqs].first_task, share_task, j);
    if (split)
        team_run(d->team, j->seqs * j->kv_heads, join_task, j);
}

static bool table_fits(const struct paged_attention_args *a, size_t s) {
    const struct kv_shape *k = &a->kv->shape;
    int32_t n = a->cu_seqlens[s + 1] - a->cu_seqlens[s], context = a->context_lens[s];
    if (n < 0 || context < n)
        return false;
    size_t first = (size_t)(context - n) + 1, last = ceil_div((size_t)context, k->block_tokens);
    if (last > a->table_stride)
        return false;
    size_t b = a->window && first > a->window ? (first - a->window) / k->block_tokens : 0;
    for (; b < last; b++) {
        int32_t block = a->block_tables[s * a->table_stride + b];
        if (block < 0 || (size_t)block >= k->blocks)
            return false;
    }
    return true;
}

void cpu_paged_attention(struct device *d, const struct paged_attention_args *a) {
    const struct kv_shape *k = &a->kv->shape;
    size_t width = a->heads * k->head_dim;
    if (a->layer >= k->layers || a->heads == 0 || a->heads % k->kv_heads || a->q.cols != width ||
        a->out.cols != width || !(a->scale > 0)) {
        device_fail(d, ERR_INTERNAL, "paged_attention: layer %zu, %zu heads of %zu, q of %zu",
                    a->layer, a->heads, k->head_dim, a->q.cols);
        return;
    }
    if (!share_sequences_fit(a->cu_seqlens, a->seqs, at_most(a->q.rows, a->out.rows))) {
        device_fail(d, ERR_INTERNAL, "paged_attention: %zu sequences that do not lie in %zu rows",
                    a->seqs, at_most(a->q.rows, a->out.rows));
        return;
    }
    for (size_t s = 0; s < a->seqs; s++)
        if (!table_fits(a, s)) {
            device_fail(d, ERR_INTERNAL, "paged_attention: sequence %zu: %d positions, its blocks",
                        s, (int)a->context_lens[s]);
            return;
        }
    struct causal_job j = {
        .kv = a->kv,
        .q = a->q,
        .out = a->out,
        .cu_seqlens = a->cu_seqlens,
        .context_lens = a->context_lens,
        .tables = a->block_tables,
        .table_stride = a->table_stride,
        .layer = a->layer,
        .seqs = a->seqs,
        .group = a->heads / k->kv_heads,
        .kv_heads = k->kv_heads,
        .head_dim = k->head_dim,
        .window = a->window,
        .scale = a->scale,
    };
    run_causal(&j, cpu_of(d));
}

// Of sequence s the queries [from, to): as over a cache, the sequence's first tokens are there.
static void run_part(const struct causal_job *whole, size_t s, size_t from, size_t to,
                     struct cpu_device *d) {
    size_t begin = (size_t)whole->cu_seqlens[s], all = tokens_of(whole, s);
    const int32_t cu[2] = {0, (int32_t)(to - from)}, context = (int32_t)(to - begin);
    struct causal_job j = *whole;
    j.q = mat_rows(whole->q, from, to - from);
    j.out = mat_rows(whole->out, from, to - from);
    j.k = mat_rows(whole->k, begin, all);
    j.v = mat_rows(whole->v, begin, all);
    j.cu_seqlens = cu;
    j.context_lens = &context;
    j.seqs = 1;
    run_causal(&j, d);
}

// The queries [begin, end): of each sequence what of it lies there.
static void run_range(const struct causal_job *whole, size_t begin, size_t end,
                      struct cpu_device *d) {
    for (size_t s = 0; s < whole->seqs; s++) {
        size_t from = at_least((size_t)whole->cu_seqlens[s], begin);
        size_t to = at_most((size_t)whole->cu_seqlens[s + 1], end);
        if (from < to)
            run_part(whole, s, from, to, d);
    }
}

void cpu_causal_attention(struct device *d, const struct attention_args *a) {
    size_t kv_heads = a->kv_heads ? a->kv_heads : a->heads;
    if (a->head_dim > CAUSAL_MAX_HEAD_DIM) {
        device_fail(d, ERR_UNSUPPORTED, "causal attention: head dimension %zu, at most %d",
                    a->head_dim, CAUSAL_MAX_HEAD_DIM);
        return;
    }
    struct causal_job j = {
        .q = a->q,
        .k = a->k,
        .v = a->v,
        .out = a->out,
        .cu_seqlens = a->cu_seqlens,
        .seqs = a->seqs,
        .group = a->heads / kv_heads,
        .kv_heads = kv_heads,
        .head_dim = a->head_dim,
        .window = a->window,
        .scale = a->scale,
    };
    if (a->begin == 0 && (a->end == 0 || a->end == a->q.rows))
        run_causal(&j, cpu_of(d));
    else
        run_range(&j, a->begin, a->end ? a->end : a->q.rows, cpu_of(d));
}
