// Fibers by a switch of the callee-saved registers.
#include "tests/gpu/fibers.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 * 1024 };
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

// Pushes what the callee keeps, leaves the stack's end in *from, takes `to` for it.
extern "C" void fiber_swap(void **from, void *to);
#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".type fiber_swap,@function\n"
        "fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_swap,.-fiber_swap\n");
enum { KEPT_WORDS = 6, RETURN_WORD = 6 };
#elif defined(__aarch64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".type fiber_swap,@function\n"
        "fiber_swap:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size fiber_swap,.-fiber_swap\n");
enum { KEPT_WORDS = 20, RETURN_WORD = 11 };
#else
#error "the emulated GPU runs on x86-64 and aarch64"
#endif

static struct fiber *pool;

static struct fiber *fiber_made(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = STACK_BYTES + page;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    struct fiber *f = (struct fiber *)calloc(1, sizeof *f);
    if (memory == MAP_FAILED || !f || mprotect(memory, page, PROT_NONE) != 0) {
        fprintf(stderr, "emulated GPU: no memory for a thread's stack\n");
        abort();
    }
    // Stacks end at different places within a page: else all their ends want the same few sets of
    // the first cache.
    static unsigned made;
    f->above = made++ * 320 % (unsigned)page;
    f->stack = (char *)memory + page;
    f->stack_bytes = STACK_BYTES;
    return f;
}

struct fiber *fiber_new(void (*main)(void)) {
    struct fiber *f = pool;
    if (f)
        pool = f->next;
    else
        f = fiber_made();
#ifdef __SANITIZE_ADDRESS__
    // The one that stopped here for good left its frames' red zones.
    __asan_unpoison_memory_region(f->stack, f->stack_bytes);
#endif
    f->next = NULL;
    f->fake = NULL;
    // What fiber_swap takes off first, then where it returns to; at the function's first
    // instruction x86-64 wants a stack that is 8 bytes off 16.
    uintptr_t *top = (uintptr_t *)((char *)f->stack + f->stack_bytes - f->above) - 2;
#if defined(__x86_64__)
    uintptr_t *sp = top - (KEPT_WORDS + 2);
#else
    uintptr_t *sp = top - KEPT_WORDS;
#endif
    memset(sp, 0, (size_t)((char *)(top + 2) - (char *)sp));
    sp[RETURN_WORD] = (uintptr_t)main;
    f->sp = sp;
    return f;
}

void fiber_free(struct fiber *f) {
    f->next = pool;
    pool = f;
}

#ifdef __SANITIZE_ADDRESS__
static struct fiber *arriving; // whose stack is switched to

void fiber_began(void) { __sanitizer_finish_switch_fiber(arriving->fake, NULL, NULL); }

void fiber_switch(struct fiber *from, struct fiber *to) {
    arriving = to;
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->stack_bytes);
    fiber_swap(&from->sp, to->sp);
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
}

void fiber_of_caller(struct fiber *f) {
    memset(f, 0, sizeof *f);
    pthread_attr_t attr;
    if (pthread_getattr_np(pthread_self(), &attr) != 0 ||
        pthread_attr_getstack(&attr, &f->stack, &f->stack_bytes) != 0)
        abort();
    pthread_attr_destroy(&attr);
}
#else
void fiber_began(void) {}
void fiber_switch(struct fiber *from, struct fiber *to) { fiber_swap(&from->sp, to->sp); }
void fiber_of_caller(struct fiber *f) { memset(f, 0, sizeof *f); }
#endif
