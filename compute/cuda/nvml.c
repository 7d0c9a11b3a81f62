// See nvml.h.
#include "compute/cuda/nvml.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { // nvmlReturn_t and the like
    NVML_SUCCESS = 0,
    NVML_TEMPERATURE_GPU = 0,
    NVML_ECC_CORRECTED = 0,
    NVML_ECC_UNCORRECTED = 1,
    NVML_ECC_VOLATILE = 0,
    NVML_EVENT_XID = 8,
};
enum { PROCESSES = 256, EVENTS_AT_ONCE = 64 };

struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_utilization {
    unsigned gpu, memory;
};
struct nvml_process {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
};
struct nvml_event {
    void *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

struct nvml_functions {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int status);
    int (*driver_version)(char *out, unsigned bytes);
    int (*by_uuid)(const char *uuid, void **device);
    int (*parent)(void *mig, void **device); // may be missing, as all that follow
    int (*memory)(void *device, struct nvml_memory *out);
    int (*processes)(void *device, unsigned *count, struct nvml_process *out);
    int (*temperature)(void *device, int sensor, unsigned *celsius);
    int (*power)(void *device, unsigned *milliwatts);
    int (*utilization)(void *device, struct nvml_utilization *out);
    int (*ecc_errors)(void *device, int kind, int counter, unsigned long long *out);
    int (*events_new)(void **set);
    int (*events_free)(void *set);
    int (*events_register)(void *device, unsigned long long types, void *set);
    int (*events_wait)(void *set, struct nvml_event *out, unsigned timeout_ms);
};

struct nvml {
    void *library;
    struct nvml_functions f;
    void *device; // CUDA's: of a MIG device it has the memory and the processes
    void *card;   // the whole one
    void *events; // or NULL
    uint64_t xids, last_xid;
    char uuid[NVML_UUID_BYTES];
    char driver[NVML_DRIVER_BYTES];
};

static const struct {
    const char *name;
    size_t offset;
    bool needed;
} FUNCTIONS[] = {
    {"nvmlInit_v2", offsetof(struct nvml_functions, init), true},
    {"nvmlShutdown", offsetof(struct nvml_functions, shutdown), true},
    {"nvmlErrorString", offsetof(struct nvml_functions, error_string), true},
    {"nvmlSystemGetDriverVersion", offsetof(struct nvml_functions, driver_version), true},
    {"nvmlDeviceGetHandleByUUID", offsetof(struct nvml_functions, by_uuid), true},
    {"nvmlDeviceGetDeviceHandleFromMigDeviceHandle", offsetof(struct nvml_functions, parent),
     false},
    {"nvmlDeviceGetMemoryInfo", offsetof(struct nvml_functions, memory), false},
    {"nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct nvml_functions, processes), false},
    {"nvmlDeviceGetTemperature", offsetof(struct nvml_functions, temperature), false},
    {"nvmlDeviceGetPowerUsage", offsetof(struct nvml_functions, power), false},
    {"nvmlDeviceGetUtilizationRates", offsetof(struct nvml_functions, utilization), false},
    {"nvmlDeviceGetTotalEccErrors", offsetof(struct nvml_functions, ecc_errors), false},
    {"nvmlEventSetCreate", offsetof(struct nvml_functions, events_new), false},
    {"nvmlEventSetFree", offsetof(struct nvml_functions, events_free), false},
    {"nvmlDeviceRegisterEvents", offsetof(struct nvml_functions, events_register), false},
    {"nvmlEventSetWait_v2", offsetof(struct nvml_functions, events_wait), false},
};

void nvml_write_uuid(const char *prefix, const unsigned char uuid[16], char out[NVML_UUID_BYTES]) {
    size_t at = strlen(prefix);
    memcpy(out, prefix, at);
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        (void)snprintf(out + at, 3, "%02x", uuid[i]);
        at += 2;
    }
}

static enum err load(struct nvml *n, struct errmsg *msg) {
    n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!n->library)
        return err_set(msg, ERR_UNSUPPORTED, "no NVML: %s", dlerror());
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *symbol = dlsym(n->library, FUNCTIONS[i].name);
        if (!symbol && FUNCTIONS[i].needed)
            return err_set(msg, ERR_UNSUPPORTED, "libnvidia-ml.so.1 lacks %s", FUNCTIONS[i].name);
        memcpy((char *)&n->f + FUNCTIONS[i].offset, &symbol, sizeof symbol);
    }
    return ERR_OK;
}

static enum err find_device(struct nvml *n, const unsigned char uuid[16], struct errmsg *msg) {
    nvml_write_uuid("MIG-", uuid, n->uuid);
    bool mig = n->f.by_uuid(n->uuid, &n->device) == NVML_SUCCESS;
    if (mig) {
        if (!n->f.parent || n->f.parent(n->device, &n->card) != NVML_SUCCESS)
            n->card = n->device;
        return ERR_OK;
    }
    nvml_write_uuid("GPU-", uuid, n->uuid);
    int s = n->f.by_uuid(n->uuid, &n->device);
    n->card = n->device;
    return s ? err_set(msg, ERR_UNSUPPORTED, "NVML does not know %s: %s", n->uuid,
                       n->f.error_string(s))
             : ERR_OK;
}

// Without them the count of Xids is not known; no more.
static void listen(struct nvml *n) {
    const struct nvml_functions *f = &n->f;
    if (!f->events_new || !f->events_free || !f->events_register || !f->events_wait ||
        f->events_new(&n->events) != NVML_SUCCESS) {
        n->events = NULL;
        return;
    }
    if (f->events_register(n->card, NVML_EVENT_XID, n->events) != NVML_SUCCESS) {
        (void)f->events_free(n->events);
        n->events = NULL;
    }
}

enum err nvml_open(const unsigned char uuid[16], struct nvml **out, struct errmsg *msg) {
    *out = NULL;
    struct nvml *n = mem_calloc(1, sizeof *n);
    if (!n)
        return err_set(msg, ERR_NOMEM, "no memory for NVML");
    enum err e = load(n, msg);
    int s = e ? NVML_SUCCESS : n->f.init();
    if (s)
        e = err_set(msg, ERR_UNSUPPORTED, "NVML cannot work here: %s", n->f.error_string(s));
    if (e) {
        if (n->library)
            dlclose(n->library);
        mem_free(n);
        return e;
    }
    e = find_device(n, uuid, msg);
    if (e) {
        nvml_close(n);
        return e;
    }
    if (n->f.driver_version(n->driver, sizeof n->driver) != NVML_SUCCESS)
        n->driver[0] = '\0';
    listen(n);
    *out = n;
    return ERR_OK;
}

void nvml_close(struct nvml *n) {
    if (!n)
        return;
    if (n->events)
        (void)n->f.events_free(n->events);
    (void)n->f.shutdown();
    dlclose(n->library);
    mem_free(n);
}

const char *nvml_uuid(const struct nvml *n) { return n->uuid; }
const char *nvml_driver(const struct nvml *n) { return n->driver; }

static struct nvml_number known(uint64_t value) { return (struct nvml_number){true, value}; }

static void read_memory(const struct nvml *n, struct nvml_figures *out) {
    struct nvml_memory memory;
    if (!n->f.memory || n->f.memory(n->device, &memory) != NVML_SUCCESS)
        return;
    out->memory_total_bytes = known(memory.total);
    out->memory_free_bytes = known(memory.free);
    out->memory_used_bytes = known(memory.used);
    // In a container processes have other numbers, or none are told: then it is not known who has
    // it.
    struct nvml_process list[PROCESSES];
    unsigned count = PROCESSES;
    if (!n->f.processes || n->f.processes(n->device, &count, list) != NVML_SUCCESS ||
        count > PROCESSES)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (list[i].pid == (unsigned)getpid() && list[i].used <= memory.used)
            out->memory_others_bytes = known(memory.used - list[i].used);
    }
    if (count == 0)
        out->memory_others_bytes = known(memory.used);
}

static void read_card(const struct nvml *n, struct nvml_figures *out) {
    const struct nvml_functions *f = &n->f;
    unsigned value;
    unsigned long long errors;
    struct nvml_utilization busy;
    if (f->temperature && f->temperature(n->card, NVML_TEMPERATURE_GPU, &value) == NVML_SUCCESS)
        out->celsius = known(value);
    if (f->power && f->power(n->card, &value) == NVML_SUCCESS)
        out->milliwatts = known(value);
    if (f->utilization && f->utilization(n->card, &busy) == NVML_SUCCESS) {
        out->gpu_percent = known(busy.gpu);
        out->memory_percent = known(busy.memory);
    }
    if (f->ecc_errors &&
        f->ecc_errors(n->card, NVML_ECC_CORRECTED, NVML_ECC_VOLATILE, &errors) == NVML_SUCCESS)
        out->ecc_corrected = known(errors);
    if (f->ecc_errors &&
        f->ecc_errors(n->card, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &errors) == NVML_SUCCESS)
        out->ecc_uncorrected = known(errors);
}

static void read_events(struct nvml *n, struct nvml_figures *out) {
    if (!n->events)
        return;
    struct nvml_event event;
    for (int i = 0; i < EVENTS_AT_ONCE && n->f.events_wait(n->events, &event, 0) == NVML_SUCCESS;
         i++) {
        if (event.type != NVML_EVENT_XID)
            continue;
        n->xids++;
        n->last_xid = event.data;
    }
    out->xids = known(n->xids);
    if (n->xids)
        out->last_xid = known(n->last_xid);
}

void nvml_read(struct nvml *n, struct nvml_figures *out) {
    *out = (struct nvml_figures){.celsius.known = false};
    if (!n)
        return;
    read_memory(n, out);
    read_card(n, out);
    read_events(n, out);
}
