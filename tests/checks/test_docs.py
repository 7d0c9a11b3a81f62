#!/usr/bin/env python3
"""tools/check_docs.py finds what it is for: it is silent about the tree as it is, and names each fault that is
planted in a copy of it. Closing line: "N passed, N failed"."""

import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
passed = failed = 0


def check(ok, what, detail=""):
    global passed, failed
    passed += bool(ok)
    failed += not ok
    if not ok:
        print(f"FAILED: {what} {detail}", file=sys.stderr)


def run(copy, *options):
    p = subprocess.run([sys.executable, "tools/check_docs.py", *options], cwd=copy, capture_output=True, text=True,
                       check=False)
    return p.returncode, p.stdout + p.stderr


def plant(copy, what, path, change, *wanted):
    """A file of the copy made other, and what must be said of it; then it is as it was."""
    path = os.path.join(copy, path)
    before = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            before = f.read()
    after = change(before)
    check(after != before, f"{what}: something was planted")
    if after is None:
        os.remove(path)
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write(after)
    code, said = run(copy)
    check(code == 1 and all(w in said for w in wanted), what, said[:500])
    if before is None:
        os.remove(path)
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write(before)


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.split("\n")
    with tempfile.TemporaryDirectory() as copy:
        for name in listed:
            if name and "/data/" not in name and "/corpus/" not in name and os.path.isfile(os.path.join(ROOT, name)):
                os.makedirs(os.path.dirname(os.path.join(copy, name)), exist_ok=True)
                shutil.copy(os.path.join(ROOT, name), os.path.join(copy, name))
        subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
        code, said = run(copy)
        check(code == 0 and not said, "nothing is said of the tree as it is", said[:2000])
        plant(copy, "a fault that is not there", "base/log.h", lambda s: s.replace("FAULTS 62", "FAULTS 162"),
              "base/log.h: cites FAULTS 162")
        plant(copy, "one at a range's end", "tests/unit/test_json.c", lambda s: s.replace("FAULTS 1-9", "FAULTS 66-69"),
              "cites FAULTS 68", "cites FAULTS 69")
        plant(copy, "a row that is gone", "docs/faults.md", lambda s: s.replace("| 62 |", "| 63 |", 1), "each once",
              "base/log.h: cites FAULTS 62")
        plant(copy, "a test that is gone", "tests/http/test_signals.py", lambda s: None, "no tests/http/test_signals",
              "CONTRIBUTING.md: tests/http/")
        plant(copy, "a fault without a test", "docs/faults.md",
              lambda s: s.replace("it serves on | `http/test_signals` |", "it serves on | |"), "fault 60 names no test")
        plant(copy, "a new file", "base/new.c", lambda s: "// A new file that does something.\n",
              "is not there (make tour): - `new.c`")
        plant(copy, "a file without a head", "base/new.c", lambda s: "int x;\n", "base/new.c: its head says too little")
        plant(copy, "another head", "base/log.h", lambda s: "// Two lines of head. " + s[2:],
              "is not there (make tour): - `log.[ch]`: Two lines of head")
        plant(copy, "a switch that is not listed", "base/log.c", lambda s: s + 'char *x = getenv("TRINE_NEW_SWITCH");\n',
              "does not list TRINE_NEW_SWITCH, which base/log.c reads")
        plant(copy, "a switch that nothing reads", "CONTRIBUTING.md", lambda s: s + "`TRINE_OLD_SWITCH`\n",
              "lists TRINE_OLD_SWITCH")
        os.makedirs(os.path.join(copy, "cellar"))
        plant(copy, "a new room", "cellar/wine.c", lambda s: "// What is kept cool for long years.\n",
              "the tour does not come to cellar/")
        with open(os.path.join(copy, "base/new.c"), "w", encoding="utf-8") as f:
            f.write("// A new file that does something.\n")
        code, said = run(copy, "--tour")
        check(code == 0 and run(copy)[0] == 0, "the tour written anew has it", said)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
