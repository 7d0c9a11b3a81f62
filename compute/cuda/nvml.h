// NVML, the driver's library of figures: what else is on the card, how warm it is, which errors it
// has had. Role: figures for metrics and for the probe; nothing that is computed depends on them.
// It is looked for when it is asked for, and nothing fails where it is not there: each figure says
// whether it is known. Declared from its public documentation; nothing of its header is here.
// Thread rule: one owner; reading takes up to milliseconds, so not between forward passes.
#ifndef TRINE_COMPUTE_CUDA_NVML_H
#define TRINE_COMPUTE_CUDA_NVML_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NVML_UUID_BYTES = 48, NVML_DRIVER_BYTES = 80 };

struct nvml; // the library and one device of it

struct nvml_number {
    bool known;
    uint64_t value;
};

struct nvml_figures {
    struct nvml_number memory_total_bytes, memory_free_bytes, memory_used_bytes;
    struct nvml_number memory_others_bytes; // that other processes hold
    struct nvml_number celsius, milliwatts;
    struct nvml_number gpu_percent, memory_percent;    // busy, over the last second or less
    struct nvml_number ecc_corrected, ecc_uncorrected; // since the driver was loaded
    struct nvml_number xids;                           // critical errors since nvml_open
    struct nvml_number last_xid;                       // their last number
};

// uuid: the device's 16 bytes, as CUDA gives them. ERR_UNSUPPORTED: no NVML, or it does not know
// the device; msg says which.
enum err nvml_open(const unsigned char uuid[16], struct nvml **out, struct errmsg *msg) MUST_CHECK;
void nvml_close(struct nvml *n); // NULL is fine
// As NVML and CUDA_VISIBLE_DEVICES spell it: "GPU-..." or "MIG-...".
const char *nvml_uuid(const struct nvml *n);
const char *nvml_driver(const struct nvml *n); // "580.65.06"; empty: not known
// Never waits for anything to happen. n NULL: nothing is known.
void nvml_read(struct nvml *n, struct nvml_figures *out);

// "GPU-" or "MIG-" and the bytes in hexadecimal, grouped 8-4-4-4-12.
void nvml_write_uuid(const char *prefix, const unsigned char uuid[16], char out[NVML_UUID_BYTES]);

#endif
