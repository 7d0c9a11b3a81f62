// The binder: what it joins is one weight with the parts' rows in order; names by prefix, layer and
// bare; a list that stops at its first failure and frees what it made; precision of tables and
// linears, not of vectors.
#include "compute/cpu/cpu.h"
#include "tests/precisions.h"
#include "tests/unit/test_weights_files.h"
#include "weights/binder.h"

static struct device *device;
static struct temp_folder folder;

// Of shape [3, 2] and [1, 2], bias [3] and [1], in layer 1; of values 1, 2, 3 ...; zeros in f16.
#define HEADER                                                                                     \
    "{\"m.layers.1.a.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]},"        \
    "\"m.layers.1.b.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[24,32]},"        \
    "\"m.layers.1.a.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[32,44]},"            \
    "\"m.layers.1.b.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[44,48]},"            \
    "\"m.words.weight\":{\"dtype\":\"F16\",\"shape\":[64,2],\"data_offsets\":[48,304]},"           \
    "\"norm.weight\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[304,308]},"                \
    "\"norm.bias\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[308,312]}}"

static struct weights *open_file(void) {
    struct weights *w;
    struct errmsg msg = {0};
    size_t size, head = 8 + strlen(HEADER);
    char *bytes = temp_safetensors(HEADER, 312, &size);
    for (size_t i = 0; i < 12; i++) {
        float v = (float)(i + 1);
        memcpy(bytes + head + 4 * i, &v, 4);
    }
    temp_write(&folder, "model.safetensors", bytes, size);
    free(bytes);
    temp_must(weights_open(folder.path, &w, &msg) == ERR_OK, msg.text);
    return w;
}

// x = [1, 10] through a linear of `rows` outputs.
static void multiply(const struct weight *w, size_t rows, float *y) {
    float x[2] = {1, 10};
    struct mat in = {x, 1, 2, 2, DTYPE_F32}, out = {y, 1, rows, rows, DTYPE_F32};
    struct errmsg msg = {0};
    device->ops->linear(device, w, in, out);
    CHECK_OK(device_sync(device, &msg), msg);
}

static const struct binder_rows joined[] = {{"a", 3, 0}, {"b", 1, 0}};

static void test_joins(void) {
    struct errmsg msg = {0};
    struct weight_list owned = {0};
    struct binder b = {.from = open_file(), .device = device, .owned = &owned, .msg = &msg};
    binder_find_prefix(&b, "m.", "words");
    struct weight *table = binder_table(&b, "words", 64, 2);
    b.layer = "layers.";
    b.layer_index = 1;
    struct weight *ab = binder_linear(&b, joined, 2, 2, true);
    b.layer = NULL;
    b.bare = true;
    struct norm norm = binder_norm(&b, "norm", 2, 0.5F);
    CHECK_OK(b.failed, msg);
    CHECK_OK(weights_check_all_taken(b.from, &msg), msg);
    weights_close(b.from);
    float y[4] = {0};
    multiply(ab, 4, y);
    static const float want[4] = {1 + 20 + 9, 3 + 40 + 10, 5 + 60 + 11, 7 + 80 + 12};
    CHECK(memcmp(y, want, sizeof y) == 0);
    CHECK(norm.eps > 0.4F && norm.gamma && norm.beta && norm.gamma != norm.beta);
    CHECK_INT((long long)owned.count, 4);
    CHECK(weight_list_bytes(&owned, device) ==
          device->ops->weight_bytes(table) + device->ops->weight_bytes(ab) +
              device->ops->weight_bytes(norm.gamma) + device->ops->weight_bytes(norm.beta));
    weight_list_free(&owned, device);
    CHECK(owned.count == 0 && owned.items == NULL);
    weight_list_free(&owned, device); // nothing twice
}

// Nothing is done behind a failure, and its message stays.
static void test_stops(void) {
    struct errmsg msg = {0};
    struct weight_list owned = {0};
    struct binder b = {.from = open_file(), .device = device, .owned = &owned, .msg = &msg};
    binder_find_prefix(&b, "m.", "words");
    CHECK(binder_table(&b, "words", 64, 2) != NULL);
    CHECK(binder_vector(&b, "lost", 2) == NULL);
    CHECK_ERROR(b.failed, ERR_NOT_FOUND, msg, "tensor 'm.lost.weight' is missing");
    CHECK(binder_table(&b, "words", 65, 2) == NULL);
    CHECK(binder_linear(&b, joined, 2, 2, true) == NULL);
    CHECK(binder_norm(&b, "norm", 2, 0).gamma == NULL);
    struct tensor t = binder_take(&b, "words", ".weight", 2, (size_t[]){64, 2});
    CHECK(!tensor_present(&t));
    CHECK_ERROR(b.failed, ERR_NOT_FOUND, msg, "tensor 'm.lost.weight' is missing");
    CHECK_INT((long long)owned.count, 1);
    CHECK(weights_check_all_taken(b.from, &msg) == ERR_INVALID); // nothing else was taken
    weights_close(b.from);
    weight_list_free(&owned, device);
    b = (struct binder){.from = open_file(), .device = device, .owned = &owned, .msg = &msg};
    const struct binder_rows four[4] = {{"a", 3, 0}, {"a", 3, 0}, {"a", 3, 0}, {"a", 3, 0}};
    CHECK(binder_linear(&b, four, 4, 2, true) == NULL && b.failed == ERR_INTERNAL);
    weights_close(b.from);
    CHECK(owned.count == 0);
}

// A table kept as it is stored takes half the memory; a vector is f32 in any case. Without a list
// the weight is the caller's.
static void test_precision(void) {
    size_t bytes[2][2];
    for (int stored = 0; stored < 2; stored++) {
        struct errmsg msg = {0};
        struct binder b = {.from = open_file(),
                           .device = device,
                           .precision = stored ? PRECISION_STORED : PRECISION_F32,
                           .msg = &msg};
        b.bare = true;
        struct weight *vector = binder_vector(&b, "norm", 2);
        struct weight *table = binder_table(&b, "m.words", 64, 2);
        CHECK_OK(b.failed, msg);
        weights_close(b.from);
        if (!vector || !table)
            return;
        bytes[stored][0] = device->ops->weight_bytes(vector);
        bytes[stored][1] = device->ops->weight_bytes(table);
        device->ops->weight_free(device, vector);
        device->ops->weight_free(device, table);
    }
    CHECK(bytes[0][0] == bytes[1][0]);
    CHECK(bytes[0][1] - bytes[1][1] == 64 * 2 * 2);
}

int main(void) {
    struct errmsg msg = {0};
    const struct cpu_options options = {.threads = 1, .gemm = CPU_GEMM_OWN};
    CHECK_OK(cpu_device_new(&options, &device, &msg), msg);
    folder = temp_new();
    if (device) {
        test_joins();
        test_stops();
        test_precision();
    }
    temp_free(&folder);
    cpu_device_free(device);
    return check_done();
}
