// See model.h: models of the encoder room.
#include "engine/model_internal.h"

#include "base/log.h"

#include <string.h>

// A cross-encoder's head is its last module here.
static enum err refuse_modules(const struct model *m, struct errmsg *msg) {
    static const char *const kinds[] = {"Pooling", "Dense", "LogitScore"};
    char place[128];
    bool found;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        enum err e = pooling_find_module(m->path, kinds[i], &found, place, msg);
        if (e)
            return e;
        if (found)
            return err_set(msg, ERR_UNSUPPORTED,
                           "%s/modules.json: %s behind a cross-encoder's head is not supported",
                           m->path, kinds[i]);
    }
    return ERR_OK;
}

// What the model is for: what its head says, but for a folder that says how to pool: that is an
// embedder, whatever head its training left behind. The options may name the other where it can do
// both. A classifier whose folder says nothing of pooling may not be asked to embed.
static enum err choose_task(struct model *m, const struct model_options *o, struct errmsg *msg) {
    bool pools, head = m->config.classification, one = m->config.labels == 1;
    enum err e = pooling_is_declared(m->path, &pools, msg);
    if (e)
        return e;
    if (m->config.head_is_other && !pools)
        return err_set(
            msg, ERR_UNSUPPORTED,
            "%s: architecture '%s' is supported as an embedder only, and no modules.json "
            "with a Pooling module makes it one",
            m->path, m->config.architecture);
    enum model_task headed = one ? TASK_RERANK : TASK_CLASSIFY;
    enum model_task own = head && (!pools || m->st.cross_encoder) ? headed : TASK_EMBED;
    m->task = o->task >= 0 ? (enum model_task)o->task : own;
    bool can = m->task == TASK_EMBED
                   ? !head || pools
                   : head && (m->task == headed || (one && m->task == TASK_CLASSIFY));
    if (!can)
        return err_set(msg, ERR_UNSUPPORTED, "%s: %s model (%s) cannot be used to %s", m->path,
                       model_task_noun(own), m->config.architecture, model_task_name(m->task));
    if (m->task != TASK_EMBED && m->st.cross_encoder && (e = refuse_modules(m, msg)))
        return e;
    m->config.classification = m->task != TASK_EMBED; // else the head stays in the file
    return ERR_OK;
}

// sentence-transformers reads the prompts of a CrossEncoder's folder for a CrossEncoder only, and
// those of another folder for an embedder only: a reranker's prompt is no embedder's.
static void choose_prompts(struct model *m) {
    if (m->st.prompt_count == 0 || m->st.cross_encoder == m->config.classification)
        return;
    log_event(LOG_LEVEL_INFO, "prompts_unused",
              LOG_FIELDS(log_string("model", m->name), log_string("path", m->path)),
              "%s/config_sentence_transformers.json: its prompts are %s, and not used here",
              m->path, m->st.cross_encoder ? "a cross-encoder's" : "an embedder's");
    st_config_drop_prompts(&m->st);
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

static int32_t highest_type(const struct encoding *e) {
    int32_t most = 0;
    for (size_t i = 0; i < e->len; i++)
        most = e->type_ids[i] > most ? e->type_ids[i] : most;
    return most;
}

// The token types that the tokenizer's templates give must have rows in the model's table: those of
// a text, and of a pair where the model takes pairs.
static enum err check_types(const struct model *m, struct errmsg *msg) {
    if (m->config.type_vocab == 0)
        return ERR_OK; // an architecture that reads none
    struct tokenizer_scratch *scratch;
    enum err e = tokenizer_scratch_new(m->tokenizer, &scratch);
    if (e)
        return err_set(msg, e, "%s: no memory", m->path);
    struct tokenizer_options options = {.add_special_tokens = true, .truncate = TRUNCATE_NONE};
    struct encoding out = {0};
    struct text text = {"a", 1};
    bool pairs = m->task != TASK_EMBED;
    e = tokenizer_encode(m->tokenizer, scratch, text, NULL, &options, &out, msg);
    int32_t most = e ? 0 : highest_type(&out);
    if (!e && pairs)
        e = tokenizer_encode(m->tokenizer, scratch, text, &text, &options, &out, msg);
    if (!e && pairs && highest_type(&out) > most)
        most = highest_type(&out);
    encoding_free(&out);
    tokenizer_scratch_free(scratch);
    if (!e && most > 0 && tokenizer_types_unclear(m->tokenizer))
        return err_set(msg, ERR_UNSUPPORTED,
                       "%s/tokenizer_config.json: whether its tokenizer_class gives token types "
                       "differs between releases of transformers; say it in 'model_input_names'",
                       m->files);
    if (!e && (size_t)most >= m->config.type_vocab)
        e = err_set(
            msg, ERR_INVALID,
            "%s: the tokenizer's template gives the token type %d, 'type_vocab_size' is %zu",
            m->path, (int)most, m->config.type_vocab);
    return e;
}

enum err model_load_encoder(struct model *m, const struct model_options *o, struct errmsg *msg) {
    enum err e = model_config_load(m->files, &m->config, msg);
    if (!e)
        e = st_config_load(m->path, m->files, m->config.max_positions, &m->st, msg);
    if (!e)
        e = choose_task(m, o, msg);
    if (e)
        return e;
    choose_prompts(m);
    choose_length(m, o);
    e = model_load_tokenizer(m->files, m->config.vocab, &m->tokenizer, msg);
    if (!e)
        tokenizer_use_model_types(m->tokenizer);
    if (!e)
        e = check_types(m, msg);
    m->pool_mode = o->pool_mode;
    m->precision.floats = model_dtype_floats(o->dtype);
    if (o->dtype == MODEL_DTYPE_STORED) {
        m->precision.storage = WEIGHT_STORAGE_STORED; // else f32 throughout
        if (!e)
            e = model_find_dtype(m, msg);
    }
    if (!e && m->task == TASK_EMBED)
        e = pooling_describe(m->path, m->config.hidden, m->pool_mode, &m->pooling, msg);
    if (e)
        return e;
    size_t special = tokenizer_special_count(m->tokenizer, m->task != TASK_EMBED);
    if (m->max_length <= special)
        return err_set(msg, ERR_INVALID,
                       "%s: a length of %zu tokens leaves no room beside %zu special ones", m->path,
                       m->max_length, special);
    m->dim = m->task == TASK_EMBED ? m->pooling.dim : m->config.labels;
    return ERR_OK;
}
