// See version.h. The build gives TRINE_VERSION and TRINE_COMMIT to this file alone.
#include "base/version.h"

const char version_number[] = TRINE_VERSION;
const char version_commit[] = TRINE_COMMIT;
#ifdef __clang__
const char version_compiler[] = "clang " __clang_version__;
#else
const char version_compiler[] = "gcc " __VERSION__;
#endif
