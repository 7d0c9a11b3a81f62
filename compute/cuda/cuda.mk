# How what runs on an NVIDIA GPU is built: included by the Makefile. Host files of compute/cuda are compiled as
# all others (CUDA_HOST); CUDA_OWN's need CUDA's headers, and so a toolkit. Kernels are compiled by nvcc.

## CUDA=auto        auto: build/trine-gpu too where nvcc is found; 0: never; 1: brings nvcc first
CUDA      ?= auto
CUDA_OWN  := $(patsubst %,$(BUILD)/compute/cuda/%.o,cuda_api cuda_stream)
CUDA_HOST := $(filter-out $(CUDA_OWN),$(patsubst %.c,$(BUILD)/%.o,$(wildcard compute/cuda/*.c)))
KERNELS   := $(wildcard compute/cuda/kernels/*.cu)

# They are compiled everywhere, into whatever program.
all: $(CUDA_HOST) $(patsubst %.c,$(BUILD)/%.o,$(wildcard worker/gpu*.c))

ifneq ($(CUDA),0)
ifeq ($(CUDA),1)
# Its words belong on the terminal, not into a variable.
CUDA_BROUGHT := $(shell tools/deps.sh cuda 1>&2 || echo failed)
endif
CUDA_TOOLKIT := $(shell tools/cuda_home.sh)
ifeq ($(CUDA)$(CUDA_TOOLKIT),1)
$(error CUDA=1: no toolkit of CUDA 13 is here)
endif
endif

ifneq ($(CUDA_TOOLKIT),)
# Under ccache where the compiler is; by the files that were read, since what its look through the
# preprocessor sees is one card's.
NVCC      := $(if $(filter ccache,$(CC)),CCACHE_DEPEND=1 ccache) $(CUDA_TOOLKIT)/bin/nvcc
CUDA_LIBS := $(firstword $(wildcard $(CUDA_TOOLKIT)/lib64/libcudart_static.a $(CUDA_TOOLKIT)/lib/libcudart_static.a)) \
             -Wl,--wrap=__cudaRegisterFunction -lrt -ldl -lpthread

# Machine code for a Hopper, and PTX from which a driver makes that of later cards. Of all cards: cuda-all.
CUDA_ARCHS     := 90a
CUDA_ALL_ARCHS := 75 80 86 89 90 90a 100 120
gencode = $(foreach a,$(1),-gencode=arch=compute_$(a),code=sm_$(a)) -gencode=arch=compute_90,code=compute_90
# A product and a sum are one rounding only where a kernel says fmaf: what two kernels share gives the same
# bits in both, and the emulated GPU's, which the C++ compiler makes with -ffp-contract=off.
# A launch that names its kernel by the host's function each time: the other way keeps a static variable
# behind a lock of libstdc++, with which nothing here is linked otherwise.
NVCCFLAGS := -std=c++17 -O3 -fmad=false -I. -Werror all-warnings -Xcompiler -Wall,-Wextra,-fno-exceptions,-D__NV_LEGACY_LAUNCH -Xptxas -v -D__NV_LEGACY_LAUNCH

$(CUDA_OWN): NEEDED += -isystem $(CUDA_TOOLKIT)/include

# What ptxas says of each kernel is kept beside its object, for cuda-report.
define compile_kernels
@mkdir -p $(@D)
$(NVCC) $(NVCCFLAGS) $(call gencode,$(1)) $(2) -MMD -MP -MF $(@:.o=.d) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
endef
build/cuda/%.o: compute/cuda/kernels/%.cu compute/cuda/cuda.mk
	$(call compile_kernels,$(CUDA_ARCHS))
build/cuda-all/%.o: compute/cuda/kernels/%.cu compute/cuda/cuda.mk
	$(call compile_kernels,$(CUDA_ALL_ARCHS),--threads 0)

CUDA_OBJS   := $(CUDA_HOST) $(CUDA_OWN)
KERNEL_OBJS := $(KERNELS:compute/cuda/kernels/%.cu=build/cuda/%.o)
KERNEL_ALL  := $(KERNELS:compute/cuda/kernels/%.cu=build/cuda-all/%.o)

# The worker that computes on a GPU; the same objects with a main that only probes, for tests.
## GPU_PROGRAM=build/trine-gpu   where it is put; beside trine it is found by it
GPU_MAIN := $(patsubst %.c,$(BUILD)/%.o,$(wildcard worker/gpu*.c))
GPU_PROGRAM ?= $(BUILD)/trine-gpu
$(GPU_PROGRAM): $(GPU_MAIN) $(WORKER_OBJS) $(CUDA_OBJS) $(KERNEL_OBJS)
	$(CC) $(SANFLAGS) -o $@.new $^ $(CUDA_LIBS) $(WORKER_LIBS)
	mv -f $@.new $@
build/cuda-all/trine-gpu: $(GPU_MAIN) $(WORKER_OBJS) $(CUDA_OBJS) $(KERNEL_ALL)
	$(CC) $(SANFLAGS) -o $@ $^ $(CUDA_LIBS) $(WORKER_LIBS)
$(BUILD)/tests/gpu-probe: $(BUILD)/tests/worker/gpu_probe.o $(WORKER_OBJS) $(CUDA_OBJS) $(KERNEL_OBJS)
	$(CC) $(SANFLAGS) -o $@ $^ $(CUDA_LIBS) $(WORKER_LIBS)

# A bench on a card; tests of kernels and models on one: the same programs as on the emulated GPU.
CARD_OBJS := $(BUILD)/tests/gpu/card/gpu_under_test.o $(CUDA_OBJS) $(KERNEL_OBJS)
$(BUILD)/bench/gpu: $(BUILD)/bench/gpu.o $(BUILD)/bench/gpu_probe.o $(CARD_OBJS) $(BUILD)/libtrine.a
	$(CC) $(SANFLAGS) -o $@ $^ $(CUDA_LIBS) $(LDLIBS)

# cuda_api.c and cuda_stream.c over a runtime of a test's own, and the cuBLASLt that they load there.
$(patsubst %,$(BUILD)/tests/cuda/%.o,cuda_api fake_cudart): NEEDED += -isystem $(CUDA_TOOLKIT)/include
$(BUILD)/tests/cuda-api: $(patsubst %,$(BUILD)/tests/cuda/%.o,cuda_api fake_cudart) $(CUDA_OWN) \
                         $(patsubst %,$(BUILD)/compute/cuda/%.o,cublaslt gemm_plans nvml probe) $(BUILD)/libtrine.a \
                         | $(BUILD)/tests/cuda/libcublasLt.so.13
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)
$(BUILD)/tests/cuda/libcublasLt.so.13: tests/cuda/fake_cublaslt.c tests/unit/fake_cublaslt.h compute/cuda/cublaslt.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(NEEDED) $(SANFLAGS) -Wno-unused-variable -fPIC -shared -o $@ $< -lm

cuda: $(if $(GPU_MAIN),$(GPU_PROGRAM)) $(BUILD)/tests/gpu-probe
cuda-all: $(KERNEL_ALL) $(if $(GPU_MAIN),build/cuda-all/trine-gpu)
ifeq ($(SAN),)
all: cuda
endif
## ARCH=90a         the card that `make cuda-report` speaks of: 75 80 86 89 90 90a 100 120
ARCH ?= 90a
cuda-report: $(if $(filter $(ARCH),$(CUDA_ARCHS)),$(KERNEL_OBJS),$(KERNEL_ALL))
	@tools/cuda_report.py --arch $(ARCH) $(^:.o=.ptxas)
else
cuda cuda-all cuda-report:
	@echo 'no toolkit of CUDA 13 is here: tools/deps.sh cuda, or CUDA=1, brings nvcc'; exit 1
endif
trine-gpu: cuda ## the worker that computes on an NVIDIA GPU, build/trine-gpu (needs nvcc: CUDA=1 brings it)
cuda-all: ## the same in build/cuda-all, with code for all cards from compute capability 7.5 on
cuda-report: ## what each kernel takes of a card: registers, spills, stack, shared memory; a spill fails it

.PHONY: cuda trine-gpu cuda-all cuda-report
