#!/usr/bin/env python3
"""The names of the house: whoever meets a name knows its home.

1. A function or variable that other files can see begins with the name of its room, of its file, or
   of the header that declares it: encoder_forward is in encoder/, bpe_parse in tokenizer/bpe*.c. Of
   a file's name, the beginning is enough (bpe_json.c: bpe_), and of a plural its singular
   (filters.c: filter_).
2. So does the tag of a struct, enum or union that a header defines, unless the header is one thing's own
   (foo_internal.h).
3. No tag is defined in two files, not even in two sources: a name is one thing. (But for the opaque
   types of a device, once in the room of each.)
4. A file that a comment names is there, so that a comment does not outlive its file.
What is external is read from the objects of build/ by nm. Prints a line "file: what is wrong" for
each fault and exits 1; silent when all is well. tests/checks/test_names.py plants each fault.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_includes import DOORS, HEADERS, ROOMS, SOURCES  # noqa: E402

# Names that may be otherwise, and why.
EXCEPTIONS = {
    "main": "C wants it so",
    "accept": "civetweb must find it in the place of libc's",
    "poll": "civetweb must find it in the place of libc's",
    "recv": "civetweb must find it in the place of libc's",
    "errmsg": "the message of every enum err",
    "lane": "one of the two queues: every file around the scheduler says it",
    "__wrap___cudaRegisterFunction": "ld calls it so (--wrap)",
    "kv_dtype": "how keys and values are kept: named as its option is",
}
# Opaque types of the table of operations: each device, a room of its own, has what it means by them.
OF_EACH_DEVICE = {"weight", "kv_cache"}
# Headers whose names are a language that many rooms speak: they say the thing and no room.
LANGUAGE = {
    "compute/batch.h": "batches",
    "compute/device.h": "operations and what they are told",
    "compute/precision.h": "in what precision a model is computed",
    "compute/sampling.h": "drawing, as an operation is told of it",
    "compute/tensor.h": "tensors and their types",
}

# A file that includes this is compiled only where CUDA's headers are.
NEEDS = '"compute/cuda/cuda_api_internal.h"'

COMMENT = re.compile(r"//(.*)")
NAMED = re.compile(r"(?<![\w./*-])([a-z]\w*(?:/\w+)*\.(?:c|h|cu|cuh))\b")
TAG = re.compile(r"^[ \t]*(?:typedef[ \t]+)?(?:struct|enum|union)[ \t]+([A-Za-z_]\w*)[ \t]*\{", re.M)


def beginnings(name):
    """What a name from a file or room `name` may begin with."""
    name = re.sub(r"_internal$", "", name)
    parts = name.split("_")
    whole = ["_".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return {form for w in whole for form in (w, w[:-1] if w.endswith("s") else w)}


def fits(name, *homes):
    return any(name == b or name.startswith(b + "_") for home in homes for b in beginnings(home))


def rooms_of(file):
    """Of a file in service/api/generate: generate, api and service. In compute/cuda things are a GPU's, too."""
    rooms = os.path.dirname(file).split("/")
    return rooms + (["gpu"] if "cuda" in rooms else [])


def stem_of(file):
    return os.path.splitext(os.path.basename(file))[0]


def sources():
    return sorted(f"{room}/{name}" for room in ROOMS for name in os.listdir(room) if name.endswith(SOURCES + HEADERS))


def declared_in(headers):
    """{name: the headers that have it before a parenthesis, a bracket or a semicolon}."""
    found = {}
    for file, text in headers.items():
        for m in re.finditer(r"\b([a-z]\w*)(?=\s*[(\[;,])", re.sub(r"//.*", "", text)):
            found.setdefault(m[1], set()).add(file)
    return found


def external(objects):
    """[(object, name)] of what is defined and can be seen; C++'s names have their kinds in them (_Z...)."""
    out = subprocess.run(["nm", "--defined-only", "-g", "-A", *objects], capture_output=True, text=True, check=True).stdout
    return [(line.split(":", 1)[0], line.split()[-1]) for line in out.splitlines() if not line.split()[-1].startswith("_Z")]


def stale(texts):
    """Files that comments name and that are nowhere: [(file, line, name)]."""
    known = set(DOORS) | {os.path.basename(file) for file in texts} | set(texts)
    known |= {"/".join(file.split("/")[n:]) for file in texts for n in range(file.count("/") + 1)}
    for file, text in texts.items():
        for number, line in enumerate(text.split("\n"), 1):
            for comment in COMMENT.findall(line):
                for name in NAMED.findall(comment):
                    if name not in known and not os.path.exists(name):
                        yield file, number, name


def object_of(build, file):
    """A kernel's object is named after the whole file (Makefile)."""
    return f"{build}/{file[:-2] if file.endswith('.c') else file}.o"


def needs_more(file, text):
    """Kernels are built with the tests that need them (build/libgpu_emulated.a)."""
    return NEEDS in text or file.endswith(".cu")


def main(root, build):
    os.chdir(root)
    texts = {file: open(file, encoding="utf-8").read() for file in sources()}
    headers = {file: text for file, text in texts.items() if file.endswith(HEADERS)}
    declared, homes = declared_in(headers), {}
    found = [f"{file}:{line}: there is no {name}" for file, line, name in stale(texts)]
    for file, text in texts.items():
        for tag in TAG.findall(text):
            homes.setdefault(tag, []).append(file)
            free = tag in EXCEPTIONS or file in LANGUAGE or file.endswith((*SOURCES, "_internal.h"))
            if not free and not fits(tag, stem_of(file), *rooms_of(file)):
                found.append(f"{file}: the tag {tag} begins neither with the file's name nor with the room's")
    for tag, files in homes.items():
        each = tag in OF_EACH_DEVICE and len({os.path.dirname(file) for file in files}) == len(files)
        if len(files) > 1 and not each:
            found.append(f"{files[0]}: the tag {tag} is defined elsewhere too: {' '.join(files[1:])}")
    objects = {object_of(build, file): file for file in texts if file.endswith(SOURCES)}
    # what needs a toolkit that is not everywhere is read where it was built
    objects = {o: file for o, file in objects.items() if os.path.exists(o) or not needs_more(file, texts[file])}
    missing = [o for o in objects if not os.path.exists(o)]
    if missing:
        sys.exit(f"check_names: {missing[0]} is not built; make first")
    for obj, name in external(objects):
        file = objects[obj]
        where = [stem_of(h) for h in declared.get(name, ())]
        free = name in EXCEPTIONS or declared.get(name, set()) & set(LANGUAGE)
        if not free and not fits(name, stem_of(file), *where, *rooms_of(file)):
            found.append(f"{file}: {name} begins neither with the file's name nor with its header's or the room's")
    for line in sorted(found):
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else root, "build"))
