// Bytes of the heap in use, whoever allocated them: what a test compares before and after.
#ifndef TRINE_TESTS_UNIT_HEAP_BYTES_H
#define TRINE_TESTS_UNIT_HEAP_BYTES_H

#include <malloc.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
size_t __sanitizer_get_current_allocated_bytes(void);
static inline size_t heap_bytes(void) { return __sanitizer_get_current_allocated_bytes(); }
#else
static inline size_t heap_bytes(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}
#endif

#endif
