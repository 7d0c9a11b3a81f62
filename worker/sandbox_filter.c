// See sandbox.h: the filter of system calls. The list is made into a program for the kernel's
// filter machine: a comparison for each call, and behind it the one of its argument.
#define _GNU_SOURCE // syscall
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif

enum {
    VALUES = 5,
    STEPS = 768, // of the program
    // what headers may lack
    GET_SEALS = 1034,
    EMPTY_PATH = 0x1000,
    ANY_ARGUMENT = 7,
    PUT_INTO_TERMINAL = 0x5412, // TIOCSTI: types on it
    TERMINAL_LINUX = 0x541c,    // TIOCLINUX: pastes
};

// A system call that is allowed: always, or where (argument & mask) is one of the values, or
// (`except`) none of them. An argument is looked at by its lower half: descriptors, flags and
// commands have no other.
struct rule {
    int call;
    unsigned argument; // ANY_ARGUMENT: whatever they are
    uint32_t mask;
    bool except;
    unsigned count;
    uint32_t values[VALUES];
};

#define ALWAYS(name)                                                                               \
    { .call = SYS_##name, .argument = ANY_ARGUMENT }
#define WHERE(name, at, m, ...)                                                                    \
    {                                                                                              \
        .call = SYS_##name, .argument = (at), .mask = (m),                                         \
        .count = sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), .values = {                 \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define EXCEPT_WHERE(name, at, ...)                                                                \
    {                                                                                              \
        .call = SYS_##name, .argument = (at), .mask = ALL_BITS, .except = true,                    \
        .count = sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), .values = {                 \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define ALL_BITS 0xffffffffU

// What is done most comes first. The socket's own calls stand before these (add_socket), and a
// test's behind.
static const struct rule rules[] = {
    ALWAYS(futex),
    ALWAYS(ppoll),
    ALWAYS(sched_yield),
    ALWAYS(getcpu),
    ALWAYS(clock_gettime),
    ALWAYS(clock_nanosleep),
    // memory that is not executable
    WHERE(mmap, 2, PROT_EXEC, 0),
    WHERE(mprotect, 2, PROT_EXEC, 0),
    ALWAYS(munmap),
    ALWAYS(mremap),
    ALWAYS(madvise),
    ALWAYS(brk),
    // descriptors that are there; of paths only the empty one, which is the descriptor's own
    ALWAYS(pread64),
    ALWAYS(read),
    ALWAYS(lseek),
    ALWAYS(fstat),
    WHERE(newfstatat, 3, EMPTY_PATH, EMPTY_PATH),
    ALWAYS(close),
    ALWAYS(dup),
    WHERE(fcntl, 1, ALL_BITS, F_GETFD, F_GETFL, F_DUPFD_CLOEXEC, GET_SEALS),
    ALWAYS(fadvise64),
    WHERE(write, 0, ALL_BITS, STDERR_FILENO),
    WHERE(writev, 0, ALL_BITS, STDERR_FILENO),
    // threads, no processes: a fork is a clone without CLONE_THREAD
    WHERE(clone, 0, CLONE_THREAD, CLONE_THREAD),
    ALWAYS(set_robust_list),
    ALWAYS(rseq),
    ALWAYS(sched_getaffinity),
    ALWAYS(sched_setaffinity),
    ALWAYS(gettid),
    ALWAYS(getpid),
    WHERE(prctl, 0, ALL_BITS, PR_SET_NAME, PR_GET_NAME),
    // signals to itself (the number is compared with its own; add_own), and their handling
    ALWAYS(rt_sigaction),
    ALWAYS(rt_sigprocmask),
    ALWAYS(rt_sigreturn),
    ALWAYS(sigaltstack),
    ALWAYS(restart_syscall),
    ALWAYS(getrandom),
    ALWAYS(sysinfo),
    ALWAYS(exit),
    ALWAYS(exit_group),
#if defined(__x86_64__)
    ALWAYS(poll),
#endif
};

// What the driver of a card needs beside; these stand before the others, and count where a call is
// in both. Which files are opened is Landlock's to say.
static const struct rule of_driver[] = {
    EXCEPT_WHERE(ioctl, 1, PUT_INTO_TERMINAL, TERMINAL_LINUX), // stderr may be one
    ALWAYS(mmap),
    ALWAYS(mprotect),
    ALWAYS(openat),
    ALWAYS(write), // to the events that its threads wait for
    ALWAYS(fcntl),
    ALWAYS(newfstatat),
    ALWAYS(statx),
    ALWAYS(faccessat),
    ALWAYS(readlinkat),
    ALWAYS(getdents64),
    ALWAYS(eventfd2),
    ALWAYS(epoll_create1),
    ALWAYS(epoll_ctl),
    ALWAYS(epoll_pwait),
    ALWAYS(pipe2),
    ALWAYS(dup3),
    ALWAYS(memfd_create),
    ALWAYS(ftruncate),
    ALWAYS(msync),
    ALWAYS(mlock),
    ALWAYS(munlock),
    ALWAYS(mbind),
    ALWAYS(get_mempolicy),
    ALWAYS(set_mempolicy),
    ALWAYS(membarrier),
    ALWAYS(clock_getres),
    ALWAYS(gettimeofday),
    ALWAYS(times),
    ALWAYS(getrusage),
    ALWAYS(uname),
    ALWAYS(getuid),
    ALWAYS(geteuid),
    ALWAYS(getgid),
    ALWAYS(getegid),
    ALWAYS(getppid),
    ALWAYS(sched_getparam),
    ALWAYS(sched_getscheduler),
    ALWAYS(sched_get_priority_max),
    ALWAYS(sched_get_priority_min),
    WHERE(prlimit64, 0, ALL_BITS, 0), // its own
#if defined(__x86_64__)
    ALWAYS(open),
    ALWAYS(stat),
    ALWAYS(lstat),
    ALWAYS(access),
    ALWAYS(readlink),
    ALWAYS(epoll_wait),
#endif
};

struct program {
    struct sock_filter steps[STEPS];
    size_t count;
    bool full;
};

static void put(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    if (p->count == STEPS) {
        p->full = true;
        return;
    }
    p->steps[p->count++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

static void load(struct program *p, size_t offset) {
    put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct program *p, uint32_t with) { put(p, BPF_RET | BPF_K, with, 0, 0); }

// Both architectures are little-endian: the lower half of an argument comes first.
static void add(struct program *p, const struct rule *r) {
    bool any = r->argument == ANY_ARGUMENT;
    // another call: to what stands behind this rule
    put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->call, 0, (uint8_t)(any ? 1 : 4 + r->count));
    if (!any) {
        load(p, offsetof(struct seccomp_data, args) + r->argument * sizeof(uint64_t));
        put(p, BPF_ALU | BPF_AND | BPF_K, r->mask, 0, 0);
        for (unsigned i = 0; i < r->count; i++)
            put(p, BPF_JMP | BPF_JEQ | BPF_K, r->values[i], (uint8_t)(r->count - i), 0);
        answer(p, r->except ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | EPERM);
    }
    answer(p, r->except ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW);
}

static void write_program(struct program *p, const struct sandbox_needs *n) {
    const struct rule own[] = {
        WHERE(recvmsg, 0, ALL_BITS, (uint32_t)n->socket),
        WHERE(sendmsg, 0, ALL_BITS, (uint32_t)n->socket),
        WHERE(tgkill, 0, ALL_BITS, (uint32_t)getpid()),
    };
    // calls of another architecture have other numbers: none of them
    load(p, offsetof(struct seccomp_data, arch));
    put(p, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    answer(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        add(p, &own[i]);
    for (size_t i = 0; n->door == SANDBOX_DRIVER && i < sizeof of_driver / sizeof *of_driver; i++)
        add(p, &of_driver[i]);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        add(p, &rules[i]);
    for (size_t i = 0; i < n->also_count; i++)
        add(p, &(struct rule){.call = n->also[i], .argument = ANY_ARGUMENT});
    put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    answer(p, SECCOMP_RET_ERRNO | ENOSYS);
    answer(p, SECCOMP_RET_ERRNO | EPERM);
}

enum err sandbox_filter_calls(const struct sandbox_needs *needs, struct errmsg *msg) {
    static struct program p;
    p.count = 0;
    if (!ARCHITECTURE)
        return err_set(msg, ERR_UNSUPPORTED, "there is none for this processor");
    write_program(&p, needs);
    if (p.full)
        return err_set(msg, ERR_INTERNAL, "the filter has more than %d steps", STEPS);
    struct sock_fprog program = {.len = (unsigned short)p.count, .filter = p.steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_set(msg, ERR_IO, "no_new_privs: %s", strerror(errno));
    // all threads, though there is one: none that a library has started is left out
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (rc > 0)
        return err_set(msg, ERR_IO, "seccomp: thread %ld has a filter of its own", rc);
    if (rc < 0)
        return err_set(msg, errno == ENOSYS || errno == EINVAL ? ERR_UNSUPPORTED : ERR_IO,
                       "seccomp: %s", strerror(errno));
    return ERR_OK;
}
