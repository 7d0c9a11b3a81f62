#!/bin/sh
# `make test-faults`: COUNT faults in each set-up, and as many under the address sanitizer. Ends with 1 if any run did.
#
#     tests/faults/all.sh [COUNT]
set -u
cd "$(dirname "$0")/../.."
count=${1:-1000} bad=0
# What is freed is set aside by the sanitizer, 256 MiB of it unless told: that is no growth of the program's.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:quarantine_size_mb=8 UBSAN_OPTIONS=print_stacktrace=1
for setup in isolate device gpu; do
    for build in build build/asan; do
        echo "== $setup, $build/trine"
        python3 tests/faults/run.py "$build/trine" --setup "$setup" --faults "$count" --minutes 60 || bad=1
    done
done
exit $bad
