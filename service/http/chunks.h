// A chunked body (RFC 9112, 7.1), read strictly: CRLF and nothing else ends a line, sizes are hex
// digits. Chunk extensions and trailers are checked for their bytes, bounded, and ignored. Role:
// bytes to body bytes; no sockets. Thread rule: one owner.
#ifndef TRINE_SERVICE_HTTP_CHUNKS_H
#define TRINE_SERVICE_HTTP_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Begins as {0}.
struct http_chunks {
    int state;      // chunks.c's own
    uint64_t left;  // of the chunk's size, then of its data
    size_t digits;  // of the size's line
    size_t skipped; // extensions' and trailers' bytes
    bool done;      // the whole body has come
    bool bad;       // it is malformed; final
};

// Takes the n bytes that have come, moves those of the body to bytes[0..) and returns how many
// these are. Bytes behind the end of the body are dropped.
size_t http_chunks_take(struct http_chunks *c, char *bytes, size_t n);

#endif
