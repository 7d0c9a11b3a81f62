// What a test's own process has open, for tests that nothing is left open. Thread rule: any; what
// other threads open meanwhile is counted with it.
#ifndef TRINE_TESTS_KIT_OWN_PROCESS_H
#define TRINE_TESTS_KIT_OWN_PROCESS_H

#include <stddef.h>

size_t own_descriptors(void);
size_t own_mappings(void);

#endif
