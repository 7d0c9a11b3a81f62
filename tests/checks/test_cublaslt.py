#!/usr/bin/env python3
"""compute/cuda/cublaslt.h, which declares by itself what it uses of cuBLASLt, against NVIDIA's header where one is at
hand: each value and size, and each function's count of arguments. Where libcublasLt is at hand too, that all its
functions are found in it. Skipped otherwise: the header comes with the toolkit, or with pip's nvidia-cublas.

Usage: test_cublaslt.py [FOLDER with include/ and lib/]"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
OURS = "compute/cuda/cublaslt.h"
# Ours and theirs where the rule below does not give it.
NAMES = {
    "CUBLASLT_R_32F": "CUDA_R_32F", "CUBLASLT_R_16F": "CUDA_R_16F", "CUBLASLT_R_16BF": "CUDA_R_16BF",
    "CUBLASLT_COMPUTE_32F": "CUBLAS_COMPUTE_32F", "CUBLASLT_OP_N": "CUBLAS_OP_N", "CUBLASLT_OP_T": "CUBLAS_OP_T",
    "CUBLASLT_SUCCESS": "CUBLAS_STATUS_SUCCESS", "CUBLASLT_NOT_INITIALIZED": "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUBLASLT_ALLOC_FAILED": "CUBLAS_STATUS_ALLOC_FAILED", "CUBLASLT_NOT_SUPPORTED": "CUBLAS_STATUS_NOT_SUPPORTED",
}
SIZES = {"struct cublaslt_algo": "cublasLtMatmulAlgo_t", "struct cublaslt_result": "cublasLtMatmulHeuristicResult_t"}
FIELDS = {"algo": "algo", "workspace_bytes": "workspaceSize", "status": "state", "waves": "wavesCount"}
passed, failed = 0, []


def check(ok, what):
    global passed
    if ok:
        passed += 1
    else:
        failed.append(what)
        print(f"FAILED: {what}", file=sys.stderr)


def theirs(name):
    if name in NAMES:
        return NAMES[name]
    for ours, their in (("LAYOUT_", "MATRIX_LAYOUT_"), ("DESC_", "MATMUL_DESC_"), ("PREF_", "MATMUL_PREF_")):
        if name.startswith("CUBLASLT_" + ours):
            return "CUBLASLT_" + their + name[len("CUBLASLT_" + ours):]
    return name


def read(path):
    with open(path, encoding="utf-8") as f:
        return re.sub(r"//[^\n]*|/\*.*?\*/", "", f.read(), flags=re.S)


def compiles(includes, asserts):
    """What the compiler says of the assertions over both headers."""
    clash = [name for name in values() if theirs(name) == name]
    text = "#include <cublasLt.h>\n"
    text += "".join(f"#define {name} OURS_{name}\n" for name in clash) + f'#include "{OURS}"\n'
    text += "".join(f"#undef {name}\n" for name in clash) + "".join(f'_Static_assert({a}, "{a}");\n' for a in asserts)
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write(text)
        f.flush()
        done = subprocess.run(["cc", "-std=c11", "-fsyntax-only", "-I", ROOT, *[w for i in includes for w in ("-isystem", i)],
                               f.name], capture_output=True, text=True)
    return done.stderr


def values():
    text = read(os.path.join(ROOT, OURS))
    return [n for n in re.findall(r"\b(CUBLASLT_[A-Z0-9_]+) = \d+", text) if n != "CUBLASLT_PATH_BYTES"]


def arguments(text):
    """How many a parameter list has."""
    return 0 if text.strip() in ("", "void") else text.count(",") + 1


def check_functions(header):
    """Each pointer's arguments against the function that cublaslt.c puts into it."""
    with open(os.path.join(ROOT, "compute/cuda/cublaslt.c"), encoding="utf-8") as f:
        table = re.findall(r'\{"(cublasLt\w+)", offsetof\(struct cublaslt, (\w+)\)\}', f.read())
    check(len(table) >= 16, f"only {len(table)} functions are in cublaslt.c's table")
    ours, text = read(os.path.join(ROOT, OURS)), read(header)
    for name, field in table:
        mine = re.search(rf"\(\*{field}\)\(([^;]*)\);", ours)
        their = re.search(rf"CUBLASWINAPI {name}\(([^;{{]*)\);", text)
        check(mine and their and arguments(mine[1]) == arguments(their[1]), f"{name} has other arguments than {field}")
    return [name for name, _ in table]


def main(folder):
    home = subprocess.run([os.path.join(ROOT, "tools/cuda_home.sh")], capture_output=True, text=True).stdout.strip()
    folder = folder or home
    header = os.path.join(folder, "include/cublasLt.h")
    if not folder or not os.path.exists(header):
        print("skipped: no cublasLt.h is at hand", file=sys.stderr)
        print("0 passed, 0 failed, 1 skipped")
        return 0
    includes = [os.path.join(f, "include") for f in (folder, home) if f]
    pairs = [f"({'OURS_' if theirs(n) == n else ''}{n}) == (int){theirs(n)}" for n in values()]
    check(len(pairs) >= 30, f"only {len(pairs)} values are in {OURS}")
    sizes = [f"sizeof({ours}) == sizeof({their})" for ours, their in SIZES.items()]
    sizes += [f"__builtin_offsetof(struct cublaslt_result, {ours}) == "
              f"__builtin_offsetof(cublasLtMatmulHeuristicResult_t, {their})" for ours, their in FIELDS.items()]
    check("static assertion" in compiles(includes, ["(int)CUBLASLT_EPILOGUE_RELU == 3"]), "a wrong value is not found")
    for one in pairs + sizes:
        said = compiles(includes, [one])
        check(not said, f"{one}: {said.strip()[:300]}")
    names = check_functions(header)
    for library in (os.path.join(folder, lib, "libcublasLt.so.13") for lib in ("lib", "lib64")):
        if os.path.exists(library):
            has = set(re.findall(r" T (\w+)", subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True,
                                                             text=True).stdout.replace("@@", " ")))
            check(set(names) <= has, f"{library} lacks {sorted(set(names) - has)}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
