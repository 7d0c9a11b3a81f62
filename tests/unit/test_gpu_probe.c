// What is said of a machine's GPUs (probe.h) and of the two libraries that are looked for when the
// program runs (cublaslt.h, nvml.h): one JSON object whatever there is, a reason where nothing can
// be used, and a line with what was tried where a library is not there.
#include "base/json.h"
#include "compute/cuda/cublaslt.h"
#include "compute/cuda/nvml.h"
#include "compute/cuda/probe.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdlib.h>
#include <unistd.h>

// ---- a kind of GPU that says what the test wants

static int cards;
static int majors[4];
static bool look_fails[4];

static enum err count(int *out, struct errmsg *msg) {
    *out = cards;
    return cards ? ERR_OK : err_set(msg, ERR_UNSUPPORTED, "no NVIDIA driver is \"here\"");
}

static enum err look(int number, struct gpu_facts *out, struct errmsg *msg) {
    *out = (struct gpu_facts){.number = number};
    if (look_fails[number])
        return err_set(msg, ERR_UNSUPPORTED, "GPU %d: in use", number);
    *out = (struct gpu_facts){
        .number = number,
        .name = "NVIDIA \"H200\"",
        .uuid = "GPU-00112233-4455-6677-8899-aabbccddeeff",
        .major = majors[number],
        .minor = 0,
        .driver = 13000,
        .memory_bytes = 150000000000,
        .free_bytes = 149000000000,
        .processors = 132,
        .shared_bytes = 232448,
        .bf16 = true,
    };
    return ERR_OK;
}

static const struct gpu_api API = {.name = "told", .count = count, .look = look};

static cJSON *probe(bool cublaslt, bool *usable) {
    struct probe_kind kind = {.api = &API,
                              .driver = 13000,
                              .runtime = 13000,
                              .least_driver = 13000,
                              .least_major = 7,
                              .least_minor = 5,
                              .kernels = 40,
                              .cublaslt = cublaslt};
    struct buf out = {.data = NULL};
    struct errmsg msg;
    cJSON *root = NULL;
    *usable = probe_write(&kind, &out);
    CHECK(!out.failed);
    CHECK_OK(json_parse(out.data, out.len, &json_limits_file, &root, NULL, &msg), msg);
    CHECK(*usable == cJSON_IsTrue(json_get(root, "usable")));
    CHECK(*usable == !json_get(root, "reason"));
    buf_free(&out);
    return root;
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static void test_no_card(void) {
    bool usable;
    cards = 0;
    cJSON *root = probe(false, &usable);
    CHECK(!usable);
    CHECK_STR(text_of(root, "reason"), "no NVIDIA driver is \"here\"");
    CHECK_STR(text_of(root, "driver_cuda"), "13.0");
    CHECK_STR(text_of(root, "kind"), "told");
    CHECK(!json_get(root, "would_use"));
    CHECK_INT(cJSON_GetArraySize(json_get(root, "devices")), 0);
    cJSON_Delete(root);
}

static void test_cards(void) {
    bool usable;
    cards = 3;
    majors[0] = 6; // too old
    majors[1] = 9;
    majors[2] = 9;
    look_fails[2] = true;
    cJSON *root = probe(false, &usable);
    const cJSON *devices = json_get(root, "devices");
    CHECK(usable);
    CHECK_INT(cJSON_GetArraySize(devices), 3);
    CHECK(json_get(root, "would_use") && json_get(root, "would_use")->valueint == 1);
    const cJSON *old = cJSON_GetArrayItem(devices, 0), *good = cJSON_GetArrayItem(devices, 1),
                *lost = cJSON_GetArrayItem(devices, 2);
    CHECK(cJSON_IsFalse(json_get(old, "usable")));
    CHECK(strstr(text_of(old, "reason"), "6.0, and 7.5 is the least") != NULL);
    CHECK(cJSON_IsTrue(json_get(good, "usable")));
    CHECK_STR(text_of(good, "name"), "NVIDIA \"H200\"");
    CHECK_STR(text_of(good, "compute_capability"), "9.0");
    CHECK_STR(text_of(good, "narrow"), "bf16");
    CHECK(json_get(good, "free_bytes") && json_get(good, "free_bytes")->valuedouble == 149e9);
    // this UUID is no device's: NVML is not there, or does not know it, and says so
    CHECK(strlen(text_of(json_get(good, "nvml"), "reason")) > 0);
    CHECK(!json_get(json_get(good, "nvml"), "celsius"));
    CHECK_STR(text_of(lost, "reason"), "GPU 2: in use");
    cJSON_Delete(root);

    cards = 1; // none that can be used: the reason is the card's
    root = probe(false, &usable);
    CHECK(!usable);
    CHECK(strstr(text_of(root, "reason"), "is the least") != NULL);
    cJSON_Delete(root);
}

// ---- the libraries

// Where this program's own C library is: a library that has none of the functions.
static bool c_library(char *out, size_t size) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (path && strstr(path, "/libc.so") != NULL) {
            (void)snprintf(out, size, "%.*s", (int)strcspn(path, "\n"), path);
            found = true;
        }
    }
    if (maps)
        (void)fclose(maps);
    return found;
}

static void test_cublaslt_is_looked_for(void) {
    const char *dir = scratch_folder();
    struct errmsg msg;
    struct cublaslt lib;
    char path[512], libc[1024];
    (void)snprintf(path, sizeof path, "/nowhere/at/all:%s", dir);
    CHECK_ERROR(cublaslt_open(path, &lib, &msg), ERR_UNSUPPORTED, msg, "TRINE_CUDA_LIBS");
    CHECK(strstr(msg.text, "/nowhere/at/all") && strstr(msg.text, dir));
    CHECK(!lib.library && !lib.matmul);
    cublaslt_close(&lib);

    FILE *file = fopen(scratch_path("libcublasLt.so.13"), "w");
    CHECK(file && fputs("no library", file) >= 0 && fclose(file) == 0);
    CHECK_ERROR(cublaslt_open(dir, &lib, &msg), ERR_UNSUPPORTED, msg, "cannot load cuBLASLt");
    CHECK(strstr(msg.text, dir) != NULL);

    if (c_library(libc, sizeof libc)) {
        scratch_remove(scratch_path("libcublasLt.so.13"));
        CHECK(symlink(libc, scratch_path("libcublasLt.so.13")) == 0);
        CHECK_ERROR(cublaslt_open(dir, &lib, &msg), ERR_UNSUPPORTED, msg,
                    "lacks cublasLtGetVersion");
        CHECK(!lib.library);
    } else {
        check_skip("where the C library is, /proc/self/maps does not say");
    }
}

// The probe has the library's trouble for its reason where a card is there.
static void test_no_cublaslt(void) {
    bool usable;
    cards = 1;
    majors[0] = 9;
    CHECK(setenv("TRINE_CUDA_LIBS", "/nowhere/at/all", 1) == 0);
    cJSON *root = probe(true, &usable);
    CHECK(!usable);
    CHECK(strstr(text_of(root, "reason"), "/nowhere/at/all") != NULL);
    CHECK(!json_get(json_get(root, "cublaslt"), "path"));
    CHECK_STR(text_of(json_get(root, "cublaslt"), "reason"), text_of(root, "reason"));
    cJSON_Delete(root);
    CHECK(unsetenv("TRINE_CUDA_LIBS") == 0);
}

static void test_nvml(void) {
    static const unsigned char uuid[16] = {0,    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                           0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    char text[NVML_UUID_BYTES];
    nvml_write_uuid("MIG-", uuid, text);
    CHECK_STR(text, "MIG-00112233-4455-6677-8899-aabbccddeeff");
    struct nvml *nvml;
    struct errmsg msg;
    CHECK_ERROR(nvml_open(uuid, &nvml, &msg), ERR_UNSUPPORTED, msg, "NVML");
    CHECK(!nvml);
    struct nvml_figures figures;
    memset(&figures, 0xff, sizeof figures);
    nvml_read(NULL, &figures);
    CHECK(!figures.celsius.known && !figures.xids.known && !figures.memory_free_bytes.known &&
          !figures.ecc_uncorrected.known);
    nvml_close(NULL);
}

int main(void) {
    json_init();
    test_no_card();
    test_cards();
    test_cublaslt_is_looked_for();
    test_no_cublaslt();
    test_nvml();
    return check_done();
}
