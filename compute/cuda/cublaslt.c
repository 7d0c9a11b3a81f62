// See cublaslt.h.
#define _GNU_SOURCE // dladdr
#include "compute/cuda/cublaslt.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libcublasLt.so.13"

// One search: where it has been, and why the first file that is there could not be loaded.
struct cublaslt_search {
    char tried[320]; // folders, with ", " between
    size_t tried_len;
    char why[192];
};

static const struct {
    const char *name;
    size_t offset;
} FUNCTIONS[] = {
    {"cublasLtGetVersion", offsetof(struct cublaslt, version)},
    {"cublasLtGetStatusName", offsetof(struct cublaslt, status_name)},
    {"cublasLtGetStatusString", offsetof(struct cublaslt, status_string)},
    {"cublasLtCreate", offsetof(struct cublaslt, create)},
    {"cublasLtDestroy", offsetof(struct cublaslt, destroy)},
    {"cublasLtMatmulDescCreate", offsetof(struct cublaslt, desc_create)},
    {"cublasLtMatmulDescDestroy", offsetof(struct cublaslt, desc_destroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct cublaslt, desc_set)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct cublaslt, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct cublaslt, layout_destroy)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(struct cublaslt, layout_set)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct cublaslt, pref_create)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct cublaslt, pref_destroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct cublaslt, pref_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct cublaslt, heuristic)},
    {"cublasLtMatmul", offsetof(struct cublaslt, matmul)},
};

// Below the folder of the program: as a package or a kit lays it, and as pip does.
static const char *const BESIDE[] = {".", "lib", "../lib", "nvidia/cu13/lib", "../nvidia/cu13/lib"};
// Where toolkits and distributions put it. (Debian's and ldconfig's folders are the default
// search.)
static const char *const USUAL[] = {
    "/usr/local/cuda/lib64",
    "/usr/local/cuda-13/lib64",
    "/usr/local/cuda-13.0/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
    "/usr/local/cuda/targets/sbsa-linux/lib",
    "/opt/cuda/lib64",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
};

static void note_tried(struct cublaslt_search *s, const char *folder) {
    int n = snprintf(s->tried + s->tried_len, sizeof s->tried - s->tried_len, "%s%s",
                     s->tried_len ? ", " : "", folder);
    if (n > 0 && (size_t)n < sizeof s->tried - s->tried_len)
        s->tried_len += (size_t)n;
    else
        s->tried[s->tried_len] = '\0'; // no room for it: what is there says enough
}

// folder NULL: the system's search. What dlopen says of a file that is not there is no news.
static void *try_folder(struct cublaslt_search *s, const char *folder, const char *shown) {
    char path[CUBLASLT_PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s%s", folder ? folder : "", folder ? "/" : "", LIBRARY);
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    note_tried(s, shown);
    if (folder && access(path, F_OK) != 0)
        return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library)
        return library;
    const char *why = dlerror();
    if (!s->why[0] && folder)
        (void)snprintf(s->why, sizeof s->why, "%s", why ? why : "dlopen failed");
    return NULL;
}

static void *try_named(struct cublaslt_search *s, const char *folders) {
    void *library = NULL;
    for (const char *p = folders; *p && !library;) {
        size_t len = strcspn(p, ":");
        char folder[CUBLASLT_PATH_BYTES];
        if (len > 0 && len < sizeof folder) {
            memcpy(folder, p, len);
            folder[len] = '\0';
            library = try_folder(s, folder, folder);
        }
        p += len + (p[len] == ':');
    }
    return library;
}

static void *try_beside(struct cublaslt_search *s) {
    char program[CUBLASLT_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return NULL;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    for (size_t i = 0; i < sizeof BESIDE / sizeof *BESIDE; i++) {
        char folder[CUBLASLT_PATH_BYTES + 32];
        (void)snprintf(folder, sizeof folder, "%s/%s", program, BESIDE[i]);
        void *library = try_folder(s, folder, i ? BESIDE[i] : "the program's folder");
        if (library)
            return library;
    }
    return NULL;
}

static void *search(struct cublaslt_search *s, const char *folders) {
    if (folders && *folders)
        return try_named(s, folders);
    void *library = try_beside(s);
    if (!library)
        library = try_folder(s, NULL, "the system's libraries");
    for (size_t i = 0; i < sizeof USUAL / sizeof *USUAL && !library; i++)
        library = try_folder(s, USUAL[i], USUAL[i]);
    return library;
}

// dlsym gives functions as data pointers, which POSIX lets be copied so.
static const char *find_functions(struct cublaslt *lib) {
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *symbol = dlsym(lib->library, FUNCTIONS[i].name);
        if (!symbol)
            return FUNCTIONS[i].name;
        memcpy((char *)lib + FUNCTIONS[i].offset, &symbol, sizeof symbol);
    }
    return NULL;
}

enum err cublaslt_open(const char *folders, struct cublaslt *out, struct errmsg *msg) {
    struct cublaslt_search s = {.why = ""};
    *out = (struct cublaslt){.library = NULL};
    out->library = search(&s, folders);
    if (!out->library && s.why[0])
        return err_set(msg, ERR_UNSUPPORTED, "cannot load cuBLASLt: %s", s.why);
    if (!out->library)
        return err_set(msg, ERR_UNSUPPORTED,
                       "no " LIBRARY " (cuBLAS of CUDA 13; pip's nvidia-cublas has it): set "
                       "TRINE_CUDA_LIBS to its folder; looked in %s",
                       s.tried);
    const char *lacking = find_functions(out);
    if (lacking) {
        cublaslt_close(out);
        return err_set(msg, ERR_UNSUPPORTED, LIBRARY " lacks %s", lacking);
    }
    Dl_info info;
    void *symbol;
    memcpy(&symbol, &out->version, sizeof symbol);
    (void)snprintf(out->path, sizeof out->path, "%s",
                   dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : LIBRARY);
    return ERR_OK;
}

void cublaslt_close(struct cublaslt *lib) {
    if (lib->library)
        dlclose(lib->library);
    *lib = (struct cublaslt){.library = NULL};
}
