// The strict check against cJSON: what it accepts, cJSON must parse to the last byte; its answer
// must not depend on what follows the buffer.
#include "base/json.h"
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // an exact-size copy, so that ASan sees a read past the end
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    struct json_issue issue = {0};
    cJSON *root = NULL;
    enum err e = json_parse(text, size, &json_limits_request, &root, &issue, NULL);
    if (e == ERR_OK ? root == NULL : (root != NULL || !issue.code || issue.offset > size))
        abort();
    cJSON_Delete(root);
    free(text);
    return 0;
}
