// See model.h: models of the decoder room.
#include "engine/model_internal.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/chat_templates.h"
#include "engine/pair_frame.h"
#include "pooling/module_keys.h"

#include <stdio.h>
#include <string.h>

enum {
    // What an embedder or reranker takes unless --max-length says more: its workspace holds all
    // tokens of a text at once.
    ENCODE_LENGTH = 8192,
    LOGIT_SCORE_BYTES = 1 << 16,
};

static enum err choose_task(struct model *m, const struct model_options *o, struct errmsg *msg) {
    bool generates = m->decoder_config.causal_lm, pools;
    enum err e = pooling_is_declared(m->path, &pools, msg);
    if (e)
        return e;
    enum model_task own = TASK_EMBED;
    if (generates && !pools)
        own = o->to_rerank ? TASK_RERANK : o->to_embed ? TASK_EMBED : TASK_GENERATE;
    m->task = o->task >= 0 ? (enum model_task)o->task : own;
    bool can = m->task == TASK_EMBED || (generates && m->task != TASK_CLASSIFY);
    if (can)
        return ERR_OK;
    return err_set(msg, ERR_UNSUPPORTED, "%s: %s model (%s) cannot be used to %s", m->path,
                   model_task_noun(own), m->decoder_config.architecture, model_task_name(m->task));
}

// Without a template, or with one that does not compile, it completes texts and does not chat.
static enum err load_templates(struct model *m, const struct model_options *o, struct errmsg *msg) {
    struct chat_templates t;
    bool has_one = o->chat_template || m->generation.chat_template;
    if (!has_one) {
        err_set(&m->template_msg, ERR_NOT_FOUND, "it has no chat template");
        return ERR_OK;
    }
    enum err e = chat_templates_load(m->files, &m->generation, o->chat_template, &t, msg);
    if (e)
        return e;
    m->chat_template = t.chat;
    m->tool_template = t.tools;
    m->template_msg = t.refusal;
    if (!t.chat || t.refusal.code) // the one for tools
        return ERR_OK;
    return tool_form_find(t.tools ? t.tools : t.chat, &m->generation, &m->tool_form, msg);
}

// Vectors and scores are stored and compared across machines: their bf16 weights meet f32
// activations on all of them.
static struct precision choose_precision(const struct model *m, const struct model_options *o) {
    struct precision p = {.storage = WEIGHT_STORAGE_STORED,
                          .rounding = ACTIVATION_ROUNDING_INT8,
                          .floats = model_dtype_floats(o->dtype)};
    if (!model_dtype_rounds(o->dtype))
        p.rounding = ACTIVATION_ROUNDING_NONE;
    else if (m->task == TASK_GENERATE)
        p.rounding = ACTIVATION_ROUNDING_NARROW;
    return p;
}

// The tokens that sentence-transformers compares, where its folder says so, must be these two.
static enum err check_logit_score(const struct model *m, struct errmsg *msg) {
    char place[128];
    bool found;
    enum err e = pooling_find_module(m->path, "LogitScore", &found, place, msg);
    if (e || !found)
        return e;
    cJSON *root = NULL;
    char *dir = file_join(m->path, place), *path = dir ? file_join(dir, "config.json") : NULL;
    struct module_logit_score_said said = {0};
    e = path ? json_parse_file(path, LOGIT_SCORE_BYTES, &root, msg)
             : err_set(msg, ERR_NOMEM, "%s: no memory for a path", m->path);
    if (!e && (e = key_rules_check(&module_logit_score_keys, root, msg)))
        err_prefix(msg, e, "%s", path);
    if (!e)
        e = key_rules_read(&module_logit_score_keys, root, NULL, &said, msg);
    if (!e && (said.yes != m->yes_id || said.no != m->no_id))
        e = err_set(msg, ERR_UNSUPPORTED,
                    "%s: it compares the tokens %d and %d; 'yes' (%d) with 'no' (%d) is supported",
                    path, (int)said.yes, (int)said.no, (int)m->yes_id, (int)m->no_id);
    cJSON_Delete(root);
    mem_free(path);
    mem_free(dir);
    return e;
}

// Reranking by the causal model itself: how much likelier "yes" is than "no" behind the prompt.
// Source followed: the model card of Qwen/Qwen3-Reranker-0.6B.
static enum err prepare_judging(struct model *m, struct errmsg *msg) {
    m->yes_id = tokenizer_token_id(m->tokenizer, "yes", 3);
    m->no_id = tokenizer_token_id(m->tokenizer, "no", 2);
    if (m->yes_id < 0 || m->no_id < 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "%s: reranking with a generator needs the tokens 'yes' and 'no'", m->path);
    enum err e = check_logit_score(m, msg);
    if (e)
        return e;
    m->frame = mem_calloc(1, sizeof *m->frame);
    if (!m->frame)
        return err_set(msg, ERR_NOMEM, "no memory for a prompt");
    return pair_frame_new(m->tokenizer, m->frame, msg);
}

// What the files say; where they do not, the last token's normalised state.
static enum err choose_pooling(struct model *m, const struct model_options *o, struct errmsg *msg) {
    size_t hidden = m->decoder_config.hidden;
    bool declared;
    enum err e = pooling_is_declared(m->path, &declared, msg);
    if (e)
        return e;
    m->pool_mode = o->pool_mode;
    if (declared)
        return pooling_describe(m->path, hidden, m->pool_mode, &m->pooling, msg);
    m->pools_plainly = true;
    if (m->pool_mode < 0)
        m->pool_mode = POOL_LAST;
    pooling_describe_plain(hidden, (enum pool_mode)m->pool_mode, true, &m->pooling);
    return ERR_OK;
}

// As an encoder's: those of the other kind of folder are not used. A judge's own prompt is fixed.
static void choose_prompts(struct model *m) {
    if (m->st.prompt_count == 0 || (m->task == TASK_EMBED && !m->st.cross_encoder))
        return;
    log_info(
        "%s/config_sentence_transformers.json: its prompts are not used by a model that is to %s",
        m->path, model_task_name(m->task));
    st_config_drop_prompts(&m->st);
}

static void choose_length(struct model *m, const struct model_options *o) {
    m->max_length = m->decoder_config.max_positions;
    if (m->task != TASK_GENERATE) {
        if (m->st.max_length && m->st.max_length < m->max_length)
            m->max_length = m->st.max_length;
        if (!o->max_length && m->max_length > ENCODE_LENGTH)
            m->max_length = ENCODE_LENGTH;
    }
    if (o->max_length && o->max_length < m->max_length)
        m->max_length = o->max_length;
}

enum err model_load_decoder(struct model *m, const struct model_options *o, struct errmsg *msg) {
    enum err e = decoder_config_load(m->files, &m->decoder_config, msg);
    if (!e && file_is_dir(m->path))
        e = st_config_load(m->path, m->files, m->decoder_config.max_positions, &m->st, msg);
    if (!e)
        e = choose_task(m, o, msg);
    if (!e && m->task == TASK_GENERATE) // nothing of it concerns the others
        e = generation_config_load(m->files, m->decoder_config.vocab, &m->generation, msg);
    if (e)
        return e;
    choose_prompts(m);
    choose_length(m, o);
    e = model_load_tokenizer(m->files, m->decoder_config.vocab, &m->tokenizer, msg);
    if (!e && m->task == TASK_GENERATE)
        e = load_templates(m, o, msg);
    if (!e && m->task == TASK_RERANK)
        e = prepare_judging(m, msg);
    if (!e)
        e = model_find_dtype(m, msg);
    if (!e && m->task == TASK_EMBED)
        e = choose_pooling(m, o, msg);
    if (e)
        return e;
    m->precision = choose_precision(m, o);
    size_t special = m->task == TASK_RERANK  ? pair_frame_len(m->frame)
                     : m->task == TASK_EMBED ? tokenizer_special_count(m->tokenizer, false)
                                             : 0;
    if (m->max_length <= special)
        return err_set(msg, ERR_INVALID,
                       "%s: a length of %zu tokens leaves no room beside %zu special ones", m->path,
                       m->max_length, special);
    m->dim = m->task == TASK_EMBED ? m->pooling.dim : m->task == TASK_RERANK ? 1 : 0;
    return ERR_OK;
}
