// See ops_attention.h. How work is cut never changes a bit of the result (see kernels.h).
#include "compute/cpu/ops_attention.h"

#include "compute/cpu/cpu_device.h"
#include "compute/cpu/ops_causal.h"
#include "compute/cpu/share.h"

struct attention_job {
    struct cpu_device *d;
    const struct attention_args *a;
    size_t tokens, first; // queries are cut into ranges, every head apart; the first one of them
    size_t group;         // heads that share a head of keys and values
};

// The sequence that holds token t.
static size_t sequence_of(const struct attention_args *a, size_t t) {
    size_t low = 0, high = a->seqs;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if ((size_t)a->cu_seqlens[mid] <= t)
            low = mid;
        else
            high = mid;
    }
    return low;
}

// Where the range that would begin at token t begins: a short sequence is not cut, since each range
// packs all keys of its sequences; it goes with the range that holds its first token.
static size_t range_begin(const struct attention_job *j, size_t t) {
    if (t >= j->tokens)
        return j->tokens;
    size_t s = sequence_of(j->a, t);
    size_t from = (size_t)j->a->cu_seqlens[s], to = (size_t)j->a->cu_seqlens[s + 1];
    return t == from || to - from > ATTENTION_QUERIES ? t : to;
}

static void attention_task(void *job, size_t task, int worker) {
    const struct attention_job *j = job;
    const struct attention_args *a = j->a;
    size_t head = task % a->heads, range = j->first + task / a->heads;
    size_t col = head * a->head_dim, kv_col = head / j->group * a->head_dim;
    size_t from = range_begin(j, range * ATTENTION_QUERIES);
    size_t to = range_begin(j, (range + 1) * ATTENTION_QUERIES);
    if (from >= to)
        return;
    size_t s = sequence_of(a, from);
    while (from < to) {
        size_t begin = (size_t)a->cu_seqlens[s], end = (size_t)a->cu_seqlens[s + 1];
        if (end <= from) {
            s++;
            continue;
        }
        size_t stop = at_most(at_most(end, to), from + ATTENTION_QUERIES);
        struct kernel_attention_share share = {
            .q = a->q.data + from * a->q.ld + col,
            .k = a->k.data + begin * a->k.ld + kv_col,
            .v = a->v.data + begin * a->v.ld + kv_col,
            .out = a->out.data + from * a->out.ld + col,
            .ldq = a->q.ld,
            .ldk = a->k.ld,
            .ldv = a->v.ld,
            .ldo = a->out.ld,
            .queries = stop - from,
            .keys = end - begin,
            .head_dim = a->head_dim,
            .scale = a->scale,
            .scratch = cpu_scratch(j->d, worker),
        };
        j->d->k->attention(&share);
        from = stop;
    }
}

void cpu_attention(struct device *d, const struct attention_args *a) {
    struct attention_job j = {.d = cpu_of(d), .a = a};
    size_t kv_heads = a->kv_heads ? a->kv_heads : a->heads;
    size_t width = a->heads * a->head_dim, kv_width = kv_heads * a->head_dim;
    if (a->head_dim == 0 || a->head_dim > j.d->k->max_head_dim) {
        device_fail(d, ERR_UNSUPPORTED, "attention: head dimension %zu, at most %zu", a->head_dim,
                    j.d->k->max_head_dim);
        return;
    }
    if (!(a->scale > 0)) {
        device_fail(d, ERR_INTERNAL, "attention: scale %g", (double)a->scale);
        return;
    }
    if (a->q.cols != width || a->k.cols != kv_width || a->v.cols != kv_width ||
        a->out.cols != width || a->heads % kv_heads) {
        device_fail(d, ERR_INTERNAL, "attention: %zu heads (%zu) of %zu in matrices of %zu columns",
                    a->heads, kv_heads, a->head_dim, a->q.cols);
        return;
    }
    size_t rows = at_most(at_most(a->q.rows, a->k.rows), at_most(a->v.rows, a->out.rows));
    if (!share_sequences_fit(a->cu_seqlens, a->seqs, rows)) {
        device_fail(d, ERR_INTERNAL, "attention: %zu sequences that do not lie in %zu rows",
                    a->seqs, rows);
        return;
    }
    j.group = a->heads / kv_heads;
    j.tokens = (size_t)a->cu_seqlens[a->seqs];
    size_t end = a->end ? a->end : j.tokens;
    if (a->begin % ATTENTION_ROWS || a->begin > end || end > j.tokens ||
        (end % ATTENTION_ROWS && end != j.tokens)) {
        device_fail(d, ERR_INTERNAL, "attention: queries %zu to %zu of %zu", a->begin, end,
                    j.tokens);
        return;
    }
    if (a->causal) {
        cpu_causal_attention(d, a);
        return;
    }
    j.first = a->begin / ATTENTION_QUERIES;
    size_t ranges = ceil_div(end, ATTENTION_QUERIES) - j.first;
    team_run(j.d->team, ranges * a->heads, attention_task, &j);
}
