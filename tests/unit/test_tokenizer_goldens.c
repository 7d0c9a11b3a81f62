// Replays tests/golden/data/tokenizers, tokenizers_bpe and tokenizers_config: what Hugging Face
// made of the same texts with the same tiny tokenizers (tools/make_tokenizer_goldens.py and
// make_bpe_goldens.py). Ids, type ids, byte spans, special flags, lengths before truncation and
// decoded text must be equal. One case is one count.
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tests/check.h"
#include "tokenizer/token_stream.h"

#include <dirent.h>

struct fixture {
    const char *name;
    struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct encoding first, second, encoding;
};

static int item_int(const cJSON *array, int i) {
    return (int)cJSON_GetArrayItem(array, i)->valuedouble;
}

static struct text text_of(const cJSON *string) {
    return (struct text){string->valuestring, strlen(string->valuestring)};
}

static struct tokenizer_options options_of(const cJSON *json) {
    struct tokenizer_options o = {.add_special_tokens = true};
    if (!cJSON_IsArray(json))
        return o;
    const char *strategy = cJSON_GetArrayItem(json, 0)->valuestring;
    o.truncate = strcmp(strategy, "longest_first") == 0 ? TRUNCATE_LONGEST_FIRST
                 : strcmp(strategy, "only_first") == 0  ? TRUNCATE_ONLY_FIRST
                 : strcmp(strategy, "only_second") == 0 ? TRUNCATE_ONLY_SECOND
                                                        : TRUNCATE_NONE;
    bool left = strcmp(cJSON_GetArrayItem(json, 1)->valuestring, "left") == 0;
    o.side = left ? TRUNCATE_LEFT : TRUNCATE_RIGHT;
    o.max_length = (size_t)item_int(json, 2);
    o.add_special_tokens = cJSON_IsTrue(cJSON_GetArrayItem(json, 3));
    return o;
}

static bool same(const struct encoding *e, const cJSON *tokens, size_t full) {
    if (e->len != (size_t)cJSON_GetArraySize(tokens) || e->full_len != full ||
        e->truncated != (e->len < full))
        return false;
    size_t i = 0;
    const cJSON *t;
    cJSON_ArrayForEach(t, tokens) {
        if (e->ids[i] != item_int(t, 0) || e->type_ids[i] != item_int(t, 1) ||
            e->spans[i].begin != (uint32_t)item_int(t, 2) ||
            e->spans[i].end != (uint32_t)item_int(t, 3) || e->special[i] != item_int(t, 4))
            return false;
        i++;
    }
    return true;
}

static void show(const struct fixture *f, const cJSON *row, const struct encoding *e) {
    char *want = cJSON_PrintUnformatted(row);
    fprintf(stderr, "    %s: %s\n    got", f->name, want ? want : "");
    for (size_t i = 0; i < e->len; i++)
        fprintf(stderr, " [%d,%d,%u,%u,%d]", e->ids[i], e->type_ids[i], e->spans[i].begin,
                e->spans[i].end, e->special[i]);
    fprintf(stderr, " of %zu\n", e->full_len);
    mem_free(want);
}

// The same by way of each text alone, as a reranker does.
static enum err encode_apart(struct fixture *f, struct text text, const struct text *pair,
                             const struct tokenizer_options *options, struct errmsg *msg) {
    struct tokenizer_options bare = {0};
    enum err e = tokenizer_encode(f->tokenizer, f->scratch, text, NULL, &bare, &f->first, msg);
    if (!e && pair)
        e = tokenizer_encode(f->tokenizer, f->scratch, *pair, NULL, &bare, &f->second, msg);
    return e ? e
             : tokenizer_assemble(f->tokenizer, &f->first, pair ? &f->second : NULL, options,
                                  &f->encoding, msg);
}

static void check_case(struct fixture *f, const cJSON *row) {
    const cJSON *second = cJSON_GetArrayItem(row, 1), *tokens = cJSON_GetArrayItem(row, 3);
    struct text text = text_of(cJSON_GetArrayItem(row, 0)), pair = {0};
    struct text *pair_at = cJSON_IsString(second) ? &pair : NULL;
    struct tokenizer_options options = options_of(cJSON_GetArrayItem(row, 2));
    size_t full = (size_t)item_int(row, 4);
    struct errmsg msg = {0};
    if (pair_at)
        pair = text_of(second);
    for (int apart = 0; apart < 2; apart++) {
        enum err e = apart ? encode_apart(f, text, pair_at, &options, &msg)
                           : tokenizer_encode(f->tokenizer, f->scratch, text, pair_at, &options,
                                              &f->encoding, &msg);
        if (cJSON_IsNull(tokens)) {
            CHECK_INT(e, ERR_INVALID);
            continue;
        }
        CHECK_OK(e, msg);
        if (!e && !CHECK(same(&f->encoding, tokens, full)))
            show(f, row, &f->encoding);
    }
}

static void check_decode(const struct fixture *f, const cJSON *row) {
    const cJSON *list = cJSON_GetArrayItem(row, 0);
    size_t n = (size_t)cJSON_GetArraySize(list), i = 0;
    int32_t *ids = mem_alloc(n, sizeof *ids);
    const cJSON *item;
    cJSON_ArrayForEach(item, list) ids[i++] = (int32_t)item->valuedouble;
    struct buf out = {0};
    struct errmsg msg = {0};
    CHECK_OK(tokenizer_decode(f->tokenizer, ids, n, cJSON_IsTrue(cJSON_GetArrayItem(row, 1)), &out,
                              &msg),
             msg);
    CHECK_STR(out.data ? out.data : "", cJSON_GetArrayItem(row, 2)->valuestring);
    struct token_stream stream;
    bool whole = true;
    buf_reset(&out);
    token_stream_init(&stream, f->tokenizer, cJSON_IsTrue(cJSON_GetArrayItem(row, 1)));
    for (i = 0; i < n; i++) {
        size_t before = out.len;
        CHECK_OK(token_stream_add(&stream, ids[i], &out, &msg), msg);
        whole = whole && utf8_valid(out.data + before, out.len - before, NULL);
    }
    token_stream_end(&stream, &out);
    CHECK(whole);
    CHECK_STR(out.data ? out.data : "", cJSON_GetArrayItem(row, 2)->valuestring);
    buf_free(&out);
    mem_free(ids);
}

static void check_folder(const char *root, const char *name) {
    struct fixture f = {.name = name};
    struct errmsg msg = {0};
    cJSON *goldens = NULL;
    char *folder = file_join(root, name), *path = file_join(folder, "goldens.json");
    CHECK_OK(json_parse_file(path, 16u << 20, &goldens, &msg), msg);
    CHECK_OK(tokenizer_load(folder, 0, &f.tokenizer, &msg), msg);
    if (goldens && f.tokenizer && CHECK(!tokenizer_scratch_new(f.tokenizer, &f.scratch))) {
        const cJSON *row;
        int before = check_passed;
        cJSON_ArrayForEach(row, json_get(goldens, "cases")) check_case(&f, row);
        cJSON_ArrayForEach(row, json_get(goldens, "decoded")) check_decode(&f, row);
        CHECK(check_passed - before > 100);
    }
    encoding_free(&f.first);
    encoding_free(&f.second);
    encoding_free(&f.encoding);
    tokenizer_scratch_free(f.scratch);
    tokenizer_free(f.tokenizer);
    cJSON_Delete(goldens);
    mem_free(path);
    mem_free(folder);
}

static int check_root(const char *root) {
    DIR *dir = opendir(root);
    int folders = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || strchr(entry->d_name, '.'))
            continue; // unicode.json is test_tokenizer_unicode's
        check_folder(root, entry->d_name);
        folders++;
    }
    if (dir)
        closedir(dir);
    return folders;
}

int main(void) {
    json_init();
    CHECK(check_root("tests/golden/data/tokenizers") >= 22);
    CHECK(check_root("tests/golden/data/tokenizers_bpe") >= 18);
    CHECK(check_root("tests/golden/data/tokenizers_config") >= 18);
    return check_done();
}
