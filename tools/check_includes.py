#!/usr/bin/env python3
"""The walls of the house. Every #include of the rooms is read and held against the table below.

A room may include itself and the rooms on its line. A header of the system or of a library is
known by name, and each library has one door. Files that include each other, however long the way
round, are a fault: only the sources and headers of one thing (foo.c, foo.h, foo_internal.h) may.
Prints a line "file:line: what is wrong" for each fault and exits 1; silent when all is well.
tests/checks/test_includes.py plants a fault of each kind and expects it to be found.
"""
import os
import re
import sys

# From the bottom up, as the picture in docs/architecture.md: a room, and what it may include.
ROOMS = {
    "base": "",
    "channel": "base",
    "compute": "base",
    "compute/cpu": "base compute",
    "compute/cuda/kernels": "",
    "compute/cuda": "base compute compute/cuda/kernels",
    "weights": "base compute",
    "tokenizer": "base weights",
    "template": "base",
    "grammar": "base",
    "encoder": "base compute weights",
    "decoder": "base compute weights",
    "pooling": "base compute weights",
    "engine": "base channel compute weights tokenizer template grammar encoder decoder pooling",
    "worker": "base channel compute engine",
    "hub": "base weights",
    "service/http": "base",
    "service": "base engine service/http",
    "service/api": "base engine service service/http",
    "service/api/generate": "base engine service service/http service/api",
    "cli": "base channel weights tokenizer engine hub service service/api",
    "cli/bench": "base compute/cpu weights tokenizer engine hub cli",
}

# Single files that may go where their room may not.
FILES = {
    "engine/engine.c": "compute/cpu",  # makes the device
    "worker/cpu.c": "compute/cpu",  # makes the device of trine-worker
    "worker/gpu.h": "compute/cuda",  # that of trine-gpu
    "worker/gpu.c": "compute/cuda",
    "worker/gpu_main.c": "compute/cuda",
    "cli/main.c": "compute/cpu",  # --version names the CPU's features
    "cli/inspect.c": "compute/cpu",  # so does inspect
    "service/server.c": "service/api",  # opens the server: hands the routes to it
    "service/api/route.c": "service/api/generate",  # the table of all routes
}

# The boundary (engine/replica.h): what computes, and its headers. In the engine and above only these
# things know them, and the single files named with a header.
COMPUTES = "engine/replica_local engine/replica_run engine/replica_model engine/step_engine"
BEHIND = {
    "compute/device.h": "",
    "engine/replica_local.h": "engine/engine.c worker/worker.c",  # make one
    "engine/replica_local_internal.h": "",
    "engine/replica_model.h": "cli/inspect.c",  # tries whether a model loads
    "engine/step_engine.h": "",
}

# Doors: the one place of a library or of a part of the system.
DOORS = {
    "civetweb.h": "service/http",
    "cblas.h": "compute/cpu",
    "dlfcn.h": "compute/cpu compute/cuda",
    "cuda_runtime.h": "compute/cuda",
    "cuda_runtime_api.h": "compute/cuda",
    "cuda_bf16.h": "compute/cuda/kernels",
    "cuda_fp16.h": "compute/cuda/kernels",
    "utf8proc.h": "tokenizer",
    "curl/curl.h": "hub",
    "cjson/cJSON.h": "base/json.h",
    "openssl/evp.h": "base/digest.c",
    "immintrin.h": "compute/cpu",
    "cpuid.h": "compute/cpu",
    "sanitizer/asan_interface.h": "base/poison.h",
    "sys/mman.h": "base channel worker/sandbox_filter.c",
    "sys/prctl.h": "base channel worker/sandbox.c worker/sandbox_filter.c",
    "sys/wait.h": "channel",
    "execinfo.h": "base",
    "sys/socket.h": "channel service/http",
    "xxhash.h": "channel",
    "sys/uio.h": "service/http",
    "sys/eventfd.h": "service/http",
    "linux/filter.h": "service/http worker/sandbox_filter.c",
    "linux/seccomp.h": "worker/sandbox_filter.c",
    "linux/audit.h": "worker/sandbox_filter.c",
    "sys/syscall.h": "worker/sandbox.c worker/sandbox_filter.c",
    "netinet/in.h": "cli",
    "arpa/inet.h": "service/http cli",
    "sched.h": "base compute/cpu worker/sandbox_filter.c",
}

# What every room may include: C, and of POSIX what needs no door.
ANYWHERE = set(
    """assert.h ctype.h errno.h float.h inttypes.h limits.h malloc.h math.h signal.h stdarg.h
    stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h time.h
    dirent.h fcntl.h ftw.h poll.h pthread.h semaphore.h unistd.h
    sys/file.h sys/random.h sys/resource.h sys/stat.h sys/statvfs.h sys/types.h""".split()
)

# The one header of a test that the program's sources name: in the place of nvcc's own words it says what
# the emulated GPU understands.
EMULATED = {"compute/cuda/kernels/dialect.cuh": "tests/gpu/block.h",
            "compute/cuda/kernels/mma.cuh": "tests/gpu/mma_model.h"}

# Folders without walls: they are not part of the program, and may include every room.
OUTSIDE = {"tests", "bench", "build", "tools", "docs", "deploy", "examples"}

HEADERS = (".h", ".cuh")
SOURCES = (".c", ".cu", ".cpp")

INCLUDE = re.compile(r"^[ \t]*#[ \t]*(?:include|import|include_next)\b[ \t]*(.*?)[ \t\r]*$", re.M)


def read_tree(root, tops=None):
    """{file: [(line, "<" or '"', name)]} of every source and header of the rooms, or of the folders `tops`."""
    tree = {}
    for top in tops or sorted(set(os.listdir(root)) - OUTSIDE):
        if top.startswith(".") or not os.path.isdir(os.path.join(root, top)):
            continue
        for folder, _, files in os.walk(os.path.join(root, top)):
            for file in files:
                if file.endswith(SOURCES + HEADERS):
                    path = os.path.join(folder, file)
                    tree[os.path.relpath(path, root)] = read_file(path)
    return tree


def read_file(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    found = []
    for m in INCLUDE.finditer(text):
        name = re.match(r'([<"])([^>"]*)[>"]', m[1])
        found.append((text.count("\n", 0, m.start()) + 1, name[1] if name else "", name[2] if name else m[1]))
    return found


def room_of(file):
    return os.path.dirname(file)


def stem_of(file):
    """foo.c, foo.h and foo_internal.h are one thing."""
    return re.sub(r"_internal$", "", os.path.splitext(file)[0])


def may_pass(file, door):
    """Whether the door, some rooms or files, is the file's."""
    return any(file == place or room_of(file) == place for place in door.split())


def is_behind(file, name):
    """Whether the header is behind the boundary and the file is in front of it."""
    front = list(ROOMS)[list(ROOMS).index("engine"):]
    if name not in BEHIND or room_of(file) not in front:
        return False
    return stem_of(file) not in COMPUTES.split() and file not in BEHIND[name].split()


def wrong(tree, file, mark, name):
    """What is wrong with one include, or None."""
    if mark == "<":
        if name in DOORS:
            return None if may_pass(file, DOORS[name]) else f"<{name}> is for {DOORS[name]} alone"
        return None if name in ANYWHERE else f"<{name}> is on no list of tools/check_includes.py"
    if mark != '"':
        return f"#include {name}: a name in <> or quotes is needed"
    if EMULATED.get(file) == name:
        return None
    if name not in tree:
        return f'"{name}" is no file of a room (from the root, as "base/err.h")'
    if not name.endswith(HEADERS):
        return f'"{name}": only headers are included'
    here, there = room_of(file), room_of(name)
    if is_behind(file, name):
        return f'"{name}": {file} is in front of the replicas, which alone know it'
    allowed = ROOMS.get(here, "").split() + FILES.get(file, "").split() + [here]
    return None if there in allowed else f'"{name}": {here} may not know {there}'


def circles(tree):
    """The groups of things that include each other: Tarjan's strongly connected components."""
    graph = {}
    for file, includes in tree.items():
        to = {stem_of(name) for _, mark, name in includes if mark == '"' and name in tree}
        graph.setdefault(stem_of(file), set()).update(to - {stem_of(file)})
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(graph[v]):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            at = stack.index(v)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    sys.setrecursionlimit(10000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return found


def way_round(tree, circle):
    """Lines "file:line: includes name" for what keeps the circle together."""
    return [
        f'    {file}:{line}: includes "{name}"'
        for file, includes in sorted(tree.items())
        if stem_of(file) in circle
        for line, mark, name in includes
        if mark == '"' and name in tree and stem_of(name) in circle and stem_of(name) != stem_of(file)
    ]


def problems(root):
    tree = read_tree(root)
    found = []
    above = list(ROOMS)
    for room, allowed in ROOMS.items():
        if any(above.index(other) >= above.index(room) for other in allowed.split()):
            found.append(f"tools/check_includes.py:1: {room} may only know rooms on lines before its own")
    for room in sorted({room_of(file) for file in tree} - set(ROOMS)):
        first = min(file for file in tree if room_of(file) == room)
        found.append(f"{first}:1: the room {room} is not in the table of tools/check_includes.py")
    for file in sorted(tree):
        for line, mark, name in tree[file]:
            why = wrong(tree, file, mark, name)
            if why:
                found.append(f"{file}:{line}: {why}")
    for file, includes in sorted(read_tree(root, ["bench", "tests"]).items()):
        for line, _, name in includes:
            if name.endswith(SOURCES):
                found.append(f'{file}:{line}: "{name}": tests link objects, they include no source file')
    for circle in circles(tree):
        found.append("circle: " + " ".join(circle))
        found += way_round(tree, circle)
    return found


def main(root):
    found = problems(root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")))
