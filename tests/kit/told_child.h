// What a program of the tests does when a spawner has started it: it tells its parent what it sees
// of what it was given, in frames, and ends as it is told to. Thread rule: it is main's.
#ifndef TRINE_TESTS_KIT_TOLD_CHILD_H
#define TRINE_TESTS_KIT_TOLD_CHILD_H

enum { TOLD_CHILD_TYPE = 7 }; // of the frames, whose payload is a text

// Does what the arguments say, one after the other, and ends the process with status 0:
// --fds, --environment, --signals, --rights: tells these; --region: tells what the region begins
// with, and writes "child" there; --grandchild: starts a process, and tells its number; --wait:
// until its socket is closed; --deaf: for ever; --exit=N: ends at once; any other: tells it. After
// five minutes it ends in any case.
int told_child(int argc, char **argv, char **environment);

#endif
