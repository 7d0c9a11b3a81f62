// Regions are mapped, with a page before and one behind. Large ones map one file of poison again
// and again, so that what is never written costs no memory.
#include "tests/gpu/memory.h"

#include <map>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum {
    PAGE = 4096,
    GUARD = 256,
    NEAR = 32,
    CANARY = 0xc5,
    PATTERN_BYTES = 2 << 20,
};

static std::map<uintptr_t, struct region *> *regions; // by their end

void memory_poison(void *p, size_t bytes) {
    uint16_t x = MEMORY_POISON;
    unsigned char *to = (unsigned char *)p;
    if (bytes >= 2)
        memcpy(to, &x, 2);
    else if (bytes)
        memcpy(to, &x, 1);
    for (size_t done = 2; done < bytes;) {
        size_t n = done < bytes - done ? done : bytes - done;
        if (n > PAGE)
            n = PAGE;
        memcpy(to + done, to, n);
        done += n;
    }
}

void memory_open(const void *p, size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(p, bytes);
#else
    (void)p, (void)bytes;
#endif
}
void memory_close(const void *p, size_t bytes, bool whole) {
#ifdef __SANITIZE_ADDRESS__
    uintptr_t begin = (uintptr_t)p, end = begin + bytes;
    if (whole)
        begin = begin / 8 * 8, end = (end + 7) / 8 * 8;
    __asan_poison_memory_region((void *)begin, end - begin);
#else
    (void)p, (void)bytes, (void)whole;
#endif
}

// A file of poison, or -1.
static int pattern(void) {
    static int file = -2;
    if (file != -2)
        return file;
    file = memfd_create("poison", MFD_CLOEXEC);
    void *p = MAP_FAILED;
    if (file >= 0 && ftruncate(file, PATTERN_BYTES) == 0)
        p = mmap(NULL, PATTERN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (p == MAP_FAILED) {
        if (file >= 0)
            close(file);
        return file = -1;
    }
    memory_poison(p, PATTERN_BYTES);
    munmap(p, PATTERN_BYTES);
    return file;
}

static void fill(unsigned char *map, size_t bytes) {
    size_t done = 0;
    while (bytes - done >= PATTERN_BYTES && pattern() >= 0 &&
           mmap(map + done, PATTERN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                pattern(), 0) != MAP_FAILED)
        done += PATTERN_BYTES;
    memory_poison(map + done, bytes - done);
}

struct region *region_new(struct gpu *g, size_t bytes, bool host) {
    if (bytes > SIZE_MAX / 4)
        return NULL;
    // The memory begins GUARD bytes into the second page: 256 aligned, and no better.
    size_t map_bytes = (PAGE + GUARD + bytes + GUARD + PAGE - 1) / PAGE * PAGE;
    void *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    fill((unsigned char *)map, map_bytes);
    unsigned char *data = (unsigned char *)map + PAGE + GUARD;
    memset(data - GUARD, CANARY, GUARD);
    memset(data + bytes, CANARY, GUARD);
    struct region *r =
        new region{data, bytes, g, host, host ? NULL : order_map_new(bytes), {}, map, map_bytes};
    memory_close(map, map_bytes, true);
    if (host)
        memory_open(data, bytes);
    if (!regions)
        regions = new std::map<uintptr_t, struct region *>;
    (*regions)[(uintptr_t)data + bytes] = r;
    return r;
}

void region_free(struct region *r) {
    regions->erase((uintptr_t)r->data + r->bytes);
    memory_open(r->map, r->map_bytes); // whoever maps the addresses next
    munmap(r->map, r->map_bytes);
    if (r->order)
        order_map_free(r->order);
    delete r;
}

struct region *region_at(const void *p) {
    if (!regions)
        return NULL;
    auto at = regions->lower_bound((uintptr_t)p);
    if (at == regions->end() || (const unsigned char *)p < at->second->data)
        return NULL;
    return at->second;
}

struct region *region_of_gpu(const struct gpu *g) {
    if (regions)
        for (auto &at : *regions)
            if (at.second->gpu == g)
                return at.second;
    return NULL;
}

static bool holds_canaries(const unsigned char *p, size_t bytes) {
    memory_open(p, bytes);
    bool all = true;
    for (size_t i = 0; i < bytes; i++)
        all = all && p[i] == CANARY;
    memory_close(p, bytes, true);
    return all;
}

bool region_guarded(const struct region *r, bool all) {
    size_t n = all ? GUARD : NEAR;
    return holds_canaries(r->data - n, n) && holds_canaries(r->data + r->bytes, n);
}

struct spans {
    std::multimap<uintptr_t, size_t> by_begin;
    size_t longest; // of all that ever were
};
struct spans *spans_new(void) {
    return new spans{{}, 0};
}
void spans_free(struct spans *s) { delete s; }
void spans_add(struct spans *s, const void *p, size_t bytes) {
    s->by_begin.emplace((uintptr_t)p, bytes);
    if (bytes > s->longest)
        s->longest = bytes;
}
void spans_remove(struct spans *s, const void *p, size_t bytes) {
    for (auto at = s->by_begin.lower_bound((uintptr_t)p);
         at != s->by_begin.end() && at->first == (uintptr_t)p; ++at) {
        if (at->second != bytes)
            continue;
        s->by_begin.erase(at);
        return;
    }
}
bool spans_meet(const struct spans *s, const void *p, size_t bytes) {
    uintptr_t begin = (uintptr_t)p, from = begin > s->longest ? begin - s->longest : 0;
    for (auto at = s->by_begin.lower_bound(from);
         at != s->by_begin.end() && at->first < begin + bytes; ++at)
        if (at->first + at->second > begin)
            return true;
    return false;
}
