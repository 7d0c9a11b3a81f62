// Any bytes as a safetensors file: refused with a message, or every byte of every tensor is there.
#include "base/json.h"
#include "base/mem.h"
#include "weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tensor(const struct tensor *t, const uint8_t *data, size_t size) {
    size_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++)
        if (mem_mul_overflows(bytes, t->shape[i], &bytes))
            abort();
    size_t begin = t->offset;
    if (begin > size || bytes > size - begin || t->rank > TENSOR_MAX_RANK || !t->name[0])
        abort();
    // a sanitizer sees a byte that is not there
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + data[begin + i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors s;
    struct errmsg msg = {0};
    enum err e = safetensors_parse("x.safetensors", (const char *)data, size, &s, &msg);
    if (e && (msg.code != e || strncmp(msg.text, "x.safetensors: ", 15) != 0))
        abort();
    if (e && (s.tensors || s.count))
        abort();
    for (size_t i = 0; i < s.count; i++)
        check_tensor(&s.tensors[i], data, size);
    safetensors_free(&s);
    return 0;
}
