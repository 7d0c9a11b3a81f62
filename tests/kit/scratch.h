// A folder of this test program's own, for files that it makes: under TMPDIR, or /tmp, and removed
// with all that lies in it when the program ends, in whatever way but by a signal (tests/run.sh and
// tests/one.sh remove what then stays). Who cannot make it ends the program. Thread rule: main
// thread only.
#ifndef TRINE_TESTS_KIT_SCRATCH_H
#define TRINE_TESTS_KIT_SCRATCH_H

// Made with the first call. A child that is forked has its parent's, and does not remove it.
const char *scratch_folder(void);
// "folder/name", in one of eight buffers that take turns.
const char *scratch_path(const char *name);
// A file or a folder with all that is in it; nothing is said where there is none.
void scratch_remove(const char *path);

#endif
