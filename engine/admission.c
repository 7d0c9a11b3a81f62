// See admission.h.
#include "engine/admission.h"

enum err admission_take(struct admission *a, size_t tokens, struct errmsg *msg) {
    bool large = admission_is_large(a, tokens);
    size_t held = large ? a->large : a->small;
    // one is let in where nothing is, whatever its size
    if (held > 0 && (held >= a->limit || tokens > a->limit - held)) {
        if (large)
            return err_set(msg, ERR_OVERLOADED,
                           "a request of some %zu tokens waits until other large ones are "
                           "computed (%zu of %zu tokens are held by them); retry later, or send "
                           "less at once",
                           tokens, held, a->limit);
        return err_set(msg, ERR_OVERLOADED, "the queue is full (%zu of %zu tokens); retry later",
                       held, a->limit);
    }
    admission_add(a, tokens, large);
    return ERR_OK;
}

void admission_add(struct admission *a, size_t tokens, bool large) {
    *(large ? &a->large : &a->small) += tokens;
}

void admission_give(struct admission *a, size_t tokens, bool large) {
    *(large ? &a->large : &a->small) -= tokens;
}
