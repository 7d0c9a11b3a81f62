// Any bytes as a message to the worker and its bulk: refused in one line, or what is read lies
// within all that the code behind it counts on, and writes the same bytes again.
#include "tests/fuzz/wire_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct errmsg msg;
static struct step *step;

static void ids_below(const int32_t *ids, size_t n, size_t below) {
    for (size_t i = 0; i < n; i++)
        wire_must(ids[i] >= 0 && (size_t)ids[i] < below);
}

static void control(const struct wire_input *in) {
    const struct channel_message *m = &in->m;
    struct pack_writer *w = wire_again_begin();
    struct wire_hello hello;
    struct wire_size_steps sizes;
    struct wire_place place;
    const struct wire_model model = {
        .model = 3, .task = TASK_GENERATE, .causal = true, .max_length = 100, .vocab = 50};
    uint64_t number;
    size_t tokens;
    bool taken = false;
    if (m->type == WIRE_HELLO && (taken = !wire_read_hello(m, &hello, &msg)))
        wire_write_hello(w, &hello);
    if (m->type == WIRE_UNLOAD && (taken = !wire_read_unload(m, &number, &msg)))
        wire_write_unload(w, number);
    if (m->type == WIRE_CLOSE_STEPS && (taken = !wire_read_close_steps(m, &number, &msg)))
        wire_write_close_steps(w, number);
    if (m->type == WIRE_SIZE_BATCHES && (taken = !wire_read_size_batches(m, &tokens, &msg)))
        wire_write_size_batches(w, tokens);
    if (m->type == WIRE_SIZE_STEPS && (taken = !wire_read_size_steps(m, &sizes, &msg)))
        wire_write_size_steps(w, &sizes);
    if (m->type == WIRE_OPEN_STEPS && (taken = !wire_read_open_steps(m, &model, &place, &msg))) {
        const struct step_engine_options *o = &place.options;
        wire_must(o->blocks * o->limits.block_tokens <= INT32_MAX);
        wire_must(step_bytes(&o->limits) < SIZE_MAX / 2);
        wire_write_open_steps(w, &place);
    }
    if (taken)
        wire_again_same(in, 0);
}

static void files(const struct wire_input *in) {
    static struct wire_files files;
    if (wire_read_files(&in->m, &files, &msg))
        return;
    for (size_t i = 0; i < files.count; i++)
        wire_must(files.paths[i][0] && strlen(files.paths[i]) < WIRE_PATH_BYTES);
    wire_must(wire_write_files(wire_again_begin(), files.model, files.paths, files.count) ==
              files.count);
    wire_again_same(in, 0);
}

static void load(const struct wire_input *in) {
    static struct wire_load load;
    if (wire_read_load(&in->m, &load, &msg))
        return;
    const struct replica_spec *s = &load.spec;
    struct wire_model known;
    wire_model_of(s, &known);
    wire_must(known.vocab > 0 && known.max_length > 0 &&
              (known.dim == 0) == (s->task == TASK_GENERATE));
    const struct decoder_config *c = &s->decoder_config;
    wire_must(s->causal ? c->hidden && c->layers && c->heads % c->kv_heads == 0 && c->head_dim
                        : s->config.hidden % s->config.heads == 0);
    wire_must(!wire_write_load(wire_again_begin(), s, load.files, &msg));
    wire_again_same(in, 0);
}

static void encode(const struct wire_input *in) {
    const struct wire_model model = {.model = 6,
                                     .task = TASK_EMBED,
                                     .max_length = 64,
                                     .dim = 5,
                                     .vocab = 1000,
                                     .types = in->choice % 2 ? 3 : 0};
    const struct wire_batch_limits limits = {.tokens = 600, .seqs = 80};
    struct replica_batch b = {0};
    struct wire_block block;
    size_t answer;
    if (wire_read_encode(&in->m, in->bulk, &model, &limits, &b, &answer, &msg))
        return;
    const struct batch *t = &b.tokens;
    wire_must(t->tokens <= 600 && t->seqs >= 1 && t->seqs <= 80);
    ids_below(t->ids, t->tokens, 1000);
    ids_below(t->positions, t->tokens, 64);
    if (t->type_ids && model.types)
        ids_below(t->type_ids, t->tokens, 3);
    if (b.skip)
        ids_below(b.skip, t->seqs, SIZE_MAX);
    for (size_t s = 0; s < t->seqs; s++)
        wire_must(t->cu_seqlens[s] < t->cu_seqlens[s + 1] &&
                  (size_t)t->cu_seqlens[s + 1] <= t->tokens);
    wire_must(!wire_size_encode(&b, model.dim, &block, &msg) && block.answer == answer);
    wire_must(block.request == in->m.bulk_length && block.request <= sizeof wire_again.bulk);
    wire_write_encode(wire_again_begin(), &b, wire_again.bulk);
    wire_again_same(in, block.request);
}

static void check_part(const struct step *s, size_t i) {
    const struct step_part *p = &s->parts[i];
    const int32_t *ids = s->ids + s->cu_seqlens[i];
    bool last = ids[0] == STEP_LAST_DRAWN;
    wire_must(p->count >= 1 && p->wanted <= p->count && (p->draws || !last));
    ids_below(ids + last, p->count - last, KIT_VOCAB);
    ids_below(s->block_tables + i * s->table_stride, p->block_count, KIT_BLOCKS);
    ids_below(s->slots + s->cu_seqlens[i], p->count, (size_t)KIT_BLOCKS * KIT_BLOCK);
    ids_below(s->positions + s->cu_seqlens[i], p->count, kit_place.max_length);
    if (!p->draws) {
        ids_below(p->next, p->wanted, KIT_VOCAB);
        return;
    }
    ids_below(p->end_ids, p->end_count, KIT_VOCAB);
    wire_must(p->position - p->prompt_len - p->logged <= 1);
    if (sampling_penalizes(&p->sampling))
        ids_below(p->tokens, p->prompt_len + p->logged, KIT_VOCAB);
    for (size_t k = 0; k < p->sampling.bias_count; k++)
        ids_below(&p->sampling.bias[k].id, 1, KIT_VOCAB);
}

static void one_step(const struct wire_input *in) {
    struct replica_step r = {0};
    struct wire_block block;
    bool draw;
    size_t answer;
    if (wire_read_step(&in->m, in->bulk, &kit_place, step, &r, &draw, &answer, &msg))
        return;
    wire_must(step->seqs >= 1 && step->seqs <= KIT_SEQS && step->logits <= step->limits.max_logits);
    for (size_t i = 0; i < step->seqs; i++) {
        check_part(step, i);
        wire_must(!draw || !step->parts[i].masked);
    }
    r.place = kit_place.place;
    wire_must(!wire_size_step(&r, &block, &msg) && block.answer == answer);
    wire_must(block.request == in->m.bulk_length && block.request <= sizeof wire_again.bulk);
    wire_write_step(wire_again_begin(), &r, draw, wire_again.bulk);
    wire_again_same(in, block.request);
}

// The masks of one of some steps.
static void draw(const struct wire_input *in) {
    struct wire_block block;
    wire_state = 1 + in->choice;
    (void)kit_step(step, 1 + in->choice % KIT_SEQS);
    if (wire_read_draw(&in->m, in->bulk, KIT_VOCAB, step, &msg))
        return;
    for (size_t i = 0; i < step->seqs; i++)
        wire_must(step->parts[i].mask_count <= (step->parts[i].masked ? step->parts[i].wanted : 0));
    wire_must(!wire_size_draw(step, KIT_VOCAB, &block, &msg));
    wire_must(block.request == in->m.bulk_length && block.request <= sizeof wire_again.bulk);
    wire_write_draw(wire_again_begin(), step, KIT_VOCAB, wire_again.bulk);
    wire_again_same(in, block.request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_input in;
    if (!step && step_new(&kit_place.options.limits, &step))
        return 0;
    if (wire_input_make(data, size, true, &in)) {
        switch (in.m.type) {
        case WIRE_FILES:
            files(&in);
            break;
        case WIRE_LOAD:
            load(&in);
            break;
        case WIRE_ENCODE:
            encode(&in);
            break;
        case WIRE_STEP:
            one_step(&in);
            break;
        case WIRE_DRAW:
            draw(&in);
            break;
        default:
            control(&in);
        }
    }
    wire_input_free(&in);
    return 0;
}
