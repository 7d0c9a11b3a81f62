// See limits.h. Source followed: cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5), and the
// kernel's admin-guide/cgroup-v1/memory.rst for hierarchical_memory_limit.
#define _GNU_SOURCE // CPU_COUNT, getline
#include "base/limits.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// One control-group hierarchy, and this process's place in it.
struct hierarchy {
    bool v2;
    char mount[PATH_MAX];  // where it is mounted
    char inside[PATH_MAX]; // the process's group below that, "" or "/a/b"
};

// ---- lines and words

static FILE *open_below(const char *root, const char *path) {
    char full[2 * PATH_MAX + 64];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    return n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
}

// Cuts the next word off *p; NULL: none is left.
static char *next_word(char **p) {
    char *word = *p + strspn(*p, " \n");
    if (!*word)
        return NULL;
    char *end = word + strcspn(word, " \n");
    *p = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

// mountinfo writes a space as \040; tabs, newlines and backslashes likewise.
static void unescape(char *s) {
    char *to = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

// True when `word` is one of a list parted by commas.
static bool lists(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",\n");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len + (p[len] == ',');
        if (*p == '\n')
            break;
    }
    return false;
}

// ---- the process's groups

// The process's path in a hierarchy: that of version 2 (controller NULL), or the one of version 1
// that has the controller. False: the process is in none.
static bool own_path(const char *root, const char *controller, char out[PATH_MAX]) {
    FILE *f = open_below(root, "/proc/self/cgroup");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;
    while (f && !found && getline(&line, &cap, f) > 0) { // "4:memory:/a/b", "0::/a/b"
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *list++ = '\0';
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = controller ? lists(list, controller) : strcmp(line, "0") == 0 && !*list;
        if (found)
            snprintf(out, PATH_MAX, "%s", path);
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

// The part of the group's path that lies below the mount. The mount's own root may be a group: in a
// container /proc/self/cgroup may show the path from the host's root while only a part is mounted,
// or (in a cgroup namespace) it may show "/". A path outside the mount tells nothing about what is
// mounted, so then only the mount's top can be read.
static void set_inside(struct hierarchy *h, const char *mount_root, const char *path) {
    size_t n = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool below = strncmp(path, mount_root, n) == 0 && (path[n] == '/' || path[n] == '\0');
    const char *inside = below && !strstr(path, "/..") ? path + n : "";
    snprintf(h->inside, sizeof h->inside, "%s", strcmp(inside, "/") == 0 ? "" : inside);
}

// "36 35 0:28 ROOT MOUNT options [optional ...] - cgroup2 source superoptions"
static bool read_mount(char *line, const char *controller, const char *path, struct hierarchy *h) {
    char *behind = strstr(line, " - ");
    if (!behind)
        return false;
    *behind = '\0';
    behind += 3;
    char *type = next_word(&behind), *source = next_word(&behind), *options = next_word(&behind);
    if (!type || !source || !options)
        return false;
    bool v2 = strcmp(type, "cgroup2") == 0;
    bool ours = controller ? strcmp(type, "cgroup") == 0 && lists(options, controller) : v2;
    if (!ours)
        return false;
    char *words[5]; // id, parent, device, root, mount
    for (int i = 0; i < 5; i++)
        if (!(words[i] = next_word(&line)))
            return false;
    char *mount_root = words[3], *mount = words[4];
    unescape(mount_root);
    unescape(mount);
    h->v2 = v2;
    snprintf(h->mount, sizeof h->mount, "%s", strcmp(mount, "/") == 0 ? "" : mount);
    set_inside(h, mount_root, path);
    return true;
}

// A hierarchy may be mounted at several places. The best is the one that shows the process's own
// group; otherwise the last one is used.
static bool find_hierarchy(const char *root, const char *controller, struct hierarchy *h) {
    char path[PATH_MAX];
    if (!own_path(root, controller, path))
        return false;
    FILE *f = open_below(root, "/proc/self/mountinfo");
    char *line = NULL;
    size_t cap = 0;
    bool found = false, whole = false;
    while (f && !whole && getline(&line, &cap, f) > 0) {
        found = read_mount(line, controller, path, h) || found;
        whole = found && h->inside[0] != '\0';
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

// The next group up; false when this was the mount's top.
static bool go_up(struct hierarchy *h) {
    char *slash = strrchr(h->inside, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return true;
}

// Up to two numbers of one file of a group; returns how many there are. "max" is none.
static int read_numbers(const char *root, const struct hierarchy *h, const char *file,
                        int64_t out[2]) {
    char path[2 * PATH_MAX + 64];
    snprintf(path, sizeof path, "%s%s/%s", h->mount, h->inside, file);
    FILE *f = open_below(root, path);
    int n = f ? fscanf(f, "%" SCNd64 " %" SCNd64, &out[0], &out[1]) : 0;
    if (f)
        fclose(f);
    return n < 0 ? 0 : n;
}

// ---- memory

static void take_limit(struct limits_memory *m, uint64_t bytes, const char *what,
                       const char *group) {
    if (bytes == 0 || bytes >= m->bytes)
        return;
    m->bytes = (size_t)bytes;
    if (group)
        snprintf(m->source, sizeof m->source, "%.40s of the control group %.48s", what, group);
    else
        snprintf(m->source, sizeof m->source, "%.60s", what);
}

static void take_group_limit(const char *root, const struct hierarchy *h, const char *file,
                             struct limits_memory *m) {
    int64_t v[2];
    // the reader's own root has no name to it
    if (read_numbers(root, h, file, v) > 0 && v[0] > 0)
        take_limit(m, (uint64_t)v[0], file, h->inside[0] ? h->inside : "/");
}

// Version 1: the least limit of all groups above too, including those that no mount shows.
static void take_hierarchical_limit(const char *root, const struct hierarchy *h,
                                    struct limits_memory *m) {
    char path[2 * PATH_MAX + 64];
    snprintf(path, sizeof path, "%s%s/memory.stat", h->mount, h->inside);
    FILE *f = open_below(root, path);
    char name[64];
    uint64_t v;
    while (f && fscanf(f, "%63s %" SCNu64, name, &v) == 2)
        if (strcmp(name, "hierarchical_memory_limit") == 0)
            take_limit(m, v, name, h->inside[0] ? h->inside : "/");
    if (f)
        fclose(f);
}

static void take_groups(const char *root, struct limits_memory *m) {
    struct hierarchy h;
    if (find_hierarchy(root, NULL, &h)) {
        do {
            take_group_limit(root, &h, "memory.max", m);
            take_group_limit(root, &h, "memory.high", m);
        } while (go_up(&h));
    }
    if (find_hierarchy(root, "memory", &h)) {
        struct hierarchy own = h;
        do
            take_group_limit(root, &h, "memory.limit_in_bytes", m);
        while (go_up(&h));
        take_hierarchical_limit(root, &own, m);
    }
}

static uint64_t machine_memory(const char *root) {
    FILE *f = open_below(root, "/proc/meminfo");
    char name[64], rest[64];
    uint64_t kib, bytes = 0;
    while (f && !bytes && fscanf(f, "%63s %" SCNu64 "%63[^\n]", name, &kib, rest) >= 2)
        if (strcmp(name, "MemTotal:") == 0)
            bytes = kib * 1024;
    if (f)
        fclose(f);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    if (!bytes && pages > 0 && page > 0)
        bytes = (uint64_t)pages * (uint64_t)page;
    return bytes;
}

static const char address_space[] = "RLIMIT_AS (ulimit -v)";
static const char data_segment[] = "RLIMIT_DATA (ulimit -d)";

void limits_read_memory(const char *root, struct limits_memory *out) {
    *out = (struct limits_memory){.bytes = SIZE_MAX, .source = "nothing that can be read"};
    take_limit(out, machine_memory(root), "the machine's memory", NULL);
    take_groups(root, out);
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
        take_limit(out, r.rlim_cur, address_space, NULL);
    if (getrlimit(RLIMIT_DATA, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
        take_limit(out, r.rlim_cur, data_segment, NULL);
}

// Pages of /proc/PID/statm, in its order; 0 where it cannot be read.
enum { STATM_SIZE, STATM_RESIDENT, STATM_SHARED, STATM_TEXT, STATM_LIB, STATM_DATA, STATM_COUNT };

static size_t statm_bytes(const char *pid, int which) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/statm", pid);
    FILE *f = fopen(path, "re");
    long pages[STATM_COUNT] = {0}, page = sysconf(_SC_PAGE_SIZE);
    for (int i = 0; f && i < STATM_COUNT && fscanf(f, "%ld", &pages[i]) == 1; i++)
        ;
    if (f)
        fclose(f);
    return pages[which] > 0 && page > 0 ? (size_t)pages[which] * (size_t)page : 0;
}

size_t limits_resident(void) { return statm_bytes("self", STATM_RESIDENT); }

size_t limits_resident_of(int64_t pid) {
    char name[32];
    snprintf(name, sizeof name, "%lld", (long long)pid);
    return pid > 0 ? statm_bytes(name, STATM_RESIDENT) : 0;
}

// Uses a limit on mapped memory when it leaves less room than the limit found so far.
static void bind_mapped(const struct rlimit *r, const char *what, size_t mapped,
                        struct limits_memory *limit, size_t *held) {
    if (r->rlim_cur == RLIM_INFINITY || r->rlim_cur > SIZE_MAX)
        return;
    size_t left = r->rlim_cur > mapped ? r->rlim_cur - mapped : 0;
    if (left >= (limit->bytes > *held ? limit->bytes - *held : 0))
        return;
    *limit = (struct limits_memory){.bytes = r->rlim_cur};
    snprintf(limit->source, sizeof limit->source, "%s", what);
    *held = mapped;
}

void limits_bind_mapped(struct limits_memory *limit, size_t *held) {
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) == 0)
        bind_mapped(&r, address_space, statm_bytes("self", STATM_SIZE), limit, held);
    if (getrlimit(RLIMIT_DATA, &r) == 0)
        bind_mapped(&r, data_segment, statm_bytes("self", STATM_DATA), limit, held);
}

static bool words_of(const struct rlimit *r, const char *name, char to[LIMITS_WORDS]) {
    if (r->rlim_cur == RLIM_INFINITY)
        return false;
    snprintf(to, LIMITS_WORDS, "; %s is %llu KiB", name, (unsigned long long)r->rlim_cur / 1024);
    return true;
}

const char *limits_words(enum limits_kind kind, char to[LIMITS_WORDS]) {
    struct rlimit r;
    to[0] = '\0';
    if (kind == LIMITS_FILE) {
        if (getrlimit(RLIMIT_FSIZE, &r) == 0)
            (void)words_of(&r, "ulimit -f", to);
        return to;
    }
    if ((getrlimit(RLIMIT_AS, &r) != 0 || !words_of(&r, "ulimit -v", to)) &&
        getrlimit(RLIMIT_DATA, &r) == 0)
        (void)words_of(&r, "ulimit -d", to);
    return to;
}

// ---- processors

static void take_quota(int64_t quota, int64_t period, int *cpus) {
    if (quota <= 0 || period <= 0)
        return;
    int64_t whole = (quota - 1) / period + 1;
    if (whole < *cpus)
        *cpus = (int)whole;
}

int limits_read_cpus(const char *root) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    struct hierarchy h;
    if (find_hierarchy(root, NULL, &h)) {
        do {
            int64_t v[2];
            if (read_numbers(root, &h, "cpu.max", v) == 2)
                take_quota(v[0], v[1], &cpus);
        } while (go_up(&h));
    }
    if (find_hierarchy(root, "cpu", &h)) {
        do {
            int64_t quota[2], period[2];
            if (read_numbers(root, &h, "cpu.cfs_quota_us", quota) > 0 &&
                read_numbers(root, &h, "cpu.cfs_period_us", period) > 0)
                take_quota(quota[0], period[0], &cpus);
        } while (go_up(&h));
    }
    return cpus < 1 ? 1 : cpus;
}
