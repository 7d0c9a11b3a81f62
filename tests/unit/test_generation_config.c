// What a model says about generating: every source of end tokens, sampling defaults, templates.
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_gguf_kit.h"
#include "weights/generation_config.h"

enum { VOCAB = 1000 };

static void refused(const char *path, enum err want, const char *part) {
    struct errmsg msg = {0};
    struct generation_config c;
    CHECK_ERROR(generation_config_load(path, VOCAB, &c, &msg), want, msg, part);
    CHECK(!c.eos_ids && !c.chat_template);
}

static struct generation_config load(const char *path) {
    struct errmsg msg = {0};
    struct generation_config c;
    CHECK_OK(generation_config_load(path, VOCAB, &c, &msg), msg);
    return c;
}

static void test_empty(struct temp_folder *t) {
    struct generation_config c = load(t->path);
    CHECK(c.eos_count == 0 && isnan(c.temperature) && isnan(c.top_p) && isnan(c.min_p) &&
          isnan(c.repetition_penalty) && c.top_k == -1);
    CHECK(!c.chat_template && !c.tool_template && !c.bos_token && !c.eos_token && !c.pad_token &&
          !c.unk_token);
    generation_config_free(&c);
}

static void test_ends(struct temp_folder *t) {
    temp_text(t, "generation_config.json", "{\"eos_token_id\":[7,8,7]}");
    temp_text(t, "config.json", "{\"eos_token_id\":9}");
    temp_text(t, "tokenizer_config.json",
              "{\"eos_token\":{\"content\":\"<end>\"},\"bos_token\":\"<s>\",\"pad_token\":null,"
              "\"added_tokens_decoder\":{\"3\":{\"content\":\"<s>\"},\"11\":{\"content\":"
              "\"<end>\"}}}");
    temp_text(t, "special_tokens_map.json", "{\"pad_token\":\"<pad>\",\"bos_token\":\"other\"}");
    struct generation_config c = load(t->path);
    CHECK(c.eos_count == 4 && c.eos_ids[0] == 7 && c.eos_ids[1] == 8 && c.eos_ids[2] == 9 &&
          c.eos_ids[3] == 11);
    CHECK_STR(c.bos_token, "<s>");
    CHECK_STR(c.eos_token, "<end>");
    CHECK_STR(c.pad_token, "<pad>");
    CHECK(!c.unk_token);
    generation_config_free(&c);

    // transformers 5 writes no added_tokens_decoder
    temp_text(t, "tokenizer_config.json", "{\"eos_token\":\"<end>\"}");
    temp_text(t, "tokenizer.json",
              "{\"added_tokens\":[{\"id\":5,\"content\":\"<end>\"}],\"model\":{\"vocab\":{}}}");
    c = load(t->path);
    CHECK(c.eos_count == 4 && c.eos_ids[3] == 5);
    generation_config_free(&c);
    temp_text(t, "tokenizer.json",
              "{\"added_tokens\":[],\"model\":{\"vocab\":{\"a\":0,\"<end>\":6}}}");
    c = load(t->path);
    CHECK(c.eos_count == 4 && c.eos_ids[3] == 6);
    generation_config_free(&c);
    temp_text(t, "tokenizer.json", "{\"model\":{\"vocab\":[[\"a\",0.0]]}}");
    c = load(t->path);
    CHECK_INT(c.eos_count, 3);
    generation_config_free(&c);
    temp_text(t, "tokenizer.json", "{\"model\":{\"vocab\":{\"<end>\":1000}}}");
    refused(t->path, ERR_INVALID, "'eos_token' '<end>' has the id 1000, the model has 1000 tokens");
    unlink(temp_path(t, "tokenizer.json"));

    temp_text(t, "config.json", "{\"eos_token_id\":1000}");
    refused(t->path, ERR_INVALID, "config.json: 'eos_token_id' must hold whole numbers below");
    temp_text(t, "config.json", "{\"eos_token_id\":null}");
    temp_text(t, "generation_config.json", "{\"eos_token_id\":[1,-1]}");
    refused(t->path, ERR_INVALID, "generation_config.json: 'eos_token_id'");
    temp_text(t, "generation_config.json", "{\"eos_token_id\":\"</s>\"}");
    refused(t->path, ERR_INVALID, "generation_config.json: 'eos_token_id'");
    temp_text(t, "generation_config.json", "[]");
    refused(t->path, ERR_INVALID, "generation_config.json: not a JSON object");
}

static void test_sampling(struct temp_folder *t) {
    temp_text(t, "generation_config.json",
              "{\"do_sample\":true,\"temperature\":0.7,\"top_p\":0.8,\"top_k\":20,"
              "\"repetition_penalty\":1.05,\"min_p\":null}");
    struct generation_config c = load(t->path);
    CHECK(c.temperature == 0.7f && c.top_p == 0.8f && c.top_k == 20 &&
          c.repetition_penalty == 1.05f && isnan(c.min_p));
    generation_config_free(&c);
    temp_text(t, "generation_config.json", "{\"do_sample\":false,\"temperature\":0.7}");
    c = load(t->path);
    CHECK(c.temperature == 0);
    generation_config_free(&c);
    temp_text(t, "generation_config.json", "{\"top_p\":1.5}");
    refused(t->path, ERR_INVALID, "generation_config.json: 'top_p'");
    temp_text(t, "generation_config.json", "{\"top_k\":-1}");
    refused(t->path, ERR_INVALID, "'top_k'");
    temp_text(t, "generation_config.json", "{\"repetition_penalty\":0}");
    refused(t->path, ERR_INVALID, "'repetition_penalty'");
    unlink(temp_path(t, "generation_config.json"));
}

static void check_templates(struct temp_folder *t, const char *chat, const char *tools) {
    struct generation_config c = load(t->path);
    CHECK((chat == NULL) == (c.chat_template == NULL));
    if (chat && c.chat_template)
        CHECK(strcmp(c.chat_template, chat) == 0 && c.chat_template_len == strlen(chat));
    CHECK((tools == NULL) == (c.tool_template == NULL));
    if (tools && c.tool_template)
        CHECK(strcmp(c.tool_template, tools) == 0 && c.tool_template_len == strlen(tools));
    generation_config_free(&c);
}

static void test_templates(struct temp_folder *t) {
    temp_text(t, "tokenizer_config.json", "{\"chat_template\":\"field\"}");
    temp_text(t, "chat_template.json", "{\"chat_template\":\"json\"}");
    check_templates(t, "field", NULL);
    temp_text(t, "tokenizer_config.json",
              "{\"chat_template\":[{\"name\":\"default\",\"template\":\"one\"},{\"name\":\"rag\","
              "\"template\":\"x\"},{\"name\":\"tool_use\",\"template\":\"two\"}]}");
    check_templates(t, "one", "two");
    temp_text(t, "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\"}]}");
    refused(t->path, ERR_INVALID, "tokenizer_config.json: 'chat_template' must list objects");
    temp_text(t, "tokenizer_config.json", "{\"chat_template\":5}");
    refused(t->path, ERR_INVALID, "'chat_template' must be a string or a list");
    temp_text(t, "tokenizer_config.json", "{}");
    check_templates(t, "json", NULL);
    temp_text(t, "chat_template.jinja", "file \xc3\xa9");
    check_templates(t, "file \xc3\xa9", NULL);
    temp_text(t, "additional_chat_templates/tool_use.jinja", "tools");
    check_templates(t, "file \xc3\xa9", "tools");
    temp_text(t, "chat_template.jinja", "\xff");
    refused(t->path, ERR_INVALID, "chat_template.jinja: not UTF-8 at byte 0");
    temp_write(t, "chat_template.jinja", "a\0b", 3);
    refused(t->path, ERR_INVALID, "chat_template.jinja: a NUL");
}

static void add_tokens(struct kit *k) {
    static const char *const tokens[] = {"<s>", "</s>", "a", "<|im_end|>", "<|eot_id|>", "\xff"};
    kit_texts(k, "tokenizer.ggml.tokens", tokens, 6);
    // "</s>" is text here, as in Qwen2's vocabulary
    kit_i32s(k, "tokenizer.ggml.token_type", (int32_t[]){3, 1, 1, 3, 4, 1}, 6);
}

static void test_gguf(struct temp_folder *t) {
    struct kit k = {0};
    add_tokens(&k);
    kit_u32(&k, "tokenizer.ggml.bos_token_id", 0);
    kit_u32(&k, "tokenizer.ggml.eos_token_id", 2);
    kit_u32(&k, "tokenizer.ggml.eot_token_id", 3);
    kit_u32(&k, "tokenizer.ggml.padding_token_id", 900); // no text, but a row
    kit_text(&k, "tokenizer.chat_template", "chat");
    kit_text(&k, "tokenizer.chat_template.tool_use", "tools");
    kit_f32(&k, "general.sampling.temp", 0.5f);
    kit_u32(&k, "general.sampling.top_k", 4);
    kit_write(&k, t, "m.gguf");
    struct generation_config c = load(temp_path(t, "m.gguf"));
    CHECK(c.eos_count == 3 && c.eos_ids[0] == 2 && c.eos_ids[1] == 3 && c.eos_ids[2] == 4);
    CHECK_STR(c.bos_token, "<s>");
    CHECK_STR(c.eos_token, "a");
    CHECK(!c.pad_token && !c.unk_token && c.temperature == 0.5f && c.top_k == 4);
    CHECK_STR(c.chat_template, "chat");
    CHECK_STR(c.tool_template, "tools");
    CHECK(c.chat_template_len == 4 && c.tool_template_len == 5);
    generation_config_free(&c);

    // a vocabulary that is all ends: no such tokenizer would be taken either
    const char *ends[300];
    for (size_t i = 0; i < 300; i++)
        ends[i] = "<|im_end|>";
    kit_texts(&k, "tokenizer.ggml.tokens", ends, 300);
    kit_write(&k, t, "m.gguf");
    refused(temp_path(t, "m.gguf"), ERR_INVALID, "over 256 tokens end a text");

    add_tokens(&k);
    kit_u32(&k, "tokenizer.ggml.eos_token_id", 1000);
    kit_write(&k, t, "m.gguf");
    refused(temp_path(t, "m.gguf"), ERR_INVALID,
            "key 'tokenizer.ggml.eos_token_id' is 1000, the model has 1000 tokens");
    add_tokens(&k);
    kit_u32(&k, "tokenizer.ggml.unknown_token_id", 5);
    kit_write(&k, t, "m.gguf");
    refused(temp_path(t, "m.gguf"), ERR_INVALID, "token 5 is not UTF-8 text");
    add_tokens(&k);
    kit_text(&k, "tokenizer.chat_template", "\xff");
    kit_write(&k, t, "m.gguf");
    refused(temp_path(t, "m.gguf"), ERR_INVALID, "key 'tokenizer.chat_template': not UTF-8");
}

#define DEEPSEEK_END                                                                               \
    "<\xef\xbd\x9c"                                                                                \
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"

// By name, where the file's keys say nothing.
static void test_gguf_names(struct temp_folder *t) {
    static const char *const tokens[] = {
        "<|im_end|>", "</s>",  "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|endoftext|>",
        "<|eom_id|>", "<eos>", "<|im_end",    DEEPSEEK_END,    "</s>"};
    // 1: text, 3: control, 4: the user's
    static const int32_t types[] = {1, 1, 3, 3, 3, 4, 3, 1, 3, 3, 3};
    static const int32_t ends[] = {0, 5, 6, 9, 10};
    struct kit k = {0};
    kit_texts(&k, "tokenizer.ggml.tokens", tokens, 11);
    kit_i32s(&k, "tokenizer.ggml.token_type", types, 11);
    kit_write(&k, t, "m.gguf");
    struct generation_config c = load(temp_path(t, "m.gguf"));
    CHECK(c.eos_count == 5 && memcmp(c.eos_ids, ends, sizeof ends) == 0);
    generation_config_free(&c);
}

static void test_memory(struct temp_folder *t) {
    temp_text(t, "generation_config.json", "{\"eos_token_id\":[7,8],\"top_k\":3}");
    temp_text(t, "config.json", "{\"eos_token_id\":9}");
    temp_text(t, "tokenizer_config.json", "{\"eos_token\":\"e\",\"unk_token\":\"u\"}");
    temp_text(t, "tokenizer.json", "{\"model\":{\"vocab\":{\"e\":1}}}");
    temp_text(t, "chat_template.jinja", "x");
    struct kit k = {0};
    add_tokens(&k);
    kit_u32(&k, "tokenizer.ggml.bos_token_id", 0);
    kit_text(&k, "tokenizer.chat_template", "chat");
    kit_write(&k, t, "m.gguf");
    for (int gguf = 0; gguf < 2; gguf++)
        for (long n = 1;; n++) {
            struct errmsg msg = {0};
            struct generation_config c;
            const char *path = gguf ? temp_path(t, "m.gguf") : t->path;
            fault_arm(FAULT_ALLOC, n, false);
            enum err e = generation_config_load(path, VOCAB, &c, &msg);
            bool reached = fault_calls(FAULT_ALLOC) >= n;
            fault_disarm();
            generation_config_free(&c);
            if (!reached) {
                CHECK_OK(e, msg);
                break;
            }
            CHECK_INT(e, ERR_NOMEM);
        }
}

int main(void) {
    json_init();
    struct temp_folder t = temp_new();
    test_empty(&t);
    test_ends(&t);
    test_sampling(&t);
    temp_free(&t);
    t = temp_new();
    test_templates(&t);
    test_gguf(&t);
    test_gguf_names(&t);
    test_memory(&t);
    temp_free(&t);
    return check_done();
}
