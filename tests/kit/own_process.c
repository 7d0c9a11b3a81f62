// See own_process.h.
#include "tests/kit/own_process.h"

#include <dirent.h>
#include <stdio.h>

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
