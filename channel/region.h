// Memory that two processes share for bulk data: a memfd without a name in any file system, sealed
// so that neither side can make it shorter or longer or take the seals away, mapped whole by both.
// Because it cannot shrink, no access to it can end a process (SIGBUS), whatever the other side
// does. Its pages cost nothing until they are touched.
// The other side may write anywhere in it at any time: what is read from it is copied out first
// and checked afterwards (region_copy_out), and never looked at in place twice.
// One region belongs to one life of the worker; it is not used again.
// Thread rule: the handle is constant after creation; of the bytes, whoever has the block.
#ifndef TRINE_CHANNEL_REGION_H
#define TRINE_CHANNEL_REGION_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct region; // opaque

// The parent's: makes, seals and maps one of at least so many bytes (whole pages). ERR_NOMEM,
// ERR_TOO_LARGE (ulimit -f), ERR_IO, ERR_INVALID (0 bytes), ERR_UNSUPPORTED (a kernel without
// sealed memory).
enum err region_new(size_t bytes, struct region **out, struct errmsg *msg) MUST_CHECK;
// The worker's: takes a descriptor that it was handed (owned by the region when this succeeds, the
// caller's when it fails), checks the seals and the size, and maps it. bytes: the size that the
// parent told; 0: whatever it has. ERR_INVALID where seals or size are not what they must be.
enum err region_open(int fd, size_t bytes, struct region **out, struct errmsg *msg) MUST_CHECK;
void region_free(struct region *r); // unmaps and closes; NULL is fine

unsigned char *region_base(const struct region *r);
size_t region_size(const struct region *r);
int region_fd(const struct region *r); // stays the region's

// Where [offset, offset + length) lies; NULL where it is not wholly inside.
void *region_at(const struct region *r, uint64_t offset, uint64_t length) MUST_CHECK;
// Copies a block out, then compares the copy with the checksum (channel_checksum). ERR_INVALID: not
// inside, or another checksum.
enum err region_copy_out(const struct region *r, uint64_t offset, uint64_t length,
                         uint64_t checksum, void *to, struct errmsg *msg) MUST_CHECK;

#endif
