// What tests ask the system about processes: what their own has open, so that nothing is left open,
// and whether another is there. Thread rule: any; what other threads open meanwhile is counted.
#ifndef TRINE_TESTS_KIT_PROCESSES_H
#define TRINE_TESTS_KIT_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

size_t own_descriptors(void);
size_t own_mappings(void);
// The letter of its state ('T': stopped, 'Z': ended and not reaped); 0: there is none.
char process_state(pid_t pid);
// There is none, or somebody else has to reap it.
bool process_is_gone(pid_t pid);

#endif
