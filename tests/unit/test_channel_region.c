// Memory that two processes share: neither side can change its size, whoever tries; what is not
// sealed, or of another size than was told, is not mapped; blocks are copied out and checked. And
// the list of its blocks by a random walk against a plain model.
#define _GNU_SOURCE // memfd_create, F_ADD_SEALS, fallocate
#include "base/fault.h"
#include "channel/channel.h"
#include "channel/region.h"
#include "channel/region_space.h"
#include "tests/check.h"
#include "tests/kit/processes.h"
#include "tests/kit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- the region

static void test_seals(void) {
    struct region *r, *other;
    struct errmsg msg = {0};
    CHECK_OK(region_new(100000, &r, &msg), msg);
    CHECK_INT(region_size(r), 102400); // whole pages
    int fd = region_fd(r);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(ftruncate(fd, 4096) != 0 && errno == EPERM);
    CHECK(ftruncate(fd, 0) != 0 && errno == EPERM);
    CHECK(ftruncate(fd, 204800) != 0 && errno == EPERM);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0 && errno == EPERM);
    CHECK(pwrite(fd, "x", 1, 102400) != 1);
    // A hole is zeros, and no end of the memory: nobody who looks there is hit.
    memset(region_base(r), 1, region_size(r));
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 102400) == 0);
    CHECK_INT(region_base(r)[0] + region_base(r)[102399], 0);
    // the same memory on the other side
    int handed = dup(fd);
    CHECK_OK(region_open(handed, region_size(r), &other, &msg), msg);
    CHECK_INT(region_size(other), 102400);
    CHECK(region_base(other) != region_base(r));
    memcpy(region_base(other) + 64, "there", 6);
    CHECK_STR((char *)region_base(r) + 64, "there");
    region_free(r); // one side's end is not the other's
    CHECK_STR((char *)region_base(other) + 64, "there");
    region_free(other);
    region_free(NULL);
}

static void refuse(int fd, size_t bytes, const char *words) {
    struct region *r;
    struct errmsg msg = {0};
    CHECK_INT(region_open(fd, bytes, &r, &msg), ERR_INVALID);
    CHECK(r == NULL);
    if (!CHECK(strstr(msg.text, words)))
        fprintf(stderr, "    %s\n", msg.text);
    CHECK(fcntl(fd, F_GETFD) >= 0 || fd < 0); // still the caller's
}

static void test_refused(void) {
    static const int lacking[] = {0,
                                  F_SEAL_SHRINK,
                                  F_SEAL_GROW,
                                  F_SEAL_SEAL,
                                  F_SEAL_SHRINK | F_SEAL_GROW,
                                  F_SEAL_SHRINK | F_SEAL_SEAL,
                                  F_SEAL_GROW | F_SEAL_SEAL};
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        CHECK(ftruncate(fd, 8192) == 0 && fcntl(fd, F_ADD_SEALS, lacking[i]) == 0);
        refuse(fd, 8192, "not sealed");
        close(fd);
    }
    int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd, 8192) == 0 && fcntl(fd, F_ADD_SEALS, all) == 0);
    refuse(fd, 4096, "has 8192 bytes, not the 4096");
    refuse(fd, 16384, "has 8192 bytes, not the 16384");
    close(fd);
    fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fcntl(fd, F_ADD_SEALS, all) == 0);
    refuse(fd, 0, "has 0 bytes");
    close(fd);
    fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd, 8192) == 0 && fcntl(fd, F_ADD_SEALS, all | F_SEAL_WRITE) == 0);
    refuse(fd, 8192, "sealed against writing");
    close(fd);
    // a file that anybody can make shorter
    fd = open(scratch_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(ftruncate(fd, 8192) == 0);
    refuse(fd, 8192, "not sealed");
    close(fd);
    refuse(-1, 0, "not sealed");
    struct region *r;
    struct errmsg msg = {0};
    CHECK_INT(region_new(0, &r, &msg), ERR_INVALID);
    CHECK_INT(region_new(SIZE_MAX, &r, &msg), ERR_INVALID);
    CHECK(region_new(PTRDIFF_MAX - 8192, &r, &msg) != ERR_OK);
}

// In a process of its own, whose limit is so low: what is said of a region of 8 MiB.
static void limited(int which, rlim_t bytes, enum err want, const char *words) {
    pid_t pid = fork();
    if (pid == 0) {
        struct region *r;
        struct errmsg msg = {0};
        signal(SIGXFSZ, SIG_IGN);
        enum err e = setrlimit(which, &(struct rlimit){bytes, bytes})
                         ? ERR_INTERNAL
                         : region_new((size_t)8 << 20, &r, &msg);
        bool good = e == want && strstr(msg.text, " of 8192 KiB: ") && strstr(msg.text, words);
        if (!good)
            fprintf(stderr, "    %s %s\n", err_name(e), msg.text);
        _exit(!good);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
}

static void test_limits(void) {
    limited(RLIMIT_FSIZE, (rlim_t)1 << 20, ERR_TOO_LARGE, "; ulimit -f is 1024 KiB");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // which have terabytes
    limited(RLIMIT_AS, (rlim_t)1 << 20, ERR_NOMEM, "; ulimit -v is 1024 KiB");
#endif
}

// Each call that the system may refuse, one after the other: an error, and nothing stays open.
static void test_faults(void) {
    size_t before = own_descriptors();
    static const enum fault_site sites[] = {FAULT_FILE, FAULT_ALLOC};
    for (size_t s = 0; s < 2; s++) {
        long refused = 0;
        for (long nth = 1;; nth++) {
            struct region *r;
            struct errmsg msg = {0};
            fault_arm(sites[s], nth, false);
            enum err e = region_new(4096, &r, &msg);
            fault_disarm();
            if (!e) {
                region_free(r);
                break;
            }
            refused++;
            CHECK(r == NULL && msg.text[0]);
            CHECK_INT(own_descriptors(), before);
        }
        CHECK_INT(refused, sites[s] == FAULT_FILE ? 4 : 1);
    }
}

// A process that does its worst with what it was handed, while this one reads and writes: nobody
// is hit by a signal.
static void test_hostile(void) {
    struct region *r;
    struct errmsg msg = {0};
    CHECK_OK(region_new(1 << 20, &r, &msg), msg);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = region_fd(r);
        for (int i = 0; i < 2000; i++) {
            int worst = ftruncate(fd, 0) == 0 || ftruncate(fd, 1 << 24) == 0 ||
                        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0;
            if (worst)
                _exit(1);
            (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
        }
        _exit(0);
    }
    int status = -1;
    volatile unsigned char *bytes = region_base(r);
    while (waitpid(pid, &status, WNOHANG) == 0)
        for (size_t i = 0; i < 1 << 20; i += 4096)
            bytes[i] = (unsigned char)(bytes[i] + 1);
    CHECK_INT(status, 0);
    CHECK_INT(region_size(r), 1 << 20);
    region_free(r);
}

static void test_copy(void) {
    struct region *r;
    struct errmsg msg = {0};
    CHECK_OK(region_new(4096, &r, &msg), msg);
    unsigned char to[128];
    for (size_t i = 0; i < 4096; i++)
        region_base(r)[i] = (unsigned char)i;
    uint64_t sum = channel_checksum(region_base(r) + 64, 100);
    CHECK_OK(region_copy_out(r, 64, 100, sum, to, &msg), msg);
    CHECK(memcmp(to, region_base(r) + 64, 100) == 0);
    CHECK_INT(region_copy_out(r, 64, 100, sum ^ 1, to, &msg), ERR_INVALID);
    CHECK(strstr(msg.text, "checksum"));
    region_base(r)[163] ^= 1;
    CHECK_INT(region_copy_out(r, 64, 100, sum, to, &msg), ERR_INVALID);
    static const uint64_t outside[][2] = {{4096, 1},      {4097, 0},       {4000, 97},
                                          {0, 4097},      {UINT64_MAX, 1}, {64, UINT64_MAX},
                                          {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        CHECK(region_at(r, outside[i][0], outside[i][1]) == NULL);
        CHECK_INT(region_copy_out(r, outside[i][0], outside[i][1], 0, to, &msg), ERR_INVALID);
    }
    CHECK(region_at(r, 4096, 0) == region_base(r) + 4096);
    CHECK(region_at(r, 0, 4096) == region_base(r));
    CHECK_OK(region_copy_out(r, 4096, 0, 0, NULL, &msg), msg);
    region_free(r);
}

// ---- the list of its blocks

enum { UNITS = 400 }; // of REGION_ALIGN bytes

static unsigned seed = 20260101;
static unsigned draw(unsigned below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

// The model: one byte a unit, searched from the beginning.
static long first_fit(const bool *taken, size_t units) {
    for (size_t at = 0; at + units <= UNITS; at++) {
        size_t n = 0;
        while (n < units && !taken[at + n])
            n++;
        if (n == units)
            return (long)at;
    }
    return -1;
}

static void test_walk(void) {
    static struct region_space s;
    static bool taken[UNITS];
    static size_t lengths[UNITS]; // of the block that begins there, in units
    size_t out = 0, used = 0, refusals = 0;
    region_space_init(&s, UNITS * REGION_ALIGN + 63); // what is no whole block is no room
    bool good = true;
    for (int step = 0; step < 200000; step++) {
        bool filling = step / 1000 % 2; // by turns it fills up and runs empty
        if (draw(100) < (filling ? 60u : 40u)) {
            size_t bytes = draw(20) ? draw(40 * REGION_ALIGN) : draw(UNITS * REGION_ALIGN);
            size_t units = bytes ? (bytes + REGION_ALIGN - 1) / REGION_ALIGN : 1;
            long want = out < REGION_BLOCKS ? first_fit(taken, units) : -1;
            uint64_t offset = UINT64_MAX;
            enum err e = region_take(&s, bytes, &offset);
            if (want < 0) {
                good = good && e == ERR_OVERLOADED && offset == UINT64_MAX;
                refusals++;
                continue;
            }
            good = good && e == ERR_OK && offset == (uint64_t)want * REGION_ALIGN;
            for (size_t i = 0; i < units; i++)
                taken[(size_t)want + i] = true;
            lengths[want] = units;
            out++;
            used += units;
        } else if (out) {
            size_t at = draw(UNITS);
            while (lengths[at] == 0)
                at = (at + 1) % UNITS;
            region_give(&s, at * REGION_ALIGN);
            for (size_t i = 0; i < lengths[at]; i++)
                taken[at + i] = false;
            out--;
            used -= lengths[at];
            lengths[at] = 0;
        }
        good = good && s.count == out && s.used == used * REGION_ALIGN;
        if (!good)
            break;
    }
    CHECK(good);
    CHECK(refusals > 100); // it was full often enough
}

static void test_edges(void) {
    static struct region_space s;
    uint64_t offset;
    region_space_init(&s, 63);
    CHECK_INT(region_take(&s, 0, &offset), ERR_TOO_LARGE);
    CHECK_INT(region_take(&s, 1, &offset), ERR_TOO_LARGE);
    region_space_init(&s, 128);
    CHECK_INT(region_take(&s, 129, &offset), ERR_TOO_LARGE);
    CHECK_INT(region_take(&s, SIZE_MAX, &offset), ERR_TOO_LARGE);
    CHECK_INT(region_take(&s, 128, &offset), ERR_OK);
    CHECK_INT(offset, 0);
    CHECK_INT(region_take(&s, 1, &offset), ERR_OVERLOADED);
    region_give(&s, 0);
    CHECK_INT(region_take(&s, 1, &offset), ERR_OK);
    CHECK_INT(region_take(&s, 64, &offset), ERR_OK);
    CHECK_INT(offset, 64);
    // more blocks than the list has places, though there is room
    region_space_init(&s, (size_t)1 << 20);
    for (int i = 0; i < REGION_BLOCKS; i++)
        CHECK_INT(region_take(&s, 10, &offset), ERR_OK);
    CHECK_INT(region_take(&s, 10, &offset), ERR_OVERLOADED);
    region_give(&s, 640);
    CHECK_INT(region_take(&s, 10, &offset), ERR_OK);
    CHECK_INT(offset, 640);
}

int main(void) {
    size_t before = own_descriptors();
    test_seals();
    test_refused();
    test_limits();
    test_faults();
    test_hostile();
    test_copy();
    test_walk();
    test_edges();
    CHECK_INT(own_descriptors(), before);
    return check_done();
}
