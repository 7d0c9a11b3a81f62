// The safetensors header: what is taken, and every way in which it is refused (FAULTS 46 to 51).
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_weights_files.h"
#include "weights/safetensors.h"

static const char label[] = "model.safetensors";

static void refused(const char *header, size_t data, enum err want, const char *part) {
    size_t size;
    struct errmsg msg = {0};
    struct safetensors s;
    char *bytes = temp_safetensors(header, data, &size);
    enum err e = safetensors_parse(label, bytes, size, &s, &msg);
    CHECK_ERROR(e, want, msg, part);
    CHECK(strncmp(msg.text, "model.safetensors: ", 19) == 0);
    CHECK(s.count == 0 && !s.tensors && !s.names);
    free(bytes);
}

static void test_good(void) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
        "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[0,5],\"data_offsets\":[28,28]},"
        "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]},"
        "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1,1,1,2],\"data_offsets\":[36,38]}}   ";
    size_t size;
    struct errmsg msg = {0};
    struct safetensors s;
    char *bytes = temp_safetensors(header, 38, &size);
    CHECK_OK(safetensors_parse(label, bytes, size, &s, &msg), msg);
    CHECK_INT(s.count, 5);
    CHECK_STR(s.tensors[0].name, "b");
    CHECK(s.tensors[0].dtype == DTYPE_F32 && s.tensors[0].rank == 2);
    CHECK(s.tensors[0].shape[0] == 2 && s.tensors[0].shape[1] == 3);
    CHECK_INT(s.tensors[0].offset, 8 + strlen(header) + 4);
    CHECK(s.tensors[1].dtype == DTYPE_BF16 && s.tensors[1].rank == 1);
    CHECK(s.tensors[2].shape[0] == 0 && s.tensors[2].dtype == DTYPE_F16);
    CHECK(s.tensors[3].rank == 0 && s.tensors[3].dtype == DTYPE_I64);
    CHECK(s.tensors[4].rank == 4 && s.tensors[4].dtype == DTYPE_U8);
    safetensors_free(&s);
    free(bytes);
    bytes = temp_safetensors("{}", 0, &size);
    CHECK_OK(safetensors_parse(label, bytes, size, &s, &msg), msg);
    CHECK_INT(s.count, 0);
    safetensors_free(&s);
    free(bytes);
}

static void bytes_refused(const char *bytes, size_t n, const char *part) {
    struct errmsg msg = {0};
    struct safetensors s;
    enum err e = safetensors_parse(label, bytes, n, &s, &msg);
    CHECK_ERROR(e, ERR_INVALID, msg, part);
}

static void test_length(void) {
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    bytes_refused(lfs, sizeof lfs - 1, "model.safetensors: a Git LFS pointer");
    bytes_refused("\x02\0\0\0", 4, "model.safetensors: truncated: 4 bytes");
    bytes_refused("", 0, "model.safetensors: truncated: 0 bytes");
    bytes_refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
                  "model.safetensors: header length 18446744073709551615 exceeds file size 10");
    bytes_refused("\x0b\0\0\0\0\0\0\0{}", 10,
                  "model.safetensors: header length 11 exceeds file size 10");
    bytes_refused("\x03\0\0\0\0\0\0\0{}", 10,
                  "header length 3 and the 8 bytes before it exceed file size 10");
    bytes_refused("\x02\0\0\0\0\0\0\0[]", 10, "not a JSON object");
    bytes_refused("\x02\0\0\0\0\0\0\0{,", 10, "model.safetensors: header: ");
    // over the cap: needs no memory of its own, the bytes are never looked at
    size_t big = 100 * 1000 * 1000 + 1;
    char *bytes = calloc(big + 8, 1);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(big >> (8 * i) & 255);
    bytes_refused(bytes, big + 8, "header length 100000001 is over the limit of 100000000");
    free(bytes);
}

#define TENSOR(name, dtype, shape, from, to)                                                       \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to   \
    "]}"

static void test_ranges(void) {
    refused("{" TENSOR("x", "F32", "[1]", 8, 4) "}", 8, ERR_INVALID,
            "tensor 'x': data_offsets [8,4) are reversed");
    refused("{" TENSOR("x", "F32", "[2]", 0, 8) "}", 7, ERR_INVALID,
            "tensor 'x': data_offsets [0,8) run past the end of the data (7 bytes)");
    refused("{" TENSOR("x", "F32", "[2]", 0, 8) "," TENSOR("y", "F32", "[2]", 4, 12) "}", 12,
            ERR_INVALID, "tensor 'y': data_offsets [4,12) overlap tensor 'x'");
    refused("{" TENSOR("x", "F32", "[2]", 0, 8) "," TENSOR("y", "F32", "[1]", 12, 16) "}", 16,
            ERR_INVALID, "tensor 'y': data_offsets [12,16) leave a hole of 4 bytes");
    refused("{" TENSOR("x", "F32", "[1]", 4, 8) "}", 8, ERR_INVALID,
            "tensor 'x': data_offsets [4,8) leave a hole of 4 bytes");
    refused("{" TENSOR("x", "F32", "[1]", 0, 4) "}", 5, ERR_INVALID,
            "1 bytes after the last tensor belong to none");
    refused("{" TENSOR("x", "F32", "[1]", 0, 9007199254740992) "}", 8, ERR_INVALID,
            "tensor 'x': data_offsets must be two whole numbers below 2^53");
    refused("{" TENSOR("x", "F32", "[1]", 0.5, 4) "}", 8, ERR_INVALID,
            "data_offsets must be two whole numbers");
    refused("{" TENSOR("x", "F32", "[1]", -4, 0) "}", 8, ERR_INVALID,
            "data_offsets must be two whole numbers");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, ERR_INVALID,
            "data_offsets must be two whole numbers");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ERR_INVALID,
            "tensor 'x': data_offsets must be");
}

static void test_shapes(void) {
    refused("{" TENSOR("x", "F32", "[3]", 0, 8) "}", 8, ERR_INVALID,
            "tensor 'x': shape needs 12 bytes, span has 8");
    refused("{" TENSOR("x", "F16", "[2,2]", 0, 16) "}", 16, ERR_INVALID,
            "tensor 'x': shape needs 8 bytes, span has 16");
    refused("{" TENSOR("x", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, ERR_INVALID,
            "tensor 'x': shape overflows");
    refused("{" TENSOR("x", "F32", "[4611686018427387905]", 0, 4) "}", 4, ERR_INVALID,
            "tensor 'x': shape[0] is no whole number below 2^53");
    refused("{" TENSOR("x", "F32", "[-1]", 0, 4) "}", 4, ERR_INVALID, "shape[0]");
    refused("{" TENSOR("x", "F32", "[\"1\"]", 0, 4) "}", 4, ERR_INVALID, "shape[0]");
    refused("{" TENSOR("x", "F32", "7", 0, 4) "}", 4, ERR_INVALID, "tensor 'x': no shape");
    refused("{" TENSOR("x", "F32", "[1,1,1,1,1]", 0, 4) "}", 4, ERR_UNSUPPORTED,
            "tensor 'x': 5 dimensions, at most 4");
}

static void test_names_and_types(void) {
    refused("{" TENSOR("x", "F8_E4M3", "[4]", 0, 4) "}", 4, ERR_UNSUPPORTED,
            "tensor 'x': dtype 'F8_E4M3' is not supported (F32, F16, BF16, I64, I32, U8, BOOL");
    refused("{" TENSOR("x", "f32", "[1]", 0, 4) "}", 4, ERR_UNSUPPORTED, "dtype 'f32'");
    refused("{\"x\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_INVALID,
            "tensor 'x': no dtype");
    refused("{\"x\":[0]}", 0, ERR_INVALID, "tensor 'x': not an object");
    refused("{\"__metadata__\":1}", 0, ERR_INVALID, "__metadata__ is not an object");
    refused("{" TENSOR("x.y", "F32", "[1]", 0, 4) "," TENSOR("x.y", "F32", "[1]", 4, 8) "}", 8,
            ERR_INVALID, "tensor 'x.y' stands twice in the header");
    refused("{" TENSOR("", "F32", "[1]", 0, 4) "}", 4, ERR_INVALID, "name has 0 bytes");
    refused("{" TENSOR("a\\nb", "F32", "[2]", 0, 4) "}", 4, ERR_INVALID, "tensor 'a?b': shape");
    char header[600], name[258];
    memset(name, 'n', 257);
    name[257] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{}}", name);
    refused(header, 0, ERR_INVALID, "a tensor's name has 257 bytes, 1 to 256 are taken");
}

static void test_no_memory(void) {
    static const char header[] = "{" TENSOR("x", "F32", "[1]", 0, 4) "}";
    size_t size;
    char *bytes = temp_safetensors(header, 4, &size);
    long n = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK && n < 1000;) {
        struct errmsg msg = {0};
        struct safetensors s;
        fault_arm(FAULT_ALLOC, ++n, false);
        e = safetensors_parse(label, bytes, size, &s, &msg);
        fault_disarm();
        if (e)
            CHECK_ERROR(e, ERR_NOMEM, msg, "model.safetensors: ");
        else
            safetensors_free(&s);
    }
    CHECK(n > 5 && n < 1000); // some allocations failed, and then none was left to fail
    free(bytes);
}

int main(void) {
    json_init();
    test_good();
    test_length();
    test_ranges();
    test_shapes();
    test_names_and_types();
    test_no_memory();
    return check_done();
}
