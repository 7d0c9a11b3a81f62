// See cpu.h.
#include "compute/cpu/cpu.h"

#include "base/limits.h"
#include "base/mem.h"
#include "compute/cpu/cpu_device.h"
#include "compute/cpu/gemm_openblas.h"
#include "compute/cpu/ops_attention.h"
#include "compute/cpu/ops_causal.h"
#include "compute/cpu/ops_draw.h"
#include "compute/cpu/ops_linear.h"
#include "compute/cpu/ops_memory.h"
#include "compute/cpu/ops_rows.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// From the plainest to the best.
static const struct cpu_kernels *const tables[] = {
    &kernels_generic,
#if defined(__x86_64__)
    &kernels_avx2,    &kernels_avx512, &kernels_avx512vnni, &kernels_avx512bf16,
#endif
};
enum { TABLES = sizeof tables / sizeof *tables };

#if defined(__x86_64__)
// __builtin_cpu_supports of clang 14 has no name for it. It is AVX's to the system: where AVX2 may
// be used, so may this.
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

// The features that the Makefile builds the set's files with.
static bool runs_here(const struct cpu_kernels *k) {
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (k == &kernels_avx2)
        return avx2;
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (k == &kernels_avx512)
        return avx512;
    bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    if (k == &kernels_avx512vnni)
        return vnni;
    if (k == &kernels_avx512bf16)
        return vnni && __builtin_cpu_supports("avx512bf16");
#endif
    return k == &kernels_generic;
}

static int table_named(const char *name) {
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i]->name, name) == 0)
            return i;
    return -1;
}

// The kernel set named, or (name NULL) the best one here that TRINE_CPU allows. NULL, and
// ERR_UNSUPPORTED in msg, when there is none of that name or it does not run here.
static const struct cpu_kernels *choose(const char *name, struct errmsg *msg) {
    const char *limit = getenv("TRINE_CPU");
    const char *asked = name ? name : limit && *limit ? limit : NULL;
    int at = asked ? table_named(asked) : TABLES - 1;
    if (at < 0) {
        err_set(msg, ERR_UNSUPPORTED,
                "cpu kernels '%s': there are generic, avx2, avx512, avx512vnni and avx512bf16",
                asked);
        return NULL;
    }
    if (name && !runs_here(tables[at])) {
        err_set(msg, ERR_UNSUPPORTED, "cpu kernels '%s': this CPU lacks them", name);
        return NULL;
    }
    while (at > 0 && !runs_here(tables[at]))
        at--;
    return tables[at];
}

static enum err choose_gemm(enum cpu_gemm asked, const struct cpu_kernels *k, size_t *openblas_rows,
                            struct errmsg *msg) {
    const char *word = getenv("TRINE_GEMM");
    *openblas_rows = 0;
    if (asked == CPU_GEMM_AUTO && word && *word) {
        if (strcmp(word, "own") == 0)
            asked = CPU_GEMM_OWN;
        else if (strcmp(word, "openblas") == 0)
            asked = CPU_GEMM_OPENBLAS;
        else
            return err_set(msg, ERR_UNSUPPORTED, "TRINE_GEMM=%s: there are own and openblas", word);
    }
    if (asked == CPU_GEMM_OWN || (asked == CPU_GEMM_AUTO && k != &kernels_generic))
        return ERR_OK;
    return gemm_openblas_init(openblas_rows, msg);
}

static const struct device_ops cpu_ops = {
    .name = "cpu",
    .weight_prepare = cpu_weight_prepare,
    .weight_free = cpu_weight_free,
    .weight_bytes = cpu_weight_bytes,
    .workspace_new = cpu_workspace_new,
    .workspace_free = cpu_workspace_free,
    .embed = cpu_embed,
    .linear = cpu_linear,
    .activate = cpu_activate,
    .add = cpu_add,
    .subtract = cpu_subtract,
    .layer_norm = cpu_layer_norm,
    .attention = cpu_attention,
    .rms_norm = cpu_rms_norm,
    .rope_table = cpu_rope_table,
    .rope = cpu_rope,
    .swiglu = cpu_swiglu,
    .gather = cpu_gather,
    .kv_block_bytes = cpu_kv_block_bytes,
    .kv_new = cpu_kv_new,
    .kv_free = cpu_kv_free,
    .kv_store = cpu_kv_store,
    .paged_attention = cpu_paged_attention,
    .pool = cpu_pool,
    .l2_normalize = cpu_l2_normalize,
    .read = cpu_read,
    .linear_activate = cpu_linear_activate,
    .linear_add = cpu_linear_add,
    .linear_add_norm = cpu_linear_add_norm,
    .draw_bytes = cpu_draw_bytes,
    .draw = cpu_draw,
    .free = cpu_device_free,
};

enum err cpu_device_new(const struct cpu_options *options, struct device **out,
                        struct errmsg *msg) {
    *out = NULL;
    const struct cpu_kernels *k = choose(options->isa, msg);
    if (!k)
        return ERR_UNSUPPORTED;
    int threads = options->threads > 0 ? options->threads : limits_read_cpus("");
    struct cpu_device *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_set(msg, ERR_NOMEM, "cpu device: no memory");
    c->base.ops = &cpu_ops;
    pthread_mutex_init(&c->making, NULL);
    c->k = k;
    c->pages = c->slabs.pages = options->pages;
    c->base.max_head_dim = k->max_head_dim;
    c->base.kv_block_tokens = CPU_KV_BLOCK_TOKENS;
    enum err e = choose_gemm(options->gemm, k, &c->openblas_rows, msg);
    if (e != ERR_OK) {
        cpu_device_free(&c->base);
        return e;
    }
    c->scratch = mem_alloc_aligned((size_t)threads, KERNEL_SCRATCH * sizeof *c->scratch);
    c->making_scratch = mem_alloc_aligned(KERNEL_SCRATCH, sizeof *c->making_scratch);
    e = c->scratch && c->making_scratch ? ops_causal_plan_new(&c->plan, msg)
                                        : err_set(msg, ERR_NOMEM, "cpu device: no memory");
    if (e == ERR_OK)
        e = team_new(threads, &c->team, msg);
    if (e != ERR_OK) {
        cpu_device_free(&c->base);
        return e;
    }
    snprintf(c->base.describe, sizeof c->base.describe, "cpu, %d thread%s, %s%s%s", threads,
             threads == 1 ? "" : "s", k->name, c->openblas_rows ? ", openblas " : "",
             c->openblas_rows ? gemm_openblas_core() : "");
    *out = &c->base;
    return ERR_OK;
}

void cpu_device_free(struct device *d) {
    if (!d)
        return;
    struct cpu_device *c = cpu_of(d);
    team_free(c->team);
    ops_causal_plan_free(c->plan);
    slab_free_all(&c->slabs);
    pthread_mutex_destroy(&c->making);
    mem_free(c->scratch);
    mem_free(c->making_scratch);
    mem_free(c->acts);
    mem_free(c);
}

void cpu_describe(char *out, size_t size) {
    const char *features = "";
#if defined(__x86_64__)
    static const char *const levels[] = {"sse2", "sse2 avx2 fma", "sse2 avx2 fma avx512",
                                         "sse2 avx2 fma avx512 avx512_vnni",
                                         "sse2 avx2 fma avx512 avx512_vnni avx512_bf16"};
    features = levels[runs_here(&kernels_avx512bf16)   ? 4
                      : runs_here(&kernels_avx512vnni) ? 3
                      : runs_here(&kernels_avx512)     ? 2
                      : runs_here(&kernels_avx2)       ? 1
                                                       : 0];
#endif
    const struct cpu_kernels *k = choose(NULL, NULL);
    snprintf(out, size, "%s; kernels %s", features, k ? k->name : "none (see TRINE_CPU)");
}
