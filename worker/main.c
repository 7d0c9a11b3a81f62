// The entry of trine-worker; see worker.h.
#include "worker/cpu.h"

int main(int argc, char **argv) { return worker_main(argc, argv, &worker_cpu, NULL); }
