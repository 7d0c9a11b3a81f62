// What the system lets this process use: memory and processors. Role: reads the process's control
// groups (version 1, version 2, or both at once), its resource limits and the machine's size, and
// returns the least of them with the name of what set it. Every group from the process's own up to
// the root of the mount is a limit, so all of them are read.
// `root` is put before every path that is read: "" for the system's own files, a folder of files in
// a test. What cannot be read sets no limit. Thread rule: any thread.
#ifndef TRINE_BASE_LIMITS_H
#define TRINE_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

struct limits_memory {
    size_t bytes;     // at most this much
    char source[128]; // who says so: "the machine's memory", "memory.max of the control group /a"
};

// The least of: the machine's memory, memory.max and memory.high (version 2), limit_in_bytes and
// hierarchical_memory_limit (version 1), RLIMIT_AS and RLIMIT_DATA.
void limits_read_memory(const char *root, struct limits_memory *out);

// The number of processors: the least of the CPU affinity, cpu.max (version 2) and cfs_quota_us
// (version 1). A part of a processor counts as one; at least 1.
int limits_read_cpus(const char *root);

// Bytes of memory that this process holds now.
size_t limits_resident(void);

// The same of another process of this user's; 0: there is none such, or it cannot be seen.
size_t limits_resident_of(int64_t pid);

// RLIMIT_AS and RLIMIT_DATA limit what is mapped, touched or not: thread stacks, files, the
// allocator's reserve. When one of them leaves less than *limit leaves beside *held, *limit becomes
// that limit and *held what is mapped.
void limits_bind_mapped(struct limits_memory *limit, size_t *held);

// For the end of a message that the system has refused something: the limit of this process that
// may be why, as "; ulimit -v is 600000 KiB", or "" where there is none.
enum limits_kind { LIMITS_MAPPED, LIMITS_FILE };
enum { LIMITS_WORDS = 64 };
const char *limits_words(enum limits_kind kind, char to[LIMITS_WORDS]);

#endif
