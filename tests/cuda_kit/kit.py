"""What the parts of the kit share: its programs, each run with a limit of its own, rows of a table with what passed,
failed and was skipped, and the file that a part leaves."""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, "build")
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
LIBRARY = "libcublasLt.so.13"


def library_folder():
    """Where CUDA 13's cuBLASLt lies; None: not known here, the program looks for it by itself."""
    if os.environ.get("TRINE_CUDA_LIBS"):
        return os.environ["TRINE_CUDA_LIBS"]
    code = "import sys; print('\\n'.join(sys.path))"
    paths = sys.path
    try:  # of the python3 that has torch, where it is another
        paths = paths + subprocess.run(["python3", "-c", code], capture_output=True, text=True, timeout=20).stdout.split("\n")
    except (OSError, subprocess.TimeoutExpired):
        pass
    for path in paths:
        folder = os.path.join(path, "nvidia", "cu13", "lib")
        if path and os.path.exists(os.path.join(folder, LIBRARY)):
            return folder
    return None


def environment(**more):
    """Of the kit's programs: with the libraries that came with it."""
    env = {**os.environ, **more}
    env["LD_LIBRARY_PATH"] = ":".join(p for p in (os.path.join(ROOT, "lib"), os.environ.get("LD_LIBRARY_PATH")) if p)
    folder = library_folder()
    if folder:
        env["TRINE_CUDA_LIBS"] = folder
    return env


def program(name):
    """Its path; None: this kit has not got it."""
    path = os.path.join(BUILD, name)
    return path if os.path.exists(path) else None


def emulated():
    """The worker is the one with the emulated GPU (pack.sh)."""
    return os.path.exists(os.path.join(ROOT, "emulated"))


class Part:
    """One part's rows, within its seconds."""

    def __init__(self, name, seconds, out):
        self.name, self.seconds, self.out = name, seconds, out
        self.began, self.rows, self.figures = time.monotonic(), [], {}

    def left(self):
        return self.seconds - (time.monotonic() - self.began)

    def row(self, what, passed=0, failed=0, skipped=0, seconds=0.0, words=""):
        self.rows.append({"what": what, "passed": passed, "failed": failed, "skipped": skipped,
                          "seconds": round(seconds, 2), "words": words})
        print(f"  {what:<44} {passed:>7} passed {failed:>4} failed {skipped:>3} skipped {seconds:>7.1f} s", flush=True)
        for line in words.splitlines()[:6]:
            print(f"      {line}", flush=True)
        self.write()

    def skip(self, what, why):
        self.row(what, skipped=1, words=f"skipped: {why}")

    def total(self, key):
        return sum(r[key] for r in self.rows)

    def write(self):
        """After each row, so that what is cut off leaves what it had."""
        os.makedirs(self.out, exist_ok=True)
        path = os.path.join(self.out, f"{self.name}.json")
        with open(path + ".new", "w") as f:
            json.dump({"part": self.name, "seconds": round(time.monotonic() - self.began, 1),
                       **{k: self.total(k) for k in ("passed", "failed", "skipped")}, "rows": self.rows, **self.figures},
                      f, indent=1)
        os.replace(path + ".new", path)


def run(command, seconds, env):
    """(exit status, what it said, seconds); status 124: it was ended at its limit, by `timeout`."""
    began = time.monotonic()
    p = subprocess.run(["timeout", "-k", "5", f"{max(1, seconds):.0f}", *command], cwd=ROOT, env=env, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    return p.returncode, p.stdout, time.monotonic() - began


def counted(status, said):
    """(passed, failed, skipped, words) of a program's closing line: one that says nothing, or ends badly, failed."""
    found = CLOSING.findall(said)
    passed, failed, skipped = (int(n or 0) for n in found[-1]) if found else (0, 0, 0)
    if (status != 0 and not failed) or not passed + failed + skipped:
        failed += 1
    words = ""
    if failed:
        lines = [line for line in said.splitlines() if line.strip() and not CLOSING.match(line)]
        end = {124: "it was ended at its limit", 137: "it was killed at its limit"}.get(status, f"exit status {status}")
        telling = [line for line in lines if "FAILED" in line or "rror" in line]
        words = "\n".join([end, *(telling or lines[-4:])[:5]])
    return passed, failed, skipped, words


def run_all(part, programs, at_once):
    """programs: (what, command, seconds, variables), the most telling first; several at once."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        def one(p):
            what, command, seconds, more = p
            if part.left() < 2:
                return what, None
            return what, run(command, min(seconds, part.left()), environment(**more))
        for what, got in pool.map(one, programs):
            if got is None:
                part.row(what, failed=1, words="the part's time was over before it began")
                continue
            status, said, seconds = got
            p, f, s, words = counted(status, said)
            part.row(what, p, f, s, seconds, words)
