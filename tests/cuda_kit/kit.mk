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
KIT_MAINS  := $(KIT_TESTS:%=$(KIT_OBJ)/%.o) $(KIT_OBJ)/bench_gpu.o
define rename_main
@mkdir -p $(@D)
objcopy --redefine-sym main=main_of_$(*F) $< $@
endef
$(KIT_OBJ)/%.o: $(BUILD)/tests/unit/%.o
	$(rename_main)
$(KIT_OBJ)/%.o: $(BUILD)/tests/golden/%.o
	$(rename_main)
$(KIT_OBJ)/bench_%.o: $(BUILD)/bench/%.o
	@mkdir -p $(@D)
	objcopy --redefine-sym main=main_of_bench_gpu $< $@
$(KIT_OBJ)/programs.h: Makefile tests/cuda_kit/kit.mk
	@mkdir -p $(@D)
	@printf 'PROGRAM(%s)\n' $(KIT_TESTS) bench_gpu >$@
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

KIT_PROGRAMS := $(BUILD)/trine $(BUILD)/trine-worker $(KIT_OBJ)/gpu-tests $(BUILD)/bench/random_model
cuda-kit: $(KIT_PROGRAMS) $(if $(filter emulated,$(GPU)),,$(if $(CUDA_TOOLKIT),,kit-without-nvcc)) ## one folder that proves it all on a machine with a card, build/cuda-kit (docs/gpu.md)
	@tests/cuda_kit/pack.sh $(KIT_FOLDER) $(KIT_PROGRAMS)
kit-without-nvcc:
	@echo 'no toolkit of CUDA 13 is here: CUDA=1 brings nvcc; GPU=emulated packs the kit without a card'; exit 1
.PHONY: cuda-kit kit-without-nvcc
