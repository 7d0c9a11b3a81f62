// Any bytes as a message to the parent and its bulk: refused in one line, or what is read is what a
// worker can say, and writes the same bytes again.
#include "tests/fuzz/wire_input.h"

#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct errmsg msg;
static struct step *step;

// One line, as it may go into a log, and short enough.
static void check_verdict(const struct errmsg *v) {
    const char *text = v->text;
    wire_must(v->code < ERR_COUNT && v->code != ERR_LOST);
    wire_must(strlen(text) <= WIRE_WORDS && utf8_valid(text, strlen(text), NULL));
    wire_must((v->code == ERR_OK) == (text[0] == '\0') && !strpbrk(text, "\n\r\t\x1b"));
}

static void ready(const struct wire_input *in) {
    struct wire_ready r;
    if (wire_read_ready(&in->m, &r, &msg))
        return;
    check_verdict(&r.verdict);
    if (r.verdict.code) // words may be tidied on the way
        return;
    wire_must(r.facts.name[0] && !strpbrk(r.facts.name, " \"\\\n") && r.facts.kv_block_tokens);
    wire_must(r.facts.steps_ahead <= 1 && r.facts.bulk_ahead <= 2);
    wire_write_ready(wire_again_begin(), &r);
    wire_again_same(in, 0);
}

static void answer(const struct wire_input *in) {
    struct wire_answer a;
    enum wire_type request = (enum wire_type)in->choice;
    if (wire_read_answer(&in->m, request, &a, &msg))
        return;
    check_verdict(&a.verdict);
    if (a.verdict.code) // words may be tidied on the way
        return;
    wire_write_answer(wire_again_begin(), request, a.verdict.code, &a.verdict, a.values);
    wire_again_same(in, 0);
}

static void batch_done(const struct wire_input *in) {
    struct wire_block b = {.request = 64, .answer = in->choice, .bytes = 64 + in->choice};
    struct wire_done done;
    if (wire_read_batch_done(&in->m, &b, 1000, 2000, &done, &msg))
        return;
    check_verdict(&done.verdict);
    wire_must(in->m.bulk_length == (done.verdict.code ? 0 : in->choice));
    wire_must(done.began_us == 0 || (done.began_us >= 1000 && done.began_us <= 2000));
}

static void check_part(const struct step *s, size_t i) {
    const struct step_part *p = &s->parts[i];
    const int32_t *drafts = s->ids + s->cu_seqlens[i + 1] - p->wanted + 1;
    wire_must(p->drawn <= p->wanted && p->fault < STEP_FAULT_COUNT);
    wire_must(p->err == step_fault_err(p->fault) && (!p->late || p->drawn == 0));
    for (size_t k = 0; k < p->drawn; k++) {
        const struct sampling_result *r = &p->results[k];
        wire_must(r->id >= 0 && r->id < KIT_VOCAB && r->end == SAMPLING_DRAWN);
        wire_must(r->logprob < 1 && r->top_count <= p->top);
        wire_must(!p->draws || kit_allows(p, k, r->id));
        wire_must(!p->draws || k + 1 == p->drawn || r->id == drafts[k]);
        for (size_t t = 0; t < r->top_count; t++)
            wire_must(r->top[t].id >= 0 && r->top[t].id < KIT_VOCAB && r->top[t].logprob < 1);
    }
}

static void step_done(const struct wire_input *in) {
    struct wire_done done;
    wire_state = 1 + in->choice;
    (void)kit_step(step, 1 + in->choice % KIT_SEQS);
    kit_masks(step);
    if (wire_read_step_done(&in->m, in->bulk, step, KIT_VOCAB, 1000, 2000, &done, &msg))
        return;
    check_verdict(&done.verdict);
    if (done.verdict.code)
        return;
    for (size_t i = 0; i < step->seqs; i++)
        check_part(step, i);
    wire_must(in->m.bulk_length <= sizeof wire_again.bulk);
    size_t length = wire_write_step_done(wire_again_begin(), step, ERR_OK, NULL, done.began_us,
                                         wire_again.bulk);
    wire_must(length == in->m.bulk_length && memcmp(wire_again.bulk, in->bulk, length) == 0);
}

static void progress(const struct wire_input *in) {
    const struct replica_stats before = {.heartbeat_us = 4000, .used_us = {100}, .yields = 7};
    struct replica_stats s;
    int64_t used = 0;
    if (wire_read_progress(&in->m, &before, 1000, 5000, &s, &msg))
        return;
    for (int i = 0; i < SHARE_COUNT; i++)
        used += s.used_us[i];
    wire_must(used >= 100 && used <= 1000 && s.heartbeat_us >= 4000 && s.heartbeat_us <= 5000);
    wire_write_progress(wire_again_begin(), &s);
    wire_again_same(in, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_input in;
    if (!step && step_new(&kit_place.options.limits, &step))
        return 0;
    if (wire_input_make(data, size, false, &in)) {
        if (in.m.type == WIRE_READY)
            ready(&in);
        if (in.m.type == WIRE_ANSWER)
            answer(&in);
        if (in.m.type == WIRE_BATCH_DONE)
            batch_done(&in);
        if (in.m.type == WIRE_STEP_DONE)
            step_done(&in);
        if (in.m.type == WIRE_PROGRESS)
            progress(&in);
    }
    wire_input_free(&in);
    return 0;
}
