// See gemm_plans.h.
#include "compute/cuda/gemm_plans.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>

enum {
    WAYS = 8,                 // plans of one place of the store
    ALGORITHMS = 8,           // asked for; the first that can be taken is
    F32_ROWS = 256,           // for how many rows f32's algorithm is chosen
    ALIGN_MOST = 256,         // bytes; more says nothing to cuBLASLt
    ALIGN_F32 = 16,           // the same for f32: places of rows must not choose
    STEPS_IN_OCTAVE_LOG2 = 3, // eighths
};

// What an algorithm depends on. Compared as bytes: no gaps.
struct gemm_key {
    uint64_t out, in, bucket, ld_w, ld_x, ld_y, ld_residual;
    uint16_t align_w, align_x, align_y, align_residual;
    uint8_t type, wide_out, activation, has_bias, has_residual;
    uint8_t zero[3];
};
_Static_assert(sizeof(struct gemm_key) == 72, "no gaps");

struct gemm_plan {
    struct gemm_key key;
    uint64_t used;                     // when, by the count of calls; 0: there is none here
    void *desc, *w, *x, *residual, *y; // layouts but for the first
    uint64_t rows;                     // that the layouts say now
    const void *bias;                  // that the descriptor says now
    struct cublaslt_algo algo;
};

struct gemm_plans {
    const struct cublaslt *lib;
    void *handle;
    size_t workspace_bytes;
    pthread_mutex_t mutex;
    struct gemm_plan *plans; // [sets][WAYS]
    size_t sets;             // a power of two
    uint64_t calls;
    struct gemm_plans_counts counts;
};

size_t gemm_plans_bucket(size_t rows) {
    size_t step = 1;
    while (rows > (step << (STEPS_IN_OCTAVE_LOG2 + 1)))
        step *= 2;
    return (rows + step - 1) / step * step;
}

static uint16_t alignment(const void *p, size_t most) {
    size_t align = 1;
    while (align < most && ((uintptr_t)p & (2 * align - 1)) == 0)
        align *= 2;
    return (uint16_t)align;
}

static struct gemm_key key_of(const struct gpu_gemm *a) {
    bool f32 = a->type == GPU_F32;
    size_t most = f32 ? ALIGN_F32 : ALIGN_MOST;
    return (struct gemm_key){
        .out = a->out,
        .in = a->in,
        .bucket = f32 ? F32_ROWS : gemm_plans_bucket(a->rows),
        .ld_w = a->ld_w,
        .ld_x = a->ld_x,
        .ld_y = a->ld_y,
        .ld_residual = a->residual ? a->ld_residual : 0,
        .align_w = alignment(a->w, most),
        .align_x = alignment(a->x, most),
        .align_y = alignment(a->y, most),
        .align_residual = a->residual ? alignment(a->residual, most) : 0,
        .type = (uint8_t)a->type,
        .wide_out = a->wide_out,
        .activation = (uint8_t)a->activation,
        .has_bias = a->bias != NULL,
        .has_residual = a->residual != NULL,
    };
}

// FNV-1a over words.
static uint64_t hash_of(const struct gemm_key *key) {
    uint64_t words[sizeof *key / sizeof(uint64_t)], h = 14695981039346656037U;
    memcpy(words, key, sizeof *key);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        h = (h ^ words[i]) * 1099511628211U;
        h ^= h >> 32;
    }
    return h;
}

static int type_of(enum gpu_type t) {
    if (t == GPU_F32)
        return CUBLASLT_R_32F;
    return t == GPU_BF16 ? CUBLASLT_R_16BF : CUBLASLT_R_16F;
}

static int epilogue_of(enum gpu_activation f, bool bias) {
    if (f == GPU_RELU)
        return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    if (f == GPU_GELU_TANH)
        return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

static enum err failed(const struct gemm_plans *p, const struct gpu_gemm *a, const char *call,
                       int status, struct errmsg *msg) {
    static const char *const types[] = {"f32", "bf16", "f16"};
    enum err e = ERR_LOST;
    if (status == CUBLASLT_NOT_SUPPORTED)
        e = ERR_UNSUPPORTED;
    else if (status == CUBLASLT_ALLOC_FAILED)
        e = ERR_NOMEM;
    return err_set(msg, e, "%s: %s (%s) for a product in %s of [%zu, %zu] with [%zu, %zu]", call,
                   p->lib->status_name(status), p->lib->status_string(status), types[a->type % 3],
                   a->rows, a->in, a->out, a->in);
}

static void forget(const struct gemm_plans *p, struct gemm_plan *plan) {
    void *layouts[] = {plan->w, plan->x, plan->residual, plan->y};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i])
            (void)p->lib->layout_destroy(layouts[i]);
    if (plan->desc)
        (void)p->lib->desc_destroy(plan->desc);
    *plan = (struct gemm_plan){.used = 0};
}

static int set_int(int (*set)(void *, int, const void *, size_t), void *what, int attribute,
                   uint32_t value) {
    return set(what, attribute, &value, sizeof value);
}

// The descriptor and the layouts, for the bucket's rows.
static int describe(const struct gemm_plans *p, const struct gpu_gemm *a, struct gemm_plan *plan) {
    const struct cublaslt *lib = p->lib;
    const struct gemm_key *k = &plan->key;
    int in = type_of(a->type), out = a->wide_out ? CUBLASLT_R_32F : in;
    int s = lib->desc_create(&plan->desc, CUBLASLT_COMPUTE_32F, CUBLASLT_R_32F);
    if (!s)
        s = set_int(lib->desc_set, plan->desc, CUBLASLT_DESC_TRANSA, CUBLASLT_OP_T);
    if (!s)
        s = set_int(lib->desc_set, plan->desc, CUBLASLT_DESC_EPILOGUE,
                    (uint32_t)epilogue_of(a->activation, k->has_bias));
    if (!s && k->has_bias)
        s = set_int(lib->desc_set, plan->desc, CUBLASLT_DESC_BIAS_DATA_TYPE, (uint32_t)out);
    if (!s && k->has_bias) // that there is one matters to the choice
        s = lib->desc_set(plan->desc, CUBLASLT_DESC_BIAS_POINTER, &a->bias, sizeof a->bias);
    if (!s)
        s = lib->layout_create(&plan->w, in, k->in, k->out, (int64_t)k->ld_w);
    if (!s)
        s = lib->layout_create(&plan->x, in, k->in, k->bucket, (int64_t)k->ld_x);
    if (!s)
        s = lib->layout_create(&plan->y, out, k->out, k->bucket, (int64_t)k->ld_y);
    if (!s)
        s = lib->layout_create(&plan->residual, out, k->out, k->bucket,
                               (int64_t)(k->has_residual ? k->ld_residual : k->ld_y));
    plan->bias = a->bias;
    plan->rows = k->bucket;
    return s;
}

static int prefer(const struct gemm_plans *p, const struct gemm_key *k, void **pref) {
    const struct cublaslt *lib = p->lib;
    uint64_t workspace = p->workspace_bytes;
    int s = lib->pref_create(pref);
    if (!s)
        s = lib->pref_set(*pref, CUBLASLT_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    const struct {
        int attribute;
        uint32_t value;
    } settings[] = {
        {CUBLASLT_PREF_REDUCTION_SCHEME_MASK, 0},
        {CUBLASLT_PREF_MIN_ALIGNMENT_A_BYTES, k->align_w},
        {CUBLASLT_PREF_MIN_ALIGNMENT_B_BYTES, k->align_x},
        {CUBLASLT_PREF_MIN_ALIGNMENT_C_BYTES, k->has_residual ? k->align_residual : k->align_y},
        {CUBLASLT_PREF_MIN_ALIGNMENT_D_BYTES, k->align_y},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings && !s; i++)
        s = set_int(lib->pref_set, *pref, settings[i].attribute, settings[i].value);
    return s;
}

// The first algorithm that the library would take and that finds room in the workspace.
static int choose(const struct gemm_plans *p, struct gemm_plan *plan) {
    struct cublaslt_result found[ALGORITHMS];
    int count = 0;
    void *pref = NULL;
    int s = prefer(p, &plan->key, &pref);
    if (!s)
        s = p->lib->heuristic(p->handle, plan->desc, plan->w, plan->x, plan->residual, plan->y,
                              pref, ALGORITHMS, found, &count);
    if (pref)
        (void)p->lib->pref_destroy(pref);
    if (s)
        return s;
    for (int i = 0; i < count && i < ALGORITHMS; i++) {
        if (found[i].status == CUBLASLT_SUCCESS && found[i].workspace_bytes <= p->workspace_bytes) {
            plan->algo = found[i].algo;
            return CUBLASLT_SUCCESS;
        }
    }
    return CUBLASLT_NOT_SUPPORTED;
}

static enum err make(struct gemm_plans *p, const struct gpu_gemm *a, const struct gemm_key *key,
                     struct gemm_plan *plan, struct errmsg *msg) {
    if (plan->used) {
        forget(p, plan);
        p->counts.evicted++;
        p->counts.held--;
    }
    plan->key = *key;
    const char *call = "cuBLASLt's description";
    int s = describe(p, a, plan);
    if (!s) {
        call = "cublasLtMatmulAlgoGetHeuristic";
        s = choose(p, plan);
    }
    if (s) {
        forget(p, plan);
        return failed(p, a, call, s, msg);
    }
    p->counts.made++;
    p->counts.held++;
    return ERR_OK;
}

// The plan of a shape: it is there, or is made in the place of the one used longest ago.
static enum err find(struct gemm_plans *p, const struct gpu_gemm *a, struct gemm_plan **out,
                     struct errmsg *msg) {
    struct gemm_key key = key_of(a);
    struct gemm_plan *set = p->plans + (hash_of(&key) & (p->sets - 1)) * WAYS, *oldest = set;
    p->calls++;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(&set[i].key, &key, sizeof key) == 0) {
            set[i].used = p->calls;
            *out = &set[i];
            return ERR_OK;
        }
        if (set[i].used < oldest->used)
            oldest = &set[i];
    }
    enum err e = make(p, a, &key, oldest, msg);
    if (e)
        return e;
    oldest->used = p->calls;
    *out = oldest;
    return ERR_OK;
}

// What may be another at each call of a shape.
static int renew(const struct gemm_plans *p, const struct gpu_gemm *a, struct gemm_plan *plan) {
    int s = CUBLASLT_SUCCESS;
    uint64_t rows = a->rows;
    if (plan->rows != rows) {
        void *layouts[] = {plan->x, plan->residual, plan->y};
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts && !s; i++)
            s = p->lib->layout_set(layouts[i], CUBLASLT_LAYOUT_COLS, &rows, sizeof rows);
        plan->rows = s ? 0 : rows;
    }
    if (!s && plan->bias != a->bias) {
        s = p->lib->desc_set(plan->desc, CUBLASLT_DESC_BIAS_POINTER, &a->bias, sizeof a->bias);
        plan->bias = s ? NULL : a->bias;
    }
    return s;
}

enum err gemm_plans_run(struct gemm_plans *p, const struct gpu_gemm *a, void *workspace,
                        void *stream, struct errmsg *msg) {
    static const float one = 1, zero = 0;
    if (a->rows == 0 || a->out == 0)
        return ERR_OK;
    struct gemm_plan *plan;
    pthread_mutex_lock(&p->mutex);
    enum err e = find(p, a, &plan, msg);
    if (!e) {
        const void *c = a->residual ? a->residual : a->y;
        int s = renew(p, a, plan);
        if (!s)
            s = p->lib->matmul(p->handle, plan->desc, &one, a->w, plan->w, a->x, plan->x,
                               a->residual ? &one : &zero, c, plan->residual, a->y, plan->y,
                               &plan->algo, workspace, p->workspace_bytes, stream);
        if (s)
            e = failed(p, a, "cublasLtMatmul", s, msg);
    }
    pthread_mutex_unlock(&p->mutex);
    return e;
}

enum err gemm_plans_new(const struct cublaslt *lib, size_t capacity, size_t workspace_bytes,
                        struct gemm_plans **out, struct errmsg *msg) {
    size_t sets = 1;
    while (sets * WAYS < capacity)
        sets *= 2;
    *out = NULL;
    struct gemm_plans *p = mem_calloc(1, sizeof *p);
    if (p)
        p->plans = mem_calloc(sets * WAYS, sizeof *p->plans);
    if (!p || !p->plans) {
        mem_free(p);
        return err_set(msg, ERR_NOMEM, "no memory for the plans of products");
    }
    p->lib = lib;
    p->sets = sets;
    p->workspace_bytes = workspace_bytes;
    p->counts.capacity = sets * WAYS;
    int s = lib->create(&p->handle);
    if (s) {
        mem_free(p->plans);
        mem_free(p);
        return err_set(msg, s == CUBLASLT_ALLOC_FAILED ? ERR_NOMEM : ERR_UNSUPPORTED,
                       "cuBLASLt cannot work here: cublasLtCreate: %s (%s)", lib->status_name(s),
                       lib->status_string(s));
    }
    pthread_mutex_init(&p->mutex, NULL);
    *out = p;
    return ERR_OK;
}

void gemm_plans_free(struct gemm_plans *p) {
    if (!p)
        return;
    for (size_t i = 0; i < p->counts.capacity; i++)
        if (p->plans[i].used)
            forget(p, &p->plans[i]);
    (void)p->lib->destroy(p->handle);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->plans);
    mem_free(p);
}

struct gemm_plans_counts gemm_plans_count(struct gemm_plans *p) {
    pthread_mutex_lock(&p->mutex);
    struct gemm_plans_counts counts = p->counts;
    pthread_mutex_unlock(&p->mutex);
    return counts;
}
