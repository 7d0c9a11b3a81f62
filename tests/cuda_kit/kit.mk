# One folder that proves on a machine with a card what was built on one without (docs/gpu.md): its
# programs, the tests' data that they read, the libraries that a bare machine has not. Included by the Makefile.

## GPU=card         what `make cuda-kit` is linked with: card, or emulated, which runs anywhere and proves the scripts
GPU        ?= card
KIT_FOLDER := $(BUILD)/cuda-kit$(if $(filter emulated,$(GPU)),-emulated)
KIT_OBJ    := $(BUILD)/tests/cuda_kit/$(GPU)

# Tests that take their GPU by gpu_under_test.h, or a model's device by test_device.h: not those that name
# the emulated one, since they test it, or need faults and figures that a card has not.
KIT_UNIT   := $(shell grep -LE 'gpu_emulated|gpu_probe_rig|fake_cublaslt|fake_cuda' $$(grep -lE \
    '"tests/(unit/(gpu_[a-z_]*(rig|kit)|draw_rig)|gpu/gpu_under_test)\.h"' tests/unit/test_gpu_*.c))
KIT_GOLDEN := $(shell grep -lE '"tests/(kit/test_device|golden/tiny_[a-z]*)\.h"' tests/golden/test_*.c)
KIT_TESTS  := $(notdir $(basename $(KIT_UNIT) $(KIT_GOLDEN)))

# All of them are one program, so that the kernels are there once: a main by the test's name.
# So are trine-gpu, and the same with faults (pack.sh makes scripts of their names).
ifneq ($(GPU),emulated)
KIT_GPU_MAINS := $(if $(wildcard worker/gpu_main.c),trine_gpu trine_gpu_faults)
endif
KIT_NAMES  := $(KIT_TESTS) bench_gpu $(KIT_GPU_MAINS)
KIT_MAINS  := $(KIT_NAMES:%=$(KIT_OBJ)/%.o) $(if $(KIT_GPU_MAINS),$(BUILD)/worker/gpu.o)
define rename_main
@mkdir -p $(@D)
objcopy --redefine-sym main=main_of_$(basename $(@F)) $< $@
endef
$(KIT_OBJ)/%.o: $(BUILD)/tests/unit/%.o
	$(rename_main)
$(KIT_OBJ)/%.o: $(BUILD)/tests/golden/%.o
	$(rename_main)
$(KIT_OBJ)/bench_gpu.o: $(BUILD)/bench/gpu.o
	$(rename_main)
$(KIT_OBJ)/trine_gpu.o: $(BUILD)/worker/gpu_main.o
	$(rename_main)
$(KIT_OBJ)/trine_gpu_faults.o: $(BUILD)/tests/gpu/card/faults_main.o
	$(rename_main)
$(KIT_OBJ)/programs.h: FORCE
	@mkdir -p $(@D)
	@printf 'PROGRAM(%s)\n' $(KIT_NAMES) | cmp -s - $@ || printf 'PROGRAM(%s)\n' $(KIT_NAMES) >$@
$(KIT_OBJ)/programs.o: tests/cuda_kit/programs.c $(KIT_OBJ)/programs.h
	$(CC) $(CFLAGS) $(NEEDED) -I$(KIT_OBJ) -c -o $@ $<

# Machine code of a Hopper and nothing else: PTX would be as much again.
ifneq ($(CUDA_TOOLKIT),)
build/cuda-kit-kernels/%.o: compute/cuda/kernels/%.cu compute/cuda/cuda.mk
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -gencode=arch=compute_90a,code=sm_90a -MMD -MP -MF $(@:.o=.d) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
KIT_KERNELS := $(KERNELS:compute/cuda/kernels/%.cu=build/cuda-kit-kernels/%.o)
endif

ifeq ($(GPU),emulated)
KIT_GPU  := $(BUILD)/libgpu_emulated.a
KIT_TAIL := $(GPU_LIBS)
else
KIT_GPU  := $(BUILD)/tests/gpu/card/gpu_under_test.o $(CUDA_OBJS) $(KIT_KERNELS)
KIT_TAIL := $(CUDA_LIBS)
endif
$(KIT_OBJ)/gpu-tests: $(KIT_OBJ)/programs.o $(KIT_MAINS) $(BUILD)/bench/gpu_probe.o $(BUILD)/libkit.a $(KIT_GPU) $(BUILD)/libtrine.a
	$(CC) $(SANFLAGS) -s -o $@ $^ -Wl,--as-needed $(KIT_TAIL) $(LDLIBS)

# The emulated worker is a program of its own, and has its faults by itself.
ifeq ($(GPU),emulated)
KIT_WORKER := $(if $(wildcard tests/worker/gpu_emulated.c),$(BUILD)/tests/trine-gpu-emulated)
endif

KIT_PROGRAMS := $(BUILD)/trine $(BUILD)/trine-worker $(KIT_OBJ)/gpu-tests $(BUILD)/bench/random_model $(KIT_WORKER)
cuda-kit: $(KIT_PROGRAMS) $(if $(filter emulated,$(GPU)),,$(if $(CUDA_TOOLKIT),,kit-without-nvcc)) ## one folder that proves it all on a machine with a card, build/cuda-kit (docs/gpu.md)
	@tests/cuda_kit/pack.sh $(KIT_FOLDER) $(KIT_PROGRAMS)
kit-without-nvcc:
	@echo 'no toolkit of CUDA 13 is here: CUDA=1 brings nvcc; GPU=emulated packs the kit without a card'; exit 1
.PHONY: cuda-kit kit-without-nvcc
