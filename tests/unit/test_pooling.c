// modules.json and the modules' own files, in both forms, and what is refused by name (FAULTS 50);
// pooling applied to known numbers.
#include "base/fault.h"
#include "base/json.h"
#include "compute/cpu/cpu.h"
#include "pooling/modules.h"
#include "pooling/pooler.h"
#include "pooling/score_head.h"
#include "tests/unit/test_weights_files.h"

static struct device *device;

#define OLD "sentence_transformers.models."
#define MODULE(path, type) "{\"idx\":0,\"name\":\"0\",\"path\":\"" path "\",\"type\":\"" type "\"}"
#define FIRST MODULE("", OLD "Transformer")
#define POOLING MODULE("1_Pooling", OLD "Pooling")
#define DENSE MODULE("2_Dense", OLD "Dense")

static struct pooling *load(const struct temp_folder *t, size_t hidden, int mode) {
    struct pooling *p = NULL;
    struct errmsg msg = {0};
    CHECK_OK(pooling_load(t->path, hidden, mode, device, &p, &msg), msg);
    return p;
}

static void refused(const struct temp_folder *t, enum err want, const char *part) {
    struct pooling *p = NULL;
    struct errmsg msg = {0};
    CHECK_ERROR(pooling_load(t->path, 2, -1, device, &p, &msg), want, msg, part);
    CHECK(!p);
    pooling_free(p);
}

static void check_mode(const struct temp_folder *t, const char *config, const char *name,
                       size_t dim) {
    temp_text(t, "1_Pooling/config.json", config);
    struct pooling *p = load(t, 2, -1);
    if (p) {
        CHECK_STR(pooling_facts_of(p)->mode_name, name);
        CHECK_INT(pooling_facts_of(p)->dim, dim);
    }
    pooling_free(p);
}

static void test_modes(void) {
    struct temp_folder t = temp_new();
    struct pooling *p = load(&t, 7, -1); // no modules.json
    CHECK_STR(pooling_facts_of(p)->mode_name, "mean");
    CHECK(pooling_facts_of(p)->dim == 7 && !pooling_facts_of(p)->normalizes &&
          pooling_facts_of(p)->includes_prompt);
    pooling_free(p);

    temp_text(&t, "modules.json", "[" FIRST "," POOLING "]");
    refused(&t, ERR_NOT_FOUND, "1_Pooling/config.json: ");
    check_mode(&t, "{\"word_embedding_dimension\":2,\"pooling_mode_cls_token\":true}", "cls", 2);
    check_mode(&t,
               "{\"word_embedding_dimension\":2,\"pooling_mode_mean_tokens\":true,"
               "\"pooling_mode_max_tokens\":false}",
               "mean", 2);
    check_mode(&t, "{\"pooling_mode_max_tokens\":true}", "max", 2);
    check_mode(&t, "{\"pooling_mode_mean_sqrt_len_tokens\":true}", "mean_sqrt_len_tokens", 2);
    check_mode(&t, "{\"pooling_mode_lasttoken\":true}", "lasttoken", 2);
    check_mode(&t, "{}", "mean", 2);
    check_mode(&t, "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}",
               "cls+mean", 4);
    check_mode(&t, "{\"embedding_dimension\":2,\"pooling_mode\":\"lasttoken\"}", "lasttoken", 2);
    check_mode(&t, "{\"pooling_mode\":[\"mean\",\"cls\",\"max\"]}", "mean+cls+max", 6);
    // the new key wins over old flags that stand beside it
    check_mode(&t, "{\"pooling_mode\":\"cls\",\"pooling_mode_mean_tokens\":true}", "cls", 2);
    check_mode(&t, "{\"pooling_mode\":\"cls\",\"pooling_mode_mean_tokens\":7}", "cls", 2);
    check_mode(&t, "{\"embedding_dimension\":2,\"word_embedding_dimension\":7}", "mean", 2);

    temp_text(&t, "1_Pooling/config.json", "{\"pooling_mode\":\"cls\",\"include_prompt\":false}");
    p = load(&t, 2, POOL_LAST);
    CHECK_STR(pooling_facts_of(p)->mode_name, "lasttoken");
    CHECK(!pooling_facts_of(p)->includes_prompt);
    pooling_free(p);

    static const struct {
        const char *config;
        enum err want;
        const char *part;
    } bad[] = {
        {"{\"pooling_mode\":\"weightedmean\"}", ERR_UNSUPPORTED,
         "1_Pooling/config.json: pooling mode 'weightedmean' is not supported (cls, max, mean, "
         "mean_sqrt_len_tokens, lasttoken are)"},
        {"{\"pooling_mode_weightedmean_tokens\":true}", ERR_UNSUPPORTED,
         "'pooling_mode_weightedmean_tokens' is true"},
        {"{\"pooling_mode\":\"MEAN\"}", ERR_UNSUPPORTED, "'MEAN'"},
        {"{\"pooling_mode\":[]}", ERR_INVALID, "'pooling_mode' must be"},
        {"{\"pooling_mode\":[1]}", ERR_INVALID, "'pooling_mode' must be"},
        {"{\"pooling_mode\":3}", ERR_INVALID, "'pooling_mode' must be"},
        {"{\"pooling_mode\":[\"cls\",\"cls\",\"cls\",\"cls\",\"cls\",\"cls\"]}", ERR_UNSUPPORTED,
         "more than 5 pooling modes"},
        {"{\"pooling_mode_cls_token\":1}", ERR_INVALID, "'pooling_mode_cls_token' must be true"},
        {"{\"include_prompt\":\"no\"}", ERR_INVALID, "'include_prompt' must be true or false"},
        {"{\"word_embedding_dimension\":3}", ERR_INVALID,
         "pooling reads vectors of 3, config.json's hidden size is 2"},
        {"{\"embedding_dimension\":0}", ERR_INVALID, "'embedding_dimension' is 0"},
        {"[]", ERR_INVALID, "1_Pooling/config.json: not a JSON object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        temp_text(&t, "1_Pooling/config.json", bad[i].config);
        refused(&t, bad[i].want, bad[i].part);
    }
    temp_free(&t);
}

// The forms of a path, a transformer in a folder of its own, and dropout, which is training's.
static void test_paths(void) {
    static const char *const paths[][2] = {{"", ""},
                                           {".", ""},
                                           {"./", ""},
                                           {"0_Transformer", "0_Transformer"},
                                           {"./0_Transformer", "0_Transformer"},
                                           {"././/0_Transformer//", "0_Transformer"},
                                           {"a/b", "a/b"}};
    struct temp_folder t = temp_new();
    struct errmsg msg = {0};
    char found[128] = "x", text[512];
    CHECK_OK(pooling_find_transformer(t.path, found, &msg), msg); // no modules.json
    CHECK_STR(found, "");
    temp_text(&t, "1_Pooling/config.json", "{\"pooling_mode_cls_token\":true}");
    temp_text(&t, "2_Dropout/config.json", "{\"dropout\":0.2}");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(text, sizeof text,
                 "[{\"path\":\"%s\",\"type\":\"" OLD
                 "Transformer\"}," MODULE("./1_Pooling/", OLD "Pooling") "," MODULE(
                     "2_Dropout", OLD "Dropout") "," MODULE("3_Normalize", OLD "Normalize") "]",
                 paths[i][0]);
        temp_text(&t, "modules.json", text);
        CHECK_OK(pooling_find_transformer(t.path, found, &msg), msg);
        CHECK_STR(found, paths[i][1]);
        struct pooling *p = load(&t, 2, -1);
        CHECK_STR(pooling_facts_of(p)->mode_name, "cls");
        CHECK(pooling_facts_of(p)->normalizes && pooling_facts_of(p)->dim == 2);
        pooling_free(p);
    }
    temp_text(&t, "modules.json", "[" MODULE("../x", OLD "Transformer") "]");
    CHECK_ERROR(pooling_find_transformer(t.path, found, &msg), ERR_INVALID, msg,
                "modules.json: path '../x' must lead to a folder within");
    temp_free(&t);
}

static void test_list(void) {
    static const struct {
        const char *modules;
        enum err want;
        const char *part;
    } bad[] = {
        {"{}", ERR_INVALID, "modules.json: not a JSON array"},
        {"[3]", ERR_INVALID, "module 0 is not an object"},
        {"[]", ERR_UNSUPPORTED, "no Pooling module"},
        {"[" FIRST "]", ERR_UNSUPPORTED, "no Pooling module"},
        {"[" FIRST "," POOLING "," MODULE("2", OLD "LSTM") "]", ERR_UNSUPPORTED,
         "modules.json: module type 'sentence_transformers.models.LSTM' is not supported "
         "(Transformer, Pooling, Dense, Normalize, Dropout of sentence_transformers are)"},
        {"[" FIRST "," MODULE("1", "custom_st.Pooling") "]", ERR_UNSUPPORTED,
         "module type 'custom_st.Pooling'"},
        {"[" FIRST "," DENSE "]", ERR_UNSUPPORTED,
         "module 1 is sentence_transformers.models.Dense"},
        {"[" POOLING "]", ERR_UNSUPPORTED, "module 0 is"},
        {"[" FIRST "," POOLING "," POOLING "]", ERR_UNSUPPORTED, "module 2 is"},
        {"[" FIRST "," POOLING ",{\"type\":\"" OLD "Normalize\",\"path\":7}]", ERR_INVALID,
         "'path' must be a string"},
        {"[" FIRST "," MODULE("1", OLD "Dropout") "]", ERR_UNSUPPORTED, "module 1 is"},
        {"[" FIRST "," MODULE("../1_Pooling", OLD "Pooling") "]", ERR_INVALID,
         "path '../1_Pooling' must lead to a folder within"},
        {"[" FIRST "," MODULE("/1_Pooling", OLD "Pooling") "]", ERR_INVALID, "path '/1_Pooling'"},
        {"[" FIRST ",{\"type\":7}]", ERR_INVALID, "'type' must be a string"},
    };
    struct temp_folder t = temp_new();
    temp_text(&t, "1_Pooling/config.json", "{}");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        temp_text(&t, "modules.json", bad[i].modules);
        refused(&t, bad[i].want, bad[i].part);
    }
    temp_text(
        &t, "modules.json",
        "[" MODULE("", "sentence_transformers.base.modules.transformer.Transformer") "," MODULE(
            "1_Pooling",
            "sentence_transformers.sentence_transformer.modules.pooling.Pooling") "," MODULE("2_"
                                                                                             "Norma"
                                                                                             "lize",
                                                                                             "sente"
                                                                                             "nce_"
                                                                                             "trans"
                                                                                             "forme"
                                                                                             "rs."
                                                                                             "base."
                                                                                             "modul"
                                                                                             "es."
                                                                                             "norma"
                                                                                             "lize."
                                                                                             "Norma"
                                                                                             "lize") "]");
    struct pooling *p = load(&t, 2, -1);
    CHECK(pooling_facts_of(p)->normalizes);
    pooling_free(p);
    temp_text(&t, "2_Normalize/config.json", "{\"module_input_name\":\"token_embeddings\"}");
    refused(&t, ERR_UNSUPPORTED,
            "2_Normalize/config.json: 'module_input_name' is 'token_embeddings'");
    temp_free(&t);
}

static void test_dense_files(void) {
    static const char header[] =
        "{\"linear.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}}";
    static const struct {
        const char *config;
        enum err want;
        const char *part;
    } bad[] = {
        {"{\"in_features\":2}", ERR_INVALID, "2_Dense/config.json: 'out_features' is missing"},
        {"{\"out_features\":2}", ERR_INVALID, "'in_features' is missing"},
        {"{\"in_features\":4,\"out_features\":3}", ERR_INVALID,
         "2_Dense/config.json: 'in_features' is 4, the module before gives 2"},
        {"{\"in_features\":2,\"out_features\":3,\"activation_function\":"
         "\"torch.nn.modules.activation.Hardswish\"}",
         ERR_UNSUPPORTED,
         "activation_function 'torch.nn.modules.activation.Hardswish' is not supported (Tanh, "
         "Identity, ReLU, GELU, SiLU of torch.nn are)"},
        {"{\"in_features\":2,\"out_features\":3,\"activation_function\":\"custom.Tanh\"}",
         ERR_UNSUPPORTED, "'custom.Tanh'"},
        {"{\"in_features\":2,\"out_features\":3,\"use_residual\":true}", ERR_UNSUPPORTED,
         "'use_residual'"},
        {"{\"in_features\":2,\"out_features\":3,\"module_output_name\":\"x\"}", ERR_UNSUPPORTED,
         "'module_output_name' is 'x'"},
        {"{\"in_features\":2,\"out_features\":3}", ERR_NOT_FOUND,
         "2_Dense/model.safetensors: tensor 'linear.bias' is missing"},
        {"{\"in_features\":2,\"out_features\":4,\"bias\":false}", ERR_INVALID,
         "tensor 'linear.weight': shape is [3, 2], config.json asks for [4, 2]"},
    };
    struct temp_folder t = temp_new();
    temp_text(&t, "modules.json", "[" FIRST "," POOLING "," DENSE "]");
    temp_text(&t, "1_Pooling/config.json", "{}");
    refused(&t, ERR_NOT_FOUND, "2_Dense/config.json: ");
    temp_text(&t, "2_Dense/config.json", "{\"in_features\":2,\"out_features\":3,\"bias\":false}");
    refused(&t, ERR_NOT_FOUND, "2_Dense: neither model.safetensors nor");
    temp_text(&t, "2_Dense/pytorch_model.bin", "x");
    refused(&t, ERR_UNSUPPORTED, "2_Dense: only pytorch_model.bin is there");
    temp_write_safetensors(&t, "2_Dense/model.safetensors", header, 24);
    struct pooling *p = load(&t, 2, -1);
    CHECK_INT(pooling_facts_of(p)->dim, 3);
    pooling_free(p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        temp_text(&t, "2_Dense/config.json", bad[i].config);
        refused(&t, bad[i].want, bad[i].part);
    }
    temp_free(&t);
}

// Two sequences of known states through cls+max, a Normalize in the middle, and a Dense that swaps
// and scales: worked out by hand.
static void test_apply(void) {
    struct temp_folder t = temp_new();
    temp_text(&t, "modules.json",
              "[" FIRST "," POOLING "," MODULE("2_Normalize", OLD "Normalize") "," MODULE(
                  "3_Dense", OLD "Dense") "," MODULE("4_Normalize", OLD "Normalize") "]");
    temp_text(&t, "1_Pooling/config.json",
              "{\"pooling_mode\":[\"cls\",\"max\"],\"include_prompt\":false}");
    temp_text(&t, "3_Dense/config.json",
              "{\"in_features\":2,\"out_features\":2,\"activation_function\":"
              "\"torch.nn.modules.linear.Identity\"}");
    size_t size;
    char *file = temp_safetensors(
        "{\"linear.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
        "\"linear.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
        24, &size);
    memcpy(file + size - 24, (float[]){0, 2, 1, 0, 0, 0.5f}, 24);
    temp_write(&t, "3_Dense/model.safetensors", file, size);
    free(file);

    struct pooling *p = load(&t, 1, -1);
    CHECK(p && pooling_facts_of(p)->dim == 2 && pooling_facts_of(p)->normalizes);
    struct arena ws;
    struct errmsg msg = {0};
    CHECK_OK(device->ops->workspace_new(
                 device, device_mat_bytes(5, 1) + pooling_workspace_bytes(p, 2), &ws),
             msg);
    struct mat x = device_mat(device, &ws, 5, 1);
    static const float states[5] = {3, 4, -1, 0, 5};
    for (size_t i = 0; i < 5; i++)
        x.data[i * x.ld] = states[i];
    int32_t cu[] = {0, 3, 5}, ids[5] = {0};
    struct batch b = {ids, ids, ids, cu, 5, 2};
    float got[4];
    size_t mark = ws.used;
    struct mat y = pooling_apply(p, x, &b, NULL, false, &ws);
    CHECK_OK(device_sync(device, &msg), msg);
    device->ops->read(device, y, got);
    // (3, 4) -> (.6, .8) -> (2 * .8, .6 + .5); (0, 5) -> (0, 1) -> (2, .5)
    CHECK_NEAR(got, ((float[]){1.6f, 1.1f, 2, 0.5f}), 4, 1e-6, 0); // one rounding each
    CHECK_INT(ws.used, ws.size);
    ws.used = mark;
    y = pooling_apply(p, x, &b, NULL, true, &ws);
    CHECK_OK(device_sync(device, &msg), msg);
    device->ops->read(device, y, got);
    CHECK_NEAR(got, ((float[]){0.82404f, 0.56653f, 0.97014f, 0.24254f}), 4, 1e-5, 0); // 5 digits
    // too small a workspace is reported, not written over
    y = pooling_apply(p, x, &b, NULL, true, &ws);
    CHECK(!y.data && device_sync(device, &msg) != ERR_OK);
    CHECK(!pooling_apply(p, (struct mat){0}, &b, NULL, true, &ws).data);
    CHECK_OK(device_sync(device, &msg), msg);
    device->ops->workspace_free(device, &ws);
    pooling_free(p);

    long n = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK && n < 1000;) {
        fault_arm(FAULT_ALLOC, ++n, false);
        e = pooling_load(t.path, 1, -1, device, &p, &msg);
        fault_disarm();
        if (e)
            CHECK_ERROR(e, ERR_NOMEM, msg, "");
        pooling_free(p);
        p = NULL;
    }
    CHECK(n > 20 && n < 1000);
    temp_free(&t);
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    if (device) {
        test_modes();
        test_paths();
        test_list();
        test_dense_files();
        test_apply();
    }
    cpu_device_free(device);
    return check_done();
}
