// A tokenizer from the vocab.txt of a BERT model, for a folder without tokenizer.json: it is
// written down as a tokenizer.json tree, so that one loader reads both. Source followed:
// transformers BertTokenizer (models/bert/tokenization_bert.py) and huggingface/tokenizers,
// models/wordpiece/mod.rs (read_file).
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"

#include <string.h>

// A special token's spelling: a string, or an object with a content.
static const char *spelling(const cJSON *config, const char *key, const char *fallback) {
    const cJSON *item = json_get(config, key);
    const cJSON *content = cJSON_IsObject(item) ? json_get(item, "content") : item;
    return cJSON_IsString(content) ? content->valuestring : fallback;
}

static size_t trimmed(const char *line, size_t len) {
    while (len) {
        size_t at = len - 1;
        while (at > 0 && utf8_is_tail(line[at]))
            at--;
        uint32_t cp = 0;
        utf8_decode(line + at, len - at, &cp);
        if (!(unicode_flags(cp) & UNICODE_WHITESPACE))
            break;
        len = at;
    }
    return len;
}

// Makes pieces of the lines. Of equal lines the last counts; the ids of the others have no piece.
static enum err read_lines(const char *text, size_t len, struct vocab *all, struct errmsg *msg) {
    size_t lines = 0;
    size_t bad;
    if (!utf8_valid(text, len, &bad))
        return err_set(msg, ERR_INVALID, "invalid UTF-8 at byte %zu", bad);
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n' || i + 1 == len;
    if (!lines || lines > VOCAB_ID_MAX)
        return err_set(msg, ERR_INVALID, "%zu lines are no vocabulary", lines);
    if (vocab_init(all, lines, len, lines - 1))
        return err_set(msg, ERR_NOMEM, "no memory for a vocabulary of %zu", lines);
    size_t id = lines;
    for (size_t end = len; end > 0;) {
        size_t stop = text[end - 1] == '\n' ? end - 1 : end, begin = stop;
        while (begin > 0 && text[begin - 1] != '\n')
            begin--;
        id--;
        // read from the end, so that the last of equal lines comes first and stays
        vocab_add(all, text + begin, trimmed(text + begin, stop - begin), (int32_t)id);
        end = begin;
    }
    return ERR_OK;
}

struct vocab_names {
    const char *pad, *unk, *cls, *sep, *mask;
};

static bool add_special(cJSON *list, const char *content, int32_t id) {
    cJSON *t = cJSON_CreateObject();
    bool ok = t && cJSON_AddNumberToObject(t, "id", id < 0 ? 0 : id) &&
              cJSON_AddStringToObject(t, "content", content) &&
              cJSON_AddFalseToObject(t, "single_word") && cJSON_AddFalseToObject(t, "lstrip") &&
              cJSON_AddFalseToObject(t, "rstrip") && cJSON_AddFalseToObject(t, "normalized") &&
              cJSON_AddTrueToObject(t, "special");
    if (ok && cJSON_AddItemToArray(list, t))
        return true;
    cJSON_Delete(t);
    return false;
}

static bool add_normalizer(cJSON *root, const cJSON *config) {
    const cJSON *lower = json_get(config, "do_lower_case");
    const cJSON *chinese = json_get(config, "tokenize_chinese_chars");
    const cJSON *accents = json_get(config, "strip_accents");
    cJSON *n = cJSON_AddObjectToObject(root, "normalizer");
    return n && cJSON_AddStringToObject(n, "type", "BertNormalizer") &&
           cJSON_AddTrueToObject(n, "clean_text") &&
           cJSON_AddBoolToObject(n, "handle_chinese_chars", !chinese || cJSON_IsTrue(chinese)) &&
           (!accents || cJSON_AddBoolToObject(n, "strip_accents", cJSON_IsTrue(accents))) &&
           cJSON_AddBoolToObject(n, "lowercase", !lower || cJSON_IsTrue(lower));
}

static bool add_pair(cJSON *object, const char *key, const char *name, int32_t id) {
    cJSON *list = cJSON_AddArrayToObject(object, key);
    return list && cJSON_AddItemToArray(list, cJSON_CreateString(name)) &&
           cJSON_AddItemToArray(list, cJSON_CreateNumber(id));
}

static bool add_model(cJSON *root, const struct vocab *all, const char *unk) {
    cJSON *m = cJSON_AddObjectToObject(root, "model");
    bool ok = m && cJSON_AddStringToObject(m, "type", "WordPiece") &&
              cJSON_AddStringToObject(m, "unk_token", unk) &&
              cJSON_AddStringToObject(m, "continuing_subword_prefix", "##") &&
              cJSON_AddNumberToObject(m, "max_input_chars_per_word", 100);
    cJSON *vocab = ok ? cJSON_AddObjectToObject(m, "vocab") : NULL;
    for (size_t id = 0; vocab && id < all->size; id++)
        if (vocab_piece(all, (int32_t)id) &&
            !cJSON_AddNumberToObject(vocab, vocab_piece(all, (int32_t)id), (double)id))
            return false;
    return vocab != NULL;
}

static bool build(const struct vocab *all, const cJSON *config, const struct vocab_names *n,
                  cJSON *root) {
    const char *specials[] = {n->pad, n->unk, n->cls, n->sep, n->mask};
    int32_t cls = vocab_id(all, n->cls, strlen(n->cls));
    int32_t sep = vocab_id(all, n->sep, strlen(n->sep));
    bool ok = root && add_normalizer(root, config) && add_model(root, all, n->unk);
    cJSON *added = ok ? cJSON_AddArrayToObject(root, "added_tokens") : NULL;
    for (size_t i = 0; i < 5 && added; i++) {
        int32_t id = vocab_id(all, specials[i], strlen(specials[i]));
        if (!add_special(added, specials[i], id))
            return false;
    }
    cJSON *pre = added ? cJSON_AddObjectToObject(root, "pre_tokenizer") : NULL;
    cJSON *post = pre ? cJSON_AddObjectToObject(root, "post_processor") : NULL;
    cJSON *decoder = post ? cJSON_AddObjectToObject(root, "decoder") : NULL;
    return decoder && cJSON_AddStringToObject(pre, "type", "BertPreTokenizer") &&
           cJSON_AddStringToObject(post, "type", "BertProcessing") &&
           add_pair(post, "cls", n->cls, cls) && add_pair(post, "sep", n->sep, sep) &&
           cJSON_AddStringToObject(decoder, "type", "WordPiece") &&
           cJSON_AddStringToObject(decoder, "prefix", "##") &&
           cJSON_AddTrueToObject(decoder, "cleanup");
}

static enum err check_config(const cJSON *config, const struct vocab *all,
                             const struct vocab_names *n, struct errmsg *msg) {
    static const char *const classes[] = {"BertTokenizer",       "BertTokenizerFast",
                                          "DistilBertTokenizer", "DistilBertTokenizerFast",
                                          "ElectraTokenizer",    "ElectraTokenizerFast"};
    static const char *const flags[] = {"do_lower_case", "tokenize_chinese_chars", "strip_accents"};
    const char *name;
    bool unused, known = false;
    enum err e = json_get_string(config, "tokenizer_class", classes[0], &name, msg);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && !e; i++)
        e = json_get_bool(config, flags[i], true, &unused, msg);
    if (e)
        return e;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        known = known || strcmp(classes[i], name) == 0;
    if (!known)
        return err_set(msg, ERR_UNSUPPORTED,
                       "tokenizer_class '%s' needs a tokenizer.json (vocab.txt alone is enough for "
                       "BertTokenizer, DistilBertTokenizer and ElectraTokenizer)",
                       name);
    const char *needed[] = {n->unk, n->cls, n->sep};
    for (size_t i = 0; i < 3; i++)
        if (vocab_id(all, needed[i], strlen(needed[i])) < 0)
            return err_set(msg, ERR_INVALID, "'%s' is not in the vocabulary", needed[i]);
    return ERR_OK;
}

enum err vocab_txt_to_json(const char *vocab, size_t len, const cJSON *config, cJSON **root,
                           struct errmsg *msg) {
    struct vocab all = {0};
    struct vocab_names n = {
        spelling(config, "pad_token", "[PAD]"), spelling(config, "unk_token", "[UNK]"),
        spelling(config, "cls_token", "[CLS]"), spelling(config, "sep_token", "[SEP]"),
        spelling(config, "mask_token", "[MASK]")};
    *root = NULL;
    enum err e = read_lines(vocab, len, &all, msg);
    if (!e)
        e = check_config(config, &all, &n, msg);
    if (!e) {
        *root = cJSON_CreateObject();
        if (!build(&all, config, &n, *root))
            e = err_set(msg, ERR_NOMEM, "no memory for a vocabulary of %zu", all.count);
    }
    vocab_free(&all);
    return e;
}
