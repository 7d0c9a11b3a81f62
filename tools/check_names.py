#!/usr/bin/env python3
"""The names of the house: whoever meets a name knows its home.

1. A function or variable that other files can see begins with the name of its room, of its file, or
   of the header that declares it: encoder_forward is in encoder/, bpe_parse in tokenizer/bpe*.c. Of
   a file's name, the beginning is enough (bpe_json.c: bpe_), and of a plural its singular
   (filters.c: filter_).
2. So does the tag of a struct, enum or union that a header defines.
3. No tag is defined in two files, in .c files neither: a name is one thing.
What is external is read from the objects of build/, as nm shows it. Prints a line "file: what is
wrong" for each fault and exits 1; silent when all is well.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_includes import ROOMS  # noqa: E402

# Names that may be otherwise, and why.
EXCEPTIONS = {
    "main": "C",
    "accept": "civetweb is to find it in libc's place",
    "poll": "civetweb is to find it in libc's place",
    "recv": "civetweb is to find it in libc's place",
}

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
    """Of a file in service/api/generate: generate, api and service."""
    return os.path.dirname(file).split("/")


def stem_of(file):
    return os.path.splitext(os.path.basename(file))[0]


def sources():
    return sorted(f"{room}/{name}" for room in ROOMS for name in os.listdir(room) if name.endswith((".c", ".h")))


def declared_in(headers):
    """{name: the headers that have it before a parenthesis, a bracket or a semicolon}."""
    found = {}
    for file, text in headers.items():
        for m in re.finditer(r"\b([a-z]\w*)(?=\s*[(\[;,])", re.sub(r"//.*", "", text)):
            found.setdefault(m[1], set()).add(file)
    return found


def external(objects):
    """[(object, name)] of what is defined and can be seen."""
    out = subprocess.run(["nm", "--defined-only", "-g", "-A", *objects], capture_output=True, text=True, check=True).stdout
    return [(line.split(":", 1)[0], line.split()[-1]) for line in out.splitlines()]


def main(build):
    texts = {file: open(file, encoding="utf-8").read() for file in sources()}
    headers = {file: text for file, text in texts.items() if file.endswith(".h")}
    declared, found, homes = declared_in(headers), [], {}
    for file, text in texts.items():
        for tag in TAG.findall(text):
            homes.setdefault(tag, []).append(file)
            if file.endswith(".h") and not fits(tag, stem_of(file), *rooms_of(file)) and tag not in EXCEPTIONS:
                found.append(f"{file}: the tag {tag} begins neither with the file's name nor with the room's")
    for tag, files in homes.items():
        if len(files) > 1:
            found.append(f"{files[0]}: the tag {tag} is defined elsewhere too: {' '.join(files[1:])}")
    objects = {f"{build}/{file[:-2]}.o": file for file in texts if file.endswith(".c")}
    missing = [o for o in objects if not os.path.exists(o)]
    if missing:
        sys.exit(f"check_names: {missing[0]} is not built; make first")
    for obj, name in external(objects):
        file = objects[obj]
        where = [stem_of(h) for h in declared.get(name, ())]
        if name not in EXCEPTIONS and not fits(name, stem_of(file), *where, *rooms_of(file)):
            found.append(f"{file}: {name} begins neither with the file's name nor with its header's or the room's")
    for line in sorted(found):
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build"))
