// See processes.h.
#include "tests/kit/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

size_t own_descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

size_t own_mappings(void) {
    FILE *f = fopen("/proc/self/maps", "r");
    size_t n = 0;
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

char process_state(pid_t pid) {
    char path[64], text[512] = {0};
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    const char *name = n ? strrchr(text, ')') : NULL;
    return name && name[1] ? name[2] : 0;
}

bool process_is_gone(pid_t pid) {
    char state = process_state(pid);
    return state == 0 || state == 'Z' || state == 'X';
}
