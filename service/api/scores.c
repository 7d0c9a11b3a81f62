// See scores.h.
#include "service/api/scores.h"

#include "service/api/vectors.h"

#include <math.h>

float api_sigmoid(float x) { return (float)(1.0 / (1.0 + exp(-(double)x))); }

void api_softmax(float *row, size_t n) {
    float most = row[0];
    for (size_t i = 1; i < n; i++)
        most = row[i] > most ? row[i] : most;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)row[i] - (double)most);
    for (size_t i = 0; i < n; i++)
        row[i] = (float)(exp((double)row[i] - (double)most) / sum);
}

float api_dot(const float *a, const float *b, size_t n) {
    double dot = 0;
    for (size_t k = 0; k < n; k++)
        dot += (double)a[k] * (double)b[k];
    return (float)dot;
}

void api_score_print(struct buf *out, float score) {
    char text[API_FLOAT_MAX];
    buf_append(out, text, api_float_print(score, text));
}

enum err api_get_raw(const struct api_request *q, bool *raw, struct api_error *err) {
    bool activation = true;
    enum err e = api_get_bool(q, "raw_scores", false, raw, err);
    if (!e)
        e = api_get_bool(q, "use_activation", true, &activation, err);
    *raw = !e && (*raw || !activation);
    return e;
}
