// See gemm_openblas.h.
#include "compute/cpu/gemm_openblas.h"

#include "base/log.h"
#include "base/mem.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static size_t tile_rows;

// OpenBLAS is loaded when it is first asked for, which on a CPU with AVX2 is never: a process that
// is linked with it has its worker threads (which cannot be ended when memory is short, so that the
// process hangs at exit) and 60 KiB of thread-local memory in each thread of its own.
static struct {
    __typeof__(&cblas_sgemm) sgemm;
    __typeof__(&openblas_set_num_threads) set_num_threads;
    __typeof__(&openblas_get_corename) get_corename;
} blas;

// dlsym gives functions as data pointers, which POSIX lets be copied so.
static bool find_function(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static enum err load(struct errmsg *msg) {
    if (blas.sgemm)
        return ERR_OK;
    (void)setenv("OPENBLAS_NUM_THREADS", "1", 1); // or it starts threads of its own as it loads
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(msg, ERR_NOT_FOUND, "cannot load OpenBLAS (package libopenblas0): %s",
                       dlerror());
    if (find_function(library, "openblas_set_num_threads", &blas.set_num_threads) &&
        find_function(library, "openblas_get_corename", &blas.get_corename) &&
        find_function(library, "cblas_sgemm", &blas.sgemm))
        return ERR_OK;
    blas.sgemm = NULL;
    dlclose(library);
    return err_set(msg, ERR_UNSUPPORTED, "libopenblas.so.0 lacks cblas_sgemm or its own controls");
}

static void sgemm(size_t rows, size_t out, size_t in, const float *x, size_t ldx, const float *w,
                  float *y, size_t ldy) {
    blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)out, (blasint)in,
               1.0F, x, (blasint)ldx, w, (blasint)in, 0.0F, y, (blasint)ldy);
}

// True when equal rows give equal bits at every place of a call of `tile` rows.
static bool rows_alike(size_t tile, float *x, float *w, float *y) {
    static const size_t shapes[][2] = {{384, 160}, {129, 333}, {33, 97}, {48, 7}, {512, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t in = shapes[i][0], out = shapes[i][1];
        unsigned state = 1;
        for (size_t j = 0; j < in * out + in; j++) {
            state = state * 1664525U + 1013904223U;
            *(j < in ? x + j : w + j - in) = (float)(state >> 8) * 0x1p-23F - 1.0F;
        }
        for (size_t r = 1; r < tile; r++)
            memcpy(x + r * in, x, in * sizeof *x);
        sgemm(tile, out, in, x, in, w, y, out);
        for (size_t r = 1; r < tile; r++)
            if (memcmp(y, y + r * out, out * sizeof *y) != 0)
                return false;
    }
    return true;
}

static void find_tile(void) {
    enum { MOST = 48, X = MOST * 512, W = 384 * 160, Y = MOST * 333 };
    static const size_t tiles[] = {MOST, 24, 16, 8, 4, 2, 1};
    float *memory = mem_alloc_aligned(X + W + Y, sizeof *memory);
    if (!memory)
        return;
    size_t i = 0;
    while (tiles[i] > 1 && !rows_alike(tiles[i], memory, memory + X, memory + X + W))
        i++;
    tile_rows = tiles[i];
    mem_free(memory);
}

const char *gemm_openblas_core(void) { return blas.get_corename(); }

static bool core_is(const char *const *names) {
    for (; *names; names++)
        if (strcasecmp(*names, gemm_openblas_core()) == 0)
            return true;
    return false;
}

static void warn_of_core(void) {
#if defined(__x86_64__)
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids", NULL};
    static const char *const avx2[] = {"Haswell", "Zen", "Excavator", NULL};
    bool wide = core_is(avx512);
    if (__builtin_cpu_supports("avx512f") && !wide)
        log_event(LOG_LEVEL_WARN, "openblas_core",
                  LOG_FIELDS(log_string("core", gemm_openblas_core())),
                  "OpenBLAS runs its %s kernels though this CPU has AVX-512: products take about "
                  "twice the time (is OPENBLAS_CORETYPE set?)",
                  gemm_openblas_core());
    else if (__builtin_cpu_supports("avx2") && !wide && !core_is(avx2))
        log_event(
            LOG_LEVEL_WARN, "openblas_core", LOG_FIELDS(log_string("core", gemm_openblas_core())),
            "OpenBLAS runs its %s kernels though this CPU has AVX2 (is OPENBLAS_CORETYPE set?)",
            gemm_openblas_core());
#endif
}

enum err gemm_openblas_init(size_t *rows, struct errmsg *msg) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static bool warned;
    pthread_mutex_lock(&mutex);
    enum err e = load(msg);
    if (!e && !warned) {
        blas.set_num_threads(1);
        warn_of_core();
        warned = true;
    }
    if (!e && tile_rows == 0)
        find_tile(); // asked again where memory was out
    *rows = tile_rows;
    if (!e && tile_rows == 0)
        e = err_set(msg, ERR_NOMEM, "no memory to try OpenBLAS");
    pthread_mutex_unlock(&mutex);
    return e;
}

bool gemm_openblas_fits(size_t tile, size_t out, size_t in) {
    return in <= KERNEL_SCRATCH && out <= KERNEL_SCRATCH && tile * (in + out) <= KERNEL_SCRATCH;
}

void gemm_openblas_rows(const struct cpu_kernels *kernels, const struct kernel_linear_share *s,
                        size_t tile, float *scratch) {
    const float *x = s->x;
    size_t ldx = s->ldx;
    // The products go to scratch: y may be the residual, and padded rows have no place in y.
    float *sums = scratch, *padded = scratch + tile * s->cols;
    if (s->rows < tile) {
        for (size_t r = 0; r < s->rows; r++)
            memcpy(padded + r * s->k, s->x + r * s->ldx, s->k * sizeof *padded);
        memset(padded + s->rows * s->k, 0, (tile - s->rows) * s->k * sizeof *padded);
        x = padded;
        ldx = s->k;
    }
    sgemm(tile, s->cols, s->k, x, ldx, s->panels, sums, s->cols);
    for (size_t r = 0; r < s->rows; r++) {
        const float *rows[3] = {sums + r * s->cols, s->bias,
                                s->residual ? s->residual + r * s->ldr : NULL};
        float *y = s->y + r * s->ldy;
        kernels->sum_rows(rows, s->residual ? 3 : 2, y, s->cols);
        if (s->f != ACTIVATION_NONE)
            kernels->activate(s->f, y, s->cols);
    }
}
