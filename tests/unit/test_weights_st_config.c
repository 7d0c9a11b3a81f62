// The length, prompts and similarity that sentence-transformers keeps beside a model, in the forms
// of version 2 and of version 6.
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_weights_files.h"
#include "weights/st_config.h"

static const char bert_file[] = "sentence_bert_config.json";
static const char tokenizer_file[] = "tokenizer_config.json";
static const char st_file[] = "config_sentence_transformers.json";

static void refused(const struct temp_folder *t, enum err want, const char *part) {
    struct st_config c;
    struct errmsg msg = {0};
    CHECK_ERROR(st_config_load(t->path, t->path, 64, &c, &msg), want, msg, part);
    CHECK(!c.prompts && c.prompt_count == 0);
}

static size_t max_length(const struct temp_folder *t, size_t max_positions) {
    struct st_config c;
    struct errmsg msg = {0};
    CHECK_OK(st_config_load(t->path, t->path, max_positions, &c, &msg), msg);
    size_t n = c.max_length;
    st_config_free(&c);
    return n;
}

static void test_length(void) {
    struct temp_folder t = temp_new();
    CHECK_INT(max_length(&t, 0), 0);
    CHECK_INT(max_length(&t, 512), 512);
    temp_text(&t, tokenizer_file, "{\"model_max_length\":1000000000000000019884624838656}");
    CHECK_INT(max_length(&t, 512), 512);
    CHECK_INT(max_length(&t, 0), 0);
    temp_text(&t, tokenizer_file, "{\"model_max_length\":384}");
    CHECK_INT(max_length(&t, 512), 384);
    temp_text(&t, bert_file, "{\"max_seq_length\":256,\"do_lower_case\":false}");
    CHECK_INT(max_length(&t, 512), 256);
    temp_text(&t, bert_file, "{\"max_seq_length\":null,\"do_lower_case\":true}");
    CHECK_INT(max_length(&t, 512), 384);
    // version 6 writes no length there
    temp_text(&t, bert_file, "{\"transformer_task\":\"feature-extraction\"}");
    CHECK_INT(max_length(&t, 128), 128);
    temp_text(&t, bert_file, "{\"max_seq_length\":0}");
    refused(&t, ERR_INVALID, "sentence_bert_config.json: 'max_seq_length' is 0");
    temp_text(&t, bert_file, "[]");
    refused(&t, ERR_INVALID, "sentence_bert_config.json: not a JSON object");
    temp_text(&t, bert_file, "{}");
    temp_text(&t, tokenizer_file, "{\"model_max_length\":\"512\"}");
    refused(&t, ERR_INVALID, "tokenizer_config.json: 'model_max_length' must be a number");
    temp_free(&t);
}

static void test_prompts(void) {
    struct temp_folder t = temp_new();
    struct st_config c;
    struct errmsg msg = {0};
    temp_text(&t, st_file,
              "{\"prompts\":{\"query\":\"find: \",\"document\":\"\",\"none\":null},"
              "\"default_prompt_name\":\"query\",\"similarity_fn_name\":\"dot_product\"}");
    temp_text(&t, bert_file, "{\"do_lower_case\":true}");
    CHECK_OK(st_config_load(t.path, t.path, 64, &c, &msg), msg);
    CHECK_INT(c.prompt_count, 3);
    CHECK_STR(c.prompts[0].name, "query");
    CHECK_STR(c.default_prompt, "find: ");
    CHECK_STR(st_config_prompt(&c, "document"), "");
    CHECK_STR(st_config_prompt(&c, "none"), "");
    CHECK(!st_config_prompt(&c, "QUERY"));
    CHECK_STR(c.similarity, "dot");
    st_config_free(&c);
    temp_text(&t, st_file, "{\"prompts\":{},\"default_prompt_name\":null}");
    CHECK_OK(st_config_load(t.path, t.path, 64, &c, &msg), msg);
    CHECK(!c.default_prompt && c.prompt_count == 0);
    CHECK_STR(c.similarity, "");
    st_config_free(&c);
    temp_text(&t, st_file, "{\"prompts\":{\"a\":\"b\"},\"default_prompt_name\":\"c\"}");
    refused(&t, ERR_INVALID, "transformers.json: 'default_prompt_name' is 'c', which 'prompts'");
    temp_text(&t, st_file, "{\"prompts\":[\"a\"]}");
    refused(&t, ERR_INVALID, "'prompts' must be an object");
    temp_text(&t, st_file, "{\"prompts\":{\"a\":\"b\",\"c\":7}}");
    refused(&t, ERR_INVALID, "'prompts': 'c' must be a string");
    temp_text(&t, st_file, "{\"similarity_fn_name\":\"maxsim\"}");
    refused(&t, ERR_UNSUPPORTED, "similarity_fn_name 'maxsim' is not supported (cosine, dot, ");
    temp_free(&t);
}

static void test_no_memory(void) {
    struct temp_folder t = temp_new();
    temp_text(&t, st_file, "{\"prompts\":{\"a\":\"b\"},\"default_prompt_name\":\"a\"}");
    temp_text(&t, tokenizer_file, "{}");
    long n = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK && n < 1000;) {
        struct st_config c;
        struct errmsg msg = {0};
        fault_arm(FAULT_ALLOC, ++n, false);
        e = st_config_load(t.path, t.path, 64, &c, &msg);
        fault_disarm();
        if (e)
            CHECK_ERROR(e, ERR_NOMEM, msg, "");
        st_config_free(&c);
    }
    CHECK(n > 8 && n < 1000);
    temp_free(&t);
}

int main(void) {
    json_init();
    test_length();
    test_prompts();
    test_no_memory();
    return check_done();
}
