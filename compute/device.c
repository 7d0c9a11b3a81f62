// See device.h.
#include "compute/device.h"

#include <stdarg.h>
#include <stdio.h>

const char *dtype_name(enum dtype t) {
    static const char *const names[DTYPE_COUNT] = {"f32", "f16", "bf16", "i64", "i32", "u8"};
    return t < DTYPE_COUNT ? names[t] : "unknown";
}

void device_fail(struct device *d, enum err code, const char *fmt, ...) {
    if (d->failed != ERR_OK)
        return;
    char text[sizeof d->failure.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->failed = err_set(&d->failure, code, "%s", text);
}

enum err device_sync(struct device *d, struct errmsg *msg) {
    if (d->ops->wait)
        d->ops->wait(d);
    enum err e = d->failed;
    d->failed = ERR_OK;
    return e == ERR_OK ? ERR_OK : err_set(msg, e, "%s", d->failure.text);
}

void device_linear_activate(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y) {
    if (d->ops->linear_activate) {
        d->ops->linear_activate(d, w, x, f, y);
        return;
    }
    d->ops->linear(d, w, x, y);
    d->ops->activate(d, f, y);
}

void device_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y) {
    if (d->ops->linear_add_norm) {
        d->ops->linear_add_norm(d, w, x, residual, n, y);
        return;
    }
    if (y.data == residual.data) {
        device_fail(d, ERR_UNSUPPORTED, "%s: linear_add_norm in place needs the fused operation",
                    d->ops->name);
        return;
    }
    d->ops->linear(d, w, x, y);
    d->ops->add(d, residual, y);
    d->ops->layer_norm(d, n, y, y);
}

struct mat device_mat(struct device *d, struct arena *ws, size_t rows, size_t cols) {
    struct mat m = {.rows = rows, .cols = cols, .ld = mat_ld(cols)};
    size_t count;
    if (cols > SIZE_MAX / 2 || __builtin_mul_overflow(rows, m.ld, &count) ||
        !(m.data = arena_alloc(ws, count, sizeof(float)))) {
        device_fail(d, ERR_INTERNAL, "workspace of %zu bytes has no room for a %zu x %zu matrix",
                    ws->size, rows, cols);
        m.data = NULL;
    }
    return m;
}

size_t device_mat_bytes(size_t rows, size_t cols) {
    size_t count;
    if (cols > SIZE_MAX / 2 || __builtin_mul_overflow(rows, mat_ld(cols), &count))
        return SIZE_MAX;
    return arena_cost(count, sizeof(float));
}
