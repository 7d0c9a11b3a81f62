// Heap memory, the only way to it: sizes by checked multiply, failure as NULL, injectable.
// Role: process- and request-lifetime memory. Forward passes use an arena (arena.h) instead.
// Thread rule: any thread.
#ifndef TRINE_BASE_MEM_H
#define TRINE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

// Has large blocks go back to the system when they are freed. From main, before other threads.
// Without it the C library raises its bar to 32 MiB with the first large block that is freed, and
// what lies below stays the process's.
void mem_init(void);
// Has what was freed in small blocks go back too: it takes milliseconds, so after large work only.
void mem_give_back(void);

// True when count * size does not fit in size_t.
bool mem_mul_overflows(size_t count, size_t size, size_t *product);

// Zeroed. NULL when the product overflows or memory is out; a zero product gives a unique pointer.
void *mem_calloc(size_t count, size_t size) __attribute__((warn_unused_result));
// Not zeroed.
void *mem_alloc(size_t count, size_t size) __attribute__((warn_unused_result));
// As realloc: on NULL the old block still stands.
void *mem_realloc(void *p, size_t count, size_t size) __attribute__((warn_unused_result));
// 64-byte aligned (huge pages are asked for from 4 MiB up), zeroed; freed by mem_free.
void *mem_alloc_aligned(size_t count, size_t size) __attribute__((warn_unused_result));
// Pages of the system's own, zero until written and of no cost until touched; in huge pages where
// the system gives them. Freed by mem_unmap with the same count and size.
void *mem_map(size_t count, size_t size) __attribute__((warn_unused_result));
void mem_unmap(void *p, size_t count, size_t size); // NULL is fine
// A copy of n bytes with a NUL behind them.
char *mem_strndup(const char *s, size_t n) __attribute__((warn_unused_result));
void mem_free(void *p);

#endif
