// See tokenizer_config.h. The tokens are config_tokens.c, the keys' rules config_rules.c.
#include "tokenizer/tokenizer_config.h"

#include "base/file.h"
#include "base/mem.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/split.h"

#include <string.h>

#define FILE_BYTES_MAX (64u << 20)

// MPNet's class puts two separators between a pair in release 5, one in 4.
static const struct {
    const char *name; // without "Fast"
    enum tokenizer_class kind;
    enum tokenizer_class_types types;
} classes[] = {
    {"BertTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"ConvBertTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"ElectraTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"LayoutLMTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"LxmertTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"MobileBertTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"SqueezeBertTokenizer", CLASS_BERT, TYPES_GIVEN},
    {"DistilBertTokenizer", CLASS_BERT, TYPES_NONE},
    {"RetriBertTokenizer", CLASS_BERT, TYPES_NONE},
    {"GPT2Tokenizer", CLASS_GPT2, TYPES_NONE},
    {"RobertaTokenizer", CLASS_ROBERTA, TYPES_NONE},
    {"Qwen2Tokenizer", CLASS_QWEN2, TYPES_NONE},
    {"LlamaTokenizer", CLASS_LLAMA, TYPES_NONE},
    {"PreTrainedTokenizer", CLASS_PLAIN, TYPES_UNCLEAR},
    {"AlbertTokenizer", CLASS_OTHER, TYPES_NONE},
    {"BarthezTokenizer", CLASS_OTHER, TYPES_NONE},
    {"BigBirdTokenizer", CLASS_OTHER, TYPES_NONE},
    {"CamembertTokenizer", CLASS_OTHER, TYPES_NONE},
    {"DebertaV2Tokenizer", CLASS_OTHER, TYPES_NONE},
    {"GemmaTokenizer", CLASS_OTHER, TYPES_NONE},
    {"MBartTokenizer", CLASS_OTHER, TYPES_NONE},
    {"MPNetTokenizer", CLASS_OTHER, TYPES_NONE},
    {"NllbTokenizer", CLASS_OTHER, TYPES_NONE},
    {"PegasusTokenizer", CLASS_OTHER, TYPES_NONE},
    {"T5Tokenizer", CLASS_OTHER, TYPES_NONE},
    {"XLMRobertaTokenizer", CLASS_OTHER, TYPES_NONE},
    {"XLNetTokenizer", CLASS_OTHER, TYPES_NONE},
};

// The class that transformers takes for a model where no file names one.
static const struct {
    const char *model_type, *class;
} models[] = {{"bert", "BertTokenizer"},   {"distilbert", "DistilBertTokenizer"},
              {"gpt2", "GPT2Tokenizer"},   {"llama", "LlamaTokenizer"},
              {"qwen2", "Qwen2Tokenizer"}, {"qwen3", "Qwen2Tokenizer"}};

const char *tokenizer_config_spelling(const cJSON *item) {
    const cJSON *content = cJSON_IsObject(item) ? json_get(item, "content") : item;
    return cJSON_IsString(content) ? content->valuestring : NULL;
}

static enum err find_class(struct tokenizer_files *f, struct errmsg *msg) {
    const char *type = NULL;
    f->class = NULL;
    enum err e = json_get_string(f->config, "tokenizer_class", NULL, &f->class, msg);
    if (!e && !f->class && cJSON_IsString(json_get(f->model, "tokenizer_class")))
        f->class = json_get(f->model, "tokenizer_class")->valuestring;
    f->named = f->class != NULL;
    if (!e && !f->class && cJSON_IsString(json_get(f->model, "model_type")))
        type = json_get(f->model, "model_type")->valuestring;
    for (size_t i = 0; type && i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].model_type, type) == 0)
            f->class = models[i].class;
    f->class = f->class ? f->class : "";
    // a class that is not known is release 5's plain one, and release 4 has none such
    f->types = f->named ? TYPES_NONE : TYPES_GIVEN;
    size_t n = strlen(f->class);
    if (n > 4 && strcmp(f->class + n - 4, "Fast") == 0)
        n -= 4;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strlen(classes[i].name) == n && strncmp(classes[i].name, f->class, n) == 0) {
            f->kind = classes[i].kind;
            f->types = classes[i].types;
        }
    return e;
}

static enum err read_one(const char *folder, const char *name, const struct key_rules *rules,
                         cJSON **out, struct errmsg *msg) {
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "no memory for a path");
    enum err e = file_exists(path) ? json_parse_file(path, FILE_BYTES_MAX, out, msg) : ERR_OK;
    if (!e && *out && !cJSON_IsObject(*out))
        e = err_set(msg, ERR_INVALID, "%s: not a JSON object", path);
    if (!e && rules && (e = key_rules_check(rules, *out, msg)))
        err_prefix(msg, e, "%s", path);
    mem_free(path);
    return e;
}

static enum err no_memory(struct errmsg *msg) {
    return err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
}

// Puts a copy of `value` where object's key is or was not. `value` may not be that member's own.
static enum err put_copy(cJSON *object, const char *key, const cJSON *value, struct errmsg *msg) {
    cJSON *copy = cJSON_Duplicate(value, true);
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    if (copy && cJSON_AddItemToObject(object, key, copy))
        return ERR_OK;
    cJSON_Delete(copy);
    return no_memory(msg);
}

// Puts special_tokens_map.json over the configuration; its lists of special tokens go behind those
// of the configuration.
static enum err overlay(struct tokenizer_files *f, const cJSON *map, struct errmsg *msg) {
    const cJSON *item, *token;
    enum err e = ERR_OK;
    if (!map || json_get(f->config, "added_tokens_decoder"))
        return ERR_OK;
    if (!f->config && !(f->config = cJSON_CreateObject()))
        return no_memory(msg);
    cJSON_ArrayForEach(item, map) {
        cJSON *there = cJSON_GetObjectItemCaseSensitive(f->config, item->string);
        if (!cJSON_IsArray(item) || !cJSON_IsArray(there)) {
            e = put_copy(f->config, item->string, item, msg);
        } else {
            cJSON_ArrayForEach(token, item) {
                cJSON *copy = e ? NULL : cJSON_Duplicate(token, true);
                if (!copy || !cJSON_AddItemToArray(there, copy)) {
                    cJSON_Delete(copy);
                    e = no_memory(msg);
                }
            }
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

// Older releases named the file after the architecture; weights/st_config.c reads its other keys.
static enum err read_lower(const char *folder, bool *out, struct errmsg *msg) {
    static const char *const names[] = {"sentence_bert_config.json",
                                        "sentence_distilbert_config.json",
                                        "sentence_roberta_config.json"};
    cJSON *root = NULL;
    enum err e = ERR_OK;
    for (size_t i = 0; i < 3 && !e && !root; i++) {
        e = read_one(folder, names[i], NULL, &root, msg);
        if (!e && (e = json_get_bool(root, "do_lower_case", false, out, msg)))
            err_prefix(msg, e, "%s/%s", folder, names[i]);
    }
    cJSON_Delete(root);
    return e;
}

enum err tokenizer_files_read(const char *folder, struct tokenizer_files *out, struct errmsg *msg) {
    cJSON *map = NULL;
    *out = (struct tokenizer_files){.class = ""};
    enum err e =
        read_one(folder, "tokenizer_config.json", &tokenizer_config_keys, &out->config, msg);
    if (!e)
        e = read_one(folder, "special_tokens_map.json", &tokenizer_special_map_keys, &map, msg);
    if (!e)
        e = read_one(folder, "added_tokens.json", NULL, &out->added_tokens, msg);
    if (!e) // its other keys are the model's affair
        e = read_one(folder, "config.json", NULL, &out->model, msg);
    if (!e)
        e = read_lower(folder, &out->lower, msg);
    if (!e)
        e = overlay(out, map, msg);
    if (!e && (e = find_class(out, msg)))
        err_prefix(msg, e, "%s/tokenizer_config.json", folder);
    cJSON_Delete(map);
    return e;
}

void tokenizer_files_free(struct tokenizer_files *f) {
    cJSON_Delete(f->config);
    cJSON_Delete(f->added_tokens);
    cJSON_Delete(f->model);
    *f = (struct tokenizer_files){.class = ""};
}

static bool has_type(const cJSON *part, const char *type) {
    const cJSON *t = json_get(part, "type");
    return cJSON_IsString(t) && strcmp(t->valuestring, type) == 0;
}

static enum err put_bool(cJSON *object, const char *key, bool value, struct errmsg *msg) {
    const cJSON literal = {.type = value ? cJSON_True : cJSON_False};
    return put_copy(object, key, &literal, msg);
}

// ---- BERT: the normalizer is made of the arguments, their defaults included

static enum err probe(const struct normalizer *n, struct normal *out, struct errmsg *msg) {
    static const char text[] = "A \xC3\xA9 \xE4\xB8\xAD\xE4\xB8\xAD"; // case, an accent, Chinese
    struct normalizer_work work = {0};
    normal_set(out, text, 0, sizeof text - 1);
    bool failed = out->failed || normalizer_apply(n, out, &work) != ERR_OK;
    normalizer_work_free(&work);
    return failed ? no_memory(msg) : ERR_OK;
}

// Release 4 keeps a normalizer of another kind, 5 makes it anew. So the arguments, where there are
// any, must mean what that normalizer does.
static enum err check_other(const cJSON *config, const cJSON *normalizer,
                            struct normalizer_step asked, struct errmsg *msg) {
    const struct normalizer anew = {.steps = &asked, .count = 1};
    struct normalizer n = {0};
    struct normal a = {0}, b = {0};
    if (!json_get(config, "do_lower_case") && !json_get(config, "strip_accents") &&
        !json_get(config, "tokenize_chinese_chars"))
        return ERR_OK;
    enum err e = normalizer_parse(normalizer, &n, msg);
    if (!e)
        e = probe(&n, &a, msg);
    if (!e)
        e = probe(&anew, &b, msg);
    if (!e && (a.len != b.len || memcmp(a.text, b.text, a.len) != 0))
        e = err_set(msg, ERR_UNSUPPORTED,
                    "'do_lower_case', 'strip_accents' and 'tokenize_chinese_chars' say other than "
                    "tokenizer.json's normalizer does, which is no BertNormalizer: which of them "
                    "counts differs between releases of transformers; make them agree, or take "
                    "the former out");
    normal_free(&a);
    normal_free(&b);
    normalizer_free(&n);
    return e;
}

static enum err apply_bert(cJSON *root, const cJSON *config, struct errmsg *msg) {
    cJSON *n = cJSON_GetObjectItemCaseSensitive(root, "normalizer");
    bool lower = true, chinese = true, accents = false; // for cppcheck, which cannot follow e
    enum err e = json_get_bool(config, "do_lower_case", true, &lower, msg);
    if (!e)
        e = json_get_bool(config, "tokenize_chinese_chars", true, &chinese, msg);
    if (!e) // absent and null: as lower case
        e = json_get_bool(config, "strip_accents", lower, &accents, msg);
    if (!e && !has_type(n, "BertNormalizer")) {
        const struct normalizer_step asked = {.kind = NORMALIZER_BERT,
                                              .clean_text = true,
                                              .chinese = chinese,
                                              .strip_accents = accents,
                                              .lowercase = lower};
        return check_other(config, json_get(root, "normalizer"), asked, msg);
    }
    if (!e)
        e = put_bool(n, "lowercase", lower, msg);
    if (!e)
        e = put_bool(n, "handle_chinese_chars", chinese, msg);
    return e ? e : put_bool(n, "strip_accents", accents, msg);
}

// ---- what stands around a text

// The post-processor that puts tokens around a text: the section itself, or a member of a Sequence.
static const cJSON *framer(const cJSON *root) {
    const cJSON *p = json_get(root, "post_processor"), *item;
    if (!has_type(p, "Sequence"))
        return p;
    cJSON_ArrayForEach(item,
                       json_get(p, "processors")) if (!has_type(item, "ByteLevel")) return item;
    return NULL;
}

// The token that goes before one text (last: behind it); NULL: none.
static const char *frame_token(const cJSON *root, bool last) {
    const cJSON *p = framer(root);
    const cJSON *named = json_get(p, last ? "sep" : "cls");
    if (cJSON_IsArray(named)) // ["[SEP]", 102]
        return tokenizer_config_spelling(cJSON_GetArrayItem(named, 0));
    const cJSON *list = json_get(p, "single");
    const cJSON *piece = cJSON_GetArrayItem(list, last ? cJSON_GetArraySize(list) - 1 : 0);
    return tokenizer_config_spelling(json_get(json_get(piece, "SpecialToken"), "id"));
}

static bool same(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

static const char *named(const struct tokenizer_files *f, const char *key) {
    return tokenizer_config_spelling(json_get(f->config, key));
}

static enum err differs(const char *key, const char *says, const char *what, const char *other,
                        struct errmsg *msg) {
    return err_set(msg, ERR_UNSUPPORTED,
                   "'%s' is '%s', but tokenizer.json %s '%s': which of them counts differs between "
                   "releases of transformers; make them agree",
                   key, says, what, other ? other : "nothing");
}

// Release 5 makes BERT's frame and unknown token of the arguments, 4 leaves tokenizer.json's.
static enum err check_bert_tokens(const cJSON *root, const struct tokenizer_files *f,
                                  struct errmsg *msg) {
    const char *cls = named(f, "cls_token"), *sep = named(f, "sep_token");
    const char *unk = named(f, "unk_token");
    const char *model_unk =
        tokenizer_config_spelling(json_get(json_get(root, "model"), "unk_token"));
    if (cls && !same(cls, frame_token(root, false)))
        return differs("cls_token", cls, "puts before a text", frame_token(root, false), msg);
    if (sep && !same(sep, frame_token(root, true)))
        return differs("sep_token", sep, "puts behind a text", frame_token(root, true), msg);
    if (unk && !same(unk, model_unk))
        return differs("unk_token", unk, "has as its model's", model_unk, msg);
    return ERR_OK;
}

// Llama's class makes the frame of these two in release 4; 5 leaves tokenizer.json's.
static enum err check_llama_frame(const cJSON *root, const struct tokenizer_files *f,
                                  struct errmsg *msg) {
    static const char *const keys[2][2] = {{"add_bos_token", "bos_token"},
                                           {"add_eos_token", "eos_token"}};
    for (int i = 0; i < 2; i++) {
        bool add = false;
        enum err e = json_get_bool(f->config, keys[i][0], false, &add, msg);
        if (e)
            return e;
        if (!json_get(f->config, keys[i][0]))
            continue;
        const char *has = frame_token(root, i == 1), *token = named(f, keys[i][1]);
        if (add != (has != NULL))
            return err_set(msg, ERR_UNSUPPORTED,
                           "'%s' is %s, but tokenizer.json puts %s %s a text: which of them counts "
                           "differs between releases of transformers; make them agree",
                           keys[i][0], add ? "true" : "false", has ? has : "nothing",
                           i ? "behind" : "before");
        if (add && token && !same(token, has))
            return differs(keys[i][1], token, i ? "puts behind a text" : "puts before a text", has,
                           msg);
    }
    return ERR_OK;
}

// ---- the space before a text

static enum err apply_space(cJSON *root, const struct tokenizer_files *f, struct errmsg *msg) {
    cJSON *pre = cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer");
    const bool alone = has_type(pre, "ByteLevel");
    const cJSON *given = json_get(f->config, "add_prefix_space"), *item,
                *level = alone ? pre : NULL;
    bool says, has = false;
    enum err e = json_get_bool(f->config, "add_prefix_space", false, &says, msg);
    cJSON_ArrayForEach(item, json_get(pre, "pretokenizers")) if (has_type(item, "ByteLevel"))
        level = item;
    if (!e && level)
        e = json_get_bool(level, "add_prefix_space", true, &has, msg);
    if (e || !level)
        return e;
    if (alone && (f->kind == CLASS_GPT2 || f->kind == CLASS_ROBERTA))
        return put_bool(pre, "add_prefix_space", says, msg);
    // of the others release 4 changes a ByteLevel that stands alone, 5 one of Qwen2's class
    if (given && says != has && (alone || f->kind == CLASS_QWEN2))
        return err_set(
            msg, ERR_UNSUPPORTED,
            "'add_prefix_space' is %s, but tokenizer.json's pre_tokenizer says %s: which "
            "of them counts differs between releases of transformers; make them agree",
            says ? "true" : "false", has ? "true" : "false");
    return ERR_OK;
}

// Qwen3.5's pattern too: files that have it are of this class in both releases.
static bool splits_as_qwen2(const cJSON *pre) {
    const cJSON *item;
    bool splits = false;
    cJSON_ArrayForEach(item, json_get(pre, "pretokenizers")) {
        const cJSON *regex = json_get(json_get(item, "pattern"), "Regex");
        enum split_kind kind =
            cJSON_IsString(regex) ? split_by_regex(regex->valuestring) : SPLIT_KINDS;
        splits |= kind == SPLIT_QWEN2 || kind == SPLIT_QWEN35;
    }
    return splits;
}

// Qwen2's class composes and splits in a way of its own in release 5, Roberta's frames; 4 leaves
// tokenizer.json's. GPT-2's, which many a file names that splits otherwise, leaves the split too,
// but not the normalizer. All three merge without looking words up first.
static enum err check_bpe_class(const cJSON *root, const struct tokenizer_files *f,
                                struct errmsg *msg) {
    const cJSON *pre = json_get(root, "pre_tokenizer"), *frame = framer(root);
    const char *cls = named(f, "cls_token"), *sep = named(f, "sep_token"), *what = NULL;
    if (f->kind == CLASS_QWEN2 && !splits_as_qwen2(pre))
        what = "splits a text otherwise";
    else if (f->kind == CLASS_QWEN2 && !has_type(json_get(root, "normalizer"), "NFC"))
        what = "does not compose a text (NFC) first";
    else if (f->kind == CLASS_ROBERTA && !has_type(pre, "ByteLevel"))
        what = "splits a text otherwise";
    else if (f->kind == CLASS_ROBERTA && (!same(frame_token(root, false), cls ? cls : "<s>") ||
                                          !same(frame_token(root, true), sep ? sep : "</s>") ||
                                          !(has_type(frame, "RobertaProcessing") ||
                                            cJSON_GetArraySize(json_get(frame, "pair")) == 6)))
        what = "does not frame texts and pairs as that class does";
    else if ((f->kind == CLASS_GPT2 || f->kind == CLASS_ROBERTA) && json_get(root, "normalizer"))
        what = "has a normalizer";
    else if (f->kind != CLASS_PLAIN && f->kind != CLASS_LLAMA &&
             cJSON_IsTrue(json_get(json_get(root, "model"), "ignore_merges")))
        what = "says 'ignore_merges'";
    if (!what)
        return ERR_OK;
    return err_set(msg, ERR_UNSUPPORTED,
                   "tokenizer_class '%s' does not fit tokenizer.json, which %s: which of them "
                   "counts differs between releases of transformers; PreTrainedTokenizerFast "
                   "takes the file as it is",
                   f->class, what);
}

static enum err check_class(const cJSON *root, const struct tokenizer_files *f,
                            struct errmsg *msg) {
    const cJSON *model = json_get(root, "model");
    bool words = has_type(model, "WordPiece") ||
                 (!json_get(model, "type") && json_get(model, "max_input_chars_per_word"));
    bool pairs = has_type(model, "BPE");
    if (f->kind == CLASS_PLAIN || (!words && !pairs)) // another model is refused by name later
        return ERR_OK;
    if (f->kind == CLASS_OTHER || words != (f->kind == CLASS_BERT))
        return err_set(msg, ERR_UNSUPPORTED,
                       "tokenizer_class '%s' does not fit tokenizer.json, whose model is %s",
                       f->class, words ? "WordPiece" : "BPE");
    return pairs && f->named ? check_bpe_class(root, f, msg) : ERR_OK;
}

static bool has_lowercase(const cJSON *normalizer) {
    const cJSON *item;
    if (has_type(normalizer, "Lowercase"))
        return true;
    cJSON_ArrayForEach(
        item, json_get(normalizer, "normalizers")) if (has_type(item, "Lowercase")) return true;
    return false;
}

static enum err put_lowercase(cJSON *root, struct errmsg *msg) {
    const cJSON *old = json_get(root, "normalizer");
    if (has_lowercase(old))
        return ERR_OK;
    cJSON *all = cJSON_Parse("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}");
    cJSON *copy = old ? cJSON_Duplicate(old, true) : NULL;
    bool ok =
        all &&
        (!old || (copy && cJSON_AddItemToArray(cJSON_GetObjectItem(all, "normalizers"), copy)));
    if (!ok)
        cJSON_Delete(copy);
    enum err e = ok ? put_copy(root, "normalizer", all, msg) : no_memory(msg);
    cJSON_Delete(all);
    return e;
}

// The side that a text is cut on: tokenizer.json says it only where the configuration does not.
static enum err apply_side(cJSON *root, const cJSON *config, struct errmsg *msg) {
    const char *direction, *side = "right"; // for cppcheck, which cannot follow e
    enum err e =
        json_get_string(json_get(root, "truncation"), "direction", "Right", &direction, msg);
    if (!e)
        e = json_get_string(config, "truncation_side",
                            strcmp(direction, "Left") == 0 ? "left" : "right", &side, msg);
    if (!e && strcmp(side, "left") != 0 && strcmp(side, "right") != 0)
        e = err_set(msg, ERR_INVALID, "'truncation_side' is '%s' (left and right are supported)",
                    side);
    return e ? e : put_bool(root, "cut_left", *side == 'l', msg);
}

// Token types: model_input_names says whether a model gets any, else the class does.
static enum err apply_types(cJSON *root, const struct tokenizer_files *f, struct errmsg *msg) {
    static const char key[] = "model_input_names";
    const cJSON *names = json_get(f->config, key), *item;
    enum tokenizer_class_types types = f->types;
    if (names && !cJSON_IsArray(names))
        return err_set(msg, ERR_INVALID, "'%s' must be an array of strings", key);
    if (names)
        types = TYPES_NONE;
    cJSON_ArrayForEach(item, names) {
        if (!cJSON_IsString(item))
            return err_set(msg, ERR_INVALID, "'%s' must be an array of strings", key);
        if (strcmp(item->valuestring, "token_type_ids") == 0)
            types = TYPES_GIVEN;
    }
    enum err e = put_bool(root, "no_token_types", types == TYPES_NONE, msg);
    return e ? e : put_bool(root, "unclear_token_types", types == TYPES_UNCLEAR, msg);
}

enum err tokenizer_config_apply(cJSON *root, const struct tokenizer_files *f, struct errmsg *msg) {
    bool split = false;
    enum err e = check_class(root, f, msg);
    if (!e && f->kind == CLASS_BERT)
        e = apply_bert(root, f->config, msg);
    if (!e && f->kind == CLASS_BERT)
        e = check_bert_tokens(root, f, msg);
    if (!e && f->kind == CLASS_LLAMA)
        e = check_llama_frame(root, f, msg);
    if (!e && f->lower)
        e = put_lowercase(root, msg);
    if (!e)
        e = apply_space(root, f, msg);
    if (!e)
        e = apply_side(root, f->config, msg);
    if (!e)
        e = apply_types(root, f, msg);
    if (!e)
        e = json_get_bool(f->config, "split_special_tokens", false, &split, msg);
    if (!e)
        e = put_bool(root, "split_special_tokens", split, msg);
    return e ? err_prefix(msg, e, "tokenizer_config.json") : ERR_OK;
}
