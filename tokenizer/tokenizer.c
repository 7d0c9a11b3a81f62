// Loading, and what a loaded tokenizer can be asked. See tokenizer.h; encoding is encode.c.
#include "base/file.h"
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

#include <string.h>

#define FILE_BYTES_MAX (256u << 20)

void tokenizer_free(struct tokenizer *t) {
    if (!t)
        return;
    normalizer_free(&t->normalizer);
    wordpiece_free(&t->wordpiece);
    bpe_free(&t->bpe);
    tokenizer_bytes_free(&t->bytes);
    added_tokens_free(&t->added);
    postprocess_free(&t->postprocess);
    text_decoder_free(&t->decoder);
    buf_free(&t->unknown.names);
    mem_free(t);
}

static enum err parse_model(const cJSON *json, struct tokenizer *t, struct errmsg *msg) {
    const char *type;
    enum err e = json_get_string(json, "type", NULL, &type, msg);
    if (e)
        return e;
    // files of before 2020 name no type; only a WordPiece has this member
    if (!type && json_get(json, "max_input_chars_per_word"))
        type = "WordPiece";
    if (!type)
        return err_set(msg, ERR_INVALID, "model without a 'type'");
    if (strcmp(type, "WordPiece") == 0) {
        t->vocab = &t->wordpiece.vocab;
        return wordpiece_parse(json, &t->wordpiece, msg);
    }
    if (strcmp(type, "BPE") != 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "model '%s' is not supported (supported: BPE, WordPiece)", type);
    t->kind = MODEL_BPE;
    t->vocab = &t->bpe.vocab;
    return bpe_parse(json, &t->bpe, msg);
}

static enum err check_id(const char *piece, int32_t id, size_t vocab_size, struct errmsg *msg) {
    if (!vocab_size || (size_t)id < vocab_size)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "token '%s' has id %d, but the model's vocabulary has %zu",
                   piece, id, vocab_size);
}

static enum err check_ids(struct tokenizer *t, size_t vocab_size, struct errmsg *msg) {
    const struct vocab *v = t->vocab;
    enum err e = ERR_OK;
    t->vocab_size = v->size;
    for (size_t id = vocab_size ? vocab_size : v->size; id < v->size && !e; id++)
        if (vocab_piece(v, (int32_t)id))
            e = check_id(vocab_piece(v, (int32_t)id), (int32_t)id, vocab_size, msg);
    for (size_t i = 0; i < t->added.count && !e; i++) {
        size_t id = (size_t)t->added.items[i].id;
        t->vocab_size = id >= t->vocab_size ? id + 1 : t->vocab_size;
        e = check_id(t->added.items[i].content, t->added.items[i].id, vocab_size, msg);
    }
    const struct postprocess_template *templates[] = {&t->postprocess.single, &t->postprocess.pair};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < templates[k]->count && !e; i++) {
            const struct postprocess_piece *p = &templates[k]->pieces[i];
            if (p->what == TEMPLATE_TOKEN && !tokenizer_piece(t, p->id))
                e = err_set(msg, ERR_INVALID, "%s uses id %d, which has no token",
                            t->postprocess.name, p->id);
        }
    return e;
}

// The two models need another pre-tokenizer each.
static enum err check_parts(struct tokenizer *t, struct errmsg *msg) {
    const struct normalizer *n = &t->normalizer;
    t->stable_nfc = !n->count || (n->count == 1 && n->steps[0].kind == NORMALIZER_NFC);
    if (t->kind == MODEL_BPE && !t->pretokenizer.byte_level)
        return err_set(msg, ERR_UNSUPPORTED,
                       "BPE without the pre_tokenizer ByteLevel is not supported");
    if (t->kind == MODEL_WORDPIECE && t->pretokenizer.byte_level)
        return err_set(msg, ERR_UNSUPPORTED,
                       "WordPiece with the pre_tokenizer ByteLevel is not supported");
    return ERR_OK;
}

// files: NULL when the tree already says everything.
static enum err parse_parts(cJSON *root, const struct tokenizer_files *files, size_t vocab_size,
                            struct tokenizer *t, struct errmsg *msg) {
    const char *version;
    bool left = false;
    enum err e = files ? tokenizer_config_apply(root, files, msg) : ERR_OK;
    if (!e)
        e = json_get_string(root, "version", "1.0", &version, msg);
    if (!e && strcmp(version, "1.0") != 0)
        e = err_set(msg, ERR_UNSUPPORTED, "version '%s' is not supported (supported: 1.0)",
                    version);
    if (!e)
        e = normalizer_parse(json_get(root, "normalizer"), &t->normalizer, msg);
    if (!e)
        e = pretokenizer_parse(json_get(root, "pre_tokenizer"), &t->pretokenizer, msg);
    if (!e)
        e = parse_model(json_get(root, "model"), t, msg);
    if (!e && files)
        e = tokenizer_config_tokens(root, t->vocab, files, vocab_size, msg);
    if (!e)
        e = added_tokens_parse(json_get(root, "added_tokens"), t->vocab, &t->normalizer, &t->added,
                               msg);
    if (!e && files)
        e = json_get_bool(root, "split_special_tokens", false, &t->added.split_special, msg);
    if (!e && files)
        e = json_get_bool(root, "cut_left", false, &left, msg);
    t->side = left ? TRUNCATE_LEFT : TRUNCATE_RIGHT;
    if (!e)
        e = postprocess_parse(json_get(root, "post_processor"), &t->postprocess, msg);
    if (!e && files)
        e = json_get_bool(root, "no_token_types", false, &t->types_unread, msg);
    if (!e && files)
        e = json_get_bool(root, "unclear_token_types", false, &t->types_unclear, msg);
    if (!e)
        e = text_decoder_parse(json_get(root, "decoder"), &t->decoder, msg);
    if (!e)
        e = check_parts(t, msg);
    if (!e)
        e = check_ids(t, vocab_size, msg);
    if (!e && tokenizer_bytes_fill(t))
        e = err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    if (!e && tokenizer_probe_ascii(t))
        e = err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    return e;
}

enum err tokenizer_from_tree(cJSON *root, const struct tokenizer_files *files, size_t vocab_size,
                             struct tokenizer **out, struct errmsg *msg) {
    struct tokenizer *t = mem_calloc(1, sizeof *t);
    if (!t)
        return err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    enum err e = cJSON_IsObject(root) ? parse_parts(root, files, vocab_size, t, msg)
                                      : err_set(msg, ERR_INVALID, "not a JSON object");
    if (e) {
        tokenizer_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

enum err tokenizer_load_json(const char *bytes, size_t len, const char *name,
                             const struct tokenizer_files *files, size_t vocab_size,
                             struct tokenizer **out, struct errmsg *msg) {
    cJSON *root;
    struct key_unknown unknown = {0};
    *out = NULL;
    enum err e = json_parse(bytes, len, &json_limits_file, &root, NULL, msg);
    if (!e)
        e = key_rules_check(&tokenizer_json_keys, root, msg);
    if (!e)
        // before members of our own are put in
        key_rules_walk(&tokenizer_json_keys, root, key_unknown_see, &unknown);
    if (!e)
        e = tokenizer_from_tree(root, files, vocab_size, out, msg);
    if (*out)
        (*out)->unknown = unknown;
    else
        buf_free(&unknown.names);
    cJSON_Delete(root);
    return e ? err_prefix(msg, e, "%s", name) : ERR_OK;
}

static enum err load_tokenizer_json(const char *path, const struct tokenizer_files *files,
                                    size_t vocab_size, struct tokenizer **out, struct errmsg *msg) {
    char *bytes;
    size_t len;
    enum err e = file_read(path, FILE_BYTES_MAX, &bytes, &len, msg);
    if (e)
        return e;
    e = tokenizer_load_json(bytes, len, path, files, vocab_size, out, msg);
    mem_free(bytes);
    return e;
}

static enum err load_vocab_txt(const char *path, const struct tokenizer_files *files,
                               size_t vocab_size, struct tokenizer **out, struct errmsg *msg) {
    char *bytes;
    size_t len;
    cJSON *root = NULL;
    enum err e = file_read(path, FILE_BYTES_MAX, &bytes, &len, msg);
    if (e)
        return e;
    e = vocab_txt_to_json(bytes, len, files->config, &root, msg);
    if (!e)
        e = tokenizer_from_tree(root, files, vocab_size, out, msg);
    if (e)
        err_prefix(msg, e, "%s", path);
    cJSON_Delete(root);
    mem_free(bytes);
    return e;
}

static enum err load_vocab_merges(const char *vocab_path, const char *merges_path,
                                  const struct tokenizer_files *files, size_t vocab_size,
                                  struct tokenizer **out, struct errmsg *msg) {
    char *merges;
    size_t len;
    cJSON *vocab = NULL, *root = NULL;
    enum err e = file_read(merges_path, FILE_BYTES_MAX, &merges, &len, msg);
    if (e)
        return e;
    e = json_parse_file(vocab_path, FILE_BYTES_MAX, &vocab, msg);
    if (!e) {
        e = vocab_merges_to_json(vocab, merges, len, files->config, &root, msg);
        if (!e)
            e = tokenizer_from_tree(root, files, vocab_size, out, msg);
        if (e)
            err_prefix(msg, e, "%s", vocab_path);
    }
    cJSON_Delete(root);
    mem_free(merges);
    return e;
}

enum err tokenizer_load(const char *folder, size_t vocab_size, struct tokenizer **out,
                        struct errmsg *msg) {
    *out = NULL;
    char *json = file_join(folder, "tokenizer.json"), *txt = file_join(folder, "vocab.txt");
    char *vocab = file_join(folder, "vocab.json"), *merges = file_join(folder, "merges.txt");
    struct tokenizer_files files;
    enum err e = tokenizer_files_read(folder, &files, msg);
    if (!e && (!json || !txt || !vocab || !merges))
        e = err_set(msg, ERR_NOMEM, "no memory for a path");
    else if (!e && file_exists(json))
        e = load_tokenizer_json(json, &files, vocab_size, out, msg);
    else if (!e && file_exists(txt))
        e = load_vocab_txt(txt, &files, vocab_size, out, msg);
    else if (!e && file_exists(vocab) && file_exists(merges))
        e = load_vocab_merges(vocab, merges, &files, vocab_size, out, msg);
    else if (!e)
        e = err_set(msg, ERR_NOT_FOUND,
                    "%s: neither tokenizer.json nor vocab.txt is there (nor vocab.json with "
                    "merges.txt)",
                    folder);
    tokenizer_files_free(&files);
    mem_free(json);
    mem_free(txt);
    mem_free(vocab);
    mem_free(merges);
    return e;
}

const struct key_unknown *tokenizer_unknown_keys(const struct tokenizer *t) { return &t->unknown; }
void tokenizer_use_model_types(struct tokenizer *t) {
    if (t->types_unread)
        postprocess_drop_types(&t->postprocess);
}

bool tokenizer_types_unclear(const struct tokenizer *t) { return t->types_unclear; }

enum truncate_side tokenizer_side(const struct tokenizer *t) { return t->side; }

size_t tokenizer_special_count(const struct tokenizer *t, bool pair) {
    return pair ? t->postprocess.pair.special : t->postprocess.single.special;
}

size_t tokenizer_vocab_size(const struct tokenizer *t) { return t->vocab_size; }

const char *tokenizer_piece(const struct tokenizer *t, int32_t id) {
    const struct added_token *added = added_tokens_by_id(&t->added, id);
    return added ? added->content : vocab_piece(t->vocab, id);
}

static void describe_template(const struct tokenizer *t,
                              const struct postprocess_template *template, struct buf *out) {
    for (size_t i = 0; i < template->count; i++) {
        const struct postprocess_piece *p = &template->pieces[i];
        const char *text = p->what == TEMPLATE_FIRST    ? "$A"
                           : p->what == TEMPLATE_SECOND ? "$B"
                                                        : tokenizer_piece(t, p->id);
        buf_printf(out, "%s%s:%d", i ? " " : "", text, p->type_id);
    }
}

void tokenizer_describe(const struct tokenizer *t, struct buf *out) {
    buf_puts(out, "normalizer: ");
    normalizer_describe(&t->normalizer, out);
    buf_puts(out, "\npre_tokenizer: ");
    pretokenizer_describe(&t->pretokenizer, out);
    if (t->kind == MODEL_BPE)
        buf_printf(out, "\nmodel: byte-level BPE(%zu pieces, %zu merges, ignore_merges %d)",
                   t->vocab->count, t->bpe.merges.count, t->bpe.ignore_merges);
    else
        buf_printf(
            out,
            "\nmodel: WordPiece(%zu pieces, prefix '%s', unk %d, at most %zu characters a word)",
            t->vocab->count, t->wordpiece.prefix, t->wordpiece.unk, t->wordpiece.max_chars);
    buf_printf(out, "\nadded_tokens: %zu\npost_processor: %s, one text ", t->added.count,
               t->postprocess.name ? t->postprocess.name : "none");
    describe_template(t, &t->postprocess.single, out);
    buf_puts(out, ", two ");
    describe_template(t, &t->postprocess.pair, out);
    buf_puts(out, "\ndecoder: ");
    text_decoder_describe(&t->decoder, out);
    if (t->side == TRUNCATE_LEFT)
        buf_puts(out, "\ntexts are cut at their beginning");
    if (t->added.split_special)
        buf_puts(out, "\nwhat spells a special token in a text is text");
    buf_puts(out, "\n");
}
