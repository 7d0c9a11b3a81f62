// See wire_spec.h. The ranges of a model's numbers are those that its files are held to where they
// are read (model_config_in_range, decoder_config_in_range).
#include "engine/wire_spec.h"

#include "engine/wire_internal.h"

enum { DIM_MOST = 1 << 20 };

// ---- files

size_t wire_write_files(struct pack_writer *w, uint64_t model, const char *const *paths,
                        size_t count) {
    size_t n = 0, bytes = w->length + sizeof model + sizeof(uint32_t);
    for (; n < count && n < CHANNEL_FDS; n++) {
        size_t length = strlen(paths[n]);
        if (length == 0 || length >= WIRE_PATH_BYTES ||
            bytes + sizeof(uint32_t) + length > w->capacity)
            break;
        bytes += sizeof(uint32_t) + length;
    }
    pack_put_u64(w, model);
    pack_put_u32(w, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        pack_put_string(w, paths[i]);
    return n;
}

enum err wire_read_files(const struct channel_message *m, struct wire_files *out,
                         struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    out->model = pack_get_u64(&r);
    out->count = pack_get_u32(&r);
    bool sane = out->model > 0 && out->count == m->fd_count && out->count <= CHANNEL_FDS;
    size_t used = 0;
    for (size_t i = 0; i < out->count && sane; i++) {
        // all paths are shorter than what they came in, each by the four bytes of its length
        size_t room = sizeof out->text - used;
        pack_get_string(&r, out->text + used, room < WIRE_PATH_BYTES ? room : WIRE_PATH_BYTES);
        size_t length = strlen(out->text + used);
        sane = length > 0;
        out->paths[i] = out->text + used;
        used += length + 1;
    }
    return wire_end_payload(m, &r, sane, msg);
}

// ---- numbers of a model

static void put_encoder(struct pack_writer *w, const struct model_config *c) {
    pack_put_u32(w, (uint32_t)c->arch);
    pack_put_string(w, c->architecture);
    pack_put_bool(w, c->classification);
    pack_put_bool(w, c->head_is_other);
    pack_put_u64(w, c->hidden);
    pack_put_u64(w, c->layers);
    pack_put_u64(w, c->heads);
    pack_put_u64(w, c->ffn);
    pack_put_u64(w, c->vocab);
    pack_put_u64(w, c->max_positions);
    pack_put_u64(w, c->type_vocab);
    pack_put_f32(w, c->norm_eps);
    pack_put_u32(w, (uint32_t)c->activation);
    pack_put_u64(w, c->labels);
    pack_put_u32(w, (uint32_t)c->scores);
}

static void get_encoder(struct pack_reader *r, struct model_config *c) {
    c->arch = (enum model_arch)pack_get_u32(r);
    pack_get_string(r, c->architecture, sizeof c->architecture);
    c->classification = pack_get_bool(r);
    c->head_is_other = pack_get_bool(r);
    c->hidden = pack_get_u64(r);
    c->layers = pack_get_u64(r);
    c->heads = pack_get_u64(r);
    c->ffn = pack_get_u64(r);
    c->vocab = pack_get_u64(r);
    c->max_positions = pack_get_u64(r);
    c->type_vocab = pack_get_u64(r);
    c->norm_eps = pack_get_f32(r);
    c->activation = (enum activation)pack_get_u32(r);
    c->labels = pack_get_u64(r);
    c->scores = (enum model_scores)pack_get_u32(r);
}

static void put_rope(struct pack_writer *w, const struct decoder_rope *r) {
    pack_put_f64(w, r->theta);
    pack_put_u32(w, (uint32_t)r->scaling);
    pack_put_f64(w, r->factor);
    pack_put_f64(w, r->low_freq_factor);
    pack_put_f64(w, r->high_freq_factor);
    pack_put_f64(w, r->beta_fast);
    pack_put_f64(w, r->beta_slow);
    pack_put_f64(w, r->attention_factor);
    pack_put_f64(w, r->mscale);
    pack_put_f64(w, r->mscale_all_dim);
    pack_put_bool(w, r->truncate);
    pack_put_u64(w, r->original_max_positions);
}

static void get_rope(struct pack_reader *r, struct decoder_rope *out) {
    out->theta = pack_get_f64(r);
    out->scaling = (enum decoder_rope_scaling)pack_get_u32(r);
    out->factor = pack_get_f64(r);
    out->low_freq_factor = pack_get_f64(r);
    out->high_freq_factor = pack_get_f64(r);
    out->beta_fast = pack_get_f64(r);
    out->beta_slow = pack_get_f64(r);
    out->attention_factor = pack_get_f64(r);
    out->mscale = pack_get_f64(r);
    out->mscale_all_dim = pack_get_f64(r);
    out->truncate = pack_get_bool(r);
    out->original_max_positions = pack_get_u64(r);
}

static void put_decoder(struct pack_writer *w, const struct decoder_config *c) {
    pack_put_u32(w, (uint32_t)c->arch);
    pack_put_string(w, c->architecture);
    pack_put_bool(w, c->causal_lm);
    pack_put_u64(w, c->hidden);
    pack_put_u64(w, c->layers);
    pack_put_u64(w, c->heads);
    pack_put_u64(w, c->kv_heads);
    pack_put_u64(w, c->head_dim);
    pack_put_u64(w, c->ffn);
    pack_put_u64(w, c->vocab);
    pack_put_u64(w, c->max_positions);
    pack_put_f32(w, c->norm_eps);
    put_rope(w, &c->rope);
    pack_put_bool(w, c->qkv_bias);
    pack_put_bool(w, c->o_bias);
    pack_put_bool(w, c->mlp_bias);
    pack_put_bool(w, c->qk_norm);
    pack_put_bool(w, c->tied);
    pack_put_u64(w, c->window);
    pack_put_u64(w, c->window_from);
}

static void get_decoder(struct pack_reader *r, struct decoder_config *c) {
    c->arch = (enum decoder_arch)pack_get_u32(r);
    pack_get_string(r, c->architecture, sizeof c->architecture);
    c->causal_lm = pack_get_bool(r);
    c->hidden = pack_get_u64(r);
    c->layers = pack_get_u64(r);
    c->heads = pack_get_u64(r);
    c->kv_heads = pack_get_u64(r);
    c->head_dim = pack_get_u64(r);
    c->ffn = pack_get_u64(r);
    c->vocab = pack_get_u64(r);
    c->max_positions = pack_get_u64(r);
    c->norm_eps = pack_get_f32(r);
    get_rope(r, &c->rope);
    c->qkv_bias = pack_get_bool(r);
    c->o_bias = pack_get_bool(r);
    c->mlp_bias = pack_get_bool(r);
    c->qk_norm = pack_get_bool(r);
    c->tied = pack_get_bool(r);
    c->window = pack_get_u64(r);
    c->window_from = pack_get_u64(r);
}

static void put_room(struct pack_writer *w, const struct memory_plan *p) {
    pack_put_u64(w, p->limit.bytes);
    pack_put_string(w, p->limit.source);
    pack_put_u64(w, p->resident);
    pack_put_u64(w, p->workspaces);
    pack_put_u64(w, p->caches);
    pack_put_u64(w, p->reserve);
}

// Any numbers are bytes: memory_plan.h's sums saturate.
static void get_room(struct pack_reader *r, struct memory_plan *p) {
    p->limit.bytes = pack_get_u64(r);
    pack_get_string(r, p->limit.source, sizeof p->limit.source);
    p->resident = pack_get_u64(r);
    p->workspaces = pack_get_u64(r);
    p->caches = pack_get_u64(r);
    p->reserve = pack_get_u64(r);
}

// ---- a model

enum err wire_write_load(struct pack_writer *w, const struct replica_spec *s, size_t files,
                         struct errmsg *msg) {
    if (strlen(s->name) >= WIRE_NAME_BYTES || strlen(s->path) >= WIRE_PATH_BYTES ||
        strlen(s->files) >= WIRE_PATH_BYTES)
        return err_set(msg, ERR_TOO_LARGE,
                       "%.100s: its name may have %d bytes for a worker process, its path %d",
                       s->name, WIRE_NAME_BYTES - 1, WIRE_PATH_BYTES - 1);
    pack_put_u64(w, s->model);
    pack_put_u32(w, (uint32_t)files);
    pack_put_string(w, s->name);
    pack_put_string(w, s->path);
    pack_put_string(w, s->files);
    pack_put_u32(w, (uint32_t)s->task);
    pack_put_bool(w, s->causal);
    pack_put_u64(w, s->max_length);
    pack_put_u64(w, s->dim);
    pack_put_u32(w, (uint32_t)s->precision.storage);
    pack_put_u32(w, (uint32_t)s->precision.rounding);
    pack_put_u32(w, (uint32_t)s->precision.floats);
    pack_put_i32(w, s->pool_mode);
    pack_put_bool(w, s->pools_plainly);
    pack_put_bool(w, s->pool_normalizes);
    pack_put_i32(w, s->yes_id);
    pack_put_i32(w, s->no_id);
    put_room(w, &s->room);
    if (s->causal)
        put_decoder(w, &s->decoder_config);
    else
        put_encoder(w, &s->config);
    return ERR_OK;
}

static bool is_id(int32_t id, size_t vocab) { return id >= 0 && (size_t)id < vocab; }

static bool is_encoder(const struct replica_spec *s) {
    const struct model_config *c = &s->config;
    return model_config_in_range(c) && s->task != TASK_GENERATE &&
           s->max_length <= c->max_positions && c->classification == (s->task != TASK_EMBED) &&
           (!c->classification || s->dim == c->labels);
}

static bool is_decoder(const struct replica_spec *s) {
    const struct decoder_config *c = &s->decoder_config;
    bool answers = is_id(s->yes_id, c->vocab) && is_id(s->no_id, c->vocab);
    return decoder_config_in_range(c) && s->task != TASK_CLASSIFY &&
           s->max_length <= c->max_positions &&
           (s->task != TASK_RERANK || (s->dim == 1 && answers));
}

static bool is_model(const struct replica_spec *s) {
    bool embeds = s->task == TASK_EMBED;
    return s->model > 0 && s->max_length >= 1 && s->dim <= DIM_MOST &&
           (s->dim == 0) == (s->task == TASK_GENERATE) &&
           s->precision.storage <= WEIGHT_STORAGE_STORED &&
           s->precision.rounding <= ACTIVATION_ROUNDING_NARROW &&
           s->precision.floats <= COMPUTE_F16 &&
           s->pool_mode >= (embeds && s->pools_plainly ? 0 : -1) &&
           s->pool_mode <= POOL_MEAN_SQRT && (s->causal ? is_decoder(s) : is_encoder(s));
}

enum err wire_read_load(const struct channel_message *m, struct wire_load *out,
                        struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    struct replica_spec *s = &out->spec;
    *s = (struct replica_spec){.model = pack_get_u64(&r)};
    out->files = pack_get_u32(&r);
    pack_get_string(&r, out->name, sizeof out->name);
    pack_get_string(&r, out->path, sizeof out->path);
    pack_get_string(&r, out->files_path, sizeof out->files_path);
    s->name = out->name;
    s->path = out->path;
    s->files = out->files_path;
    s->task = (enum model_task)pack_get_below(&r, TASK_COUNT);
    s->causal = pack_get_bool(&r);
    s->max_length = pack_get_u64(&r);
    s->dim = pack_get_u64(&r);
    s->precision.storage = (enum weight_storage)pack_get_u32(&r);
    s->precision.rounding = (enum activation_rounding)pack_get_u32(&r);
    s->precision.floats = (enum compute_floats)pack_get_u32(&r);
    s->pool_mode = pack_get_i32(&r);
    s->pools_plainly = pack_get_bool(&r);
    s->pool_normalizes = pack_get_bool(&r);
    s->yes_id = pack_get_i32(&r);
    s->no_id = pack_get_i32(&r);
    get_room(&r, &s->room);
    if (s->causal)
        get_decoder(&r, &s->decoder_config);
    else
        get_encoder(&r, &s->config);
    return wire_end_payload(m, &r, is_model(s) && out->files <= WIRE_FILES_MOST, msg);
}
