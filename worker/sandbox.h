// The door that the worker closes behind itself, before it reads the first model file or message.
// From then on its process, whatever a poisoned file makes of it, can compute, and speak over the
// socket that it has, and nothing else. In three layers, each of the kernel's making:
//   limits    no core file (it would hold weights and ids), few descriptors
//   Landlock  no path of any file system, no TCP, no abstract socket or signal to other processes
//   seccomp   a list of system calls, below, with the arguments that they may have; all others are
//             refused with EPERM (ENOSYS for clone3, whose flags a filter cannot see: glibc then
//             takes clone)
// What it may still do: memory that is not executable, threads, waiting, the clock, reading files
// by descriptors that it has or is handed, sending and receiving on the socket, writing on stderr.
// Landlock binds the calling thread and the threads that it starts later, so sandbox_close is
// called while the process has one thread; what needs files (a library of BLAS, the stack in a
// crash's report) is loaded before. Nothing of it can be undone.
// Who works with a graphics card has another door (SANDBOX_DRIVER): its driver opens the card's
// files whenever it likes, talks to them by ioctl, maps them, and compiles. So /dev/nvidia* may be
// opened, /proc and /sys be read, memory be executable, and some forty calls more be made; no other
// path, no network, no process, no signal to others, and messages on the one socket alone, as ever.
// This list follows what drivers are known to do; it has not been proved on a card. A kernel that
// lacks Landlock or seccomp: one line on stderr for each, and on. A sanitizer's build: its runtime
// opens files, forks and traces at any time, so only the limits are set, and a line says so. Thread
// rule: from main, while there is one thread.
#ifndef TRINE_WORKER_SANDBOX_H
#define TRINE_WORKER_SANDBOX_H

#include "base/file_set.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    // Descriptors at once. A model's files are all handed at its load, and are open a second time
    // while they are read.
    SANDBOX_OTHER_FILES = 64, // beside a model's: of a message that comes, and what is always there
    SANDBOX_FILES = 2 * FILE_SET_FILES + SANDBOX_OTHER_FILES,
};

enum sandbox_door { SANDBOX_COMPUTES, SANDBOX_DRIVER };

struct sandbox {
    bool privileges; // no_new_privs is set
    bool filter;     // seccomp's
    int landlock;    // its version; 0: none
    size_t files;    // descriptors that it may have: SANDBOX_FILES, or what the system allows
};

// Whether this build closes the door at all (a sanitizer's does not).
extern const bool sandbox_is_built;

// What is to go on being possible.
struct sandbox_needs {
    enum sandbox_door door;
    int socket;      // the one descriptor on which messages may be sent and received
    const int *also; // system calls that are allowed beside (a test's); NULL, 0
    size_t also_count;
};

// Closes it. What could not be closed is said on stderr in a line each, that begins with `who`;
// *out says what was. ERR_IO: privileges or limits cannot be given up: the process must end.
enum err sandbox_close(const char *who, const struct sandbox_needs *needs, struct sandbox *out,
                       struct errmsg *msg) MUST_CHECK;

// The layers one by one, for their tests: each is proved without the others.
enum err sandbox_set_limits(struct errmsg *msg) MUST_CHECK;
// *version: 0: this kernel has none.
enum err sandbox_close_paths(enum sandbox_door door, int *version, struct errmsg *msg) MUST_CHECK;
// ERR_UNSUPPORTED: this kernel, or this processor, has none.
enum err sandbox_filter_calls(const struct sandbox_needs *needs, struct errmsg *msg) MUST_CHECK;

#endif
