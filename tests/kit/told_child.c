// See told_child.h.
#include "tests/kit/told_child.h"

#include "channel/channel.h"
#include "channel/region.h"
#include "channel/spawner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void tell(const char *text) {
    struct channel_message m = {.type = TOLD_CHILD_TYPE,
                                .life = 1,
                                .payload = (const unsigned char *)text,
                                .payload_length = strlen(text)};
    struct errmsg msg = {0};
    if (channel_send(SPAWNER_SOCKET_FD, &m, true, &msg))
        _exit(3);
}

static void add_line(char *text, size_t room, const char *line) {
    size_t n = strlen(text);
    snprintf(text + n, room - n, "%s\n", line);
}

// What is open: "0 /dev/null", ... in the order of the numbers.
static void tell_fds(void) {
    char text[8192] = "";
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], to[256], line[400];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, to, sizeof to - 1);
        if (n < 0)
            continue;
        to[n] = '\0';
        char *bracket = strchr(to, '['); // of a pipe or socket: the number says nothing
        if (bracket)
            *bracket = '\0';
        snprintf(line, sizeof line, "%d %s", fd, to);
        add_line(text, sizeof text, line);
    }
    tell(text);
}

static void tell_environment(char **environment) {
    static char text[16384];
    for (; *environment; environment++)
        add_line(text, sizeof text, *environment);
    tell(text);
}

static void tell_signals(void) {
    char text[4096] = "", line[64];
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i < 32; i++) {
        struct sigaction a; // a handler is the child's own: a sanitizer's
        if (sigaction(i, NULL, &a) == 0 && a.sa_handler == SIG_IGN) {
            snprintf(line, sizeof line, "ignored %d", i);
            add_line(text, sizeof text, line);
        }
        if (sigismember(&mask, i)) {
            snprintf(line, sizeof line, "blocked %d", i);
            add_line(text, sizeof text, line);
        }
    }
    tell(text);
}

static void tell_rights(void) {
    int at_death = 0;
    prctl(PR_GET_PDEATHSIG, &at_death);
    char text[128];
    snprintf(text, sizeof text, "no new privileges %d, at the parent's end %d, own group %d",
             prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), at_death, getpgrp() == getpid());
    tell(text);
}

// The region that was handed over: its first bytes are said, and overwritten.
static void use_region(void) {
    struct region *r;
    struct errmsg msg = {0};
    if (region_open(SPAWNER_REGION_FD, 0, &r, &msg)) {
        tell(msg.text);
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "%.5s", (char *)region_base(r));
    memcpy(region_base(r), "child", 5);
    tell(text);
    region_free(r);
}

// A process of the child's own, in its group, which is told of and stays.
static void start_grandchild(void) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(300);
        for (;;)
            pause();
    }
    char text[32];
    snprintf(text, sizeof text, "%d", (int)pid);
    tell(text);
}

static void wait_for_the_end(void) {
    static struct channel_buffer buf;
    struct channel_message m;
    while (channel_receive(SPAWNER_SOCKET_FD, &buf, &m, true, NULL) == ERR_OK)
        channel_close_fds(&m);
}

int told_child(int argc, char **argv, char **environment) {
    alarm(300); // whatever fails here, nothing stays
    for (int i = 1; i < argc; i++) {
        const char *what = argv[i];
        if (strcmp(what, "--fds") == 0)
            tell_fds();
        else if (strcmp(what, "--environment") == 0)
            tell_environment(environment);
        else if (strcmp(what, "--signals") == 0)
            tell_signals();
        else if (strcmp(what, "--rights") == 0)
            tell_rights();
        else if (strcmp(what, "--region") == 0)
            use_region();
        else if (strcmp(what, "--grandchild") == 0)
            start_grandchild();
        else if (strcmp(what, "--deaf") == 0)
            for (;;)
                pause(); // does not look at its socket
        else if (strcmp(what, "--wait") == 0)
            wait_for_the_end();
        else if (strncmp(what, "--exit=", 7) == 0)
            _exit(atoi(what + 7));
        else
            tell(what);
    }
    _exit(0);
}
