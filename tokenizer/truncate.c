// See truncate.h.
#include "tokenizer/truncate.h"

static void share(size_t room, size_t *first, size_t *second) {
    bool swapped = *first > *second;
    size_t shorter = swapped ? *second : *first, longer;
    if (2 * shorter >= room) {
        // both are cut; the odd token goes to the longer, and to the second of equals
        shorter = room / 2;
        longer = shorter + room % 2;
    } else {
        longer = room - shorter;
    }
    *first = swapped ? longer : shorter;
    *second = swapped ? shorter : longer;
}

enum err truncate_lengths(enum truncate_strategy strategy, size_t room, bool pair, size_t *first,
                          size_t *second, struct errmsg *msg) {
    size_t total = *first + (pair ? *second : 0);
    if (strategy == TRUNCATE_NONE || total <= room)
        return ERR_OK;
    if (room == 0) {
        *first = *second = 0;
        return ERR_OK;
    }
    if (strategy == TRUNCATE_LONGEST_FIRST) {
        if (pair)
            share(room, first, second);
        else
            *first = room;
        return ERR_OK;
    }
    bool cut_first = strategy == TRUNCATE_ONLY_FIRST;
    if (!cut_first && !pair)
        return err_set(msg, ERR_INVALID, "truncation of the second text, but there is only one");
    size_t *cut = cut_first ? first : second;
    size_t over = total - room;
    if (*cut <= over)
        return err_set(msg, ERR_INVALID,
                       "the %s text cannot be cut to fit: the other one has %zu tokens and there "
                       "is room for %zu",
                       cut_first ? "first" : "second", total - *cut, room);
    *cut -= over;
    return ERR_OK;
}
