// See sandbox.h: the limits, Landlock, and the order. The filter is sandbox_filter.c's.
#define _GNU_SOURCE // syscall
#include "worker/sandbox.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const bool sandbox_is_built = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
const bool sandbox_is_built = false;
#else
const bool sandbox_is_built = true;
#endif
#else
const bool sandbox_is_built = true;
#endif

// Landlock's calls have the same numbers on every architecture. The headers of a distribution may
// be older than its kernel, so its constants stand here too.
enum {
    CALL_CREATE_RULESET = 444,
    CALL_ADD_RULE = 445,
    CALL_RESTRICT_SELF = 446,
    CREATE_RULESET_VERSION = 1, // a flag: asks which version there is
    RULE_PATH_BENEATH = 1,
};

// Rights on files, a bit each.
enum {
    MAY_WRITE = 1 << 1,
    MAY_READ = 1 << 2,
    MAY_LIST = 1 << 3,
    MAY_IOCTL = 1 << 15, // from version 5
};

struct ruleset {
    uint64_t files; // what is refused on every path, a bit each
    uint64_t net;   // TCP: 1 bind, 2 connect; from version 4
    uint64_t scope; // towards other processes: 1 abstract sockets, 2 signals; from version 6
};

enum err sandbox_set_limits(struct errmsg *msg) {
    struct rlimit core = {0, 0};
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return err_set(msg, ERR_IO, "getrlimit: %s", strerror(errno));
    files.rlim_max = files.rlim_max < SANDBOX_FILES ? files.rlim_max : SANDBOX_FILES;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_CORE, &core) || setrlimit(RLIMIT_NOFILE, &files))
        return err_set(msg, ERR_IO, "setrlimit: %s", strerror(errno));
    return ERR_OK;
}

static enum err give_up_privileges(struct errmsg *msg) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_set(msg, ERR_IO, "no_new_privs: %s", strerror(errno));
    return ERR_OK;
}

// Everything that a version can refuse, and how much of the struct it knows.
static struct ruleset all_of(int version, size_t *bytes) {
    // by version: 1 has 13 rights on files, 2 REFER, 3 TRUNCATE, 5 IOCTL_DEV
    static const unsigned rights[] = {0, 13, 14, 15, 15, 16};
    int known = version < 5 ? version : 5;
    struct ruleset r = {.files = (1ULL << rights[known]) - 1};
    *bytes = sizeof r.files;
    if (version >= 4) {
        r.net = 3;
        *bytes += sizeof r.net;
    }
    if (version >= 6) {
        r.scope = 3;
        *bytes += sizeof r.scope;
    }
    return r;
}

// A path that stays open to it, with all beneath. What is not there, or cannot be named in a rule,
// stays closed: a driver that asks for it hears EACCES.
static void leave_open(int ruleset, const struct ruleset *r, const char *path, uint64_t rights) {
    struct path_beneath {
        uint64_t rights;
        int32_t fd;
    } __attribute__((packed))
    rule = {.rights = rights & r->files, .fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.fd < 0)
        return;
    (void)syscall(CALL_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0);
    (void)close(rule.fd);
}

// What a card's driver opens: its devices, with those of nvidia-caps, and what the system says of
// them.
static void leave_open_for_driver(int ruleset, const struct ruleset *r) {
    static const char prefix[] = "nvidia";
    enum { DEVICE = MAY_READ | MAY_WRITE | MAY_IOCTL };
    DIR *d = opendir("/dev");
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[300];
        if (strncmp(e->d_name, prefix, sizeof prefix - 1) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        leave_open(ruleset, r, path, e->d_type == DT_DIR ? DEVICE | MAY_LIST : DEVICE);
    }
    if (d)
        closedir(d);
    leave_open(ruleset, r, "/dev/null", MAY_READ | MAY_WRITE);
    leave_open(ruleset, r, "/dev/urandom", MAY_READ);
    leave_open(ruleset, r, "/proc", MAY_READ | MAY_LIST);
    leave_open(ruleset, r, "/sys", MAY_READ | MAY_LIST);
}

enum err sandbox_close_paths(enum sandbox_door door, int *version, struct errmsg *msg) {
    *version = 0;
    long v = syscall(CALL_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
    if (v == 0 || (v < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)))
        return ERR_OK; // not built in, or not switched on
    if (v < 0)         // a filter that somebody has set before: a container's, a service manager's
        return err_set(msg, ERR_IO, "Landlock: %s", strerror(errno));
    size_t bytes;
    struct ruleset r = all_of((int)v, &bytes);
    int fd = (int)syscall(CALL_CREATE_RULESET, &r, bytes, 0);
    if (fd < 0)
        return err_set(msg, ERR_IO, "Landlock's rules: %s", strerror(errno));
    if (door == SANDBOX_DRIVER)
        leave_open_for_driver(fd, &r);
    enum err e = give_up_privileges(msg); // it asks for that
    if (!e && syscall(CALL_RESTRICT_SELF, fd, 0))
        e = err_set(msg, ERR_IO, "Landlock: %s", strerror(errno));
    (void)close(fd);
    if (!e)
        *version = (int)v;
    return e;
}

static void say(const char *who, const char *what, const char *why) {
    log_event(LOG_LEVEL_WARN, "sandbox", NULL, "%s: %s%s%s", who, what, why ? ": " : "",
              why ? why : "");
}

enum err sandbox_close(const char *who, const struct sandbox_needs *needs, struct sandbox *out,
                       struct errmsg *msg) {
    struct errmsg why = {0};
    memset(out, 0, sizeof *out);
    enum err e = sandbox_set_limits(msg);
    if (e || (e = give_up_privileges(msg)))
        return e;
    out->privileges = true;
    struct rlimit files;
    out->files = getrlimit(RLIMIT_NOFILE, &files) == 0 ? (size_t)files.rlim_cur : 0;
    if (!sandbox_is_built) {
        say(who, "built with a sanitizer: no Landlock and no seccomp filter", NULL);
        return ERR_OK;
    }
    if (sandbox_close_paths(needs->door, &out->landlock, &why))
        say(who, "goes on without a wall around files", why.text);
    else if (out->landlock == 0)
        say(who, "goes on without Landlock, which this kernel does not have", NULL);
    if (sandbox_filter_calls(needs, &why))
        say(who, "goes on without a filter of system calls", why.text);
    else
        out->filter = true;
    return ERR_OK;
}
