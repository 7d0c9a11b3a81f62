// Heap memory; all of the program allocates through these functions. Sizes are multiplied with a
// check, failure is NULL, and a test can make any call fail.
// Role: memory that lives as long as the process or a request. Forward passes use an arena
// (arena.h) instead. Thread rule: any thread.
#ifndef TRINE_BASE_MEM_H
#define TRINE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

// Makes large blocks go back to the system when they are freed. Call it from main before other
// threads start. Without it the C library raises its threshold up to 32 MiB when the first large
// block is freed, and keeps everything below that.
void mem_init(void);
// Gives freed small blocks back to the system as well. It takes milliseconds: only after large
// work.
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
// Pages directly from the system, zero until written, costing nothing until touched; huge pages
// where the system has them. Freed by mem_unmap with the same count and size.
void *mem_map(size_t count, size_t size) __attribute__((warn_unused_result));
void mem_unmap(void *p, size_t count, size_t size); // NULL is fine
// A copy of n bytes with a NUL behind them.
char *mem_strndup(const char *s, size_t n) __attribute__((warn_unused_result));
void mem_free(void *p);

#endif
