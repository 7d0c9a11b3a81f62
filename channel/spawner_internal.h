// What the two sides of the spawner share: its requests, which are frames (channel.h), and the
// parts of its process. Every request has one answer with the same sequence number.
#ifndef TRINE_CHANNEL_SPAWNER_INTERNAL_H
#define TRINE_CHANNEL_SPAWNER_INTERNAL_H

#include "base/err.h"
#include "channel/spawner.h"

#include <stdbool.h>
#include <stddef.h>

enum spawner_request {
    SPAWNER_SPAWN = 1, // program, count (u32), that many arguments; socket and region beside it
    SPAWNER_KILL,      // pid (i64), signal (i32)
    SPAWNER_REAP,      // pid (i64)
    SPAWNER_ANSWER,    // enum err (u32), words, pid (i64), gone (bool), status (i32)
};

struct spawner_answer {
    enum err code;
    pid_t pid;  // of SPAWNER_SPAWN
    bool gone;  // of SPAWNER_REAP
    int status; // with gone: waitpid's
};

enum {
    SPAWNER_LIFE = 1,          // of its frames: there is one spawner
    SPAWNER_ARGUMENTS = 256,   // at most
    SPAWNER_EXEC_US = 5000000, // for a program to be started
    SPAWNER_END_US = 5000000,  // for children to be gone, once they are killed
};

// The spawner's whole life, in the process that was forked for it: its end of the socket, and the
// process that forked it. spawner_process.c
_Noreturn void spawner_process(int socket, pid_t parent);

// Forks and executes; fds become 3 and 4. On success *pid runs the program. ERR_NOT_FOUND, ERR_IO,
// ERR_NOMEM with nothing left running, but for one case: a program that is not started in time was
// killed, and *pid is still to be reaped (else it is 0). spawner_exec.c
enum err spawner_exec(const char *program, char *const *argv, char *const *environment,
                      const int fds[2], pid_t *pid, struct errmsg *msg) MUST_CHECK;
// Closes every descriptor from `first` on.
void spawner_close_from(int first);
// No signal is blocked, these are ignored, and the others do what they do by themselves.
void spawner_set_signals(const int *ignored, size_t count);

// Fills `to` with the entries of `all` that a child may see, NULL behind them. spawner_env.c
void spawner_env_filter(char *const *all, char **to, size_t room);

#endif
