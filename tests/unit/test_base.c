// base/: arenas, buffers, checked sizes, UTF-8, files.
// no thread sanitizer: its own memory is counted as the process's.
#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/poison.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_mem(void) {
    CHECK(mem_alloc(SIZE_MAX / 2, 3) == NULL);
    CHECK(mem_calloc(SIZE_MAX, 1) == NULL);
    void *p = mem_alloc(0, 8);
    CHECK(p != NULL);
    mem_free(p);
    float *a = mem_alloc_aligned(3000000, sizeof *a);
    CHECK(a && (uintptr_t)a % 64 == 0 && a[0] == 0 && a[2999999] == 0);
    mem_free(a);
    fault_arm(FAULT_ALLOC, 2, false);
    void *first = mem_alloc(1, 1), *second = mem_alloc(1, 1), *third = mem_alloc(1, 1);
    CHECK(first && !second && third);
    CHECK_INT(fault_calls(FAULT_ALLOC), 3);
    fault_disarm();
    mem_free(first);
    mem_free(third);
    CHECK(fault_arm_spec("alloc:3+") && !fault_arm_spec("alloc:0") && !fault_arm_spec("disk:1"));
    fault_disarm();
}

static void test_arena(void) {
    struct arena a;
    CHECK(arena_init(&a, 256 + 3 * POISON_GAP) == ERR_OK);
    char *p = arena_alloc(&a, 1, 1), *q = arena_alloc(&a, 100, 1);
    CHECK(p && q && (uintptr_t)q % 64 == 0 && q - p == 64 + POISON_GAP);
    CHECK(arena_alloc(&a, 100, 1) == NULL);
    CHECK(arena_alloc(&a, SIZE_MAX / 2, 4) == NULL);
    CHECK(arena_alloc(&a, 64, 1) != NULL);
    CHECK_INT(arena_cost(65, 1), 128 + POISON_GAP);
    arena_reset(&a);
    CHECK(arena_alloc(&a, 256, 1) == p);
    arena_free(&a);
}

static size_t resident_pages(void) {
    unsigned long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%lu %lu", &all, &resident) == 2);
    if (f)
        fclose(f);
    return resident;
}

// A large arena's memory is the system's until it is written.
static void test_large_arena(void) {
    enum { SIZE = 256 << 20, USED = 16 << 20 };
    struct arena a;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = resident_pages();
    CHECK(arena_init(&a, SIZE) == ERR_OK && a.size == SIZE);
    CHECK((resident_pages() - before) * page < 8 << 20);
    char *p = arena_alloc(&a, USED, 1);
    CHECK(p && (uintptr_t)p % 64 == 0 && p[0] == 0 && p[USED - 1] == 0);
    if (p)
        memset(p, 1, USED);
    size_t held = (resident_pages() - before) * page;
    CHECK(held >= USED - (1 << 20) && held < 3 * (size_t)USED);
    arena_free(&a);
    fault_arm(FAULT_ALLOC, 1, false);
    CHECK(arena_init(&a, SIZE) == ERR_NOMEM && a.size == 0);
    arena_free(&a);
    fault_disarm();
}

#ifdef POISON_KNOWN
// The addresses of a mapped arena are another mapping's next, and nobody owns less of it then: what
// an earlier and larger batch had used is given back too.
static void test_addresses_given_back(void) {
    enum { SIZE = 16 << 20, LARGE = 4 << 20 };
    struct arena a;
    CHECK(arena_init(&a, SIZE) == ERR_OK);
    char *p = arena_alloc(&a, LARGE, 1);
    arena_reset(&a);
    CHECK(p && poisoned(p) && poisoned(p + LARGE - 1));
    CHECK(arena_alloc(&a, 100, 1) == p && !poisoned(p) && poisoned(p + LARGE - 1));
    arena_free(&a);
    CHECK(!poisoned(p) && !poisoned(p + LARGE / 2) && !poisoned(p + LARGE - 1));
}
#endif

static void test_buf(void) {
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    CHECK_INT(b.len, 3890);
    CHECK(!b.failed && b.data[b.len] == '\0' && strncmp(b.data, "0,1,2,", 6) == 0);
    fault_arm(FAULT_ALLOC, 1, true);
    for (int i = 0; i < 10000; i++)
        buf_putc(&b, 'x');
    fault_disarm();
    CHECK(b.failed);
    buf_free(&b);
}

static void test_utf8(void) {
    for (uint32_t cp = 0; cp <= 0x10ffff; cp += cp < 0x3000 ? 1 : 97) {
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        char out[4];
        uint32_t back = 0;
        size_t n = utf8_encode(cp, out);
        if (utf8_decode(out, n, &back) != n || back != cp || utf8_decode(out, n - 1, &back) == n)
            CHECK(!"round trip");
    }
    size_t bad = 99;
    CHECK(utf8_valid("abcdefgh\xc3\xa9zzzzzzzzz", 19, &bad));
    CHECK(!utf8_valid("abcdefgh\xc3\xa9zzzzzzz\xff", 18, &bad));
    CHECK_INT(bad, 17);
    CHECK(!utf8_valid("\xc3", 1, &bad) && bad == 0);
    CHECK(utf8_valid("", 0, NULL));
}

// What is shown is valid UTF-8 on one line, however it was made and wherever it was cut.
static void test_tidy(void) {
    static const char *const rows[][2] = {
        {"plain", "plain"},
        {"na\xc3\xafve \xe4\xb8\xad \xf0\x9f\x98\x80",
         "na\xc3\xafve \xe4\xb8\xad \xf0\x9f\x98\x80"},
        {"two\r\nlines\tand\x7f\xc2\x85", "two??lines?and??"},
        {"cut \xc3", "cut "},
        {"cut \xe4\xb8", "cut "},
        {"cut \xf0\x9f\x98", "cut "},
        {"'\xe4\xb8' in the middle", "'' in the middle"},
        {"\xff\x80 no UTF-8 \xc0\xaf", "?? no UTF-8 ??"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", rows[i][0]);
        size_t n = utf8_tidy(text);
        CHECK_STR(text, rows[i][1]);
        CHECK(n == strlen(text) && utf8_valid(text, n, NULL));
    }
    char long_name[2000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_name, 'x', shift);
        for (size_t at = shift; at < sizeof long_name; at++)
            long_name[at] = "\xf0\x9f\x98\x80"[(at - shift) % 4];
        long_name[sizeof long_name - 1] = '\0';
        struct errmsg msg = {0};
        CHECK(err_set(&msg, ERR_INVALID, "'%s'", long_name) == ERR_INVALID);
        CHECK(utf8_valid(msg.text, strlen(msg.text), NULL) && strlen(msg.text) > 500);
        CHECK(err_prefix(&msg, ERR_INVALID, "%.*s", 101 + (int)shift, long_name) == ERR_INVALID);
        CHECK(utf8_valid(msg.text, strlen(msg.text), NULL) && strlen(msg.text) > 500);
    }
}

static void test_file(void) {
    const char *dir = scratch_folder();
    struct errmsg msg = {0};
    char *deep = file_join(dir, "a/b"), *path = file_join(dir, "a/b/f");
    CHECK_OK(file_make_dirs(deep, &msg), msg);
    CHECK_OK(file_make_dirs(deep, &msg), msg);
    CHECK(file_is_dir(deep));
    CHECK_OK(file_write_atomic(path, "hello", 5, &msg), msg);
    char *data;
    size_t len;
    CHECK_OK(file_read(path, 100, &data, &len, &msg), msg);
    CHECK(len == 5 && strcmp(data, "hello") == 0);
    mem_free(data);
    CHECK(file_read(path, 4, &data, &len, &msg) == ERR_TOO_LARGE);
    CHECK(file_read(deep, 100, &data, &len, &msg) == ERR_INVALID);
    CHECK(file_read("/nonexistent/x", 100, &data, &len, &msg) == ERR_NOT_FOUND);
    CHECK_STR(msg.text, "/nonexistent/x: cannot open: No such file or directory");
    struct file_map map;
    CHECK_OK(file_map_open(&map, path, &msg), msg);
    CHECK(map.size == 5 && memcmp(map.data, "hello", 5) == 0);
    file_map_close(&map);
    struct file f;
    char part[4] = "";
    CHECK(file_open(&f, "/nonexistent/x", &msg) == ERR_NOT_FOUND);
    file_close(&f);
    CHECK_OK(file_open(&f, path, &msg), msg);
    CHECK_INT(f.size, 5);
    CHECK_OK(file_read_at(&f, 2, part, 3, &msg), msg);
    CHECK_STR(part, "llo");
    CHECK(file_read_at(&f, 3, part, 3, &msg) == ERR_INTERNAL);
    CHECK(truncate(path, 4) == 0);
    CHECK(file_read_at(&f, 2, part, 3, &msg) == ERR_IO);
    CHECK(strstr(msg.text, "shrank while it was read (2 of 3 bytes)") != NULL);
    file_close(&f);
    CHECK_OK(file_write_atomic(path, "hello", 5, &msg), msg);
    // a failed write leaves the old file and no debris
    for (long nth = 1; nth <= 2; nth++) {
        fault_arm(FAULT_FILE, nth, true);
        CHECK(file_write_atomic(path, "other", 5, &msg) == ERR_IO);
        fault_disarm();
        CHECK_OK(file_read(path, 100, &data, &len, &msg), msg);
        CHECK_STR(data, "hello");
        mem_free(data);
    }
    CHECK(unlink(path) == 0 && rmdir(deep) == 0);
    deep[strlen(deep) - 2] = '\0';
    CHECK(rmdir(deep) == 0 && rmdir(dir) == 0);
    mem_free(deep);
    mem_free(path);
}

static void *set_flag(void *arg) {
    *(int *)arg = 42;
    return NULL;
}

static void test_thread(void) {
    pthread_t t;
    struct errmsg msg = {0};
    int flag = 0;
    struct thread_options options = {.name = "test", .stack_bytes = 1 << 20, .nice = 1};
    CHECK_OK(thread_start(&t, &options, set_flag, &flag, &msg), msg);
    pthread_join(t, NULL);
    CHECK_INT(flag, 42);
    fault_arm(FAULT_THREAD, 1, false);
    CHECK(thread_start(&t, &options, set_flag, &flag, &msg) == ERR_IO);
    fault_disarm();
}

static void test_err(void) {
    struct errmsg msg;
    CHECK(err_set(&msg, ERR_INVALID, "tensor '%s'", "x") == ERR_INVALID);
    CHECK(err_prefix(&msg, ERR_INVALID, "%s", "model.safetensors") == ERR_INVALID);
    CHECK_STR(msg.text, "model.safetensors: tensor 'x'");
    CHECK(err_set(NULL, ERR_IO, "no words") == ERR_IO);
    for (int i = 0; i < ERR_COUNT; i++)
        CHECK(err_name((enum err)i)[0] != '\0');
}

int main(void) {
    test_err();
    test_mem();
    test_arena();
    test_large_arena();
#ifdef POISON_KNOWN
    test_addresses_given_back();
#endif
    test_buf();
    test_utf8();
    test_tidy();
    test_file();
    test_thread();
    return check_done();
}
