// See test_device.h.
#include "tests/kit/test_device.h"

#include "tests/kit/guard_device.h"

#include <stdlib.h>
#include <string.h>

enum err test_device_new(const struct cpu_options *options, struct device **out,
                         struct errmsg *msg) {
    *out = NULL;
    const char *kind = getenv("TRINE_TEST_DEVICE");
    if (!kind || strcmp(kind, "cpu") == 0)
        return cpu_device_new(options, out, msg);
    if (strcmp(kind, "guard") == 0)
        return guard_device_new(options, out, msg);
    return err_set(msg, ERR_INVALID, "TRINE_TEST_DEVICE=%s: there are cpu and guard", kind);
}

void test_device_free(struct device *d) {
    if (d)
        d->ops->free(d);
}
