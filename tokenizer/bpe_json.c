// The model section of a byte-level BPE: parsing and building its tables. See bpe.h.
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"

#include <string.h>

void bpe_free(struct bpe *m) {
    vocab_free(&m->vocab);
    bpe_merges_free(&m->merges);
    *m = (struct bpe){0};
}

struct half {
    const char *s;
    size_t len;
    int32_t id;
};

static enum err add_merge(struct bpe *m, uint32_t rank, struct half a, struct half b,
                          struct errmsg *msg) {
    struct half *halves[] = {&a, &b};
    for (size_t i = 0; i < 2; i++) {
        halves[i]->id = vocab_id(&m->vocab, halves[i]->s, halves[i]->len);
        if (halves[i]->id < 0)
            return err_set(msg, ERR_INVALID, "merge %u: token '%.*s' is not in the vocabulary",
                           rank, (int)(halves[i]->len < 100 ? halves[i]->len : 100), halves[i]->s);
    }
    uint64_t hash = vocab_hash(vocab_hash(VOCAB_HASH_START, a.s, a.len), b.s, b.len);
    int32_t id = vocab_find(&m->vocab, hash, a.s, a.len, b.s, b.len);
    if (id < 0)
        return err_set(msg, ERR_INVALID, "merge %u: token '%.*s%.*s' is not in the vocabulary",
                       rank, (int)(a.len < 100 ? a.len : 100), a.s,
                       (int)(b.len < 100 ? b.len : 100), b.s);
    bpe_merges_put(&m->merges, a.id, b.id, rank, id);
    return ERR_OK;
}

// "a b", or ["a", "b"].
static enum err read_merge(struct bpe *m, uint32_t rank, const cJSON *item, struct errmsg *msg) {
    struct half a = {0}, b = {0};
    if (cJSON_IsString(item)) {
        const char *space = strchr(item->valuestring, ' ');
        if (!space || strchr(space + 1, ' '))
            return err_set(msg, ERR_INVALID, "merge %u '%s' is not two tokens with a space between",
                           rank, item->valuestring);
        a = (struct half){item->valuestring, (size_t)(space - item->valuestring), -1};
        b = (struct half){space + 1, strlen(space + 1), -1};
        return add_merge(m, rank, a, b, msg);
    }
    const cJSON *first = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *second = first ? first->next : NULL;
    if (!second || second->next || !cJSON_IsString(first) || !cJSON_IsString(second))
        return err_set(msg, ERR_INVALID, "merge %u is neither a string nor two", rank);
    a = (struct half){first->valuestring, strlen(first->valuestring), -1};
    b = (struct half){second->valuestring, strlen(second->valuestring), -1};
    return add_merge(m, rank, a, b, msg);
}

static enum err read_merges(const cJSON *json, struct bpe *m, struct errmsg *msg) {
    const cJSON *item;
    size_t count = 0;
    if (!cJSON_IsArray(json))
        return err_set(msg, ERR_INVALID, "BPE needs 'merges', an array");
    cJSON_ArrayForEach(item, json) count++;
    enum err e = bpe_merges_init(&m->merges, count, msg);
    uint32_t rank = 0;
    cJSON_ArrayForEach(item, json) {
        if (e)
            return e;
        e = read_merge(m, rank++, item, msg);
    }
    if (!e)
        bpe_merges_finish(&m->merges, m->byte_id);
    return e;
}

// Reads the options that change what a word becomes. Those that nothing here follows are refused by
// name.
static enum err read_options(const cJSON *json, const char **unk, struct bpe *m,
                             struct errmsg *msg) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout = 0;
    const char *affix;
    enum err e = json_get_double(json, "dropout", 0, 1, 0, &dropout, msg);
    if (!e && dropout > 0)
        e = err_set(msg, ERR_UNSUPPORTED, "BPE with 'dropout' %g is not supported", dropout);
    for (size_t i = 0; !e && i < 2; i++) {
        e = json_get_string(json, affixes[i], "", &affix, msg);
        if (!e && *affix)
            e = err_set(msg, ERR_UNSUPPORTED, "BPE with '%s' '%s' is not supported", affixes[i],
                        affix);
    }
    if (!e)
        e = json_get_string(json, "unk_token", NULL, unk, msg);
    if (!e)
        e = json_get_bool(json, "fuse_unk", false, &m->fuse_unk, msg);
    if (!e)
        e = json_get_bool(json, "ignore_merges", false, &m->ignore_merges, msg);
    return e;
}

// byte_fallback has no effect where every byte has its piece.
static enum err find_bytes(struct bpe *m, const char *unk, bool byte_fallback, struct errmsg *msg) {
    size_t missing = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        char spelled[4];
        size_t len = utf8_encode(byte_level_cp((unsigned char)byte), spelled);
        m->byte_id[byte] = vocab_id(&m->vocab, spelled, len);
        missing += m->byte_id[byte] < 0;
    }
    m->every_byte = missing == 0;
    m->unk = unk ? vocab_id(&m->vocab, unk, strlen(unk)) : -1;
    if (missing && unk && m->unk < 0)
        return err_set(msg, ERR_INVALID, "unk_token '%s' is not in the vocabulary", unk);
    if (m->ignore_merges && m->vocab.longest > BPE_WHOLE_MAX)
        return err_set(msg, ERR_UNSUPPORTED,
                       "BPE with 'ignore_merges' and a token of %zu bytes is not supported",
                       m->vocab.longest);
    if (missing && byte_fallback)
        return err_set(msg, ERR_UNSUPPORTED,
                       "BPE with 'byte_fallback' and %zu bytes that have no token is not supported",
                       missing);
    return ERR_OK;
}

enum err bpe_parse(const cJSON *json, struct bpe *out, struct errmsg *msg) {
    const char *unk = NULL;
    bool byte_fallback = false;
    *out = (struct bpe){.unk = -1};
    enum err e = read_options(json, &unk, out, msg);
    if (!e)
        e = json_get_bool(json, "byte_fallback", false, &byte_fallback, msg);
    if (!e)
        e = vocab_parse(json_get(json, "vocab"), &out->vocab, msg);
    if (!e)
        e = find_bytes(out, unk, byte_fallback, msg);
    return e ? e : read_merges(json_get(json, "merges"), out, msg);
}
