// A model cut into several GGUF files: found beside the first, checked against it, joined; what
// does not fit is refused by name.
#include "base/fault.h"
#include "tests/unit/test_gguf_kit.h"
#include "weights/weights.h"

enum { NONE = -1 };

static void put_u16(struct kit *k, const char *key, int v) {
    if (v != NONE)
        kit_int(kit_key(k, key, GGUF_U16), (uint64_t)v, 2);
}

// Part `no` (from 0) as file `name`, with one tensor unless its name is NULL.
static void write_part(const struct temp_folder *t, const char *name, int no, int count,
                       int tensors, const char *tensor) {
    struct kit k = {0};
    if (no == 0)
        kit_text(&k, "general.architecture", "llama");
    put_u16(&k, "split.no", no);
    put_u16(&k, "split.count", count);
    if (tensors != NONE)
        kit_int(kit_key(&k, "split.tensors.count", GGUF_I32), (uint64_t)tensors, 4);
    if (tensor)
        kit_tensor(&k, tensor, 2, 32, 0, 256);
    kit_write(&k, t, name);
}

#define FIRST "m-00001-of-00003.gguf"
#define SECOND "m-00002-of-00003.gguf"
#define THIRD "m-00003-of-00003.gguf"

static void write_all(const struct temp_folder *t) {
    write_part(t, FIRST, 0, 3, 2, "blk.0.attn_q.weight");
    write_part(t, SECOND, 1, 3, 2, NULL);
    write_part(t, THIRD, 2, 3, 2, "blk.1.attn_q.weight");
}

static void refused(const struct temp_folder *t, const char *name, enum err want,
                    const char *words) {
    struct gguf *g = NULL;
    struct errmsg msg = {0};
    CHECK_ERROR(gguf_open(temp_path(t, name), &g, &msg), want, msg, words);
    CHECK(!g);
    gguf_close(g);
}

static void test_good(const struct temp_folder *t) {
    struct gguf *g = NULL;
    struct errmsg msg = {0};
    write_all(t);
    CHECK_OK(gguf_open(temp_path(t, FIRST), &g, &msg), msg);
    if (!g)
        return;
    CHECK_INT(gguf_tensor_count(g), 2);
    for (size_t i = 0; i < 2; i++) {
        struct tensor x = gguf_tensor_at(g, i);
        unsigned char bytes[256];
        CHECK_STR(x.name, i ? "blk.1.attn_q.weight" : "blk.0.attn_q.weight");
        CHECK(x.file && strstr(x.file->path, i ? THIRD : FIRST));
        CHECK_OK(file_read_at(x.file, x.offset, bytes, sizeof bytes, &msg), msg);
        CHECK(bytes[0] == 0 && bytes[1] == 7 && bytes[255] == (unsigned char)(255 * 7));
    }
    gguf_close(g);
    struct weights *w = NULL;
    CHECK_OK(weights_open(temp_path(t, FIRST), &w, &msg), msg);
    CHECK(w && weights_count(w) == 2);
    weights_close(w);
    write_part(t, "whole.gguf", 0, 1, 1, "x"); // one of one is no split file
    CHECK_OK(gguf_open(temp_path(t, "whole.gguf"), &g, &msg), msg);
    gguf_close(g);
}

static void test_refused(const struct temp_folder *t) {
    write_all(t);
    refused(t, SECOND, ERR_INVALID, "part 2 of 3 of a split file: name the first part");
    refused(t, THIRD, ERR_INVALID, "(...-00001-of-00003.gguf)");
    write_part(t, "other.gguf", 0, 3, 2, "x");
    refused(t, "other.gguf", ERR_INVALID, "its name must end in -00001-of-00003.gguf");
    write_part(t, "a-00001-of-00002.gguf", 0, 3, 2, "x");
    refused(t, "a-00001-of-00002.gguf", ERR_INVALID, "its name must end in -00001-of-00003.gguf");
    write_part(t, "b-00001-of-00003.gguf", 0, 3, 2, "x");
    refused(t, "b-00001-of-00003.gguf", ERR_NOT_FOUND, "part 2 of 3 is missing");
    write_part(t, "c-00001-of-65535.gguf", 0, 65535, 2, "x");
    refused(t, "c-00001-of-65535.gguf", ERR_UNSUPPORTED, "split into 65535 files");
    write_part(t, FIRST, 0, 3, NONE, "blk.0.attn_q.weight");
    refused(t, FIRST, ERR_INVALID, "'split.tensors.count' is missing");
    write_part(t, FIRST, 0, 3, 3, "blk.0.attn_q.weight");
    refused(t, FIRST, ERR_INVALID, "first part say part 2 of 3 with 3");
    static const struct {
        int no, count, tensors;
        const char *tensor, *words;
    } thirds[] = {
        {1, 3, 2, "y", "says part 2 of 3 with 2 tensors in all, but its name"},
        {2, 4, 2, "y", "says part 3 of 4"},
        {2, NONE, 2, "y", "says part 3 of 0"},
        {2, 3, NONE, NULL, "its 3 parts hold 1 tensors, key 'split.tensors.count' says 2"},
        {2, 3, NONE, "blk.0.attn_q.weight", "tensor 'blk.0.attn_q.weight' stands in two parts"},
    };
    for (size_t i = 0; i < sizeof thirds / sizeof *thirds; i++) {
        write_all(t);
        write_part(t, THIRD, thirds[i].no, thirds[i].count, thirds[i].tensors, thirds[i].tensor);
        refused(t, FIRST, ERR_INVALID, thirds[i].words);
    }
    write_all(t);
    temp_text(t, THIRD, "no model at all");
    refused(t, FIRST, ERR_INVALID, THIRD ": not a GGUF file");
}

static void test_names(void) {
    char *path = NULL;
    CHECK(gguf_is_later_part("a/m-00002-of-00003.gguf") && gguf_is_later_part(THIRD));
    CHECK(!gguf_is_later_part(FIRST) && !gguf_is_later_part("m-00004-of-00003.gguf"));
    CHECK(!gguf_is_later_part("m-0002-of-0003.gguf") && !gguf_is_later_part("2-of-3.gguf"));
    CHECK(!gguf_is_later_part("") && !gguf_is_later_part("m.gguf"));
    CHECK(gguf_part_path("a/" FIRST, 3, &path) && path);
    CHECK_STR(path, "a/" THIRD);
    mem_free(path);
    CHECK(!gguf_part_path(FIRST, 4, &path) && !gguf_part_path(FIRST, 0, &path));
    CHECK(!gguf_part_path(SECOND, 1, &path) && !gguf_part_path("m.gguf", 1, &path) && !path);
}

static void test_faults(const struct temp_folder *t, enum fault_site site) {
    struct errmsg msg = {0};
    struct gguf *g;
    long n = 1;
    write_all(t);
    for (;; n++) {
        fault_arm(site, n, false);
        enum err e = gguf_open(temp_path(t, FIRST), &g, &msg);
        bool reached = fault_calls(site) >= n;
        fault_disarm();
        gguf_close(g);
        if (!reached)
            break;
        CHECK(e != ERR_OK && !g);
    }
    CHECK(n > 3);
}

int main(void) {
    struct temp_folder t = temp_new();
    test_good(&t);
    test_refused(&t);
    test_names();
    test_faults(&t, FAULT_ALLOC);
    test_faults(&t, FAULT_FILE);
    temp_free(&t);
    return check_done();
}
