#!/usr/bin/env python3
"""A test of tools/check_includes: a copy of the sources gets one fault after the other, made from
the check's own table, and the check must name the file and the line of each; and nothing without.
"""
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
spec = importlib.util.spec_from_file_location("check_includes", os.path.join(ROOT, "tools", "check_includes.py"))
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

# Only planted files change between two looks: the others are read once.
read_file, seen = check.read_file, {}


def read_once(path):
    if "planted" in path:
        return read_file(path)
    if path not in seen:
        seen[path] = read_file(path)
    return seen[path]


check.read_file = read_once
passed = failed = 0


def expect(ok, what, found=()):
    global passed, failed
    passed += bool(ok)
    failed += not ok
    if not ok:
        print("FAIL:", what, *found[:5], sep="\n    ")


class House:
    """A copy of the sources that faults are planted in."""

    def __init__(self, folder):
        self.folder = folder
        for room in {top.split("/")[0] for top in check.ROOMS}:
            shutil.copytree(
                os.path.join(ROOT, room),
                os.path.join(folder, room),
                ignore=lambda path, names: [n for n in names if not (n.endswith(check.SOURCES + check.HEADERS) or os.path.isdir(os.path.join(path, n)))],
            )
        self.tree = check.read_tree(folder)

    def planted(self, faults, script=False):
        """What the check says while the files of `faults` {file: text} are there; all is then as before."""
        before = {}
        for file, text in faults.items():
            path = os.path.join(self.folder, file)
            before[path] = open(path).read() if os.path.exists(path) else None
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        if script:
            run = subprocess.run([os.path.join(ROOT, "tools", "check_includes.sh"), self.folder], capture_output=True, text=True)
            found = run.stdout.splitlines() if run.returncode == 1 else [f"exit {run.returncode}: {run.stdout}{run.stderr}"]
        else:
            found = check.problems(self.folder)
        for path, text in before.items():
            if text is None:
                os.remove(path)
            else:
                with open(path, "w") as f:
                    f.write(text)
        return found

    def header_of(self, room):
        return min(f for f in self.tree if check.room_of(f) == room and f.endswith(check.HEADERS))

    def expect_named(self, file, include, script=False):
        """A new file with the include on its third line is found, and is all that is found."""
        found = self.planted({file: f"// A fault.\n\n#include {include}\n"}, script)
        expect(len(found) == 1 and found[0].startswith(f"{file}:3: "), f"{file} with {include}", found)


def walls(house):
    """Every room with a header of every room that it may not know."""
    for room, allowed in check.ROOMS.items():
        for other in check.ROOMS:
            if other != room and other not in allowed.split():
                house.expect_named(f"{room}/planted.c", f'"{house.header_of(other)}"')
    # A file that may go where its room may not is the only one.
    for file, extra in check.FILES.items():
        for room in extra.split():
            house.expect_named(f"{check.room_of(file)}/planted.h", f'"{house.header_of(room)}"')


def boundary(house):
    """In each room from the engine on, what is behind the replicas; and what is behind may know it."""
    rooms = list(check.ROOMS)
    for name in check.BEHIND:
        for room in rooms[rooms.index("engine"):]:
            house.expect_named(f"{room}/planted.c", f'"{name}"')
        for file in check.BEHIND[name].split():
            house.expect_named(f"{check.room_of(file)}/planted.h", f'"{name}"')
    for stem in check.COMPUTES.split():
        expect(any(check.stem_of(f) == stem for f in house.tree), f"{stem} is there")
    expect(not check.is_behind("engine/replica_run.c", "compute/device.h"), "what computes knows the device")
    expect(not check.is_behind("encoder/planted.c", "compute/device.h"), "the rooms below know the device")


def doors(house):
    for name, door in check.DOORS.items():
        for room in check.ROOMS:
            if room not in door.split():
                house.expect_named(f"{room}/planted.c", f"<{name}>")
    for room in check.ROOMS:
        house.expect_named(f"{room}/planted.h", "<zlib.h>")


def kernels(house):
    """What nvcc compiles has the walls of the rest, and its headers; a test's header is named in one place."""
    room = "compute/cuda/kernels"
    for file in (f"{room}/planted.cu", f"{room}/planted.cuh"):
        for include in ('"base/err.h"', '"compute/device.h"', '"tests/gpu/block.h"', "<cblas.h>", "<zlib.h>", f'"{room}/rows.cu"'):
            house.expect_named(file, include)
    house.expect_named("compute/cuda/planted.c", "<cuda_fp16.h>")
    house.expect_named("compute/planted.c", "<cuda_runtime_api.h>")
    house.expect_named("tests/gpu/planted.cpp", f'"{room}/attention.cu"')
    a, b = f"{room}/planted_a", f"{room}/planted_b"
    found = house.planted({f"{a}.cuh": f'#include "{b}.cuh"\n', f"{b}.cuh": f'#include "{a}.cuh"\n'})
    expect(any("circle: " in line for line in found), "a circle of kernels' headers", found)


def forms(house):
    """What is no plain include of a header from the root."""
    house.expect_named("base/planted.c", '"err.h"', script=True)
    house.expect_named("base/planted.c", '"base/err.c"')
    house.expect_named("base/planted.c", '"base/no_such_file.h"')
    house.expect_named("base/planted.c", "SOME_HEADER")
    found = house.planted({"base/planted.c": "// A fault.\n\n  #  include   <civetweb.h>\n"}, script=True)
    expect(len(found) == 1 and found[0].startswith("base/planted.c:3: "), "an include with spaces", found)
    found = house.planted({"attic/planted.c": "int x;\n"})
    expect(any("attic/planted.c:1: " in line for line in found), "a room that is not in the table", found)
    os.rmdir(os.path.join(house.folder, "attic"))
    for top in ("bench", "tests/unit"):
        house.expect_named(f"{top}/planted.c", '"base/err.c"')


def circles(house):
    """In every room: two headers, three things the long way round, and a .c that closes a circle."""
    for room in check.ROOMS:
        a, b, c = (f"{room}/planted_{x}" for x in "abc")

        def includes(name):
            return f'// A fault.\n#include "{name}.h"\n'

        for way, files in {
            "two": {f"{a}.h": includes(b), f"{b}.h": includes(a)},
            "three": {f"{a}.h": includes(b), f"{b}.h": includes(c), f"{c}_internal.h": includes(a), f"{c}.h": ""},
            "by a .c": {f"{a}.h": "", f"{b}.h": includes(a), f"{a}.c": includes(b)},
        }.items():
            found = house.planted(files)
            named = [line for line in found if "circle: " in line]
            expect(len(named) == 1 and a in named[0] and b in named[0], f"a circle of {way} in {room}", found)
            ways = [line for line in found if line.startswith("    ")]
            expect(len(ways) == (3 if way == "three" else 2) and all(":2: " in line for line in ways), f"its lines, {way} in {room}", found)
        # One thing's own files are no circle.
        own = {f"{a}.h": "", f"{a}_internal.h": includes(a), f"{a}.c": f'#include "{a}_internal.h"\n'}
        expect(not house.planted(own), f"foo.c, foo.h and foo_internal.h in {room}", house.planted(own))


def main():
    with tempfile.TemporaryDirectory() as folder:
        house = House(folder)
        clean = check.problems(folder)
        expect(not clean, "the sources as they are", clean)
        run = subprocess.run([os.path.join(ROOT, "tools", "check_includes.sh")], capture_output=True, text=True)
        expect(run.returncode == 0 and not run.stdout, "the script on the sources", run.stdout.splitlines())
        for part in (walls, boundary, doors, kernels, forms, circles):
            part(house)
        expect(not check.problems(folder), "the copy after all", check.problems(folder))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
