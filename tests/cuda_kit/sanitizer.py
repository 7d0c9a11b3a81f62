"""compute-sanitizer over a few programs: what touches memory of nobody's, and what two threads of a block touch at once."""

import os
import shutil

import kit

# The kernels with the most addresses to get wrong; each is small.
RUNS = [("memcheck", "test_gpu_paged"), ("racecheck", "test_gpu_rows"), ("memcheck", "test_gpu_linear"),
        ("memcheck", "test_gpu_attention"), ("racecheck", "test_gpu_norms"), ("initcheck", "test_gpu_rope"),
        ("synccheck", "test_gpu_draw_steps")]
REFUSED = ("Device not supported", "Failed to initialize", "Unable to find injection library")


def find():
    for path in (shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"):
        if path and os.access(path, os.X_OK):
            return path
    return None


def main(part, small):
    tool = find()
    for check, name in RUNS[:1] if small else RUNS:
        what = f"{check} {name}"
        if not tool:
            part.skip(what, "compute-sanitizer is not installed here")
            continue
        if part.left() < 5:
            part.skip(what, "the part's time is over")
            continue
        command = [tool, "--tool", check, "--error-exitcode", "99", kit.program("gpu-tests"), name]
        status, said, took = kit.run(command, part.left(), kit.environment())
        if any(word in said for word in REFUSED):
            part.skip(what, "it refuses this card: " + next(w for w in REFUSED if w in said))
        elif status in (124, 137):
            part.skip(what, f"it was not through within {took:.0f} s")
        else:
            clean = "ERROR SUMMARY: 0 errors" in said or "0 hazards displayed" in said
            ok = status == 0 and clean
            words = "\n".join(line for line in said.splitlines() if line.startswith("=========") or "FAILED" in line)
            part.row(what, int(ok), int(not ok), 0, took, "" if ok else f"exit status {status}\n{words[:1200]}")
