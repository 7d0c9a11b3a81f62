// The process that starts processes. Role: a small one, forked first thing in main, before any
// thread, socket or BLAS: it does every fork and exec for this process, which may then have as many
// threads, locks and descriptors as it likes. It holds nothing but a socket and stderr.
// A child gets: its socket as 3, the region as 4, stderr; /dev/null as 0 and 1; no other
// descriptor; of the environment what the list in spawner_env.c lets through, never a key; the
// program's arguments; a process group of its own; no new privileges; an empty signal mask, and
// signals at their default but for HUP, INT, TERM and PIPE, which are ignored: a service manager
// that sends TERM to all processes of a service must not take the worker from requests that are
// still answered. A child ends when its socket closes, or by SIGKILL, which the kernel sends
// it when the spawner ends in whatever way.
// The spawner ends when its socket closes (or this process ends in whatever way), and takes all
// children with it.
// Thread rule: spawner_start while this process has one thread, from main; all else from any.
// Every request is answered within a limit or not at all: a spawner that does not answer in time is
// killed, and from then on every request is refused at once with ERR_UNAVAILABLE.
#ifndef TRINE_CHANNEL_SPAWNER_H
#define TRINE_CHANNEL_SPAWNER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    SPAWNER_SOCKET_FD = 3, // what a child finds where
    SPAWNER_REGION_FD = 4,
    SPAWNER_CHILDREN = 16, // that may be there at once, reaped or not
};

struct spawner; // opaque

// Forks it. ERR_IO, ERR_NOMEM.
enum err spawner_start(struct spawner **out, struct errmsg *msg) MUST_CHECK;

// Starts a program. argv: argv[0] first, NULL last. socket, region: borrowed, and open in this
// process still; close this process's copy of the child's end afterwards, or its end is never seen.
// ERR_NOT_FOUND, ERR_IO: it cannot be executed, with the reason in the message (and nothing runs);
// ERR_TOO_LARGE: arguments of more than some 30 KB; ERR_OVERLOADED: SPAWNER_CHILDREN are there;
// ERR_UNAVAILABLE: the spawner is gone.
enum err spawner_spawn(struct spawner *s, const char *program, const char *const *argv, int socket,
                       int region, pid_t *pid, struct errmsg *msg) MUST_CHECK;
// Sends a signal to a child that was not reaped, SIGKILL to its whole group. ERR_NOT_FOUND: pid is
// no such child; ERR_UNAVAILABLE.
enum err spawner_kill(struct spawner *s, pid_t pid, int signal, struct errmsg *msg) MUST_CHECK;
// Reaps a child if it has ended: *gone says so, *status is waitpid's then. Does not wait.
// ERR_NOT_FOUND: no such child, or reaped before; ERR_UNAVAILABLE.
enum err spawner_reap(struct spawner *s, pid_t pid, int *status, bool *gone,
                      struct errmsg *msg) MUST_CHECK;
// How a status reads: "exit status 3", "signal 9 (SIGKILL)".
void spawner_status_words(int status, char *to, size_t room);

pid_t spawner_pid(const struct spawner *s);
// How long a request may take; 10 s where nothing is said. For tests.
void spawner_set_limit(struct spawner *s, int64_t limit_us);

// Ends it and its children, waits for that (bounded: it takes seconds only where a child cannot
// be killed), frees the handle. NULL is fine.
void spawner_stop(struct spawner *s);

#endif
