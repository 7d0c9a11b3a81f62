// SHA-256 (FIPS 180-4) of a whole message. Thread rule: pure function.
#ifndef TRINE_SERVICE_SHA256_H
#define TRINE_SERVICE_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const void *bytes, size_t len, uint8_t out[32]);

#endif
