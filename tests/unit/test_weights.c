// A folder's weights: one file or shards, looking up, and the account of what was taken (FAULTS 49,
// 51, 52, 54, 57).
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_weights_files.h"
#include "weights/weights.h"

#define T4(name, from, to)                                                                         \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" #from "," #to "]}"

static void open_refused(const struct temp_folder *t, enum err want, const char *part) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    enum err e = weights_open(t->path, &w, &msg);
    CHECK_ERROR(e, want, msg, part);
    CHECK(!w);
    weights_close(w);
}

static void test_single(void) {
    struct temp_folder t = temp_new();
    open_refused(&t, ERR_NOT_FOUND, "neither model.safetensors nor model.safetensors.index.json");
    temp_text(&t, "pytorch_model.bin", "x");
    open_refused(&t, ERR_UNSUPPORTED, "only pytorch_model.bin is there");
    temp_text(&t, "model.safetensors", "");
    open_refused(&t, ERR_INVALID, "model.safetensors: truncated: 0 bytes");
    temp_text(&t, "model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    open_refused(&t, ERR_INVALID, "model.safetensors: a Git LFS pointer");
    temp_write_safetensors(&t, "model.safetensors", "{" T4("a", 0, 4) "}", 3);
    open_refused(&t, ERR_INVALID, "model.safetensors: tensor 'a': data_offsets [0,4) run past");

    temp_write_safetensors(&t, "model.safetensors", "{" T4("b", 4, 8) "," T4("a", 0, 4) "}", 8);
    struct errmsg msg = {0};
    struct weights *w = NULL;
    CHECK_OK(weights_open(t.path, &w, &msg), msg);
    CHECK_INT(weights_count(w), 2);
    CHECK_STR(weights_at(w, 0).name, "b");
    CHECK_STR(weights_at(w, 1).name, "a");
    weights_close(w);
    temp_free(&t);
    CHECK(weights_open("build/no-such-folder", &w, &msg) == ERR_NOT_FOUND);
}

static void test_shards(void) {
    static const char one[] = "one.safetensors", two[] = "two.safetensors";
    static const char index[] = "model.safetensors.index.json";
    struct temp_folder t = temp_new();
    temp_text(&t, index,
              "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a\":\"one.safetensors\","
              "\"c\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
    open_refused(&t, ERR_NOT_FOUND, "index.json: shard 'one.safetensors' is missing");
    temp_write_safetensors(&t, one, "{" T4("a", 0, 4) "," T4("b", 4, 8) "}", 8);
    open_refused(&t, ERR_NOT_FOUND, "shard 'two.safetensors' is missing (it holds tensor 'c')");
    temp_write_safetensors(&t, two, "{" T4("c", 0, 4) "}", 4);
    struct errmsg msg = {0};
    struct weights *w = NULL;
    CHECK_OK(weights_open(t.path, &w, &msg), msg);
    CHECK(w && weights_count(w) == 3);
    weights_close(w);

    temp_write_safetensors(&t, two, "{}", 0);
    open_refused(&t, ERR_INVALID, "tensor 'c' is not in its shard 'two.safetensors'");
    temp_write_safetensors(&t, two, "{" T4("c", 0, 4) "," T4("d", 4, 8) "}", 8);
    open_refused(&t, ERR_INVALID, "two.safetensors: tensor 'd' is here, but not in model");
    temp_write_safetensors(&t, two, "{" T4("c", 0, 4) "," T4("a", 4, 8) "}", 8);
    open_refused(&t, ERR_INVALID, "tensor 'a' stands in ");
    temp_write_safetensors(&t, two, "{" T4("c", 0, 4) "}", 2);
    open_refused(&t, ERR_INVALID, "two.safetensors: tensor 'c': data_offsets [0,4) run past");
    temp_text(&t, index, "{\"weight_map\":{\"a\":\"../one.safetensors\"}}");
    open_refused(&t, ERR_INVALID, "shard '../one.safetensors' must be a plain file name");
    temp_text(&t, index, "{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}");
    open_refused(&t, ERR_INVALID, "shard '/etc/x.safetensors' must be a plain file name");
    temp_text(&t, index, "{\"weight_map\":{\"a\":\"model.bin\"}}");
    open_refused(&t, ERR_INVALID, "shard 'model.bin' is no .safetensors file");
    temp_text(&t, index, "{\"weight_map\":{\"a\":3}}");
    open_refused(&t, ERR_INVALID, "index.json: tensor 'a': shard ''");
    temp_text(&t, index, "{\"weight_map\":{}}");
    open_refused(&t, ERR_INVALID, "index.json: no weight_map");
    temp_text(&t, index, "{\"weight_map\":");
    open_refused(&t, ERR_INVALID, "index.json: ");
    temp_free(&t);
}

static struct weights *open_header(const struct temp_folder *t, const char *header, size_t data) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    temp_write_safetensors(t, "model.safetensors", header, data);
    CHECK_OK(weights_open(t->path, &w, &msg), msg);
    return w;
}

static void test_take(void) {
    struct temp_folder t = temp_new();
    struct errmsg msg = {0};
    struct tensor x;
    static const char *const prefixes[] = {"bert.", "model.bert."};
    struct weights *w =
        open_header(&t,
                    "{" T4("model.bert.probe", 0, 4) "," T4("bert.probe", 4, 8) "," T4(
                        "head", 8, 12) ","
                                       "\"bert.LayerNorm.gamma\":{\"dtype\":\"F16\",\"shape\":[2,1]"
                                       ",\"data_offsets\":[12,16]},"
                                       "\"bert.LayerNorm.beta\":{\"dtype\":\"I32\",\"shape\":[1],"
                                       "\"data_offsets\":[16,20]}}",
                    20);
    size_t one = 1;
    CHECK_OK(weights_detect_prefix(w, prefixes, 2, "probe", &msg), msg);
    CHECK_OK(weights_take(w, "probe", 1, &one, &x, &msg), msg);
    CHECK_STR(x.name, "model.bert.probe"); // the longest prefix that fits
    CHECK_OK(weights_detect_prefix(w, prefixes, 1, "absent", &msg), msg);
    CHECK_OK(weights_take(w, "head", 1, &one, &x, &msg), msg);
    CHECK_STR(x.name, "head");
    CHECK_OK(weights_detect_prefix(w, prefixes, 1, "probe", &msg), msg);
    CHECK_ERROR(weights_take(w, "head", 1, &one, &x, &msg), ERR_NOT_FOUND, msg,
                "model.safetensors: tensor 'bert.head' is missing");
    CHECK_OK(weights_take_bare(w, "head", 1, &one, &x, &msg), msg);
    CHECK(tensor_present(&x));
    CHECK(weights_take_bare(w, "body", 1, &one, &x, &msg) == ERR_NOT_FOUND && !tensor_present(&x));
    CHECK_OK(weights_take(w, "LayerNorm.weight", 2, (size_t[]){2, 1}, &x, &msg), msg);
    CHECK_STR(x.name, "bert.LayerNorm.gamma");
    CHECK_ERROR(weights_take(w, "LayerNorm.weight", 2, (size_t[]){1, 2}, &x, &msg), ERR_INVALID,
                msg, "tensor 'bert.LayerNorm.gamma': shape is [2, 1], config.json asks for [1, 2]");
    CHECK_ERROR(weights_take(w, "LayerNorm.weight", 1, &one, &x, &msg), ERR_INVALID, msg,
                "shape is [2, 1], config.json asks for [1]");
    CHECK_ERROR(weights_take(w, "LayerNorm.bias", 1, &one, &x, &msg), ERR_UNSUPPORTED, msg,
                "tensor 'bert.LayerNorm.beta': weights of another dtype");
    CHECK_ERROR(weights_check_all_taken(w, &msg), ERR_INVALID, msg,
                "model.safetensors: tensor 'bert.probe' has no place in this architecture");
    weights_close(w);
    temp_free(&t);
}

static void test_ignorable(void) {
    struct temp_folder t = temp_new();
    struct errmsg msg = {0};
    static const char *const prefix[] = {"bert."};
    struct weights *w = open_header(
        &t,
        "{" T4("bert.embeddings.position_ids", 0, 4) "," T4("bert.pooler.dense.bias", 4, 8) "," T4(
            "cls.predictions.bias", 8, 12) "," T4("cls.seq_relationship.weight", 12,
                                                  16) "," T4("vocab_projector.bias", 16,
                                                             20) "," T4("bert.probe", 20, 24) "}",
        24);
    struct tensor x;
    CHECK_OK(weights_detect_prefix(w, prefix, 1, "probe", &msg), msg);
    CHECK(weights_check_all_taken(w, &msg) == ERR_INVALID);
    CHECK_OK(weights_take(w, "probe", 1, (size_t[]){1}, &x, &msg), msg);
    CHECK_OK(weights_check_all_taken(w, &msg), msg);
    weights_close(w);
    temp_free(&t);
}

// Every allocation and every file call fails once: an error with words, nothing leaked.
static void test_faults(void) {
    struct temp_folder t = temp_new();
    temp_text(&t, "model.safetensors.index.json",
              "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
    temp_write_safetensors(&t, "one.safetensors", "{" T4("a", 0, 4) "}", 4);
    temp_write_safetensors(&t, "two.safetensors", "{" T4("b", 0, 4) "}", 4);
    static const enum fault_site sites[] = {FAULT_ALLOC, FAULT_FILE};
    for (size_t s = 0; s < 2; s++) {
        long n = 0;
        for (enum err e = ERR_NOMEM; e != ERR_OK && n < 1000;) {
            struct errmsg msg = {0};
            struct weights *w = NULL;
            fault_arm(sites[s], ++n, false);
            e = weights_open(t.path, &w, &msg);
            fault_disarm();
            if (e)
                CHECK_ERROR(e, s == 0 ? ERR_NOMEM : ERR_IO, msg, "");
            CHECK((e == ERR_OK) == (w != NULL) && (e == ERR_OK || msg.text[0]));
            weights_close(w);
        }
        CHECK(n > 3 && n < 1000);
    }
    temp_free(&t);
}

int main(void) {
    json_init();
    test_single();
    test_shards();
    test_take();
    test_ignorable();
    test_faults();
    return check_done();
}
