// trine inspect: what a model folder or a GGUF file holds, what it needs, and what would be
// refused. Role: reads each part for itself, so that a broken model still shows the rest, then
// loads it whole to hear what the service would say. Thread rule: main thread.
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/sink.h"
#include "compute/cpu/cpu.h"
#include "engine/chat_templates.h"
#include "engine/model.h"
#include "engine/model_keys.h"
#include "engine/replica_model.h"
#include "hub/store.h"
#include "weights/decoder_config.h"
#include "weights/generation_config.h"
#include "weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_REFUSALS = 8, BATCH_TOKENS = 512, LOGIT_ROWS = 32, TOKENS_SHOWN = 1024 };

struct inspect_run {
    const struct cli_options *o;
    char *path;
    char *files; // where the transformer's lie
    struct sink out;
    struct errmsg refusals[MAX_REFUSALS];
    size_t refusal_count;
    struct model_config config; // of an encoder
    struct decoder_config decoder_config;
    struct st_config st;
    bool config_ok; // the one of the two that counts
    bool is_decoder;
};

static size_t vocab_of(const struct inspect_run *r) {
    return !r->config_ok ? 0 : r->is_decoder ? r->decoder_config.vocab : r->config.vocab;
}

static size_t positions_of(const struct inspect_run *r) {
    return r->is_decoder ? r->decoder_config.max_positions : r->config.max_positions;
}

// The same cause comes up again when the model is loaded whole.
static void refuse(struct inspect_run *r, const struct errmsg *msg) {
    for (size_t i = 0; i < r->refusal_count; i++)
        if (strcmp(r->refusals[i].text, msg->text) == 0)
            return;
    if (r->refusal_count < MAX_REFUSALS)
        r->refusals[r->refusal_count++] = *msg;
}

static const char *activation_name(enum activation a) {
    switch (a) {
    case ACTIVATION_NONE:
        return "none";
    case ACTIVATION_GELU:
        return "gelu (erf)";
    case ACTIVATION_GELU_TANH:
        return "gelu (tanh)";
    case ACTIVATION_RELU:
        return "relu";
    case ACTIVATION_TANH:
        return "tanh";
    case ACTIVATION_SILU:
        return "silu";
    }
    return "?";
}

static void show_rope(struct buf *b, const struct decoder_config *c) {
    static const char *const names[] = {[DECODER_ROPE_NONE] = "none",
                                        [DECODER_ROPE_LINEAR] = "linear",
                                        [DECODER_ROPE_LLAMA3] = "llama3",
                                        [DECODER_ROPE_YARN] = "yarn"};
    buf_printf(b, "rope: theta %g, scaling %s", c->rope.theta, names[c->rope.scaling]);
    if (c->rope.scaling != DECODER_ROPE_NONE)
        buf_printf(b, " by %g", c->rope.factor);
    if (c->window)
        buf_printf(b, "; a window of %zu tokens from layer %zu on", c->window, c->window_from);
    buf_putc(b, '\n');
}

static void show_decoder_config(struct inspect_run *r) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    r->config_ok = decoder_config_load(r->files, &r->decoder_config, &msg) == ERR_OK;
    if (!r->config_ok) {
        refuse(r, &msg);
        return;
    }
    const struct decoder_config *c = &r->decoder_config;
    buf_printf(b,
               "architecture: %s, %zu layers, hidden %zu, %zu heads of %zu (%zu key/value), ffn "
               "%zu, norm eps %g%s%s\n"
               "vocabulary: %zu tokens, %s head; positions: %zu\n",
               c->architecture, c->layers, c->hidden, c->heads, c->head_dim, c->kv_heads, c->ffn,
               (double)c->norm_eps, c->qkv_bias ? ", biases of q, k and v" : "",
               c->qk_norm ? ", norms of q and k" : "", c->vocab,
               !c->causal_lm ? "no"
               : c->tied     ? "tied"
                             : "its own",
               c->max_positions);
    show_rope(b, c);
    buf_printf(b, "task: %s\n", c->causal_lm ? "generate" : "embed");
}

static void show_default(struct buf *b, const char *name, float v) {
    if (!isnan(v))
        buf_printf(b, " %s %g", name, (double)v);
}

// When the template does not compile the model can still complete texts.
static void show_template(struct inspect_run *r, const struct generation_config *g) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    struct chat_templates t = {0};
    struct tool_form form = {0};
    const char *choice = r->o->models[0].chat_template;
    buf_puts(b, "chat template: ");
    if (choice)
        buf_printf(b, "%s, in place of the model's", choice);
    else if (g->chat_template)
        buf_printf(b, "%zu bytes%s", g->chat_template_len,
                   g->tool_template ? ", and one of its own for tools" : "");
    else
        buf_puts(b, "none");
    if (!choice && !g->chat_template) {
        buf_puts(b, "; --chat-template FILE|chatml gives one\n");
        return;
    }
    if (chat_templates_load(r->files, g, choice, &t, &msg)) {
        buf_printf(b, "; %s\n", msg.text);
        return;
    }
    if (t.refusal.code)
        buf_printf(b, "; does not compile: %s, so it cannot %s\n", t.refusal.text,
                   t.chat ? "be given tools" : "chat");
    else if (tool_form_find(t.tools ? t.tools : t.chat, g, &form, &msg)) {
        buf_printf(b, "; compiles, %s\n", msg.text);
    } else {
        buf_puts(b, "; compiles, ");
        tool_form_describe(&form, b);
        buf_putc(b, '\n');
    }
    chat_templates_free(&t);
}

static void show_generation(struct inspect_run *r) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    struct generation_config g;
    if (!r->is_decoder || !r->config_ok)
        return;
    if (generation_config_load(r->files, vocab_of(r), &g, &msg)) {
        refuse(r, &msg);
        return;
    }
    buf_puts(b, "ends with:");
    for (size_t i = 0; i < g.eos_count; i++)
        buf_printf(b, "%s %d", i ? "," : "", (int)g.eos_ids[i]);
    buf_puts(b, g.eos_count ? "\n" : " no token\n");
    show_template(r, &g);
    buf_puts(b, "sampling, where a request says nothing:");
    show_default(b, "temperature", g.temperature);
    show_default(b, "top_p", g.top_p);
    if (g.top_k >= 0)
        buf_printf(b, " top_k %d", (int)g.top_k);
    show_default(b, "min_p", g.min_p);
    show_default(b, "repetition_penalty", g.repetition_penalty);
    bool none = isnan(g.temperature) && isnan(g.top_p) && isnan(g.min_p) &&
                isnan(g.repetition_penalty) && g.top_k < 0;
    buf_puts(b, none ? " as the API has it\n" : "\n");
    generation_config_free(&g);
}

static bool pools(const struct inspect_run *r) {
    bool declared;
    return !pooling_is_declared(r->path, &declared, NULL) && declared;
}

static void show_encoder_config(struct inspect_run *r) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    r->config_ok = model_config_load(r->files, &r->config, &msg) == ERR_OK;
    if (!r->config_ok) {
        refuse(r, &msg);
        return;
    }
    const struct model_config *c = &r->config;
    buf_printf(b,
               "architecture: %s, %zu layers, hidden %zu, %zu heads, ffn %zu, %s, norm eps %g\n"
               "vocabulary: %zu tokens, %zu token types; positions: %zu\n",
               c->architecture, c->layers, c->hidden, c->heads, c->ffn,
               activation_name(c->activation), (double)c->norm_eps, c->vocab, c->type_vocab,
               c->max_positions);
    if (pools(r) && c->classification) {
        buf_printf(b, "task: embed; a head of %zu label%s is there too\n", c->labels,
                   c->labels == 1 ? "" : "s");
    } else if (c->classification) {
        buf_printf(b, "task: %s, %zu label%s:", c->labels == 1 ? "rerank" : "classify", c->labels,
                   c->labels == 1 ? "" : "s");
        for (size_t i = 0; i < c->labels; i++)
            buf_printf(b, "%s %s", i ? "," : "", c->label_names[i]);
        buf_putc(b, '\n');
    } else {
        buf_puts(b, "task: embed\n");
    }
}

static void show_st_config(struct inspect_run *r) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    size_t positions = r->config_ok ? positions_of(r) : 1 << 20;
    if (st_config_load(r->path, r->files, positions, &r->st, &msg)) {
        refuse(r, &msg);
        return;
    }
    const struct st_config *st = &r->st;
    size_t length = st->max_length;
    if (!length && r->config_ok)
        length = positions_of(r);
    if (length)
        buf_printf(b, "max length: %zu tokens\n", length);
    if (st->similarity[0])
        buf_printf(b, "similarity: %s\n", st->similarity);
    for (size_t i = 0; i < st->prompt_count; i++) {
        buf_printf(b, "prompt: %s = \"%s\"", st->prompts[i].name, st->prompts[i].text);
        bool is_default = st->default_prompt && !strcmp(st->default_prompt, st->prompts[i].text);
        buf_puts(b, is_default ? " (default)\n" : "\n");
    }
}

static void show_pooling(struct inspect_run *r) {
    struct errmsg msg = {0};
    struct pooling_facts p;
    if (!r->config_ok || r->is_decoder || (r->config.classification && !pools(r)))
        return; // how a decoder embeds is for model_load to say
    if (pooling_describe(r->path, r->config.hidden, r->o->models[0].pool_mode, &p, &msg)) {
        refuse(r, &msg);
        return;
    }
    buf_printf(&r->out.buf, "pooling: %s, %s, %zu dimensions%s\n", p.mode_name,
               p.normalizes ? "normalized" : "not normalized", p.dim,
               p.includes_prompt ? "" : ", prompt tokens left out");
}

static void show_tokenizer(struct inspect_run *r) {
    struct errmsg msg = {0};
    struct tokenizer *t = NULL;
    if (model_load_tokenizer(r->files, vocab_of(r), &t, &msg)) {
        refuse(r, &msg);
        return;
    }
    struct buf parts = {0};
    tokenizer_describe(t, &parts);
    buf_printf(&r->out.buf, "tokenizer: %zu tokens\n", tokenizer_vocab_size(t));
    for (const char *line = parts.data; line && *line;) {
        size_t n = strcspn(line, "\n");
        buf_printf(&r->out.buf, "  %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    buf_free(&parts);
    tokenizer_free(t);
}

struct totals {
    size_t values, matrix_values, matrix_rows, file_bytes;
    bool blocks; // some tensor is of a block type
};

static bool is_weight(enum dtype t) {
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || dtype_is_block(t);
}

static void add_tensor(const struct tensor *t, struct totals *sum) {
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i]; // bounded by the file's size, which was checked
    sum->file_bytes += n / dtype_block(t->dtype) * dtype_block_bytes(t->dtype);
    sum->blocks = sum->blocks || dtype_is_block(t->dtype);
    if (!is_weight(t->dtype))
        return;
    sum->values += n;
    if (t->rank == 2 && !strstr(t->name, "embedding")) {
        sum->matrix_values += n;
        sum->matrix_rows += t->shape[0];
    }
}

static void show_memory(struct inspect_run *r, const struct totals *t) {
    struct buf *b = &r->out.buf;
    const double mib = 1 << 20;
    if (r->is_decoder) {
        buf_printf(b, "weights in memory, MiB: as the file has them %.1f, f32 %.1f\n",
                   (double)t->file_bytes / mib, 4 * (double)t->values / mib);
        return;
    }
    double rest = 4 * (double)(t->values - t->matrix_values);
    double matrices = (double)t->matrix_values;
    buf_printf(
        b,
        "weights in memory, MiB: f32 %.1f (what this version computes in), f16 or bf16 %.1f, "
        "matrices in int8 %.1f, in q8 %.1f, in q4 %.1f\n",
        4 * (double)t->values / mib, 2 * (double)t->values / mib,
        (rest + matrices + 4 * (double)t->matrix_rows) / mib, (rest + matrices * 8.5 / 8) / mib,
        (rest + matrices * 4.5 / 8) / mib);
}

static void show_tensors(struct inspect_run *r) {
    struct buf *b = &r->out.buf;
    struct errmsg msg = {0};
    struct weights *w = NULL;
    if (weights_open(r->files, &w, &msg)) {
        refuse(r, &msg);
        return;
    }
    struct totals sum = {0};
    for (size_t i = 0; i < weights_count(w); i++) {
        struct tensor t = weights_at(w, i);
        add_tensor(&t, &sum);
    }
    show_memory(r, &sum);
    buf_printf(b, "tensors: %zu, %zu %s values, %zu bytes\n", weights_count(w), sum.values,
               sum.blocks ? "float and block" : "float", sum.file_bytes);
    for (size_t i = 0; i < weights_count(w); i++) {
        struct tensor t = weights_at(w, i);
        buf_printf(b, "  %-60s %-5s [", t.name, dtype_name(t.dtype));
        for (int k = 0; k < t.rank; k++)
            buf_printf(b, "%s%zu", k ? ", " : "", t.shape[k]);
        buf_puts(b, "]\n");
    }
    weights_close(w);
}

// Of a cache for so many tokens of one text, in whole blocks; 0: no cache can be made.
static size_t cache_bytes(const struct replica_model *m, enum dtype dtype, size_t tokens) {
    size_t each = m->device->kv_block_tokens;
    struct kv_shape one = decoder_kv_shape(m->decoder, each, 1, dtype);
    return (tokens + each - 1) / each * m->device->ops->kv_block_bytes(m->device, &one);
}

// Shows the workspace of a step, and what the cache takes for a text.
static void show_generator_memory(struct inspect_run *r, const struct model *m,
                                  const struct replica_model *loaded) {
    enum dtype kv = m->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    size_t bytes = cache_bytes(loaded, kv, m->max_length);
    const double mib = 1 << 20;
    buf_printf(&r->out.buf,
               "loads: yes; workspace for %d tokens: %.1f MiB; keys and values: %zu bytes a token "
               "in %s, %.1f MiB for a context of %zu\n",
               BATCH_TOKENS,
               (double)decoder_workspace_bytes(loaded->decoder, BATCH_TOKENS, LOGIT_ROWS) / mib,
               cache_bytes(loaded, kv, TOKENS_SHOWN) / TOKENS_SHOWN,
               kv == DTYPE_F32 ? "f32" : "f16", (double)bytes / mib, m->max_length);
}

static void try_load(struct inspect_run *r, struct device *d) {
    struct errmsg msg = {0};
    struct model *m = NULL;
    const struct cli_model *asked = &r->o->models[0];
    struct model_options options = {
        .path = r->path,
        .task = asked->task,
        .pool_mode = asked->pool_mode,
        .max_length = asked->max_length,
        .dtype = (enum model_dtype)r->o->dtype,
        .chat_template = asked->chat_template,
    };
    struct replica_model *loaded = NULL;
    enum err e = model_load(&options, &m, &msg);
    if (!e) {
        struct replica_spec spec;
        model_spec(m, &spec);
        e = replica_model_load(&spec, d, &loaded, &msg);
        e = memory_plan_explain(e, "serve fewer models, or smaller ones", &msg);
    }
    if (e)
        refuse(r, &msg);
    else if (m->task == TASK_GENERATE)
        show_generator_memory(r, m, loaded);
    else
        buf_printf(&r->out.buf, "loads: yes; workspace for %d tokens: %.1f MiB\n", BATCH_TOKENS,
                   (double)replica_model_workspace_bytes(loaded, BATCH_TOKENS, BATCH_TOKENS / 2) /
                       (1 << 20));
    replica_model_free(loaded);
    model_release(m);
}

// One line for each file and fate: "keys of config.json: honoured: hidden_size, ...".
struct key_list {
    char file[160];
    struct buf of[KEY_UNKNOWN + 1];
};

static void print_keys(struct inspect_run *r, struct key_list *l) {
    static const char *const names[] = {[KEY_HONOURED] = "honoured",
                                        [KEY_NO_EFFECT] = "without effect",
                                        [KEY_REFUSED] = "refused",
                                        [KEY_UNKNOWN] = "unknown, ignored"};
    for (size_t i = 0; i <= KEY_UNKNOWN; i++) {
        if (l->of[i].len)
            buf_printf(&r->out.buf, "keys of %s, %s: %s\n", l->file, names[i], l->of[i].data);
        buf_reset(&l->of[i]);
    }
}

struct key_lister {
    struct inspect_run *r;
    struct key_list list;
};

static void list_key(void *ctx, const char *file, const char *key, enum key_fate fate) {
    struct key_lister *l = ctx;
    if (strcmp(l->list.file, file) != 0) {
        print_keys(l->r, &l->list);
        snprintf(l->list.file, sizeof l->list.file, "%s", file);
    }
    struct buf *b = &l->list.of[fate];
    if (!key_is_listed(b->data, key)) // the objects of a list have the same keys
        buf_printf(b, "%s%s", b->len ? ", " : "", key);
}

static void show_keys(struct inspect_run *r) {
    struct key_lister l = {.r = r};
    model_keys_each(r->path, r->files, true, list_key, &l);
    print_keys(r, &l.list);
    for (size_t i = 0; i <= KEY_UNKNOWN; i++)
        buf_free(&l.list.of[i]);
}

static enum err inspect(struct inspect_run *r, struct errmsg *msg) {
    enum err e = store_resolve(r->o->models[0].spec, &r->path, msg);
    if (!e)
        e = model_find_files(r->path, &r->files, msg);
    if (e)
        return e;
    sink_init(&r->out, STDOUT_FILENO, "stdout");
    buf_printf(&r->out.buf, "model: %s\n", r->path);
    struct device *d = NULL;
    struct cpu_options cpu = {.threads = 1};
    if ((e = cpu_device_new(&cpu, &d, msg)))
        return e;
    r->is_decoder = decoder_config_is_decoder(r->files);
    if (r->is_decoder)
        show_decoder_config(r);
    else
        show_encoder_config(r);
    show_generation(r);
    show_st_config(r);
    show_pooling(r);
    show_tokenizer(r);
    show_keys(r);
    show_tensors(r);
    try_load(r, d);
    cpu_device_free(d);
    for (size_t i = 0; i < r->refusal_count; i++)
        buf_printf(&r->out.buf, "refused: %s\n", r->refusals[i].text);
    e = sink_flush(&r->out, msg);
    if (!e && r->refusal_count)
        e = err_set(msg, r->refusals[0].code, "%s would be refused: %s", r->path,
                    r->refusals[0].text);
    return e;
}

int cli_inspect(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_INSPECT, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    struct inspect_run r = {.o = &o};
    exit_code = inspect(&r, &msg) ? cli_fail("inspect", &msg) : CLI_EXIT_DONE;
    model_config_free(&r.config);
    st_config_free(&r.st);
    sink_free(&r.out);
    mem_free(r.files);
    mem_free(r.path);
    cli_options_free(&o);
    return exit_code;
}
