// Temporary model folders for the tests of weights/ and pooling/, in this program's own folder
// (tests/kit/scratch.h). A helper that cannot do its work ends the program: nothing it would test
// is there.
#ifndef TRINE_TESTS_UNIT_TEST_WEIGHTS_FILES_H
#define TRINE_TESTS_UNIT_TEST_WEIGHTS_FILES_H

#include "base/file.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp_folder {
    char path[256];
};

static inline void temp_must(bool ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "cannot set up: %s\n", what);
        exit(2);
    }
}

static inline struct temp_folder temp_new(void) {
    struct temp_folder t;
    snprintf(t.path, sizeof t.path, "%s", scratch_path("model-XXXXXX"));
    temp_must(mkdtemp(t.path) != NULL, t.path);
    return t;
}

// "folder/name" in one of four buffers that take turns.
static inline const char *temp_path(const struct temp_folder *t, const char *name) {
    static char paths[4][512];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", t->path, name);
    return p;
}

static inline void temp_write(const struct temp_folder *t, const char *name, const void *bytes,
                              size_t n) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s", temp_path(t, name));
    *strrchr(dir, '/') = '\0';
    mkdir(dir, 0755);
    FILE *f = fopen(temp_path(t, name), "wb");
    temp_must(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, name);
}

static inline void temp_text(const struct temp_folder *t, const char *name, const char *text) {
    temp_write(t, name, text, strlen(text));
}

// A safetensors file in memory: the header's length, the header, `data` bytes of zeros. The
// caller's (free).
static inline char *temp_safetensors(const char *header, size_t data, size_t *size) {
    size_t n = strlen(header);
    char *out = calloc(8 + n + data, 1);
    for (int i = 0; i < 8; i++)
        out[i] = (char)((uint64_t)n >> (8 * i) & 255);
    memcpy(out + 8, header, n);
    *size = 8 + n + data;
    return out;
}

static inline void temp_write_safetensors(const struct temp_folder *t, const char *name,
                                          const char *header, size_t data) {
    size_t size;
    char *bytes = temp_safetensors(header, data, &size);
    temp_write(t, name, bytes, size);
    free(bytes);
}

// A file of the repository, whole; the caller's (mem_free).
static inline char *temp_read(const char *path, size_t *n) {
    char *bytes = NULL;
    temp_must(file_read(path, 1 << 22, &bytes, n, NULL) == ERR_OK, path);
    return bytes;
}

static inline void temp_copy(const struct temp_folder *t, const char *name, const char *from) {
    size_t n;
    char *bytes = temp_read(from, &n);
    temp_write(t, name, bytes, n);
    mem_free(bytes);
}

static inline void temp_free(struct temp_folder *t) { scratch_remove(t->path); }

#endif
