#!/usr/bin/env python3
"""The GPU's program as it was linked (build/tests/gpu-probe, and build/trine-gpu or build/cuda/trine-gpu): it starts on a
machine without driver, card or CUDA's libraries and says in one JSON object what it found and why nothing can be
used; it needs no CUDA library to start, no other program has anything of CUDA in it, and it holds every kernel of
compute/cuda/kernels. Called by tests/cuda.sh.

Usage: cuda_probe.py [FOLDER, build where nothing is said]"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
passed, failed = 0, []


def check(ok, what):
    global passed
    if ok:
        passed += 1
    else:
        failed.append(what)
        print(f"FAILED: {what}", file=sys.stderr)


def probe(command, **env):
    """(exit status, the object)"""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env})
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        check(False, f"{command}: no JSON: {done.stdout[:200]!r} {done.stderr[:200]!r}")
        return done.returncode, {}


def check_answer(name, status, said):
    check(status == (0 if said.get("usable") else 1), f"{name}: exit status {status}, usable {said.get('usable')}")
    check(bool(said.get("reason")) != bool(said.get("usable")), f"{name}: a reason where nothing can be used, and only then")
    reason = said.get("reason") or ""
    check("\n" not in reason, f"{name}: the reason is one line")
    check(said.get("runtime", "").startswith("13."), f"{name}: the runtime's version is {said.get('runtime')}")
    check(said.get("least_driver_cuda") == "13.0", f"{name}: the least driver")
    if said.get("driver_cuda") is None:
        check("580" in reason and not said.get("devices"), f"{name}: without a driver it says which is needed: {reason}")


# A driver as far as the runtime asks one before it opens a card: its version, and what cuInit gives.
DRIVER = r"""
#include <string.h>
static int init(unsigned flags) { return flags ? 1 : INIT; }
static int version(int *out) { *out = VERSION; return 0; }
static int count(int *out) { *out = 0; return 0; }
static int other(void) { return 999; }
int cuDriverGetVersion(int *out) { return version(out); }
int cuInit(unsigned flags) { return init(flags); }
int cuGetProcAddress_v2(const char *name, void **out, int api, unsigned long long flags, int *found) {
    (void)api, (void)flags;
    *out = (void *)other;
    if (!strcmp(name, "cuDriverGetVersion")) *out = (void *)version;
    if (!strcmp(name, "cuInit")) *out = (void *)init;
    if (!strcmp(name, "cuDeviceGetCount")) *out = (void *)count;
    if (!strcmp(name, "cuGetProcAddress")) *out = (void *)cuGetProcAddress_v2;
    if (found) *found = 0;
    return 0;
}
"""


def check_drivers(name, command):
    """What it says of drivers that are too old, or find no card."""
    for version, init, words in ((12040, 0, "too old: it knows CUDA 12.4, and 13.0 is needed: series 580"),
                                 (13000, 100, "no CUDA-capable device is detected"),
                                 (13010, 803, "unsupported display driver")):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "driver.c")
            with open(source, "w", encoding="utf-8") as f:
                f.write(DRIVER)
            subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-DVERSION={version}", f"-DINIT={init}", "-o",
                            os.path.join(folder, "libcuda.so.1"), source], check=True)
            status, said = probe(command, LD_LIBRARY_PATH=folder)
            check(status == 1 and words in (said.get("reason") or ""), f"{name}: {version}, {init}: {said.get('reason')}")
            check(said.get("driver_cuda") == f"{version // 1000}.{version % 1000 // 10}", f"{name}: {version} is told")


def defined(path):
    """The names that an object or a program defines for others to see."""
    out = subprocess.run(["nm", "--defined-only", "--extern-only", path], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^[0-9a-f]+ [A-TV-Z] (\S+)$", out, re.M))


def kernels():
    """How many are launched by the sources: at least so many are in the program."""
    names = set()
    for path in glob.glob(os.path.join(ROOT, "compute/cuda/kernels/*.cu*")):
        with open(path, encoding="utf-8") as f:
            names |= set(re.findall(r"__global__\s+(?:__launch_bounds__\([^)]*\)\)?\s+)?void\s+(?:__launch_bounds__\([^)]*\)\)?\s+)?(\w+)", f.read()))
    return names


def main(folder):
    programs = {os.path.join(folder, "tests/gpu-probe"): []}
    programs |= {os.path.join(folder, name): ["--probe"] for name in ("trine-gpu", "cuda/trine-gpu")}
    programs = {p: options for p, options in programs.items() if os.path.exists(p)}
    check(programs, f"{folder} has neither program: make cuda")
    for program, options in programs.items():
        name = os.path.basename(program)
        status, said = probe([program, *options])
        check_answer(name, status, said)
        check(said.get("kernels", 0) >= len(kernels()) > 0,
              f"{name}: {said.get('kernels')} kernels, of {len(kernels())} that the sources have")
        status, said = probe([program, *options], TRINE_CUDA_LIBS="/nowhere/at/all")
        check(status == 1 and said.get("usable") is False, f"{name}: without cuBLASLt nothing can be used")
        check("/nowhere/at/all" in said["cublaslt"]["reason"], f"{name}: where cuBLASLt was looked for is said")
        status, said = probe([program, *options], CUDA_VISIBLE_DEVICES="")
        check(status == 1 and said.get("visible_devices") is None and said.get("devices") == [],
              f"{name}: no device is visible where none may be")
        check_drivers(name, [program, *options])
        needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
        libraries = re.findall(r"\(NEEDED\).*\[(.*)\]", needed)
        check(libraries and not [lib for lib in libraries if re.search("cuda|cublas|nv|stdc", lib)],
              f"{name} needs {libraries} to start")
    cuda = {n for o in glob.glob(os.path.join(folder, "compute/cuda/*.o")) + glob.glob(os.path.join(folder, "cuda/*.o"))
            for n in defined(o)}
    check({"gpu_api_cuda", "probe_write"} <= cuda and len(cuda) > 30, f"only {len(cuda)} names are compute/cuda's")
    for name in ("trine", "trine-worker"):
        found = cuda & defined(os.path.join(folder, name))
        check(not found, f"{name} has {sorted(found)[:3]} of compute/cuda")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build")))
