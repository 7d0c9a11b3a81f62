// See model.h.
#include "engine/model_internal.h"

#include "base/file.h"
#include "base/file_set.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/memory_plan.h"
#include "engine/model_keys.h"
#include "engine/pair_frame.h"
#include "weights/gguf.h"
#include "weights/weights.h"

#include <string.h>

const char *model_task_name(enum model_task t) {
    switch (t) {
    case TASK_EMBED:
        return "embed";
    case TASK_RERANK:
        return "rerank";
    case TASK_CLASSIFY:
        return "classify";
    case TASK_GENERATE:
        return "generate";
    case TASK_COUNT:
        break;
    }
    return "?";
}

const char *model_task_noun(enum model_task t) {
    switch (t) {
    case TASK_EMBED:
        return "an embed";
    case TASK_RERANK:
        return "a rerank";
    case TASK_CLASSIFY:
        return "a classify";
    case TASK_GENERATE:
        return "a generate";
    case TASK_COUNT:
        break;
    }
    return "a ?";
}

// The part of a path behind its last slash, trailing slashes apart, without ".gguf".
static char *folder_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    if (end - begin > 5 && strncmp(path + end - 5, ".gguf", 5) == 0)
        end -= 5;
    return mem_strndup(path + begin, end - begin);
}

char *model_served_name(const struct model_options *o) {
    return o->name ? mem_strndup(o->name, strlen(o->name)) : folder_name(o->path);
}

static enum err set_names(struct model *m, const struct model_options *o, struct errmsg *msg) {
    m->path = mem_strndup(o->path, strlen(o->path));
    m->name = model_served_name(o);
    m->aliases = mem_calloc(o->alias_count, sizeof *m->aliases);
    bool ok = m->path && m->name && m->aliases;
    for (size_t i = 0; ok && i < o->alias_count; i++) {
        m->aliases[i] = mem_strndup(o->aliases[i], strlen(o->aliases[i]));
        ok = m->aliases[i] != NULL;
        m->alias_count += ok;
    }
    return ok ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for a model's name");
}

enum err model_find_files(const char *path, char **out, struct errmsg *msg) {
    char within[128];
    *out = NULL;
    enum err e = pooling_find_transformer(path, within, msg);
    if (e)
        return e;
    *out = within[0] ? file_join(path, within) : mem_strndup(path, strlen(path));
    return *out ? ERR_OK : err_set(msg, ERR_NOMEM, "%s: no memory for a path", path);
}

enum err model_load_tokenizer(const char *path, size_t vocab, struct tokenizer **out,
                              struct errmsg *msg) {
    if (!gguf_is_file(path))
        return tokenizer_load(path, vocab, out, msg);
    struct gguf *g;
    enum err e = gguf_open(path, &g, msg);
    if (e)
        return e;
    e = tokenizer_load_gguf(g, vocab, out, msg);
    gguf_close(g);
    return e;
}

// Transformers puts an adapter that lies beside the weights on top of them.
static enum err refuse_adapter(const char *files, struct errmsg *msg) {
    char *path = file_join(files, "adapter_config.json");
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory for a path", files);
    enum err e = ERR_OK;
    if (file_exists(path))
        e = err_set(msg, ERR_UNSUPPORTED,
                    "%s: adapters are not supported: merge it into the weights", path);
    mem_free(path);
    return e;
}

// What was asked for this model and does nothing with it.
static enum err check_effect(const struct model *m, const struct model_options *o,
                             struct errmsg *msg) {
    if (o->pool_mode >= 0 && m->task != TASK_EMBED)
        return err_set(msg, ERR_INVALID,
                       "--pooling: model '%s' is %s model, which pools nothing; leave it out",
                       m->name, model_task_noun(m->task));
    if (o->chat_template && m->task != TASK_GENERATE)
        return err_set(msg, ERR_INVALID,
                       "--chat-template: model '%s' is %s model, which does not chat; leave it out",
                       m->name, model_task_noun(m->task));
    if (o->max_length > m->max_length)
        log_event(LOG_LEVEL_WARN, "no_effect",
                  LOG_FIELDS(log_string("option", "max-length"), log_string("model", m->name),
                             log_size("value", o->max_length), log_size("most", m->max_length)),
                  "--max-length %zu: model '%s' takes %zu tokens at most", o->max_length, m->name,
                  m->max_length);
    return ERR_OK;
}

enum err model_find_dtype(struct model *m, struct errmsg *msg) {
    struct weights *w;
    enum err e = weights_open(m->files, &w, msg);
    if (e)
        return e;
    m->dtype = weights_usual_dtype(w);
    weights_close(w);
    return ERR_OK;
}

static enum err load(struct model *m, const struct model_options *o, struct errmsg *msg) {
    if (!file_is_dir(o->path) && !gguf_is_file(o->path))
        return err_set(msg, ERR_NOT_FOUND, "%s: neither a model folder nor a GGUF file", o->path);
    enum err e = set_names(m, o, msg);
    if (!e)
        e = model_find_files(m->path, &m->files, msg);
    if (!e)
        e = refuse_adapter(m->files, msg);
    if (e)
        return e;
    m->causal = decoder_config_is_decoder(m->files);
    e = m->causal ? model_load_decoder(m, o, msg) : model_load_encoder(m, o, msg);
    return e ? e : check_effect(m, o, msg);
}

static void model_free(struct model *m) {
    generation_config_free(&m->generation);
    template_free(m->chat_template);
    template_free(m->tool_template);
    grammar_vocab_free(m->grammar_vocab);
    if (m->frame)
        pair_frame_free(m->frame);
    mem_free(m->frame);
    pthread_mutex_destroy(&m->grammar_mutex);
    tokenizer_free(m->tokenizer);
    st_config_free(&m->st);
    model_config_free(&m->config);
    mem_free(m->name);
    for (size_t i = 0; i < m->alias_count; i++)
        mem_free(m->aliases[i]);
    mem_free(m->aliases);
    mem_free(m->path);
    file_set_free(m->sources);
    mem_free(m->files);
    mem_free(m);
}

struct model *model_hold(const struct model *m) {
    atomic_fetch_add_explicit(&m->self->holds, 1, memory_order_relaxed);
    return m->self;
}

// What other holders did with the model comes before it is freed: release by each, acquire by the
// last.
void model_release(const struct model *m) {
    if (m && atomic_fetch_sub_explicit(&m->self->holds, 1, memory_order_acq_rel) == 1)
        model_free(m->self);
}

enum err model_load(const struct model_options *options, struct model **out, struct errmsg *msg) {
    static atomic_uint_fast64_t ids;
    *out = NULL;
    struct model *m = mem_calloc(1, sizeof *m);
    if (!m)
        return err_set(msg, ERR_NOMEM, "%s: no memory", options->path);
    m->self = m;
    m->id = atomic_fetch_add(&ids, 1) + 1;
    atomic_store(&m->holds, 1);
    m->yes_id = m->no_id = -1;
    pthread_mutex_init(&m->grammar_mutex, NULL);
    enum err e = load(m, options, msg);
    if (e) {
        e = memory_plan_explain(e, "serve fewer models, or smaller ones", msg);
        model_free(m);
        return e;
    }
    model_keys_warn(m->path, m->files, m->tokenizer);
    *out = m;
    return ERR_OK;
}

bool model_is_end(const struct model *m, int32_t id) {
    for (size_t i = 0; i < m->generation.eos_count; i++)
        if (m->generation.eos_ids[i] == id)
            return true;
    return false;
}

// Tokens that stand for themselves in a text; what only steers the model is none.
static enum err make_grammar_vocab(struct model *m, struct errmsg *msg) {
    size_t n = m->decoder_config.vocab;
    struct grammar_token *tokens = mem_calloc(n, sizeof *tokens);
    if (!tokens)
        return err_set(msg, ERR_NOMEM, "no memory for a grammar's vocabulary");
    for (size_t i = 0; i < n; i++) {
        if (model_is_end(m, (int32_t)i) || tokenizer_token_is_special(m->tokenizer, (int32_t)i))
            continue;
        struct text bytes = tokenizer_token_bytes(m->tokenizer, (int32_t)i);
        tokens[i] = (struct grammar_token){bytes.bytes, bytes.len};
    }
    enum err e = grammar_vocab_new(tokens, n, m->generation.eos_ids, m->generation.eos_count,
                                   &m->grammar_vocab, msg);
    mem_free(tokens);
    return e;
}

enum err model_grammar_vocab(const struct model *m, const struct grammar_vocab **out,
                             struct errmsg *msg) {
    struct model *own = m->self;
    pthread_mutex_lock(&own->grammar_mutex);
    enum err e = own->grammar_vocab ? ERR_OK : make_grammar_vocab(own, msg);
    *out = own->grammar_vocab;
    pthread_mutex_unlock(&own->grammar_mutex);
    return e;
}

void model_spec(const struct model *m, struct replica_spec *out) {
    *out = (struct replica_spec){
        .model = m->id,
        .name = m->name,
        .path = m->path,
        .files = m->files,
        .task = m->task,
        .causal = m->causal,
        .max_length = m->max_length,
        .dim = m->dim,
        .config = m->config,
        .decoder_config = m->decoder_config,
        .precision = m->precision,
        .pool_mode = m->pool_mode,
        .pools_plainly = m->pools_plainly,
        .pool_normalizes = m->pooling.normalizes,
        .yes_id = m->yes_id,
        .no_id = m->no_id,
    };
    out->config.label_names = NULL;
    out->sources = m->sources;
    memory_plan_begin(&out->room);
}

size_t model_vocab(const struct model *m) {
    return m->causal ? m->decoder_config.vocab : m->config.vocab;
}

const char *model_architecture(const struct model *m) {
    return m->causal ? m->decoder_config.architecture : m->config.architecture;
}

size_t model_layers(const struct model *m) {
    return m->causal ? m->decoder_config.layers : m->config.layers;
}
