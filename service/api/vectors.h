// Numbers as text: vectors as JSON arrays, base64 and the quantised forms. Role: the only printer
// of results; it never sees a NaN or an infinity (the scheduler fails such a job).
// Thread rule: pure functions; a buf's failure is sticky as in base/buf.h.
#ifndef TRINE_SERVICE_API_VECTORS_H
#define TRINE_SERVICE_API_VECTORS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { API_FLOAT_MAX = 24 };

// The shortest decimal that reads back as the same float (its bits: -0 is "-0.0"), as a JSON
// number with a point or an exponent. Returns its length (no NUL). x is finite.
// Source followed: Raffaello Giulietti, "The Schubfach way to render doubles" (2020), for floats.
size_t api_float_print(float x, char out[API_FLOAT_MAX]);

// Base64 (RFC 4648, padded), without quotes.
void api_base64_print(struct buf *out, const void *bytes, size_t n);

// How a vector is written. Quantised forms need no calibration, so that a vector's bytes never
// depend on what else was in the request: int8 = round(127 x) clamped to [-127, 127], uint8 =
// int8 + 128 (components of a normalised vector lie in [-1, 1]). Binary packs x > 0 as one bit
// each, first component in the highest bit, as sentence-transformers' quantize_embeddings does:
// ubinary as bytes 0 to 255, binary as those minus 128; a last byte is filled with zero bits.
enum api_vector {
    API_VECTOR_FLOAT,
    API_VECTOR_BASE64, // little-endian f32
    API_VECTOR_INT8,
    API_VECTOR_UINT8,
    API_VECTOR_BINARY,
    API_VECTOR_UBINARY,
    API_VECTOR_FORMS,
};

// "float", "base64", "int8", "uint8", "binary", "ubinary".
const char *api_vector_name(enum api_vector form);
bool api_vector_parse(const char *name, enum api_vector *form);

// A JSON array of numbers, or a JSON string for API_VECTOR_BASE64.
void api_vector_print(struct buf *out, const float *x, size_t n, enum api_vector form);
// The form's numbers as bytes (f32, little-endian, for the two that are no quantised ones), as a
// JSON string of base64.
void api_vector_print_packed(struct buf *out, const float *x, size_t n, enum api_vector form);

#endif
