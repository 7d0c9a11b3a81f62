// See region_space.h.
#include "channel/region_space.h"

#include <assert.h>
#include <string.h>

void region_space_init(struct region_space *s, size_t size) {
    *s = (struct region_space){.size = size / REGION_ALIGN * REGION_ALIGN};
}

enum err region_take(struct region_space *s, size_t bytes, uint64_t *offset) {
    if (bytes > s->size)
        return ERR_TOO_LARGE;
    if (bytes == 0)
        bytes = 1;
    uint64_t length = (bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
    if (length > s->size)
        return ERR_TOO_LARGE; // a region of less than one block
    if (s->count == REGION_BLOCKS || length > s->size - s->used)
        return ERR_OVERLOADED;
    uint64_t end = 0; // of what is taken so far
    size_t i = 0;
    while (i < s->count && s->blocks[i].offset - end < length) {
        end = s->blocks[i].offset + s->blocks[i].length;
        i++;
    }
    if (i == s->count && s->size - end < length)
        return ERR_OVERLOADED;
    memmove(&s->blocks[i + 1], &s->blocks[i], (s->count - i) * sizeof *s->blocks);
    s->blocks[i] = (struct region_block){.offset = end, .length = length};
    s->count++;
    s->used += length;
    *offset = end;
    return ERR_OK;
}

void region_give(struct region_space *s, uint64_t offset) {
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->blocks[mid].offset < offset)
            low = mid + 1;
        else
            high = mid;
    }
    assert(low < s->count && s->blocks[low].offset == offset);
    s->used -= s->blocks[low].length;
    s->count--;
    memmove(&s->blocks[low], &s->blocks[low + 1], (s->count - low) * sizeof *s->blocks);
}
