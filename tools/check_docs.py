#!/usr/bin/env python3
"""What the documents promise about the code: every fault that the code cites by number is in docs/faults.md, and
every test named there exists; every source file is in the tour of CONTRIBUTING.md with the words of its own head,
and every file named there exists; every TRINE_ switch that the code reads is listed. Silent when all is well.
With --tour it writes the tour anew. Called by tools/check_docs.sh and `make tour`."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMBERS = r"\d+(?:(?: ?- ?| to |, (?:and )?| and )\d+)*"
CITED = re.compile(r"FAULTS:?(?: rows?)? (" + NUMBERS + r")")
ROW = re.compile(r"\brow (\d+)[:, ]")
LEAST_TOUR, MOST_TOUR = 8, 150  # letters of a file's line
# These two speak of faults and switches that are not there.
OWN = ("tools/check_docs.py", "tests/checks/test_docs.py")
bad = []


def files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.split("\n")
    return sorted({f for f in listed if f and os.path.exists(os.path.join(ROOT, f))})


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def numbers(text):
    """46-48, 51 and 57 as they are meant."""
    for part in re.findall(r"\d+ ?(?:-|to) ?\d+|\d+", text):
        ends = [int(n) for n in re.findall(r"\d+", part)]
        yield from range(ends[0], ends[-1] + 1)


def check_faults(all_files):
    text = read("docs/faults.md")
    known = [int(n) for n in re.findall(r"^\| (\d+) \|", text, re.M)]
    if sorted(known) != list(range(1, len(known) + 1)):
        bad.append("docs/faults.md: the numbers are not 1 to %d, each once" % len(known))
    for name in all_files:
        if not name.endswith((".c", ".h", ".py", ".sh", ".md")) or name in ("docs/faults.md", *OWN):
            continue
        code = re.sub(r"\s*\n\s*(?://|#)?\s*", " ", read(name))  # a number may stand in the next line
        cited = [n for m in CITED.findall(code) for n in numbers(m)]
        if name.startswith("tests/http/") and "FAULTS" in code:
            cited += [int(n) for n in ROW.findall(code)]
        for n in sorted(set(cited) - set(known)):
            bad.append(f"{name}: cites FAULTS {n}, which docs/faults.md has not")
    for line in text.split("\n"):
        found = re.match(r"\| (\d+) \|", line)
        if not found:
            continue
        tests = re.findall(r"`((?:unit|golden|http|fuzz|checks)/\w+)`", line.rsplit("|", 2)[1])
        if not tests and "not yet" not in line and "no test: " not in line:
            bad.append(f"docs/faults.md: fault {found.group(1)} names no test")
        for test in tests:
            if not any(f"tests/{test}{end}" in all_files for end in (".c", ".py")):
                bad.append(f"docs/faults.md: fault {found.group(1)}: there is no tests/{test}")


def head_of(name):
    """The first sentence of a file's head, without "See x.h."; of a long one the beginning."""
    text = read(name)
    if name.endswith((".c", ".h", ".cu", ".cuh", ".cpp", ".mjs")):
        lines = []
        for line in text.split("\n"):
            if line.startswith("//"):
                lines.append(line[2:].strip())
            elif not line.startswith("#!"):
                break
        text = " ".join(lines)
    elif name.endswith(".py"):
        found = re.search(r'"""(.*?)"""', text, re.S)
        text = found.group(1).split("\n\n")[0] if found else ""
    else:
        lines = [line[1:].strip() for line in text.split("\n")[:12] if line.startswith("#") and not line.startswith("#!")]
        text = " ".join(lines)
    text = re.sub(r"\s+", " ", text).strip()
    while True:
        said = re.match(r"(.+?[.;:])(?: (?=[A-Z`(\"])|$)", text)
        sentence = said.group(1) if said else text
        if not re.match(r"See [\w./]+(?: and [\w./]+)?\.$", sentence) or said is None:
            break
        text = text[said.end():]
    if len(sentence) > MOST_TOUR:  # what comes behind its last pause within the bound is left out
        sentence = max((sentence[:MOST_TOUR].rpartition(pause)[0] for pause in (": ", "; ", ", ", " (")), key=len)
    return sentence.rstrip(".;:, ")


TOLD = (".c", ".h", ".cu", ".cuh", ".cpp", ".py", ".sh", ".mjs")


def tour_of(room, all_files):
    """The lines of a room: a .c and .h of one name are one."""
    names = {}
    for name in all_files:
        stem, end = os.path.splitext(os.path.basename(name))
        if os.path.dirname(name) == room and end in TOLD:
            names.setdefault(stem if end in (".c", ".h") else stem + end, []).append(end)
    lines = []
    for stem, ends in sorted(names.items()):
        pair = sorted(ends)
        if pair == [".c", ".h"]:
            shown, source = f"{stem}.[ch]", f"{room}/{stem}.h"
        elif pair[0] in (".c", ".h"):
            shown = stem + pair[0]
            source = f"{room}/{shown}"
        else:
            shown, source = stem, f"{room}/{stem}"
        said = head_of(source)
        if len(said) < LEAST_TOUR:
            bad.append(f"{source}: its head says too little for the tour: '{said}'")
        lines.append(f"- `{shown}`: {said}")
    return lines


def rooms(all_files):
    found = {os.path.dirname(f) for f in all_files if f.endswith(TOLD)}
    return sorted(r for r in found if r and not r.startswith((".", "tests/golden/data", "tests/fuzz/corpus")))


def check_tour(all_files, write):
    path = "CONTRIBUTING.md"
    text = read(path)
    for room in rooms(all_files):
        section = re.search(rf"<!-- tour {re.escape(room)} -->\n(.*?)<!-- end -->", text, re.S)
        if not section:
            bad.append(f"{path}: the tour does not come to {room}/")
            continue
        wanted = "\n".join(tour_of(room, all_files)) + "\n"
        if write:
            text = text[:section.start(1)] + wanted + text[section.end(1):]
        elif section.group(1) != wanted:
            have, want = set(section.group(1).split("\n")), set(wanted.split("\n"))
            for line in sorted(have ^ want)[:4]:
                bad.append(f"{path}: {room}/: {'is gone or says otherwise' if line in have else 'is not there'} "
                           f"(make tour): {line[:100]}")
    for room in re.findall(r"<!-- tour (\S+) -->", text):
        if room not in rooms(all_files):
            bad.append(f"{path}: the tour comes to {room}/, which is not there")
    if write:
        with open(os.path.join(ROOT, path), "w", encoding="utf-8") as out:
            out.write(text)


def check_switches(all_files):
    text = read("CONTRIBUTING.md")
    listed = set(re.findall(r"`(TRINE_\w+)", text))
    read_by = {}
    for name in all_files:
        if name.startswith("docs/") or name in OWN:
            continue
        code = read(name) if name.endswith((".c", ".h", ".py", ".sh")) or name == "Makefile" else ""
        for pattern in (r'getenv\("(TRINE_\w+)"\)', r'\benv\("(TRINE_\w+)"', r"\$\{?(TRINE_[A-Z_]+)",
                        r'environ(?:\.get|\.setdefault)?[\[(]"(TRINE_\w+)"', r"(?:#ifn?def|defined\() ?(TRINE_[A-Z_]+)\n"):
            for switch in re.findall(pattern, code):
                if not switch.endswith("_H"):
                    read_by.setdefault(switch, name)
    options = read("cli/options_table.c").replace("-", "_").upper()
    for switch, name in sorted(read_by.items()):
        is_option = f'"{switch[6:]}"' in options or f'"__{switch[6:]}"' in options
        if switch not in listed and not is_option:
            bad.append(f"CONTRIBUTING.md: does not list {switch}, which {name} reads")
    sources = "".join(read(f) for f in all_files
                      if f not in OWN and (f.endswith((".c", ".h", ".py", ".sh")) or f == "Makefile"))
    for switch in sorted(listed):
        if switch not in sources:
            bad.append(f"CONTRIBUTING.md: lists {switch}, which nothing reads")


def main():
    all_files = files()
    write = "--tour" in sys.argv[1:]
    check_tour(all_files, write)
    if not write:
        check_faults(all_files)
        check_switches(all_files)
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
