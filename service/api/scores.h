// From a model's rows to scores, and how these are written. Thread rule: pure functions.
#ifndef TRINE_SERVICE_API_SCORES_H
#define TRINE_SERVICE_API_SCORES_H

#include "service/api/request.h"

// 1 / (1 + e^-x), in the range where neither end overflows.
float api_sigmoid(float x);
// In place. Sums in double, so that a thousand labels keep their last digits.
void api_softmax(float *row, size_t n);
// Of two vectors, in double: their cosine where both are normalised.
float api_dot(const float *a, const float *b, size_t n);
void api_score_print(struct buf *out, float score);

// Whether a body wants logits as they are: `raw_scores`, or by other services' words the absence of
// what makes them others (`use_activation`).
enum err api_get_raw(const struct api_request *q, bool *raw, struct api_error *err) MUST_CHECK;

#endif
