# `make help` lists what there is. It is made of the comments that begin with two number signs: behind
# a target, or above a variable.

## CC=cc            the compiler
CC      ?= cc
## SAN=asan         a build of its own in build/asan/: asan, tsan, fuzz (libFuzzer), fault (failures on demand)
SAN     ?=
BUILD   := build$(if $(SAN),/$(SAN))
VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Werror
## CFLAGS="-O2 -g"  optimisation and debugging; what every file needs is added
# Of a sanitizer's build the lines are enough, and made in three quarters of the time.
CFLAGS  ?= -O2 -g$(if $(SAN),1)
# What every file needs whatever CFLAGS a user gives; an instruction set's files add theirs.
NEEDED  := -std=c11 $(WARN) -D_POSIX_C_SOURCE=200809L -I. -fno-math-errno -fno-trapping-math
LDLIBS  := -lcivetweb -lcjson -lutf8proc -lcurl -lcrypto -lxxhash -lm -lpthread -ldl

SANFLAGS_asan  := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANFLAGS_tsan  := -fsanitize=thread
SANFLAGS_fault := -DTRINE_FAULTS -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANFLAGS_fuzz  := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
SANFLAGS := $(SANFLAGS_$(SAN))
ifeq ($(SAN),fuzz)
CC := clang
endif

ROOMS   := base channel compute compute/cpu weights tokenizer template grammar encoder decoder pooling \
           engine worker service service/http service/api service/api/generate hub cli cli/bench
SRCS    := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
# With a main of their own, or of another program (trine-gpu).
MAIN    := cli/main.c worker/main.c $(wildcard worker/gpu*.c)
LIBOBJS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(MAIN),$(SRCS)))

# Passes over whole vocabularies and weights, in loops that are vectors from here on.
%/logit_rows.o %/cuda/pack.o: NEEDED += -O3

# One file per instruction set, picked at run time; only these files get its flags. A sanitizer's
# checks in loops that are written unrolled take -O3 minutes, and -O1 seconds.
KERNEL_O := $(if $(filter asan fault fuzz,$(SAN)),-O1,-O3)
%_avx2.o:   NEEDED += $(KERNEL_O) -mavx2 -mfma -mf16c
AVX512 := $(KERNEL_O) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512
%_avx512.o: NEEDED += $(AVX512)
%_avx512vnni.o: NEEDED += $(AVX512) -mavx512vnni
%_avx512bf16.o: NEEDED += $(AVX512) -mavx512bf16

UNIT    := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
GOLDEN  := $(patsubst tests/golden/%.c,$(BUILD)/tests/golden/%,$(wildcard tests/golden/*.c))
FUZZ    := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH   := $(filter-out %/gpu %/gpu_probe,$(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))) $(BUILD)/bench/gpu_emulated

# The program of the process that computes. Its objects are named, so that it is seen what is not
# there: no tokenizer, template or grammar, no HTTP, no client of anything (tests/checks/test_worker_parts.py).
WORKER_BASE   := arena buf clock crash err fault file file_set json json_node json_path json_scan json_text \
                 limits log mem thread utf8 version
WORKER_ENGINE := memory_plan replica_local replica_model replica_run shares step step_engine \
                 wire wire_encode wire_results wire_spec wire_step
WORKER_ROOMS  := compute compute/cpu weights encoder decoder pooling
WORKER_OBJS   := $(patsubst %,$(BUILD)/base/%.o,$(WORKER_BASE)) \
                 $(patsubst %,$(BUILD)/channel/%.o,channel pack region) \
                 $(patsubst %,$(BUILD)/engine/%.o,$(WORKER_ENGINE)) \
                 $(patsubst %.c,$(BUILD)/%.o,$(foreach room,$(WORKER_ROOMS),$(wildcard $(room)/*.c))) \
                 $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(MAIN),$(wildcard worker/*.c)))
WORKER_LIBS   := -lcjson -lxxhash -lm -lpthread -ldl

all: $(BUILD)/trine $(BUILD)/trine-worker ## the programs, build/trine and build/trine-worker; build/trine-gpu where nvcc is there
include compute/cuda/cuda.mk

# From the objects, not the archive: two functions of one name are then an error, not a lottery.
$(BUILD)/trine: $(BUILD)/cli/main.o $(filter-out $(BUILD)/worker/%,$(LIBOBJS))
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/trine-worker: $(BUILD)/worker/main.o $(WORKER_OBJS)
	$(CC) $(SANFLAGS) -o $@ $^ $(WORKER_LIBS)
# The same with faults on demand (tests/worker/faults.c).
FAULT_OBJS := $(patsubst %,$(BUILD)/tests/worker/%.o,faults fault_plan)
$(BUILD)/tests/trine-worker-faults: $(BUILD)/tests/worker/faults_main.o $(FAULT_OBJS) $(WORKER_OBJS)
	$(CC) $(SANFLAGS) -o $@ $^ $(WORKER_LIBS)

# The same with a card that is made up (tests/worker/made_up.c).
$(BUILD)/tests/trine-made-up: $(BUILD)/tests/worker/made_up.o $(BUILD)/tests/kit/late_device.o $(WORKER_OBJS)
	$(CC) $(SANFLAGS) -o $@ $^ $(WORKER_LIBS)

$(BUILD)/libtrine.a: $(LIBOBJS)
	rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(NEEDED) $(SANFLAGS) -MMD -MP -c -o $@ $<

# Rewritten only when the commit is another, so that version.o is rebuilt then and only then.
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' >$@
FORCE:
$(BUILD)/base/version.o: $(BUILD)/commit
$(BUILD)/base/version.o: NEEDED += -DTRINE_VERSION='"$(VERSION)"' -DTRINE_COMMIT='"$(COMMIT)"'

# The emulated GPU (tests/gpu): the CUDA backend's host code and its kernels, the .cu as they are, by
# the C++ compiler. What needs CUDA itself (CUDA_OWN) is the real card's alone.
ifeq ($(origin CXX),default)
CXX := $(filter ccache,$(CC)) c++
endif
CXXFLAGS ?= $(CFLAGS)
GPU_FLAGS_x86_64 := -mavx2 -mfma -mf16c
GPU_NEEDED := -std=c++17 -Wall -Wextra -Werror -Wno-unknown-pragmas -fno-exceptions -fno-rtti \
              -fno-strict-aliasing -ffp-contract=off -fno-math-errno -fno-trapping-math -I. $(GPU_FLAGS_$(shell uname -m))
GPU_OBJS   := $(patsubst %.cu,$(BUILD)/%.cu.o,$(wildcard compute/cuda/kernels/*.cu tests/gpu/*.cu)) \
              $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/gpu/*.cpp)) \
              $(CUDA_HOST)
GPU_LIBS   := -lstdc++
# A sanitizer's checks in unrolled loops, as of KERNEL_O.
$(BUILD)/%.cu.o: GPU_NEEDED += $(if $(filter asan fault fuzz,$(SAN)),-O1)
$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ $(CXXFLAGS) $(GPU_NEEDED) $(SANFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/tests/gpu/%.o: tests/gpu/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(GPU_NEEDED) -Wshadow $(SANFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/libgpu_emulated.a: $(GPU_OBJS)
	rm -f $@ && ar rcs $@ $^

# trine-gpu with the emulated GPU, and with faults on demand.
$(BUILD)/tests/trine-gpu-emulated: $(BUILD)/tests/worker/gpu_emulated.o $(BUILD)/worker/gpu.o $(FAULT_OBJS) $(WORKER_OBJS) $(BUILD)/libgpu_emulated.a
	$(CC) $(SANFLAGS) -o $@ $^ $(WORKER_LIBS) $(GPU_LIBS)

# What test programs share beyond headers.
$(BUILD)/libkit.a: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/kit/*.c))
	rm -f $@ && ar rcs $@ $^
# (Of libgpu_emulated.a comes what a program names: those that take the kit's device have it all.)
KIT_LIBS := $(BUILD)/libkit.a $(BUILD)/libgpu_emulated.a $(BUILD)/libtrine.a
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(KIT_LIBS)
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS) $(GPU_LIBS)
# Those that start workers.
$(filter $(BUILD)/tests/unit/test_worker% $(BUILD)/tests/unit/test_replica_worker_program,$(UNIT)): | $(BUILD)/trine-worker $(BUILD)/tests/trine-worker-faults
$(BUILD)/tests/golden/%: $(BUILD)/tests/golden/%.o $(KIT_LIBS)
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS) $(GPU_LIBS)
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libtrine.a
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)
$(BUILD)/bench/gpu_emulated: $(BUILD)/bench/gpu.o $(BUILD)/bench/gpu_probe.o $(BUILD)/libgpu_emulated.a $(BUILD)/libtrine.a
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS) $(GPU_LIBS)
# A fuzz target runs under libFuzzer with SAN=fuzz; otherwise it replays files given as arguments.
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(if $(filter fuzz,$(SAN)),,$(BUILD)/tests/fuzz/replay.o) $(BUILD)/libtrine.a
	$(CC) $(SANFLAGS) $(if $(filter fuzz,$(SAN)),-fsanitize=fuzzer) -o $@ $^ $(LDLIBS)

include tests/cuda_kit/kit.mk

units: $(UNIT)      ## the programs of tests/unit
goldens: $(GOLDEN)  ## those of tests/golden: against numbers of the reference libraries
fuzzers: $(FUZZ)    ## those of tests/fuzz; with SAN=fuzz under libFuzzer, else they replay files
worker-faults: $(BUILD)/tests/trine-worker-faults $(BUILD)/tests/trine-made-up $(BUILD)/tests/trine-gpu-emulated ## the worker that fails on demand, for tests
benches: $(BENCH)   ## those of bench

# The second level of make, so that what deps.sh has just installed is seen by it.
## PORT=8080        where `make run` serves
run: ## installs what is missing, brings three models (250 MB, once), serves
	@tools/deps.sh build
	@$(MAKE) --no-print-directory -j2 all
	@tools/run.sh

## T=unit/test_bpe  the one test that `make test` runs: unit/, golden/, http/ or checks/test_NAME, fuzz/fuzz_NAME
T ?=
ifeq ($(T),)
# Without nvcc, which tests/cuda.sh calls while tests sleep.
test: ## installs what is missing, tests everything; with T=NAME that test alone (SAN= picks the build)
	@tools/deps.sh test
	@$(MAKE) --no-print-directory -j2 CUDA=0 test-programs
	@tests/run.sh
else
test:
	@SAN='$(SAN)' MAKE='$(MAKE)' tests/one.sh '$(T)'
endif

check: ## under a minute: walls, format, documents, quick unit tests, cppcheck of what has changed
	@$(MAKE) --no-print-directory -s -j2 all units
	@tools/check.sh

tour: ## writes the list of files in CONTRIBUTING.md anew, from the files' own heads
	@tools/check_docs.py --tour

compile_commands.json: FORCE ## how each file is compiled, for clangd and clang-tidy
	@MAKE='$(MAKE)' tools/compile_commands.py

# Threads are what TSan is for. The sources say which programs: those that start threads, or what
# runs on some, and those whose comments name the thread sanitizer, but for "no thread sanitizer".
TSAN_UNIT := $(basename $(notdir $(shell grep -lE \
    'thread_start|pthread_create|scheduler_start|generator_new|kit_generator|masks_new|front_new|test_http_kit.h|thread sanitizer' \
    tests/unit/test_*.c | xargs grep -L 'no thread sanitizer')))
test-programs:
	@$(MAKE) --no-print-directory all worker-faults units goldens benches
	@$(MAKE) --no-print-directory SAN=asan all worker-faults units goldens fuzzers
	@$(MAKE) --no-print-directory SAN=tsan all $(TSAN_UNIT:%=build/tsan/tests/unit/%)
	@echo '$(TSAN_UNIT)' >build/tsan-units

## FAULTS=1000      how many faults of the worker process `make test-faults` injects in each run
FAULTS ?= 1000
test-faults: ## faults of the worker process under load: each set-up, and under the address sanitizer
	@$(MAKE) --no-print-directory -j2 all worker-faults
	@$(MAKE) --no-print-directory -j2 SAN=asan all worker-faults
	@tests/faults/all.sh $(FAULTS)

# Real weights against numbers that sentence-transformers gave (committed), and token ids against
# the tokenizers package.
real: all ## real weights against committed numbers
	@tools/real.sh
# Real weights against the reference libraries themselves, which this installs (some 3 GB, once).
parity: all build/bench/tokenize_lines ## real weights against the reference libraries (installs 3 GB, once)
	@tools/parity.sh
# The official clients against the server.
clients: all ## the official clients against the server
	@tools/clients.sh

clean: ## removes all that was built
	rm -rf build

help: ## this list
	@awk -F ' *## *' '/^[a-z][a-z._-]*:.* ## / { sub(/:.*/, "", $$1); printf "make %-22s %s\n", $$1, $$2 } \
	    /^## / { v = v "     " $$2 "\n" } END { printf "\nVariables, as in `make SAN=asan units`:\n%s", v }' $(filter-out %.d,$(MAKEFILE_LIST))

.PHONY: FORCE all units goldens fuzzers worker-faults benches run test test-programs test-faults check tour real parity clients clean help
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
