// The vocab section of a model: an object of pieces and ids. See vocab.h.
#include "tokenizer/vocab.h"

#include <string.h>

enum err vocab_parse(const cJSON *json, struct vocab *v, struct errmsg *msg) {
    size_t count = 0, bytes = 0, max_id = 0;
    const cJSON *item;
    if (!cJSON_IsObject(json))
        return err_set(msg, ERR_INVALID, "model needs 'vocab', an object");
    cJSON_ArrayForEach(item, json) {
        double id = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(id >= 0 && id <= VOCAB_ID_MAX) || id != (int32_t)id)
            return err_set(msg, ERR_INVALID, "token '%s': its id must be an integer of 0 to %d",
                           item->string, VOCAB_ID_MAX);
        count++;
        bytes += strlen(item->string);
        max_id = (size_t)id > max_id ? (size_t)id : max_id;
    }
    if (vocab_init(v, count, bytes, max_id))
        return err_set(msg, ERR_NOMEM, "no memory for a vocabulary of %zu", count);
    cJSON_ArrayForEach(item, json) {
        int32_t id = (int32_t)item->valuedouble;
        size_t len = strlen(item->string);
        if (vocab_id(v, item->string, len) >= 0)
            return err_set(msg, ERR_INVALID, "token '%s' is there twice, with ids %d and %d",
                           item->string, vocab_id(v, item->string, len), id);
        if (!vocab_add(v, item->string, len, id))
            return err_set(msg, ERR_INVALID, "token '%s': id %d is also that of '%s'", item->string,
                           id, vocab_piece(v, id));
    }
    return ERR_OK;
}
