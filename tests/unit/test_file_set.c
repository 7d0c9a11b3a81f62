// Files as descriptors by their names: what a thread with a set in use can read, and what it can
// not.
#define _GNU_SOURCE // descriptors of files that are gone
#include "base/file_set.h"

#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static int made(const char *name, const char *text) {
    struct errmsg msg = {0};
    CHECK_OK(file_write_atomic(scratch_path(name), text, strlen(text), &msg), msg);
    return open(scratch_path(name), O_RDONLY | O_CLOEXEC);
}

static void *read_beside(void *arg) {
    char *data = NULL;
    size_t n = 0;
    struct errmsg msg;
    *(enum err *)arg = file_read(scratch_path("new"), 100, &data, &n, &msg);
    mem_free(data);
    return NULL;
}

static void test_in_use(void) {
    struct errmsg msg = {0};
    struct file_set *s = file_set_new();
    CHECK_OK(file_set_add(s, scratch_path("a"), made("a", "old"), &msg), msg);
    CHECK_OK(file_set_add(s, scratch_path("sub/b"), open(scratch_path("a"), O_RDONLY), &msg), msg);
    CHECK_OK(file_set_add(s, scratch_path("folder"), open(scratch_folder(), O_RDONLY), &msg), msg);
    CHECK_INT(file_set_count(s), 3);
    CHECK_STR(file_set_path(s, 0), scratch_path("a"));
    CHECK_INT(file_set_descriptor(s, 0), file_set_find(s, scratch_path("a")));
    close(made("new", "new"));
    close(made("a", "replaced")); // another file under the name
    CHECK(file_set_use(s) == NULL && file_set_in_use() == s);

    char *data = NULL;
    size_t n = 0;
    for (int i = 0; i < 2; i++) { // as often as one likes
        CHECK_OK(file_read(scratch_path("a"), 100, &data, &n, &msg), msg);
        CHECK_STR(data, "old");
        mem_free(data);
    }
    struct file f;
    CHECK_OK(file_open(&f, scratch_path("sub/b"), &msg), msg);
    char three[4] = {0};
    CHECK_OK(file_read_at(&f, 1, three, 2, &msg), msg);
    CHECK_STR(three, "ld");
    file_close(&f);
    struct file_map map;
    CHECK_OK(file_map_open(&map, scratch_path("a"), &msg), msg);
    CHECK(map.size == 3 && memcmp(map.data, "old", 3) == 0);
    file_map_close(&map);

    CHECK_INT(file_read(scratch_path("new"), 100, &data, &n, &msg), ERR_NOT_FOUND);
    CHECK(strstr(msg.text, "/new: cannot open: No such file") != NULL);
    CHECK_INT(file_read(scratch_path("folder"), 100, &data, &n, &msg), ERR_INVALID);
    CHECK(file_exists(scratch_path("a")) && !file_is_dir(scratch_path("a")) &&
          !file_exists(scratch_path("new")));
    CHECK(file_exists(scratch_path("sub")) && file_is_dir(scratch_path("sub")) &&
          file_is_dir(scratch_folder()));
    CHECK(file_is_dir(scratch_path("sub/")) && !file_exists(scratch_path("su")) &&
          !file_exists("/tmp/x"));

    enum err beside = ERR_INTERNAL; // another thread has the file system
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_beside, &beside) == 0);
    pthread_join(thread, NULL);
    CHECK_INT(beside, ERR_OK);

    CHECK(file_set_use(NULL) == s && file_exists(scratch_path("new")));
    file_set_free(s);
}

static void test_adding(void) {
    struct errmsg msg = {0};
    struct file_set *s = file_set_new();
    int first = made("x", "x"), second = open(scratch_path("x"), O_RDONLY);
    CHECK_OK(file_set_add(s, "x", first, &msg), msg);
    CHECK_INT(file_set_add(s, "x", second, &msg), ERR_INVALID);
    CHECK(fcntl(second, F_GETFD) == -1); // taken over, and closed
    for (int i = 0; i < 100; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        CHECK_OK(file_set_add(s, name, open(scratch_path("x"), O_RDONLY), &msg), msg);
    }
    CHECK_STR(file_set_path(s, 100), "n99");
    // without memory for the name nothing is left open
    int third = open(scratch_path("x"), O_RDONLY);
    fault_arm(FAULT_ALLOC, 1, false);
    CHECK_INT(file_set_add(s, "third", third, &msg), ERR_NOMEM);
    fault_disarm();
    CHECK(fcntl(third, F_GETFD) == -1);
    file_set_free(s);
    CHECK(fcntl(first, F_GETFD) == -1);
    file_set_free(NULL);
}

// What a thread opens while it records: each file once, and read from there from then on.
static void test_recorded(void) {
    struct errmsg msg = {0};
    struct file_set *s = file_set_new();
    char *data = NULL;
    size_t n = 0;
    struct file f;
    close(made("first", "old"));
    close(made("second", "two"));
    CHECK(file_set_record(s) == NULL && file_set_recorded() == s);
    CHECK_INT(file_open(&f, scratch_path("none"), &msg), ERR_NOT_FOUND);
    CHECK(!file_exists(scratch_path("none")) && file_exists(scratch_path("first")) &&
          file_is_dir(scratch_folder()));
    CHECK_OK(file_open(&f, scratch_path("first"), &msg), msg);
    file_close(&f);
    close(made("first", "replaced"));
    CHECK_OK(file_read(scratch_path("first"), 100, &data, &n, &msg), msg);
    CHECK_STR(data, "old");
    mem_free(data);
    CHECK_OK(file_read(scratch_path("second"), 100, &data, &n, &msg), msg);
    mem_free(data);
    CHECK_INT(file_read(scratch_folder(), 100, &data, &n, &msg), ERR_INVALID);
    CHECK(file_set_record(NULL) == s && file_set_recorded() == NULL);
    CHECK_OK(file_read(scratch_path("first"), 100, &data, &n, &msg), msg);
    CHECK_STR(data, "replaced");
    mem_free(data);
    CHECK_INT(file_set_count(s), 2);
    CHECK_STR(file_set_path(s, 0), scratch_path("first"));
    CHECK_STR(file_set_path(s, 1), scratch_path("second"));
    file_set_free(s);
}

static void test_bounds(void) {
    struct errmsg msg = {0};
    struct file_set *s = file_set_new();
    static char path[FILE_SET_PATH_BYTES + 1];
    memset(path, 'p', FILE_SET_PATH_BYTES);
    int fd = made("bound", "");
    CHECK_INT(file_set_add(s, path, dup(fd), &msg), ERR_TOO_LARGE);
    path[FILE_SET_PATH_BYTES - 1] = '\0';
    CHECK_OK(file_set_add(s, path, dup(fd), &msg), msg);
    close(fd);
    file_set_free(s);
}

int main(void) {
    test_recorded();
    test_bounds();
    test_in_use();
    test_adding();
    return check_done();
}
