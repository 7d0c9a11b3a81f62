// See probe.h.
#include "compute/cuda/probe.h"

#include "base/json_text.h"
#include "base/version.h"
#include "compute/cuda/cublaslt.h"
#include "compute/cuda/nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_text(struct buf *out, const char *key, const char *text) {
    buf_printf(out, "\"%s\": ", key);
    if (text && *text)
        json_quote(out, text, strlen(text));
    else
        buf_puts(out, "null");
}

// 13000 is "13.0".
static void write_version(struct buf *out, const char *key, int version) {
    if (version)
        buf_printf(out, "\"%s\": \"%d.%d\"", key, version / 1000, version % 1000 / 10);
    else
        buf_printf(out, "\"%s\": null", key);
}

static void write_number(struct buf *out, const char *key, struct nvml_number n) {
    if (n.known)
        buf_printf(out, ", \"%s\": %llu", key, (unsigned long long)n.value);
    else
        buf_printf(out, ", \"%s\": null", key);
}

// The bytes of "GPU-..." or "MIG-...", of which NVML is asked. False: it is neither.
static bool uuid_bytes(const char *text, unsigned char out[16]) {
    size_t n = 0;
    const char *p = strchr(text, '-');
    for (p = p ? p + 1 : ""; *p && n < 32; p++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, *p);
        if (*p == '-')
            continue;
        if (!at)
            return false;
        unsigned char value = (unsigned char)(at - digits);
        out[n / 2] = (unsigned char)(n % 2 ? out[n / 2] << 4 | value : value);
        n++;
    }
    return n == 32 && !*p;
}

static void write_figures(struct buf *out, const char *uuid) {
    unsigned char bytes[16];
    struct nvml *nvml = NULL;
    struct errmsg why = {.text = "the device has no UUID"};
    struct nvml_figures f;
    if (uuid_bytes(uuid, bytes) && nvml_open(bytes, &nvml, &why) != ERR_OK)
        nvml = NULL;
    nvml_read(nvml, &f);
    buf_puts(out, ",\n      \"nvml\": {");
    write_text(out, "driver", nvml ? nvml_driver(nvml) : NULL);
    buf_puts(out, ", ");
    write_text(out, "reason", nvml ? NULL : why.text);
    write_number(out, "memory_used_bytes", f.memory_used_bytes);
    write_number(out, "memory_others_bytes", f.memory_others_bytes);
    write_number(out, "celsius", f.celsius);
    write_number(out, "milliwatts", f.milliwatts);
    write_number(out, "gpu_percent", f.gpu_percent);
    write_number(out, "memory_percent", f.memory_percent);
    write_number(out, "ecc_corrected", f.ecc_corrected);
    write_number(out, "ecc_uncorrected", f.ecc_uncorrected);
    buf_puts(out, "}");
    nvml_close(nvml);
}

// Whether cuBLASLt is there; *reason says why not.
static bool write_cublaslt(struct buf *out, struct errmsg *reason) {
    struct cublaslt lib;
    enum err e = cublaslt_open(getenv("TRINE_CUDA_LIBS"), &lib, reason);
    buf_puts(out, "  \"cublaslt\": {");
    write_text(out, "path", e ? NULL : lib.path);
    if (e)
        buf_puts(out, ", \"version\": null, ");
    else // 130100 is 13.1.0
        buf_printf(out, ", \"version\": \"%zu.%zu.%zu\", ", lib.version() / 10000,
                   lib.version() / 100 % 100, lib.version() % 100);
    write_text(out, "reason", e ? reason->text : NULL);
    buf_puts(out, "},\n");
    cublaslt_close(&lib);
    return e == ERR_OK;
}

// Whether a card can be used; *reason says why not. None of an earlier trouble.
static bool write_card(const struct probe_kind *kind, int number, struct buf *out,
                       struct errmsg *reason) {
    struct gpu_facts f;
    enum err e = kind->api->look(number, &f, reason);
    if (!e && (f.major < kind->least_major ||
               (f.major == kind->least_major && f.minor < kind->least_minor)))
        e = err_set(reason, ERR_UNSUPPORTED,
                    "GPU %d (%s) has compute capability %d.%d, and %d.%d is the least", number,
                    f.name, f.major, f.minor, kind->least_major, kind->least_minor);
    buf_printf(out, "%s\n    {\"number\": %d, ", number ? "," : "", number);
    write_text(out, "name", f.name);
    buf_puts(out, ", ");
    write_text(out, "uuid", f.uuid);
    buf_printf(out,
               ", \"compute_capability\": \"%d.%d\", \"memory_bytes\": %zu, \"free_bytes\": %zu, "
               "\"processors\": %d, \"shared_bytes\": %zu, \"narrow\": \"%s\", \"usable\": %s, ",
               f.major, f.minor, f.memory_bytes, f.free_bytes, f.processors, f.shared_bytes,
               f.bf16 ? "bf16" : "f16", e ? "false" : "true");
    write_text(out, "reason", e ? reason->text : NULL);
    write_figures(out, f.uuid);
    buf_puts(out, "}");
    return e == ERR_OK;
}

static int write_cards(const struct probe_kind *kind, struct buf *out, struct errmsg *reason) {
    int count = 0, first = -1;
    enum err e = kind->api->count(&count, reason);
    buf_puts(out, "  \"devices\": [");
    for (int i = 0; i < count && !e; i++) {
        struct errmsg why;
        if (write_card(kind, i, out, &why)) {
            if (first < 0)
                first = i;
        } else if (first < 0) {
            *reason = why;
        }
    }
    buf_puts(out, count ? "\n  ],\n" : "],\n");
    return e ? -1 : first;
}

bool probe_write(const struct probe_kind *kind, struct buf *out) {
    struct errmsg no_card = {.text = "there is no GPU"}, no_library = {.text = ""};
    buf_puts(out, "{\n  ");
    write_text(out, "trine", version_number);
    buf_puts(out, ", ");
    write_text(out, "commit", version_commit);
    buf_puts(out, ", ");
    write_text(out, "kind", kind->api->name);
    buf_printf(out, ", \"kernels\": %zu,\n  ", kind->kernels);
    write_version(out, "driver_cuda", kind->driver);
    buf_puts(out, ", ");
    write_version(out, "least_driver_cuda", kind->least_driver);
    buf_puts(out, ", ");
    write_version(out, "runtime", kind->runtime);
    buf_puts(out, ", ");
    write_text(out, "visible_devices", getenv("CUDA_VISIBLE_DEVICES"));
    buf_puts(out, ",\n");
    bool library = !kind->cublaslt || write_cublaslt(out, &no_library);
    int first = write_cards(kind, out, &no_card);
    bool usable = library && first >= 0;
    buf_printf(out, "  \"usable\": %s, ", usable ? "true" : "false");
    if (usable)
        buf_printf(out, "\"would_use\": %d, ", first);
    else
        buf_puts(out, "\"would_use\": null, ");
    write_text(out, "reason", usable ? NULL : first < 0 ? no_card.text : no_library.text);
    buf_puts(out, "\n}\n");
    return usable;
}

int probe_print(const struct probe_kind *kind) {
    struct buf out = {.data = NULL};
    bool usable = probe_write(kind, &out);
    bool said = !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len;
    said = fflush(stdout) == 0 && said;
    buf_free(&out);
    return usable && said ? 0 : 1;
}
