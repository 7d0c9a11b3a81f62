// See scratch.h.
#define _GNU_SOURCE // nftw
#include "tests/kit/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[512];
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

void scratch_remove(const char *path) { (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void at_exit(void) {
    if (getpid() == owner)
        scratch_remove(folder);
}

const char *scratch_folder(void) {
    if (folder[0])
        return folder;
    const char *under = getenv("TMPDIR");
    int n =
        snprintf(folder, sizeof folder, "%s/trine-test-XXXXXX", under && under[0] ? under : "/tmp");
    owner = getpid();
    if (n >= (int)sizeof folder || !mkdtemp(folder) || atexit(at_exit)) {
        perror(folder);
        exit(2);
    }
    return folder;
}

const char *scratch_path(const char *name) {
    static char paths[8][1024];
    static int turn;
    char *path = paths[turn++ % 8];
    int n = snprintf(path, sizeof paths[0], "%s/%s", scratch_folder(), name);
    if (n >= (int)sizeof paths[0]) {
        fprintf(stderr, "%s: a name that is too long\n", name);
        exit(2);
    }
    return path;
}
