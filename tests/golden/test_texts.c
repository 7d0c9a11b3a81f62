// From the text on: the folder's tokenizer and length give the ids that the reference's gave, so
// that with test_embeddings and test_classifiers the whole way is covered.
#include "base/json.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tokenizer/tokenizer.h"
#include "weights/model_config.h"
#include "weights/st_config.h"

static const char *const models[] = {
    "bert-mean-st6",      "bert-cls-st2",          "bert-max-dense-st6", "bert-mlm-mean-sqrt",
    "bert-last-f16",      "bert-bf16-sharded",     "bert-cls-mean",      "distilbert-prompt-st6",
    "bert-cross-encoder", "distilbert-classifier", "bert-classifier",
};

static void check_ids(const struct encoding *got, const cJSON *ids, const cJSON *types) {
    bool same = (int)got->len == cJSON_GetArraySize(ids);
    const cJSON *id = ids->child, *type = types->child;
    for (size_t i = 0; same && i < got->len; i++, id = id->next, type = type->next)
        same = got->ids[i] == id->valueint && got->type_ids[i] == type->valueint;
    if (CHECK(same))
        return;
    for (size_t i = 0; i < got->len; i++)
        fprintf(stderr, "%s %d", i ? "" : "    got", got->ids[i]);
    fprintf(stderr, "\n");
}

static struct text text_of(const char *s) { return (struct text){s, strlen(s)}; }

static void check_texts(const struct tokenizer *t, const struct st_config *st,
                        const cJSON *golden) {
    const cJSON *texts = json_get(golden, "texts"), *pairs = json_get(golden, "pairs");
    const cJSON *item, *ids = json_get(golden, "ids")->child;
    const cJSON *types = json_get(golden, "type_ids")->child;
    const char *prompt = "";
    struct errmsg msg = {0};
    struct tokenizer_scratch *scratch = NULL;
    struct encoding out = {0};
    struct tokenizer_options options = {.add_special_tokens = true,
                                        .truncate = TRUNCATE_LONGEST_FIRST,
                                        .max_length = st->max_length};
    if (!CHECK(tokenizer_scratch_new(t, &scratch) == ERR_OK))
        return;
    CHECK_INT(st->max_length, json_get(golden, "max_length")->valueint);
    CHECK_OK(json_get_string(golden, "prompt", "", &prompt, &msg), msg);
    if (st->default_prompt)
        CHECK_STR(st->default_prompt, prompt);
    const cJSON *all = texts ? texts : pairs;
    cJSON_ArrayForEach(item, all) {
        char joined[1024];
        const cJSON *second = texts ? NULL : item->child->next;
        snprintf(joined, sizeof joined, "%s%s", prompt,
                 texts ? item->valuestring : item->child->valuestring);
        struct text pair = text_of(second ? second->valuestring : "");
        CHECK_OK(tokenizer_encode(t, scratch, text_of(joined), second ? &pair : NULL, &options,
                                  &out, &msg),
                 msg);
        check_ids(&out, ids, types);
        ids = ids->next;
        types = types->next;
    }
    encoding_free(&out);
    tokenizer_scratch_free(scratch);
}

int main(void) {
    json_init();
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char folder[128], golden[160];
        struct errmsg msg = {0};
        struct model_config c;
        struct st_config st;
        struct tokenizer *t = NULL;
        cJSON *root = NULL;
        snprintf(folder, sizeof folder, "tests/golden/data/%s", models[i]);
        snprintf(golden, sizeof golden, "%s/golden.json", folder);
        CHECK_OK(model_config_load(folder, &c, &msg), msg);
        CHECK_OK(st_config_load(folder, folder, c.max_positions, &st, &msg), msg);
        CHECK_OK(tokenizer_load(folder, c.vocab, &t, &msg), msg);
        CHECK_OK(json_parse_file(golden, 1 << 20, &root, &msg), msg);
        if (t && root)
            check_texts(t, &st, root);
        cJSON_Delete(root);
        tokenizer_free(t);
        st_config_free(&st);
        model_config_free(&c);
    }
    return check_done();
}
