#!/usr/bin/env python3
"""A test of tools/check_names.py: a small tree of its own gets one fault after the other, and the
check must name the file; and say nothing about the tree without.
"""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tools"))
from check_includes import ROOMS, SOURCES  # noqa: E402
from check_names import object_of  # noqa: E402

GOOD = {
    "base/lists.h": "struct list {\n    int n;\n};\nint list_new(void);\nint base_start(void);\n",
    "base/lists.c": "// See lists.h.\nstruct mine {\n    int n;\n};\nint list_new(void) { return 1; }\n"
    "int base_start(void) { return 2; }\n",
    "hub/plan_internal.h": "enum plan_kind { PLAN_NONE };\nunion either {\n    int n;\n};\nextern int plan_size;\n",
    "hub/plan_read.c": "// See plan_internal.h and base/lists.h.\nint plan_size;\nint plan_read(void) { return 3; }\n",
    "compute/cuda/kernels/turn.cuh": "// Of turns.cu.\nstruct gpu_angle {\n    int n;\n};\n",
    "compute/cuda/kernels/turns.cu": "struct own {\n    int n;\n};\nint gpu_turn(void) { return 6; }\n",
    "service/api/generate/text.c": "int api_text(void) { return 4; }\nint generate_text(void) { return 5; }\n",
}
# What is put into which file, and a part of what must be said of it.
FAULTS = [
    ("base/lists.c", "int other_new(void);\nint other_new(void) { return 1; }\n", "other_new"),
    ("base/lists.c", "int lister;\n", "lister"),
    ("hub/plan_read.c", "int read_plan(void) { return 1; }\n", "read_plan"),
    ("service/api/generate/text.c", "int text_of_hub; int hub_text;\n", "hub_text"),
    ("base/lists.h", "struct chain {\n    int n;\n};\n", "chain"),
    ("hub/plan_internal.h", "union mine {\n    int n;\n};\n", "mine"),
    ("hub/plan_read.c", "struct mine {\n    int m;\n};\n", "mine"),
    ("hub/plan_read.c", "struct list {\n    int m;\n};\n", "list"),
    ("hub/plan_read.c", "// As read.c has it.\n", "read.c"),
    ("base/lists.h", "// Of hub/lists.h.\n", "hub/lists.h"),
    ("compute/cuda/kernels/turns.cu", "int other_turn(void) { return 1; }\n", "other_turn"),
    ("compute/cuda/kernels/turns.cu", "struct gpu_angle {\n    int m;\n};\n", "gpu_angle"),
    ("compute/cuda/kernels/turn.cuh", "struct angle {\n    int m;\n};\n", "angle"),
    ("compute/cuda/kernels/turn.cuh", "// Of turn.cu.\n", "turn.cu"),
]
passed = failed = 0


def expect(ok, what, said=""):
    global passed, failed
    passed += bool(ok)
    failed += not ok
    if not ok:
        print("FAIL:", what, said, sep="\n    ")


def check(folder, files):
    """What the check says of a tree of these files."""
    for file, text in files.items():
        path, obj = os.path.join(folder, file), object_of(os.path.join(folder, "build"), file)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        if file.endswith(SOURCES):
            subprocess.run([os.environ.get("CC", "cc").split()[-1], "-x", "c", "-c", "-o", obj, path], check=True)
    run = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "check_names.py"), folder],
                         capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def main():
    with tempfile.TemporaryDirectory() as folder:
        for room in ROOMS:
            os.makedirs(os.path.join(folder, room), exist_ok=True)
            os.makedirs(os.path.join(folder, "build", room), exist_ok=True)
        code, said = check(folder, GOOD)
        expect(code == 0 and not said, "a tree without a fault", said)
        for file, text, name in FAULTS:
            code, said = check(folder, {**GOOD, file: GOOD[file] + text})
            lines = said.splitlines()
            expect(code == 1 and len(lines) == 1 and name in said and file in said, f"{text!r} in {file}", said)
        code, said = check(folder, GOOD)
        os.remove(os.path.join(folder, "build", "base", "lists.o"))
        code, said = check(folder, {})
        expect(code == 1 and "lists.o" in said, "a file that is not built", said)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
