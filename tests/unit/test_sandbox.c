// What the worker's sandbox refuses, and what it lets be done, each tried from inside in a child.
// Every attempt is made three times: without a sandbox, where it must succeed (else its refusal
// would prove nothing), under the layer that is to refuse it, alone, and behind the closed door,
// there also from a thread. A sanitizer's build has no sandbox: that it says so is all that is
// tried there, so no thread sanitizer needs to run this.
#define _GNU_SOURCE // everything that is to be refused
#include "worker/sandbox.h"

#include "base/crash.h"
#include "base/thread.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// What the attempts work on, made before the door is closed.
static struct {
    const char *file;         // that may be written and deleted
    struct sockaddr_in there; // somebody listens
    struct sockaddr_un abstract;
    int tcp, local; // sockets that are connected to nothing
    int pair[2];    // the sandbox's own socket, and its other end
    int other[2];   // another pair
    int pipe[2];
} given;

// ---- attempts: 0 where it succeeded, else why not

static int result(long rc) { return rc < 0 ? errno : 0; }

static int closing(int fd) {
    int e = result(fd);
    if (fd >= 0)
        close(fd);
    return e;
}

static int try_read_file(void) { return closing(open("/etc/passwd", O_RDONLY)); }
static int try_read_proc(void) { return closing(open("/proc/self/maps", O_RDONLY)); }
static int try_write_file(void) { return closing(open(given.file, O_WRONLY | O_CREAT, 0600)); }
static int try_open_folder(void) { return closing(open("/", O_RDONLY | O_DIRECTORY)); }
static int try_unlink(void) {
    int e = result(unlink(given.file));
    return e;
}
static int try_stat(void) {
    struct stat s;
    return result(stat("/etc/passwd", &s));
}
static int try_socket(void) { return closing(socket(AF_INET, SOCK_STREAM, 0)); }
static int try_local_socket(void) { return closing(socket(AF_UNIX, SOCK_STREAM, 0)); }
static int try_pair(void) {
    int fds[2];
    int e = result(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    if (!e) {
        close(fds[0]);
        close(fds[1]);
    }
    return e;
}
static int try_connect(void) {
    return result(connect(given.tcp, (const struct sockaddr *)&given.there, sizeof given.there));
}
static int try_bind(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons(0);
    return result(bind(given.tcp, (const struct sockaddr *)&a, sizeof a));
}
static int try_abstract(void) {
    return result(connect(given.local, (const struct sockaddr *)&given.abstract,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                      strlen(given.abstract.sun_path + 1))));
}
static int try_send_elsewhere(void) {
    struct iovec v = {.iov_base = "x", .iov_len = 1};
    return result(
        sendmsg(given.other[0], &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, MSG_NOSIGNAL));
}
static int try_write_elsewhere(void) { return result(write(given.pipe[1], "x", 1)); }
static int try_fork(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid < 0)
        return errno;
    waitpid(pid, NULL, 0);
    return 0;
}
// Where it succeeds, a child has become the other program.
static int try_exec(void) {
    int fds[2] = {-1, -1};
    char *argv[] = {"true", NULL};
    char got = 0;
    if (pipe2(fds, O_CLOEXEC)) // refused too, behind the door: the exec itself is tried then
        return execv("/bin/true", argv), errno;
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bin/true", argv);
        got = (char)errno;
        if (write(fds[1], &got, 1) != 1)
            _exit(1);
        _exit(0);
    }
    if (pid < 0) // the exec itself, then
        return execv("/bin/true", argv), errno;
    close(fds[1]);
    (void)!read(fds[0], &got, 1);
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return got;
}
static int try_signal_parent(void) { return result(kill(getppid(), 0)); }
static int try_executable_memory(void) {
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return errno;
    munmap(p, 4096);
    return 0;
}
static int try_make_executable(void) {
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 0; // an ordinary page: that this fails is no refusal
    int e = result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
    munmap(p, 4096);
    return e;
}
static int try_memfd(void) { return closing(memfd_create("x", 0)); }
static int try_truncate(void) { return result(ftruncate(given.pipe[1], 0)) == EINVAL ? 0 : errno; }
static int try_limits(void) {
    struct rlimit r;
    return result(getrlimit(RLIMIT_NOFILE, &r));
}
static int try_limits_of_parent(void) {
    struct rlimit r;
    return result(prlimit(getppid(), RLIMIT_NOFILE, NULL, &r));
}
static int try_ioctl(void) {
    int n;
    return result(ioctl(given.pipe[0], FIONREAD, &n));
}
static int try_event(void) { return closing(eventfd(0, EFD_CLOEXEC)); }
static int try_dumpable(void) { return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }
static int try_chdir(void) { return result(chdir("/")); }
static int try_pidfd(void) { return closing((int)syscall(SYS_pidfd_open, getpid(), 0)); }
static int try_getsockopt(void) {
    int type;
    socklen_t n = sizeof type;
    return result(getsockopt(given.pair[0], SOL_SOCKET, SO_TYPE, &type, &n));
}

// NOT_OF_DRIVER: by none of these where it is a card's driver.
enum layer { BY_FILTER = 1, BY_LANDLOCK = 2, NOT_OF_DRIVER = 4 };

static const struct attempt {
    const char *name;
    int (*make)(void);
    unsigned refused_by;
    int landlock; // the version that refuses it first
} attempts[] = {
    {"read a file", try_read_file, BY_FILTER | BY_LANDLOCK, 1},
    {"read /proc", try_read_proc, NOT_OF_DRIVER | BY_FILTER | BY_LANDLOCK, 1},
    {"write a file", try_write_file, BY_FILTER | BY_LANDLOCK, 1},
    {"open a folder", try_open_folder, BY_FILTER | BY_LANDLOCK, 1},
    {"delete a file", try_unlink, BY_FILTER | BY_LANDLOCK, 1},
    {"execute a program", try_exec, BY_FILTER | BY_LANDLOCK, 1},
    {"connect", try_connect, BY_FILTER | BY_LANDLOCK, 4},
    {"bind", try_bind, BY_FILTER | BY_LANDLOCK, 4},
    {"connect to an abstract socket", try_abstract, BY_FILTER | BY_LANDLOCK, 6},
    {"signal another process", try_signal_parent, BY_FILTER | BY_LANDLOCK, 6},
    {"stat", try_stat, NOT_OF_DRIVER | BY_FILTER, 0},
    {"make a socket", try_socket, BY_FILTER, 0},
    {"make a local socket", try_local_socket, BY_FILTER, 0},
    {"make a socket pair", try_pair, BY_FILTER, 0},
    {"send on another socket", try_send_elsewhere, BY_FILTER, 0},
    {"write elsewhere than to stderr", try_write_elsewhere, NOT_OF_DRIVER | BY_FILTER, 0},
    {"fork", try_fork, BY_FILTER, 0},
    {"map executable memory", try_executable_memory, NOT_OF_DRIVER | BY_FILTER, 0},
    {"make memory executable", try_make_executable, NOT_OF_DRIVER | BY_FILTER, 0},
    {"memfd_create", try_memfd, NOT_OF_DRIVER | BY_FILTER, 0},
    {"ftruncate", try_truncate, NOT_OF_DRIVER | BY_FILTER, 0},
    {"getrlimit", try_limits, NOT_OF_DRIVER | BY_FILTER, 0},
    {"ioctl", try_ioctl, NOT_OF_DRIVER | BY_FILTER, 0},
    {"make an event", try_event, NOT_OF_DRIVER | BY_FILTER, 0},
    {"lower another process's limits", try_limits_of_parent, BY_FILTER, 0},
    {"prctl of another kind", try_dumpable, BY_FILTER, 0},
    {"chdir", try_chdir, BY_FILTER, 0},
    {"pidfd_open", try_pidfd, BY_FILTER, 0},
    {"getsockopt", try_getsockopt, BY_FILTER, 0},
};
enum { ATTEMPTS = sizeof attempts / sizeof *attempts };

// ---- a child for each

static int listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t n = sizeof given.there;
    given.there =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(bind(fd, (const struct sockaddr *)&given.there, n) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&given.there, &n) == 0);
    return fd;
}

static int abstract_listener(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    given.abstract.sun_family = AF_UNIX;
    snprintf(given.abstract.sun_path + 1, sizeof given.abstract.sun_path - 1, "trine-test-%ld",
             (long)getpid());
    CHECK(bind(fd, (const struct sockaddr *)&given.abstract,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           strlen(given.abstract.sun_path + 1))) == 0 &&
          listen(fd, 64) == 0);
    return fd;
}

static void give(void) {
    int fd = open(given.file, O_WRONLY | O_CREAT, 0600);
    if (fd >= 0)
        close(fd);
    given.tcp = socket(AF_INET, SOCK_STREAM, 0);
    given.local = socket(AF_UNIX, SOCK_STREAM, 0);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, given.pair) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, given.other) || pipe(given.pipe))
        _exit(99);
}

// The child says by its exit status; 255: the attempt succeeded where errno would be told.
static int in_child(int (*run)(const void *), const void *arg) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        give();
        _exit(run(arg));
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!CHECK(WIFEXITED(status)))
        return -1;
    return WEXITSTATUS(status);
}

static const struct sandbox_needs *needs(enum sandbox_door door) {
    static struct sandbox_needs n;
    n = (struct sandbox_needs){.door = door, .socket = given.pair[0]};
    return &n;
}

static int open_run(const void *arg) { return ((const struct attempt *)arg)->make(); }

static int filter_run(const void *arg) {
    struct errmsg msg = {0};
    if (sandbox_filter_calls(needs(SANDBOX_COMPUTES), &msg))
        return 98;
    return ((const struct attempt *)arg)->make();
}

static int landlock_run(const void *arg) {
    struct errmsg msg = {0};
    int version;
    if (sandbox_close_paths(SANDBOX_COMPUTES, &version, &msg) || version == 0)
        return 98;
    return ((const struct attempt *)arg)->make();
}

static struct sandbox closed_by(enum sandbox_door door) {
    struct sandbox s = {0};
    struct errmsg msg = {0};
    if (sandbox_close("test", needs(door), &s, &msg))
        _exit(97);
    return s;
}
static struct sandbox closed(void) { return closed_by(SANDBOX_COMPUTES); }

static int driver_run(const void *arg) {
    closed_by(SANDBOX_DRIVER);
    return ((const struct attempt *)arg)->make();
}

static int closed_run(const void *arg) {
    closed();
    return ((const struct attempt *)arg)->make();
}

static void *thread_of(void *arg) {
    const struct attempt *const *a = arg;
    return (void *)(intptr_t)(*a)->make();
}

static int thread_run(const void *arg) {
    closed();
    const struct attempt *a = arg;
    struct errmsg msg = {0};
    struct thread_options o = {.name = "inside"};
    pthread_t thread;
    void *e = NULL;
    if (thread_start(&thread, &o, thread_of, &a, &msg))
        return 96;
    pthread_join(thread, &e);
    return (int)(intptr_t)e;
}

static int version_run(const void *arg) {
    (void)arg;
    struct errmsg msg = {0};
    int version = 0;
    return sandbox_close_paths(SANDBOX_COMPUTES, &version, &msg) ? 98 : version;
}

static int filter_there(const void *arg) {
    (void)arg;
    struct errmsg msg = {0};
    return sandbox_filter_calls(needs(SANDBOX_COMPUTES), &msg);
}

static bool expect(const char *layer, const struct attempt *a, int got, bool refused) {
    bool ok = refused ? got == EPERM || got == EACCES : got == 0;
    if (!CHECK(ok))
        fprintf(stderr, "    %s, %s: %s\n", layer, a->name, got ? strerror(got) : "succeeded");
    return ok;
}

static void test_refusals(int landlock, bool filter) {
    for (size_t i = 0; i < ATTEMPTS; i++) {
        const struct attempt *a = &attempts[i];
        expect("without a sandbox", a, in_child(open_run, a), false);
        if (filter)
            expect("filter", a, in_child(filter_run, a), true);
        if ((a->refused_by & BY_LANDLOCK) && landlock >= a->landlock)
            expect("Landlock", a, in_child(landlock_run, a), true);
        if (filter) {
            expect("closed", a, in_child(closed_run, a), true);
            expect("closed, in a thread", a, in_child(thread_run, a), true);
        }
        // what a driver may ask for, but for the paths, is refused by Landlock alone
        bool by_path = (a->refused_by & BY_LANDLOCK) && landlock >= a->landlock;
        if (filter && (by_path || !(a->refused_by & BY_LANDLOCK)))
            expect("a driver's door", a, in_child(driver_run, a), !(a->refused_by & NOT_OF_DRIVER));
    }
}

// Text that is typed on the terminal of the one who started it would be run there.
static int type_run(const void *arg) {
    (void)arg;
    closed_by(SANDBOX_DRIVER);
    char c = 'x';
    return ioctl(given.pipe[0], TIOCSTI, &c) == 0 ? 255 : errno;
}

// ---- what goes on

static void *grow(void *arg) {
    for (size_t n = 1; n < (size_t)64 << 20; n *= 3) {
        char *p = malloc(n);
        if (!p)
            return NULL;
        memset(p, 1, n);
        free(p);
    }
    return arg;
}

static bool socket_works(void) {
    char byte = 'a', back = 0;
    struct iovec out = {.iov_base = &byte, .iov_len = 1}, in = {.iov_base = &back, .iov_len = 1};
    struct msghdr m = {.msg_iov = &out, .msg_iovlen = 1};
    struct msghdr r = {.msg_iov = &in, .msg_iovlen = 1};
    // both ends are here, and one of them alone may be used: what comes was sent before
    return recvmsg(given.pair[0], &r, 0) == 1 && back == 'z' &&
           sendmsg(given.pair[0], &m, MSG_NOSIGNAL) == 1;
}

static int work_run(const void *arg) {
    (void)arg;
    char text[8] = {0};
    int file = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    if (file < 0 || write(given.pair[1], "z", 1) != 1)
        return 95;
    struct sandbox s = closed();
    if (!s.privileges || prctl(PR_GET_NAME, (char[17]){0}))
        return 1;
    if (!socket_works())
        return 2;
    if (pread(file, text, 4, 0) != 4 || close(file))
        return 3;
    if (write(STDERR_FILENO, "", 0) != 0)
        return 4;
    pthread_t threads[4];
    struct errmsg msg = {0};
    struct thread_options o = {.name = "works", .stack_bytes = 256 << 10};
    for (int i = 0; i < 4; i++)
        if (thread_start(&threads[i], &o, grow, &s, &msg))
            return 5;
    for (int i = 0; i < 4; i++) {
        void *out = NULL;
        if (pthread_join(threads[i], &out) || out != &s)
            return 6;
    }
    return 0;
}

// Once it is closed it stays so: a limit that was lowered cannot be raised, and a ruleset that
// allows more adds nothing.
static int limits_run(const void *arg) {
    (void)arg;
    struct errmsg msg = {0};
    struct rlimit core, files;
    if (sandbox_set_limits(&msg))
        return 1;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    return core.rlim_cur == 0 && core.rlim_max == 0 && files.rlim_max <= SANDBOX_FILES ? 0 : 2;
}

// A kernel that has it, and a filter of somebody else's in between: that is not a kernel without.
static int refused_run(const void *arg) {
    (void)arg;
    struct errmsg msg = {0};
    int version = -1;
    if (sandbox_filter_calls(needs(SANDBOX_COMPUTES), &msg))
        return 1;
    if (sandbox_close_paths(SANDBOX_COMPUTES, &version, &msg) != ERR_IO || version != 0)
        return 2;
    return strcmp(msg.text, "Landlock: Operation not permitted") == 0 ? 0 : 3;
}

static volatile int *volatile nowhere;

// A crash behind the door is told as one before it.
static void test_crash(void) {
    int fds[2], status = 0;
    CHECK(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        dup2(fds[1], STDERR_FILENO);
        crash_install();
        give();
        closed();
        *nowhere = 1;
        _exit(0);
    }
    close(fds[1]);
    char told[16384] = {0};
    size_t n = 0;
    for (ssize_t r = 1; r > 0 && n < sizeof told - 1; n += (size_t)(r > 0 ? r : 0))
        r = read(fds[0], told + n, sizeof told - 1 - n);
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(strstr(told, "trine crashed: SIGSEGV at address 0x0") != NULL);
    CHECK(strstr(told, "test_sandbox") != NULL); // the stack, with the program's name
}

// What a build without it says.
static void test_without(void) {
    struct sandbox s;
    struct errmsg msg = {0};
    CHECK_OK(sandbox_close("test", needs(SANDBOX_COMPUTES), &s, &msg), msg);
    CHECK(s.privileges && !s.filter && s.landlock == 0);
}

int main(void) {
    given.file = scratch_path("file");
    if (!sandbox_is_built) {
        test_without();
        return check_done();
    }
    int tcp = listener(), abstract = abstract_listener();
    int landlock = in_child(version_run, NULL);
    bool filter = in_child(filter_there, NULL) == ERR_OK;
    fprintf(stderr, "Landlock %d, seccomp %s\n", landlock, filter ? "yes" : "no");
    test_refusals(landlock, filter);
    CHECK_INT(in_child(work_run, NULL), 0);
    CHECK_INT(in_child(limits_run, NULL), 0);
    if (filter) {
        CHECK_INT(in_child(refused_run, NULL), 0);
        CHECK_INT(in_child(type_run, NULL), EPERM);
    }
    test_crash();
    close(tcp);
    close(abstract);
    return check_done();
}
