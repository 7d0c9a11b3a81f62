// See model.h.
#include "service/model.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

const char *task_name(enum task t) {
    switch (t) {
    case TASK_EMBED:
        return "embed";
    case TASK_RERANK:
        return "rerank";
    case TASK_CLASSIFY:
        return "classify";
    case TASK_COUNT:
        break;
    }
    return "?";
}

// The part of a path behind its last slash, trailing slashes apart.
static char *folder_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return mem_strndup(path + begin, end - begin);
}

static enum err set_names(struct model *m, const struct model_options *o, struct errmsg *msg) {
    m->path = mem_strndup(o->path, strlen(o->path));
    m->name = o->name ? mem_strndup(o->name, strlen(o->name)) : folder_name(o->path);
    if (o->alias)
        m->alias = mem_strndup(o->alias, strlen(o->alias));
    if (!m->path || !m->name || (o->alias && !m->alias))
        return err_set(msg, ERR_NOMEM, "no memory for a model's name");
    return ERR_OK;
}

// What the model is for: what its head says, unless the options name something else it can do. A
// classifier's hidden states can be pooled too, but its folder says nothing of how, so it may not
// be asked to embed.
static enum err choose_task(struct model *m, const struct model_options *o, struct errmsg *msg) {
    enum task own = TASK_EMBED;
    if (m->config.classification)
        own = m->config.labels == 1 ? TASK_RERANK : TASK_CLASSIFY;
    m->task = o->task >= 0 ? (enum task)o->task : own;
    bool both = own == TASK_RERANK && m->task == TASK_CLASSIFY; // one label can be classified
    if (m->task != own && !both)
        return err_set(msg, ERR_UNSUPPORTED, "%s: a %s model (%s) cannot be used to %s", m->path,
                       task_name(own), m->config.architecture, task_name(m->task));
    return ERR_OK;
}

// The least of what the folder's files say, the position table and the options: a limit
// cannot be raised above what the model was made for.
static void choose_length(struct model *m, const struct model_options *o) {
    m->max_length = m->config.max_positions;
    if (m->st.max_length && m->st.max_length < m->max_length)
        m->max_length = m->st.max_length;
    if (o->max_length && o->max_length < m->max_length)
        m->max_length = o->max_length;
}

// Binds weights to the device; the files are let go behind it.
static enum err bind(struct model *m, const struct model_options *o, struct errmsg *msg) {
    struct weights *w;
    enum err e = weights_open(m->path, &w, msg);
    if (e)
        return e;
    e = encoder_load(w, &m->config, m->device, &m->encoder, msg);
    if (!e && m->config.classification)
        e = score_head_load(w, &m->config, encoder_pooler_weight(m->encoder), m->device, &m->head,
                            msg);
    if (!e)
        e = weights_check_all_taken(w, msg);
    weights_close(w);
    if (!e && !m->config.classification)
        e = pooler_load(m->path, m->config.hidden, o->pool_mode, m->device, &m->pooler, msg);
    return e;
}

// do_lower_case asks for lowering before the tokenizer's own normalizer, which changes nothing
// where that lowers too, as every uncased model's does. A cased tokenizer under it is refused.
static enum err check_lower_case(const struct model *m, struct errmsg *msg) {
    if (!m->st.do_lower_case)
        return ERR_OK;
    struct tokenizer_scratch *scratch;
    enum err e = tokenizer_scratch_new(m->tokenizer, &scratch);
    if (e)
        return err_set(msg, e, "%s: no memory", m->path);
    static const char upper[] = "LOWER Case", lower[] = "lower case";
    struct encoding a = {0}, b = {0};
    struct encode_options plain = {.truncate = TRUNCATE_NONE};
    e = tokenizer_encode(m->tokenizer, scratch, (struct text){upper, sizeof upper - 1}, NULL,
                         &plain, &a, msg);
    if (!e)
        e = tokenizer_encode(m->tokenizer, scratch, (struct text){lower, sizeof lower - 1}, NULL,
                             &plain, &b, msg);
    if (!e && (a.len != b.len || memcmp(a.ids, b.ids, a.len * sizeof *a.ids) != 0))
        e = err_set(msg, ERR_UNSUPPORTED,
                    "%s/sentence_bert_config.json: do_lower_case with a tokenizer that keeps case",
                    m->path);
    encoding_free(&a);
    encoding_free(&b);
    tokenizer_scratch_free(scratch);
    return e;
}

static enum err load(struct model *m, const struct model_options *o, struct errmsg *msg) {
    if (!file_is_dir(o->path))
        return err_set(msg, ERR_NOT_FOUND, "%s: not a model folder", o->path);
    enum err e = set_names(m, o, msg);
    if (!e)
        e = model_config_load(m->path, &m->config, msg);
    if (!e)
        e = st_config_load(m->path, m->config.max_positions, &m->st, msg);
    if (!e)
        e = choose_task(m, o, msg);
    if (e)
        return e;
    choose_length(m, o);
    e = tokenizer_load(m->path, m->config.vocab, &m->tokenizer, msg);
    if (!e)
        e = check_lower_case(m, msg);
    if (!e)
        e = bind(m, o, msg);
    if (e)
        return e;
    size_t special = tokenizer_special_count(m->tokenizer, m->task != TASK_EMBED);
    if (m->max_length <= special)
        return err_set(msg, ERR_INVALID,
                       "%s: a length of %zu tokens leaves no room beside %zu special ones", m->path,
                       m->max_length, special);
    m->dim = m->pooler ? pooler_dim(m->pooler) : m->config.labels;
    m->weight_bytes = encoder_weight_bytes(m->encoder);
    return ERR_OK;
}

enum err model_load(const struct model_options *options, struct device *d, struct model **out,
                    struct errmsg *msg) {
    *out = NULL;
    struct model *m = mem_calloc(1, sizeof *m);
    if (!m)
        return err_set(msg, ERR_NOMEM, "%s: no memory", options->path);
    m->device = d;
    enum err e = load(m, options, msg);
    if (e) {
        model_free(m);
        return e;
    }
    *out = m;
    return ERR_OK;
}

void model_free(struct model *m) {
    if (!m)
        return;
    score_head_free(m->head);
    pooler_free(m->pooler);
    encoder_free(m->encoder);
    tokenizer_free(m->tokenizer);
    st_config_free(&m->st);
    model_config_free(&m->config);
    mem_free(m->name);
    mem_free(m->alias);
    mem_free(m->path);
    mem_free(m);
}

size_t model_workspace_bytes(const struct model *m, size_t tokens, size_t seqs) {
    return encoder_workspace_bytes(m->encoder, tokens) +
           (m->pooler ? pooler_workspace_bytes(m->pooler, seqs)
                      : score_head_workspace_bytes(m->head, seqs));
}

enum err model_run(const struct model *m, const struct batch *b, const int32_t *skip,
                   bool normalize, struct arena *ws, const struct forward_hooks *hooks, float *out,
                   struct errmsg *msg) {
    arena_reset(ws);
    struct mat hidden = encoder_forward(m->encoder, b, ws, hooks);
    struct mat rows = m->pooler ? pooler_apply(m->pooler, hidden, b, skip, normalize, ws)
                                : score_head_apply(m->head, hidden, b, ws);
    if (rows.data)
        m->device->ops->read(m->device, rows, out);
    return device_sync(m->device, msg);
}
