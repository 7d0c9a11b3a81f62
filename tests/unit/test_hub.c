// The hub client's parts that need no hub: hashes, the choice of files, the record. The whole is
// driven by tests/http/test_pull.py.
#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "hub/check.h"
#include "hub/plan.h"
#include "hub/record.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdlib.h>
#include <sys/stat.h>

static const char *root;

#define GIT "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
#define SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void check_hash(enum hub_hash_kind kind, const char *text, const char *want) {
    struct errmsg msg;
    struct digest *h;
    char hex[DIGEST_HEX_MAX] = "";
    CHECK_OK(hub_hash_start(kind, strlen(text), &h, &msg), msg);
    for (const char *c = text; *c; c++) // byte by byte is the same as all at once
        CHECK(digest_feed(h, c, 1));
    CHECK(digest_end(h, hex));
    CHECK_STR(hex, want);
    digest_free(h);
}

static void test_hashes(void) {
    // FIPS 180-4's example, and what `printf 'abc' | git hash-object --stdin` prints
    check_hash(HUB_HASH_SHA256, "abc",
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_hash(HUB_HASH_SHA256, "", SHA);
    check_hash(HUB_HASH_GIT_SHA1, "abc", "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
    check_hash(HUB_HASH_GIT_SHA1, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");

    char *path = file_join(root, "abc");
    struct errmsg msg;
    bool same;
    CHECK_OK(file_write_atomic(path, "abc", 3, &msg), msg);
    CHECK_OK(hub_check_file(path, HUB_HASH_GIT_SHA1, 3, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",
                            &same, &msg),
             msg);
    CHECK(same);
    CHECK_OK(hub_check_file(path, HUB_HASH_GIT_SHA1, 3, GIT, &same, &msg), msg);
    CHECK(!same);
    CHECK_OK(hub_check_file(path, HUB_HASH_GIT_SHA1, 4, GIT, &same, &msg), msg);
    CHECK(!same);
    CHECK_OK(hub_check_file(root, HUB_HASH_GIT_SHA1, 4, GIT, &same, &msg), msg);
    CHECK(!same);
    mem_free(path);
}

// A listing of files, each "name" or "name+" for an LFS file.
static void list(struct buf *out, const char *const *names) {
    buf_reset(out);
    buf_puts(out, "{\"sha\":\"" GIT "\",\"siblings\":[");
    for (size_t i = 0; names[i]; i++) {
        size_t n = strlen(names[i]);
        bool lfs = names[i][n - 1] == '+';
        buf_puts(out, i ? ",{\"rfilename\":" : "{\"rfilename\":");
        json_quote(out, names[i], lfs ? n - 1 : n);
        buf_printf(out, ",\"size\":%zu,\"blobId\":\"" GIT "\"", n);
        if (lfs)
            buf_printf(out, ",\"lfs\":{\"sha256\":\"" SHA "\",\"size\":%zu}", 1000 + i);
        buf_puts(out, "}");
    }
    buf_puts(out, "]}");
}

static enum err plan(const char *const *names, const char *file, struct hub_files *files,
                     struct errmsg *msg) {
    struct buf text = {0};
    struct hub_listing listing;
    list(&text, names);
    *files = (struct hub_files){0};
    enum err e = hub_listing_read(text.data, text.len, &listing, msg);
    if (!e) {
        e = hub_plan_files(&listing, file, files, msg);
        hub_listing_free(&listing);
    }
    buf_free(&text);
    return e;
}

static void test_plan(void) {
    static const char *const names[] = {".gitattributes",
                                        "README.md",
                                        "config.json",
                                        "1_Pooling/config.json",
                                        "x_Pooling/config.json",
                                        "2_Dense/model.safetensors+",
                                        "2_Dense/config.json",
                                        "2_Dense/deep/config.json",
                                        "model.safetensors+",
                                        "model.safetensors.index.json",
                                        "model.fp16.safetensors+",
                                        "onnx/model.onnx+",
                                        "openvino/config.json",
                                        "sentence_xlnet_config.json",
                                        "merges.txt",
                                        "vocab.json",
                                        "chat_template.jinja",
                                        "tokenizer.json+",
                                        "odd\\name",
                                        NULL};
    static const char *const want[] = {
        "config.json",         "1_Pooling/config.json",      "2_Dense/model.safetensors",
        "2_Dense/config.json", "sentence_xlnet_config.json", "merges.txt",
        "vocab.json",          "chat_template.jinja",        "tokenizer.json",
        "model.safetensors"};
    struct hub_files files;
    struct errmsg msg = {0};
    CHECK_OK(plan(names, NULL, &files, &msg), msg);
    CHECK_INT(files.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!CHECK(hub_files_find(&files, want[i]) != NULL))
            fprintf(stderr, "    %s\n", want[i]);
    // an LFS file's size and hash are those of its content, not of its pointer
    const struct hub_file *weights = hub_files_find(&files, "model.safetensors");
    CHECK(weights && weights->kind == HUB_HASH_SHA256 && weights->size == 1008);
    CHECK(weights && strcmp(weights->hash, SHA) == 0);
    const struct hub_file *config = hub_files_find(&files, "config.json");
    CHECK(config && config->kind == HUB_HASH_GIT_SHA1 && strcmp(config->hash, GIT) == 0);
    hub_files_free(&files);

    static const char *const gguf[] = {"README.md", "a.gguf+", NULL};
    CHECK_INT(plan(gguf, NULL, &files, &msg), ERR_UNSUPPORTED);
    CHECK(strstr(msg.text, "--file a.gguf") != NULL);
    CHECK_OK(plan(gguf, "a.gguf", &files, &msg), msg);
    CHECK_INT(files.count, 1);
    hub_files_free(&files);
    CHECK_INT(plan(gguf, "b.gguf", &files, &msg), ERR_NOT_FOUND);
    CHECK_INT(plan((const char *const[]){"a\\b", NULL}, "a\\b", &files, &msg), ERR_INVALID);
    CHECK_INT(plan((const char *const[]){"config.json", "x/../../y", NULL}, NULL, &files, &msg),
              ERR_INVALID);
}

// A listing cut anywhere, or with any byte changed, is an error or a plan of safe names; with any
// allocation failing it is ERR_NOMEM. Sanitizer builds watch the rest.
static void test_hostile(void) {
    static const char *const names[] = {"config.json", "model.safetensors+", "vocab.txt", NULL};
    struct buf text = {0};
    struct hub_files files;
    struct hub_listing listing;
    struct errmsg msg;
    list(&text, names);
    for (size_t cut = 0; cut < text.len; cut++)
        CHECK_INT(hub_listing_read(text.data, cut, &listing, &msg), ERR_INVALID);
    size_t planned = 0;
    for (size_t i = 0; i < text.len; i++) {
        char was = text.data[i];
        for (int bit = 0; bit < 8; bit++) {
            text.data[i] = (char)(was ^ (1 << bit));
            if (hub_listing_read(text.data, text.len, &listing, &msg))
                continue;
            if (!hub_plan_files(&listing, NULL, &files, &msg)) {
                planned++;
                for (size_t f = 0; f < files.count; f++)
                    CHECK(files.list[f].name[0] != '/' && !strstr(files.list[f].name, ".."));
                hub_files_free(&files);
            }
            hub_listing_free(&listing);
        }
        text.data[i] = was;
    }
    CHECK(planned > 0); // digits of a size or a hash may change and stay well formed
    buf_free(&text);

    long nth = 1;
    for (;; nth++) {
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = plan(names, NULL, &files, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= nth;
        fault_disarm();
        hub_files_free(&files);
        if (!reached)
            break;
        CHECK(e == ERR_NOMEM || e == ERR_INVALID); // the listing itself is built by the test
    }
    CHECK(nth > 10);
}

static void test_record(void) {
    struct errmsg msg = {0};
    struct hub_file a = {.name = (char[]){"abc"},
                         .size = 3,
                         .kind = HUB_HASH_GIT_SHA1,
                         .hash = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"};
    struct hub_files files = {.list = &a, .count = 1};
    struct hub_record record;
    bool same;
    CHECK_OK(hub_record_write(root, "org/name", "main", GIT, &files, &msg), msg);
    CHECK_OK(hub_record_read(root, &record, &msg), msg);
    CHECK_STR(record.commit, GIT);
    CHECK_STR(record.revision, "main");
    CHECK_INT(record.files.count, 1);
    CHECK_OK(hub_record_check(&record, root, &a, &same, &msg), msg);
    CHECK(same);

    // the same size and time, other bytes: taken at the record's word; with another time, read
    char *path = file_join(root, "abc");
    struct stat st;
    CHECK(stat(path, &st) == 0);
    CHECK_OK(file_write_atomic(path, "abX", 3, &msg), msg);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    CHECK(utimensat(0, path, times, 0) == 0);
    CHECK_OK(hub_record_check(&record, root, &a, &same, &msg), msg);
    CHECK(same);
    times[1].tv_sec++;
    CHECK(utimensat(0, path, times, 0) == 0);
    CHECK_OK(hub_record_check(&record, root, &a, &same, &msg), msg);
    CHECK(!same);
    hub_record_free(&record);
    mem_free(path);

    // a record that cannot be used is as none
    path = file_join(root, HUB_RECORD_FILE);
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"files\":[{}]}",
        "{\"files\":[{\"name\":\"../x\",\"size\":1,\"sha256\":\"\"}]}",
        "{\"commit\":7}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_OK(file_write_atomic(path, bad[i], strlen(bad[i]), &msg), msg);
        CHECK_OK(hub_record_read(root, &record, &msg), msg);
        CHECK(record.files.count == 0 && !record.commit[0]);
        hub_record_free(&record);
    }
    mem_free(path);
}

int main(void) {
    json_init();
    root = scratch_folder();
    test_hashes();
    test_plan();
    test_hostile();
    test_record();
    return check_done();
}
