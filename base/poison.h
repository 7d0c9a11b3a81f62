// Memory that exists but must not be touched. Role: tells AddressSanitizer about blocks that are
// cut from a larger one, because it sees no border between them. Does nothing in other builds.
// Thread rule: as for the memory itself.
#ifndef TRINE_BASE_POISON_H
#define TRINE_BASE_POISON_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_KNOWN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISON_KNOWN 1
#endif

#ifdef POISON_KNOWN

#include <sanitizer/asan_interface.h>

enum { POISON_GAP = 64 }; // bytes that nobody owns behind a block; keeps its alignment

// Until unpoison is called, every access to [p, p + n) ends the program with a report.
static inline void poison(const void *p, size_t n) { __asan_poison_memory_region(p, n); }
static inline void unpoison(const void *p, size_t n) { __asan_unpoison_memory_region(p, n); }
static inline int poisoned(const void *p) { return __asan_address_is_poisoned(p); }

#else

enum { POISON_GAP = 0 };

static inline void poison(const void *p, size_t n) { (void)p, (void)n; }
static inline void unpoison(const void *p, size_t n) { (void)p, (void)n; }

#endif

#endif
