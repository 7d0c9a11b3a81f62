// See mem.h.
#define _GNU_SOURCE // madvise, MAP_ANONYMOUS
#include "base/mem.h"

#include "base/fault.h"
#include "base/poison.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

void mem_init(void) {
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 4 << 20); // of a heap's end; far above what a request takes
    // A heap of a thread's own maps 64 MiB and more, which counts where the address space does.
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
        (void)mallopt(M_ARENA_MAX, 1);
}

void mem_give_back(void) { (void)malloc_trim(0); }

bool mem_mul_overflows(size_t count, size_t size, size_t *product) {
    return __builtin_mul_overflow(count, size, product);
}

static bool refuse(size_t count, size_t size, size_t *bytes) {
    if (mem_mul_overflows(count, size, bytes) || *bytes > PTRDIFF_MAX)
        return true;
    if (*bytes == 0)
        *bytes = 1;
    return fault_hit(FAULT_ALLOC);
}

void *mem_calloc(size_t count, size_t size) {
    size_t bytes;
    return refuse(count, size, &bytes) ? NULL : calloc(1, bytes);
}

void *mem_alloc(size_t count, size_t size) {
    size_t bytes;
    return refuse(count, size, &bytes) ? NULL : malloc(bytes);
}

void *mem_realloc(void *p, size_t count, size_t size) {
    size_t bytes;
    return refuse(count, size, &bytes) ? NULL : realloc(p, bytes);
}

void *mem_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    if (refuse(count, size, &bytes))
        return NULL;
    const size_t huge = (size_t)2 << 20;
    size_t align = bytes >= 2 * huge ? huge : 64;
    if (bytes > SIZE_MAX - align)
        return NULL;
    size_t asked = bytes;
    bytes = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, bytes);
    if (!p)
        return NULL;
    if (align == huge)
        (void)madvise(p, bytes, MADV_HUGEPAGE); // advice only: without it the memory is still right
    memset(p, 0, bytes);
    poison((char *)p + asked, bytes - asked);
    return p;
}

void *mem_map(size_t count, size_t size) {
    size_t bytes;
    if (refuse(count, size, &bytes))
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE); // advice only: without it the memory is still right
    return p;
}

void mem_unmap(void *p, size_t count, size_t size) {
    if (p)
        (void)munmap(p, count * size > 0 ? count * size : 1);
}

char *mem_strndup(const char *s, size_t n) {
    if (n == SIZE_MAX)
        return NULL;
    char *copy = mem_alloc(n + 1, 1);
    if (copy) {
        if (n)
            memcpy(copy, s, n);
        copy[n] = '\0';
    }
    return copy;
}

void mem_free(void *p) { free(p); }
