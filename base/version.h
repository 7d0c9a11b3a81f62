// What this program is: version, commit and compiler, fixed when it was built.
// Thread rule: constants.
#ifndef TRINE_BASE_VERSION_H
#define TRINE_BASE_VERSION_H

extern const char version_number[];   // "0.1.0"
extern const char version_commit[];   // short hash, or "unknown" outside a repository
extern const char version_compiler[]; // "gcc 12.2.0"

#endif
