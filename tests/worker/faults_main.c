// trine-worker-faults: trine-worker with faults on demand.
#include "tests/worker/faults.h"
#include "worker/cpu.h"

int main(int argc, char **argv) { return worker_faults_main(argc, argv, &worker_cpu); }
