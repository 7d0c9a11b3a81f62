// GGUF files: what is taken, every way in which one is refused (FAULTS 46 to 51, 56), damaged ones,
// and the names under which weights finds their tensors.
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_gguf_kit.h"
#include "weights/weights.h"

static const char label[] = "m.gguf";

static void refused(struct kit *k, enum err want, const char *part) {
    struct errmsg msg = {0};
    struct gguf *g;
    struct buf b = kit_file(k);
    enum err e = gguf_parse(label, b.data, b.len, b.len, &g, &msg);
    CHECK_ERROR(e, want, msg, part);
    CHECK(strncmp(msg.text, "m.gguf: ", 8) == 0 && !g);
    buf_free(&b);
}

static const char *const words[] = {"a", "", "\xff\xfe", "<|im_end|>"};

// Every type once.
static struct buf good_file(uint32_t version) {
    struct kit k = {.version = version};
    kit_int(kit_key(&k, "u8", GGUF_U8), 200, 1);
    kit_int(kit_key(&k, "i8", GGUF_I8), 200, 1);
    kit_int(kit_key(&k, "u16", GGUF_U16), 60000, 2);
    kit_int(kit_key(&k, "i16", GGUF_I16), 60000, 2);
    kit_int(kit_key(&k, "i32", GGUF_I32), 4000000000, 4);
    kit_int(kit_key(&k, "u64", GGUF_U64), UINT64_MAX, 8);
    kit_int(kit_key(&k, "i64", GGUF_I64), (uint64_t)-5, 8);
    kit_u32(&k, "u32", 4000000000);
    kit_f32(&k, "f32", 1.5f);
    kit_int(kit_key(&k, "f64", GGUF_F64), 0x4004000000000000, 8); // 2.5
    kit_f32(&k, "inf", INFINITY);
    kit_bool(&k, "yes", 1);
    kit_text(&k, "text", "h\xc3\xa9llo");
    kit_text(&k, "bad text", "\xff");
    kit_text(&k, "general.architecture", "qwen2");
    kit_texts(&k, "words", words, 4);
    kit_i32s(&k, "numbers", (int32_t[]){-1, 2, INT32_MIN}, 3);
    kit_int(kit_key(&k, "floats", GGUF_ARRAY), GGUF_F32, 4);
    kit_int(&k.keys, 1, 8);
    kit_int(&k.keys, 0x3fc00000, 4);
    kit_tensor(&k, "token_embd.weight", 3, 64, 8, 3 * 68);
    kit_tensor(&k, "blk.11.attn_q.bias", 0, 5, 0, 20);
    kit_line(&k, "four", 4, (uint64_t[]){2, 3, 4, 5}, 1, k.data);
    k.data += 256;
    kit_tensor(&k, "k", 1, 512, 14, 420);
    return kit_file(&k);
}

static void check_values(const struct gguf *g) {
    struct errmsg msg = {0};
    int64_t n;
    double d;
    bool yes;
    struct gguf_string s;
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"u8", 200},         {"i8", -56},        {"u16", 60000},
                {"i16", -5536},      {"i64", -5},        {"i32", -294967296},
                {"u32", 4000000000}, {"u64", INT64_MAX}, {"absent", 7}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        CHECK_OK(gguf_get_int(g, ints[i].key, INT64_MIN, INT64_MAX, 7, &n, &msg), msg);
        CHECK_INT(n, ints[i].value);
    }
    CHECK_ERROR(gguf_get_int(g, "u8", 0, 199, 7, &n, &msg), ERR_INVALID, msg,
                "m.gguf: key 'u8': 200 is not in 0 to 199");
    CHECK_ERROR(gguf_get_int(g, "f32", 0, 1, 7, &n, &msg), ERR_INVALID, msg,
                "m.gguf: key 'f32': an integer is asked for, the file has f32");
    CHECK_ERROR(gguf_get_int(g, "yes", 0, 1, 7, &n, &msg), ERR_INVALID, msg, "has bool");
    CHECK_OK(gguf_get_float(g, "f32", 0, &d, &msg), msg);
    CHECK(d == 1.5);
    CHECK_OK(gguf_get_float(g, "f64", 0, &d, &msg), msg);
    CHECK(d == 2.5);
    CHECK_OK(gguf_get_float(g, "absent", 3, &d, &msg), msg);
    CHECK(d == 3);
    CHECK_ERROR(gguf_get_float(g, "inf", 0, &d, &msg), ERR_INVALID, msg, "'inf' is not finite");
    CHECK_ERROR(gguf_get_float(g, "u8", 0, &d, &msg), ERR_INVALID, msg, "a float is asked for");
    CHECK_OK(gguf_get_bool(g, "yes", false, &yes, &msg), msg);
    CHECK(yes);
    CHECK_ERROR(gguf_get_bool(g, "u8", false, &yes, &msg), ERR_INVALID, msg, "a bool is asked for");
    CHECK_OK(gguf_get_string(g, "text", &s, &msg), msg);
    CHECK(s.len == 6 && memcmp(s.bytes, "h\xc3\xa9llo", 6) == 0);
    CHECK_OK(gguf_get_string(g, "absent", &s, &msg), msg);
    CHECK(!s.bytes && s.len == 0);
    CHECK_ERROR(gguf_get_string(g, "bad text", &s, &msg), ERR_INVALID, msg, "not UTF-8 at byte 0");
    CHECK_ERROR(gguf_get_string(g, "words", &s, &msg), ERR_INVALID, msg, "the file has array");
    CHECK(gguf_has(g, "yes") && !gguf_has(g, "ye") && !gguf_has(g, "yess") && !gguf_has(g, ""));
}

static void check_arrays(const struct gguf *g) {
    struct errmsg msg = {0};
    struct gguf_array a;
    CHECK_OK(gguf_get_array(g, "words", GGUF_STRING, &a, &msg), msg);
    CHECK_INT(a.count, 4);
    for (size_t i = 0; i < a.count; i++) {
        struct gguf_string s = gguf_array_string(&a, i);
        CHECK(s.len == strlen(words[i]) && memcmp(s.bytes, words[i], s.len) == 0);
    }
    CHECK_OK(gguf_get_array(g, "numbers", GGUF_I32, &a, &msg), msg);
    CHECK(a.count == 3 && gguf_array_int(&a, 0) == -1 && gguf_array_int(&a, 1) == 2 &&
          gguf_array_int(&a, 2) == INT32_MIN);
    CHECK_OK(gguf_get_array(g, "absent", GGUF_I32, &a, &msg), msg);
    CHECK(!a.data && a.count == 0);
    CHECK_ERROR(gguf_get_array(g, "words", GGUF_I32, &a, &msg), ERR_INVALID, msg,
                "an array of integers is asked for, the file has one of string");
    CHECK_ERROR(gguf_get_array(g, "floats", GGUF_STRING, &a, &msg), ERR_INVALID, msg, "one of f32");
    CHECK_ERROR(gguf_get_array(g, "text", GGUF_I32, &a, &msg), ERR_INVALID, msg, "has string");
}

static void test_good(void) {
    for (uint32_t version = 2; version <= 3; version++) {
        struct errmsg msg = {0};
        struct gguf *g;
        struct buf b = good_file(version);
        CHECK_OK(gguf_parse(label, b.data, b.len, b.len, &g, &msg), msg);
        if (!g)
            return;
        check_values(g);
        check_arrays(g);
        CHECK_INT(gguf_tensor_count(g), 4);
        struct tensor t = gguf_tensor_at(g, 0);
        CHECK_STR(t.name, "token_embd.weight");
        CHECK(t.dtype == DTYPE_Q8_0 && t.rank == 2 && t.shape[0] == 3 && t.shape[1] == 64);
        size_t data = t.offset;
        CHECK(data % 32 == 0 && data + 224 + 32 + 256 + 448 == b.len);
        CHECK(t.data && memcmp(t.data, b.data + data, 204) == 0);
        t = gguf_tensor_at(g, 1);
        CHECK(t.dtype == DTYPE_F32 && t.rank == 1 && t.shape[0] == 5 && t.offset == data + 224);
        t = gguf_tensor_at(g, 2);
        CHECK(t.dtype == DTYPE_F16 && t.rank == 4 && t.shape[0] == 5 && t.shape[3] == 2);
        t = gguf_tensor_at(g, 3);
        CHECK(t.dtype == DTYPE_Q6_K && t.shape[1] == 512);
        CHECK_STR(gguf_path(g), label);
        gguf_close(g);
        buf_free(&b);
    }
}

static void bytes_refused(const char *bytes, size_t n, enum err want, const char *part) {
    struct errmsg msg = {0};
    struct gguf *g;
    CHECK_ERROR(gguf_parse(label, bytes, n, n, &g, &msg), want, msg, part);
}

static void test_start(void) {
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    bytes_refused(lfs, sizeof lfs - 1, ERR_INVALID, "m.gguf: a Git LFS pointer");
    bytes_refused("", 0, ERR_INVALID, "not a GGUF file");
    bytes_refused("GGU", 3, ERR_INVALID, "not a GGUF file");
    bytes_refused("\x02\0\0\0\0\0\0\0{}", 10, ERR_INVALID, "not a GGUF file");
    bytes_refused("GGUF\3\0", 6, ERR_INVALID, "truncated: 4 bytes are needed at 4, 2 remain");
    bytes_refused("GGUF\0\0\0\3", 8, ERR_UNSUPPORTED, "big-endian");
    for (uint32_t version = 0; version < 6; version++) {
        struct kit k = {.version = version};
        if (version == 1)
            refused(&k, ERR_UNSUPPORTED, "GGUF version 1 is not supported (2 and 3 are)");
        if (version > 3)
            refused(&k, ERR_UNSUPPORTED, "is not supported (2 and 3 are)");
    }
}

// FAULTS 56: whatever a count says, no memory is asked for that the file could not fill.
static void test_counts(void) {
    struct kit k = {.key_count = (uint64_t)1 << 60};
    refused(&k, ERR_INVALID, "metadata: count 1152921504606846976 exceeds remaining bytes");
    k.tensor_count = (uint64_t)1 << 60;
    refused(&k, ERR_INVALID, "tensors: count 1152921504606846976 exceeds remaining bytes");
    k.tensor_count = 1;
    refused(&k, ERR_INVALID, "tensors: count 1 exceeds remaining bytes");
    kit_int(kit_key(&k, "a", GGUF_ARRAY), GGUF_STRING, 4);
    kit_int(&k.keys, (uint64_t)1 << 60, 8);
    refused(&k, ERR_INVALID, "key 'a': count 1152921504606846976 exceeds remaining bytes");
    kit_int(kit_key(&k, "a", GGUF_ARRAY), GGUF_F64, 4);
    kit_int(&k.keys, (uint64_t)1 << 61, 8);
    refused(&k, ERR_INVALID, "key 'a': count 2305843009213693952 exceeds remaining bytes");
    kit_int(&k.keys, (uint64_t)1 << 60, 8);
    k.key_count = 1;
    kit_int(&k.keys, 0, 8);
    refused(&k, ERR_INVALID, "a string of 1152921504606846976 bytes at 24 exceeds the");
    kit_int(kit_key(&k, "s", GGUF_STRING), UINT64_MAX, 8);
    refused(&k, ERR_INVALID, "a string of 18446744073709551615 bytes");
}

static void test_keys(void) {
    struct kit k = {0};
    kit_u32(&k, "general.x", 1);
    kit_u32(&k, "general.y", 1);
    kit_u32(&k, "general.x", 2);
    refused(&k, ERR_INVALID, "key 'general.x' stands twice");
    kit_u32(&k, "", 1);
    refused(&k, ERR_INVALID, "a key has 0 bytes, 1 to 256 are taken");
    kit_int(kit_key(&k, "t", 13), 1, 8);
    refused(&k, ERR_UNSUPPORTED, "key 't': value type 13 is not supported");
    kit_int(kit_key(&k, "t", GGUF_ARRAY), GGUF_ARRAY, 4);
    kit_int(&k.keys, 0, 8);
    refused(&k, ERR_UNSUPPORTED, "key 't': an array of type 9 is not supported");
    kit_bool(&k, "b", 2);
    refused(&k, ERR_INVALID, "key 'b': a bool is 2");
    kit_u32(&k, "general.alignment", 48);
    refused(&k, ERR_INVALID, "key 'general.alignment': 48 is not a power of two");
    kit_u32(&k, "general.alignment", 0);
    refused(&k, ERR_INVALID, "key 'general.alignment': 0 is not in 1 to");
    kit_text(&k, "general.alignment", "32");
    refused(&k, ERR_INVALID, "an integer is asked for, the file has string");
}

static void line_refused(uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset,
                         enum err want, const char *part) {
    struct kit k = {.data = 4096};
    kit_line(&k, "x", rank, dims, type, offset);
    refused(&k, want, part);
}

static void test_tensors(void) {
    struct kit k = {0};
    const uint64_t d[8] = {32, 2, 2, 2, 2, 2, 2, 2};
    const uint64_t big = (uint64_t)1 << 62;
    line_refused(5, d, 0, 0, ERR_UNSUPPORTED, "tensor 'x': 5 dimensions, 1 to 4 are taken");
    line_refused(0, d, 0, 0, ERR_UNSUPPORTED, "tensor 'x': 0 dimensions");
    line_refused(2, (uint64_t[]){0, 2}, 0, 0, ERR_INVALID, "tensor 'x': a dimension is 0");
    line_refused(2, (uint64_t[]){big, 2}, 0, 0, ERR_INVALID, "tensor 'x': shape overflows");
    line_refused(4, (uint64_t[]){1 << 16, 1 << 16, 1 << 16, 1 << 16}, 24 + 2, 0, ERR_INVALID,
                 "tensor 'x': shape overflows");
    line_refused(2, (uint64_t[]){big, big}, 2, 0, ERR_INVALID, "tensor 'x': shape overflows");
    line_refused(2, (uint64_t[]){48, 2}, 2, 0, ERR_INVALID,
                 "tensor 'x': a row of 48 values is not whole blocks of 32 (q4_0)");
    line_refused(2, (uint64_t[]){896, 2}, 12, 0, ERR_INVALID, "not whole blocks of 256 (q4_K)");
    line_refused(2, d, 23, 0, ERR_UNSUPPORTED, "tensor 'x': type 23 (IQ4_XS) is not supported");
    line_refused(2, d, 28, 0, ERR_UNSUPPORTED, "type 28 (F64)");
    line_refused(2, d, 4, 0, ERR_UNSUPPORTED, "type 4 (Q4_2)");
    line_refused(2, d, 999, 0, ERR_UNSUPPORTED, "type 999 (unknown)");
    line_refused(2, d, 0, 31, ERR_INVALID, "tensor 'x': its offset 31 is not aligned to 32");
    line_refused(2, d, 0, 64, ERR_INVALID, "with a hole behind");
    line_refused(2, d, 0, UINT64_MAX - 31, ERR_INVALID, "is past the end of the file");
    line_refused(2, (uint64_t[]){1024, 1024}, 0, 0, ERR_INVALID, "run past the end of the data");

    kit_tensor(&k, "x", 1, 32, 0, 128);
    kit_line(&k, "y", 1, d, 0, 0);
    refused(&k, ERR_INVALID, "tensor 'y': its offset is 0, inside of the tensor before it");
    kit_tensor(&k, "x", 1, 32, 0, 128);
    kit_tensor(&k, "x", 1, 32, 0, 128);
    refused(&k, ERR_INVALID, "tensor 'x' stands twice");
    kit_tensor(&k, "", 1, 32, 0, 128);
    refused(&k, ERR_INVALID, "a tensor's name has 0 bytes");
    kit_tensor(&k, "\xff", 1, 32, 0, 128);
    refused(&k, ERR_INVALID, "the name of tensor 0 is not UTF-8 text");
    kit_tensor(&k, "x", 1, 32, 0, 128);
    k.data -= 32;
    refused(&k, ERR_INVALID, "run past the end of the data (96 bytes): the file is truncated");
}

// A file in any state: refused, or every byte of every tensor and value is there.
static void look_at_all(const char *bytes, size_t len, size_t size) {
    struct errmsg msg = {0};
    struct gguf *g;
    enum err e = gguf_parse(label, bytes, len, size, &g, &msg);
    if (e) {
        if (e != msg.code || strncmp(msg.text, "m.gguf: ", 8) != 0 || g)
            CHECK(!"an error without its words");
        return;
    }
    volatile unsigned sum = 0;
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        struct tensor t = gguf_tensor_at(g, i);
        size_t n = 1;
        for (int k = 0; k < t.rank; k++)
            n *= t.shape[k];
        n = n / dtype_block(t.dtype) * dtype_block_bytes(t.dtype);
        if (t.offset > size || n > size - t.offset)
            CHECK(!"a tensor outside of its file");
        for (size_t k = 0; t.data && k < n; k++)
            sum += ((const unsigned char *)t.data)[k];
    }
    struct gguf_array a;
    if (gguf_get_array(g, "words", GGUF_STRING, &a, NULL) == ERR_OK)
        for (size_t i = 0; i < a.count; i++) {
            struct gguf_string s = gguf_array_string(&a, i);
            for (size_t k = 0; k < s.len; k++)
                sum += (unsigned char)s.bytes[k];
        }
    gguf_close(g);
}

static void test_damaged(void) {
    struct buf b = good_file(3);
    for (size_t n = 0; n < b.len; n++) {
        look_at_all(b.data, n, n);
        look_at_all(b.data, n, b.len); // the header alone, or less
    }
    size_t header = b.len - 960;
    for (size_t i = 0; i < header; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.data[i] = (char)(b.data[i] ^ (1 << bit));
            look_at_all(b.data, b.len, b.len);
            b.data[i] = (char)(b.data[i] ^ (1 << bit));
        }
    struct errmsg msg = {0};
    struct gguf *g;
    CHECK_ERROR(gguf_parse(label, b.data, 100, b.len, &g, &msg), ERR_INVALID, msg,
                "the header runs past the 100 bytes given");
    CHECK_OK(gguf_parse(label, b.data, header, b.len, &g, &msg), msg);
    if (g)
        CHECK(!gguf_tensor_at(g, 0).data && gguf_tensor_at(g, 0).offset == header);
    gguf_close(g);
    buf_free(&b);
}

// Larger than one read, so that the buffer grows while strings lie in it.
static void test_file(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct kit k = {0};
    struct gguf *g;
    const char *tokens[3000];
    for (size_t i = 0; i < 3000; i++)
        tokens[i] = "a token of some forty bytes, more or less";
    tokens[2999] = "last";
    kit_texts(&k, "tokens", tokens, 3000);
    kit_tensor(&k, "x", 2, 32, 0, 256);
    kit_write(&k, t, "long.gguf");
    CHECK_OK(gguf_open(temp_path(t, "long.gguf"), &g, &msg), msg);
    if (g) {
        struct gguf_array a;
        CHECK_OK(gguf_get_array(g, "tokens", GGUF_STRING, &a, &msg), msg);
        CHECK(a.count == 3000 && gguf_array_string(&a, 2999).len == 4);
        CHECK(memcmp(gguf_array_string(&a, 0).bytes, tokens[0], 41) == 0);
        struct tensor x = gguf_tensor_at(g, 0);
        unsigned char bytes[8];
        CHECK(x.file && !x.data && file_read_at(x.file, x.offset, bytes, 8, &msg) == ERR_OK);
        CHECK(bytes[0] == 0 && bytes[1] == 7 && bytes[7] == 49);
    }
    gguf_close(g);
    CHECK(gguf_is_file(temp_path(t, "long.gguf")) && !gguf_is_file(t->path));
    CHECK(!gguf_is_file(temp_path(t, "none")) && !gguf_is_file("Makefile"));
    CHECK_ERROR(gguf_open(temp_path(t, "none"), &g, &msg), ERR_NOT_FOUND, msg, "none");
    for (long n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = gguf_open(temp_path(t, "long.gguf"), &g, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        gguf_close(g);
        if (!reached)
            break;
        CHECK(e == ERR_NOMEM && !g);
    }
    for (long n = 1;; n++) {
        fault_arm(FAULT_FILE, n, false);
        enum err e = gguf_open(temp_path(t, "long.gguf"), &g, &msg);
        bool reached = fault_calls(FAULT_FILE) >= n;
        fault_disarm();
        gguf_close(g);
        if (!reached)
            break;
        CHECK(e != ERR_OK && !g);
    }
}

static void add_model(struct kit *k, const char *arch) {
    kit_text(k, "general.architecture", arch);
    kit_tensor(k, "token_embd.weight", 3, 32, 8, 3 * 34);
    kit_tensor(k, "output_norm.weight", 0, 32, 0, 128);
    kit_tensor(k, "output.weight", 3, 32, 0, 3 * 128);
    kit_tensor(k, "blk.12.attn_q.weight", 2, 32, 2, 36);
    kit_tensor(k, "blk.12.attn_q.bias", 0, 32, 8, 34);
    kit_tensor(k, "blk.12.ffn_down.weight", 2, 32, 26, 256);
    kit_tensor(k, "blk.12.attn_output_norm.bias", 0, 4, 0, 16);
    kit_tensor(k, "blk.x.attn_q.weight", 0, 4, 0, 16);
    kit_tensor(k, "rope_freqs.weight", 0, 4, 0, 16);
}

static bool has(struct weights *w, const char *name) {
    bool found = false;
    for (size_t i = 0; i < weights_count(w); i++)
        found = found || strcmp(weights_at(w, i).name, name) == 0;
    return found;
}

static void test_names(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct kit k = {0};
    struct weights *w;
    struct tensor x;
    static const char *const prefix = "model.";
    add_model(&k, "llama");
    kit_write(&k, t, "llama.gguf");
    CHECK_OK(weights_open(temp_path(t, "llama.gguf"), &w, &msg), msg);
    if (!w)
        return;
    CHECK(weights_rope_interleaved(w) && weights_count(w) == 9);
    CHECK(has(w, "model.embed_tokens.weight") && has(w, "model.norm.weight") &&
          has(w, "lm_head.weight") && has(w, "model.layers.12.self_attn.q_proj.bias") &&
          has(w, "model.layers.12.mlp.down_proj.weight") && has(w, "rope_freqs.weight") &&
          has(w, "blk.12.attn_output_norm.bias") && has(w, "blk.x.attn_q.weight"));
    CHECK_OK(weights_detect_prefix(w, &prefix, 1, "embed_tokens.weight", &msg), msg);
    CHECK(weights_has(w, "norm.weight") && weights_has(w, "lm_head.weight") &&
          !weights_has(w, "output.weight"));
    CHECK_OK(weights_take(w, "embed_tokens.weight", 2, (size_t[]){3, 32}, &x, &msg), msg);
    CHECK(x.dtype == DTYPE_Q8_0 && x.file);
    CHECK_ERROR(weights_take(w, "embed_tokens.weight", 2, (size_t[]){4, 32}, &x, &msg), ERR_INVALID,
                msg, "shape is [3, 32], the metadata asks for [4, 32]");
    CHECK_ERROR(weights_take(w, "layers.12.self_attn.q_proj.bias", 1, (size_t[]){32}, &x, &msg),
                ERR_UNSUPPORTED, msg, "in one dimension");
    CHECK_ERROR(weights_take(w, "layers.12.mlp.down_proj.weight", 2, (size_t[]){2, 32}, &x, &msg),
                ERR_UNSUPPORTED, msg, "another dtype than F32, F16 and BF16");
    CHECK_OK(weights_take_bare(w, "rope_freqs.weight", 1, (size_t[]){4}, &x, &msg), msg);
    CHECK_ERROR(weights_check_all_taken(w, &msg), ERR_INVALID, msg,
                "llama.gguf: tensor 'model.norm.weight' has no place");
    weights_close(w);

    add_model(&k, "bert");
    kit_write(&k, t, "bert.gguf");
    CHECK_OK(weights_open(temp_path(t, "bert.gguf"), &w, &msg), msg);
    if (w)
        CHECK(!weights_rope_interleaved(w) && has(w, "embeddings.word_embeddings.weight") &&
              has(w, "encoder.layer.12.attention.self.query.weight") &&
              has(w, "encoder.layer.12.attention.output.LayerNorm.bias") &&
              has(w, "output.weight"));
    weights_close(w);

    add_model(&k, "phi3");
    kit_write(&k, t, "phi3.gguf");
    CHECK_ERROR(weights_open(temp_path(t, "phi3.gguf"), &w, &msg), ERR_UNSUPPORTED, msg,
                "architecture 'phi3' is not supported (qwen2, qwen3, llama, bert are)");
    kit_write(&k, t, "empty.gguf");
    CHECK_ERROR(weights_open(temp_path(t, "empty.gguf"), &w, &msg), ERR_INVALID, msg,
                "key 'general.architecture' is missing");
    for (long n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = weights_open(temp_path(t, "llama.gguf"), &w, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        weights_close(w);
        if (!reached)
            break;
        CHECK(e == ERR_NOMEM && !w);
    }
}

// What checkpoints of decoders carry beside what is used.
static void test_ignorable(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct weights *w;
    struct tensor x;
    size_t one = 1;
    static const char *const prefix = "model.";
#define T(name, from) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" from "}"
    temp_write_safetensors(
        t, "model.safetensors",
        "{" T("model.embed_tokens.weight", "[0,4]") "," T("lm_head.weight", "[4,8]") "," T(
            "model.layers.0.self_attn.rotary_emb.inv_freq", "[8,12]") "}",
        12);
    CHECK_OK(weights_open(t->path, &w, &msg), msg);
    CHECK_OK(weights_detect_prefix(w, &prefix, 1, "embed_tokens.weight", &msg), msg);
    CHECK_OK(weights_take(w, "embed_tokens.weight", 1, &one, &x, &msg), msg);
    CHECK_OK(weights_check_all_taken(w, &msg), msg);
    CHECK(!weights_rope_interleaved(w));
    weights_close(w);
    temp_write_safetensors(t, "model.safetensors", "{" T("lm_head.weight", "[0,4]") "}", 4);
    CHECK_OK(weights_open(t->path, &w, &msg), msg);
    CHECK_ERROR(weights_check_all_taken(w, &msg), ERR_INVALID, msg,
                "'lm_head.weight' has no place");
    weights_close(w);
}

int main(void) {
    json_init();
    struct temp_folder t = temp_new();
    test_good();
    test_start();
    test_counts();
    test_keys();
    test_tensors();
    test_damaged();
    test_file(&t);
    test_names(&t);
    test_ignorable(&t);
    temp_free(&t);
    return check_done();
}
