// See weights.h: looking tensors up, and the account of what was taken.
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "weights/weights_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 320 }; // a prefix and a tensor name (safetensors.c's limit) fit

static int compare_name(const void *key, const void *element) {
    const struct weights_named *n = element;
    return strcmp(key, n->name);
}

static struct weights_entry *find(const struct weights *w, const char *name) {
    struct weights_named *at =
        w->count ? bsearch(name, w->sorted, w->count, sizeof *w->sorted, compare_name) : NULL;
    return at ? at->entry : NULL;
}

// Checkpoints of 2019 call a norm's scale gamma and its shift beta; transformers renames them too.
static struct weights_entry *find_old_norm_name(const struct weights *w, const char *key) {
    char old[MAX_KEY];
    static const char *const names[][2] = {{"LayerNorm.weight", "gamma"},
                                           {"LayerNorm.bias", "beta"}};
    for (size_t i = 0; i < 2; i++) {
        if (!text_ends_with(key, names[i][0]))
            continue;
        int stem = (int)(strlen(key) - strlen(strrchr(key, '.')));
        snprintf(old, sizeof old, "%.*s.%s", stem, key, names[i][1]);
        return find(w, old);
    }
    return NULL;
}

static void print_shape(char *out, size_t size, int rank, const size_t *shape) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, i ? ", %zu" : "%zu", shape[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

static enum err check_view(const struct weights *w, const struct weights_entry *e, int rank,
                           const size_t *shape, struct errmsg *msg) {
    const struct tensor *t = &e->tensor;
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = t->shape[i] == shape[i];
    if (!same) {
        char has[100], want[100];
        print_shape(has, sizeof has, t->rank, t->shape);
        print_shape(want, sizeof want, rank, shape);
        return err_set(msg, ERR_INVALID, "%s: tensor '%s': shape is %s, %s asks for %s",
                       e->shard->path, t->name, has, w->gguf ? "the metadata" : "config.json",
                       want);
    }
    if (t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16 ||
        (dtype_is_block(t->dtype) && t->rank == 2))
        return ERR_OK;
    return err_set(msg, ERR_UNSUPPORTED,
                   "%s: tensor '%s': weights of another dtype than F32, F16 and BF16%s",
                   e->shard->path, t->name, dtype_is_block(t->dtype) ? " in one dimension" : "");
}

static enum err take(struct weights *w, const char *prefix, const char *name, int rank,
                     const size_t *shape, struct tensor *out, struct errmsg *msg) {
    char key[MAX_KEY];
    *out = (struct tensor){0};
    int n = snprintf(key, sizeof key, "%s%s", prefix, name);
    if (n < 0 || (size_t)n >= sizeof key)
        return err_set(msg, ERR_INTERNAL, "a tensor name of %d bytes was asked for", n);
    struct weights_entry *e = find(w, key);
    if (!e)
        e = find_old_norm_name(w, key);
    if (!e)
        return err_set(msg, ERR_NOT_FOUND, "%s: tensor '%s' is missing", w->path, key);
    enum err code = check_view(w, e, rank, shape, msg);
    if (code)
        return code;
    e->taken = true;
    *out = e->tensor;
    return ERR_OK;
}

enum err weights_take(struct weights *w, const char *name, int rank, const size_t *shape,
                      struct tensor *out, struct errmsg *msg) {
    return take(w, w->prefix, name, rank, shape, out, msg);
}

enum err weights_take_bare(struct weights *w, const char *name, int rank, const size_t *shape,
                           struct tensor *out, struct errmsg *msg) {
    return take(w, "", name, rank, shape, out, msg);
}

bool weights_has(const struct weights *w, const char *name) {
    char key[MAX_KEY];
    int n = snprintf(key, sizeof key, "%s%s", w->prefix, name);
    return (n > 0 && (size_t)n < sizeof key && find(w, key)) || find(w, name);
}

bool weights_rope_interleaved(const struct weights *w) { return w->rope_interleaved; }

enum err weights_detect_prefix(struct weights *w, const char *const *prefixes, size_t n,
                               const char *probe, struct errmsg *msg) {
    char key[MAX_KEY];
    w->prefix[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(prefixes[i]);
        int k = snprintf(key, sizeof key, "%s%s", prefixes[i], probe);
        if (len >= sizeof w->prefix || k < 0 || (size_t)k >= sizeof key)
            return err_set(msg, ERR_INTERNAL, "prefix '%.64s' is too long", prefixes[i]);
        if (len > strlen(w->prefix) && find(w, key))
            memcpy(w->prefix, prefixes[i], len + 1);
    }
    return ERR_OK;
}

// What checkpoints carry and inference does not use. Buffers that count positions or hold rope's
// frequencies; heads of pretraining (BERT's cls.*, DistilBERT's vocab_*); BertPooler where no
// classifier reads it; a decoder's head where its embeddings serve (or where it only embeds).
static bool ignorable(const struct weights *w, const char *name) {
    static const char *const suffixes[] = {"embeddings.position_ids", "embeddings.token_type_ids",
                                           "rotary_emb.inv_freq", ".attn_rot_embd.weight"};
    static const char *const starts[] = {"cls.predictions.", "cls.seq_relationship.",
                                         "vocab_transform.", "vocab_layer_norm.",
                                         "vocab_projector.", "pooler.dense."};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (text_ends_with(name, suffixes[i]))
            return true;
    size_t prefix = strlen(w->prefix);
    const char *bare = strncmp(name, w->prefix, prefix) == 0 ? name + prefix : name;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(bare, starts[i], strlen(starts[i])) == 0)
            return true;
    return strcmp(name, "lm_head.weight") == 0 && weights_has(w, "embed_tokens.weight");
}

static enum err no_place(const struct weights_entry *e, struct errmsg *msg) {
    return err_set(msg, ERR_INVALID, "%s: tensor '%s' has no place in this architecture",
                   e->shard->path, e->tensor.name);
}

enum err weights_check_all_taken(const struct weights *w, struct errmsg *msg) {
    for (size_t i = 0; i < w->count; i++) {
        const struct weights_entry *e = &w->entries[i];
        if (!e->taken && !ignorable(w, e->tensor.name))
            return no_place(e, msg);
    }
    return ERR_OK;
}

// What the names of an encoder's and of a decoder's own tensors begin with, behind the prefix.
static bool is_own(const struct weights *w, const char *name) {
    static const char *const starts[] = {"embeddings.", "encoder.",      "transformer.",
                                         "layers.",     "embed_tokens.", "norm."};
    size_t prefix = strlen(w->prefix);
    const char *bare = strncmp(name, w->prefix, prefix) == 0 ? name + prefix : name;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(bare, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

enum err weights_check_model(const struct weights *w, struct errmsg *msg) {
    char names[400] = "";
    size_t count = 0, len = 0;
    if (w->gguf)
        return weights_check_all_taken(w, msg);
    for (size_t i = 0; i < w->count; i++) {
        const struct weights_entry *e = &w->entries[i];
        if (e->taken || ignorable(w, e->tensor.name))
            continue;
        if (is_own(w, e->tensor.name))
            return no_place(e, msg);
        int n =
            snprintf(names + len, sizeof names - len, "%s%s", count++ ? ", " : "", e->tensor.name);
        if (n > 0 && (size_t)n < sizeof names - len)
            len += (size_t)n;
        else
            names[len] = '\0';
    }
    if (count)
        log_info("%s: %zu tensor%s without a place in this architecture %s left out: %s", w->path,
                 count, count == 1 ? "" : "s", count == 1 ? "is" : "are", names);
    return ERR_OK;
}

enum dtype weights_usual_dtype(const struct weights *w) {
    size_t count[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    for (size_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->entries[i].tensor;
        if (t->rank == 2 && ++count[t->dtype] > count[most])
            most = t->dtype;
    }
    return most;
}

size_t weights_count(const struct weights *w) { return w->count; }

struct tensor weights_at(const struct weights *w, size_t i) {
    return w->entries[i].tensor;
}
