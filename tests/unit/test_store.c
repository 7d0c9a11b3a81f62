// The model store: names, places, and what a --model argument leads to.
#include "base/buf.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "hub/store.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;

// root + "/" + below; one of a few turning buffers.
static const char *at(const char *below) {
    static char turning[4][600];
    static int turn;
    char *out = turning[turn++ % 4];
    snprintf(out, sizeof turning[0], "%s/%s", root, below);
    return out;
}

static void put(const char *below, const char *content) {
    char folder[600];
    struct errmsg msg;
    snprintf(folder, sizeof folder, "%s", at(below));
    *strrchr(folder, '/') = '\0';
    CHECK_OK(file_make_dirs(folder, &msg), msg);
    CHECK_OK(file_write_atomic(at(below), content, strlen(content), &msg), msg);
}

static void put_model(const char *folder) {
    char name[400];
    snprintf(name, sizeof name, "%s/config.json", folder);
    put(name, "{}");
    snprintf(name, sizeof name, "%s/model.safetensors", folder);
    put(name, "x");
}

static void check_found(const char *arg, const char *want) {
    struct errmsg msg = {0};
    char *path;
    CHECK_OK(store_resolve(arg, &path, &msg), msg);
    CHECK_STR(path ? path : "", want);
    mem_free(path);
}

static void check_refused(const char *arg, enum err code, const char *words) {
    struct errmsg msg = {0};
    char *path;
    CHECK_INT(store_resolve(arg, &path, &msg), code);
    CHECK(path == NULL);
    if (!CHECK(strstr(msg.text, words) != NULL))
        fprintf(stderr, "    '%s' is not in \"%s\"\n", words, msg.text);
}

static void test_names(void) {
    static const char *const good[] = {
        "a/b",         "gpt2", "sentence-transformers/all-MiniLM-L6-v2", "_x/y_", "a.b/c.d-e_f",
        "BAAI/bge-m3", "1/2"};
    static const char *const bad[] = {"",     "/",       "a/",           "/a",   "a/b/c", "..",
                                      "../a", "a/..",    "a..b",         "a--b", "-a/b",  "a-/b",
                                      "a/.b", "a/b.git", "a b/c",        "a\\b", "a/b\n", "a@b/c",
                                      "~/a",  ".",       "caf\xc3\xa9/x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!CHECK(store_name_valid(good[i])))
            fprintf(stderr, "    %s\n", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!CHECK(!store_name_valid(bad[i])))
            fprintf(stderr, "    %s\n", bad[i]);
    char name[120];
    memset(name, 'a', sizeof name);
    name[96] = '\0';
    CHECK(store_name_valid(name));
    name[96] = 'a';
    name[97] = '\0';
    CHECK(!store_name_valid(name));

    CHECK(store_file_valid("config.json"));
    CHECK(store_file_valid("1_Pooling/config.json"));
    CHECK(store_file_valid(".gitattributes"));
    CHECK(store_file_valid("a..b"));
    static const char *const bad_files[] = {"",     "/a",    "a/", "a//b",     "..",   "../a",
                                            "a/..", "a/./b", ".",  "a\\..\\b", "a\nb", "a\x7f"};
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++)
        if (!CHECK(!store_file_valid(bad_files[i])))
            fprintf(stderr, "    %s\n", bad_files[i]);
}

static void check_root(const char *want) {
    struct errmsg msg = {0};
    char *path;
    CHECK_OK(store_root(&path, &msg), msg);
    CHECK_STR(path ? path : "", want);
    mem_free(path);
}

static void test_root(void) {
    struct errmsg msg;
    char *path;
    setenv("HOME", "/h", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("TRINE_HOME", "/t", 1);
    check_root("/t");
    setenv("TRINE_HOME", "", 1); // empty counts as unset
    check_root("/x/trine");
    unsetenv("XDG_CACHE_HOME");
    check_root("/h/.cache/trine");
    unsetenv("HOME");
    CHECK_INT(store_root(&path, &msg), ERR_NOT_FOUND);
}

static void test_resolve(void) {
    setenv("TRINE_HOME", at("store"), 1);
    setenv("HF_HOME", at("hf"), 1);
    put_model("store/models/acme/tiny");
    put_model("store/models/alone");
    put_model("store/models/acme/twice");
    put_model("store/models/other/twice");
    put("store/models/acme/one-gguf/m.gguf", "GGUF");
    put("store/models/acme/two-gguf/a.gguf", "GGUF");
    put("store/models/acme/two-gguf/b.gguf", "GGUF");
    put("store/models/acme/.half.part/config.json", "{}");
    put("store/models/acme/no-weights/config.json", "{}");
    put("store/models/acme/sharded/config.json", "{}");
    put("store/models/acme/sharded/model.safetensors.index.json", "{}");
    put("a-file.txt", "x");
    put("a-file.gguf", "GGUF");

    check_found("acme/tiny", at("store/models/acme/tiny"));
    check_found("tiny", at("store/models/acme/tiny"));
    check_found("alone", at("store/models/alone"));
    check_found("acme/sharded", at("store/models/acme/sharded"));
    check_found("acme/one-gguf", at("store/models/acme/one-gguf/m.gguf"));
    check_found("acme/two-gguf/b.gguf", at("store/models/acme/two-gguf/b.gguf"));
    check_found(at("store/models/acme/no-weights"), at("store/models/acme/no-weights"));
    check_found(at("a-file.gguf"), at("a-file.gguf"));
    check_found(at("store/models/acme/one-gguf"), at("store/models/acme/one-gguf/m.gguf"));
    check_refused(at("store/models/acme/two-gguf"), ERR_INVALID, "2 .gguf files");

    check_refused("twice", ERR_INVALID, "acme/twice");
    check_refused("twice", ERR_INVALID, "other/twice");
    check_refused("acme/two-gguf", ERR_INVALID, "2 .gguf files");
    check_refused("acme/two-gguf/c.gguf", ERR_NOT_FOUND, "trine pull acme/two-gguf --file c.gguf");
    check_refused("acme/two-gguf/../tiny", ERR_NOT_FOUND, "no such folder");
    check_refused("acme/no-weights", ERR_NOT_FOUND, "trine pull acme/no-weights");
    check_refused("acme/nothing", ERR_NOT_FOUND, at("store/models"));
    check_refused("acme/nothing", ERR_NOT_FOUND, at("hf/hub"));
    check_refused(at("a-file.txt"), ERR_INVALID, "neither a folder nor a .gguf file");
    check_refused(at("absent"), ERR_NOT_FOUND, "no such folder");
    check_refused("../../no-such-folder", ERR_NOT_FOUND, "not a model's name");
    check_refused("", ERR_INVALID, "empty");
}

#define OLD "0000000000000000000000000000000000000001"
#define NEW "0000000000000000000000000000000000000002"

static void set_time(const char *below, time_t seconds) {
    struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    CHECK(utimensat(0, at(below), times, 0) == 0);
}

static void test_hub_cache(void) {
    put_model("hf/hub/models--acme--cached/snapshots/" OLD);
    put_model("hf/hub/models--acme--cached/snapshots/" NEW);
    set_time("hf/hub/models--acme--cached/snapshots/" OLD, 1000);
    set_time("hf/hub/models--acme--cached/snapshots/" NEW, 2000);
    check_found("acme/cached", at("hf/hub/models--acme--cached/snapshots/" NEW));
    check_found("cached", at("hf/hub/models--acme--cached/snapshots/" NEW));
    put("hf/hub/models--acme--cached/refs/main", OLD);
    check_found("acme/cached", at("hf/hub/models--acme--cached/snapshots/" OLD));
    put("hf/hub/models--acme--cached/refs/main", "../../../../etc");
    check_found("acme/cached", at("hf/hub/models--acme--cached/snapshots/" NEW));

    // a tokenizer alone, as AutoTokenizer leaves it, is no model
    put("hf/hub/models--acme--half/snapshots/" NEW "/tokenizer.json", "{}");
    put("hf/hub/models--acme--half/snapshots/" NEW "/config.json", "{}");
    check_refused("acme/half", ERR_NOT_FOUND, "trine pull acme/half");

    // the store is asked first
    put_model("hf/hub/models--acme--tiny/snapshots/" NEW);
    check_found("acme/tiny", at("store/models/acme/tiny"));

    put_model("hf2/models--acme--elsewhere/snapshots/" NEW);
    setenv("HF_HUB_CACHE", at("hf2"), 1);
    check_found("acme/elsewhere", at("hf2/models--acme--elsewhere/snapshots/" NEW));
    unsetenv("HF_HUB_CACHE");
}

// Every allocation and file call fails once: an error or the right answer, and nothing leaks.
static void test_faults(void) {
    static const char *const args[] = {"tiny", "acme/cached", "cached", "twice"};
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        char *want, *path;
        enum err right = store_resolve(args[i], &want, NULL);
        for (long nth = 1; nth < 200; nth++) {
            struct errmsg msg = {0};
            fault_arm(FAULT_ALLOC, nth, false);
            enum err e = store_resolve(args[i], &path, &msg);
            long calls = fault_calls(FAULT_ALLOC);
            fault_disarm();
            if (nth > calls) {
                CHECK_INT(e, right);
                mem_free(path);
                break;
            }
            // refs/main is a preference only: where it cannot be read another snapshot will do
            CHECK(e == ERR_NOMEM || (e == right && (!want || path)));
            mem_free(path);
        }
        mem_free(want);
    }
}

int main(void) {
    root = scratch_folder();
    test_names();
    test_root();
    test_resolve();
    test_hub_cache();
    test_faults();
    return check_done();
}
