"""What the card gives, of what it could (bench/gpu probes it in the same run), and beside torch on the same shapes
(bench/gpu_torch.py); the targets are those of the issue that asked for the GPU."""

import json
import os
import shutil
import subprocess
import tempfile

import kit

# (share of the floor, ratio to torch) that a row must reach; the others are printed.
TARGETS = {
    ("bge-base", "encode 128 x 128"): (0.60, 1.3), ("bge-small", "encode 128 x 128"): (0.60, 1.3),
    ("qwen2.5-0.5b", "decode 1 at 512"): (0.45, 2.0), ("qwen2.5-1.5b", "decode 1 at 512"): (0.60, 2.0),
    ("qwen2.5-7b", "decode 1 at 512"): (0.75, 2.0),
}
# The cheapest to write first: 7b is 15 GB.
SHAPES = ["bge-base", "bge-small", "qwen2.5-0.5b", "qwen2.5-1.5b", "bge-large", "qwen2.5-7b"]
SMALL = ["tiny-bert", "tiny-qwen2"]
GIB = {"qwen2.5-7b": 15, "qwen2.5-1.5b": 3, "qwen2.5-0.5b": 1}


def room(name):
    """A folder for models in memory, else on the disk."""
    for where in ("/dev/shm", tempfile.gettempdir()):
        if os.path.isdir(where) and os.access(where, os.W_OK) and shutil.disk_usage(where).free > (GIB.get(name, 1) + 1) << 30:
            return where
    return None


def has_torch():
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    try:
        return subprocess.run(["python3", "-c", code], capture_output=True, timeout=40).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def torch_rates(folder, seconds, limit, device="cuda"):
    status, said, took = kit.run(["python3", os.path.join(kit.ROOT, "bench/gpu_torch.py"), "--seconds", str(seconds),
                                  "--limit", f"{limit * 0.8:.0f}", "--device", device, folder], limit, dict(os.environ))
    try:
        return json.loads(said.strip().splitlines()[-1]), said, took
    except (ValueError, IndexError):
        return None, said, took


def one(part, name, small, torch_there):
    where = room(name)
    if not where:
        part.skip(name, "no room for its weights in /dev/shm or the temporary folder")
        return
    folder = os.path.join(tempfile.mkdtemp(prefix="trine-kit-", dir=where), name)
    os.mkdir(folder)
    try:
        status, said, took = kit.run([kit.program("random_model"), name, folder], max(2, part.left()), kit.environment())
        if status:
            part.row(f"{name}: weights", failed=1, seconds=took, words=said[-300:])
            return
        answer = os.path.join(part.out, f"bench-{name}.json")
        probe = ["--probe", "64", "1"] if small else ["--probe", "8192", "4096"]
        command = [kit.program("gpu-tests"), "bench_gpu", "--json", answer, "--seconds", "0.01" if small else "0.4", *probe, folder]
        status, said, took = kit.run(command, max(2, min(60, part.left())), kit.environment())
        try:
            with open(answer) as f:
                got = json.load(f)
        except (OSError, ValueError):
            part.row(f"{name}: bench", failed=1, seconds=took, words=f"exit status {status}\n{said[-600:]}")
            return
        part.row(f"{name}: bench", 1, 0, 0, took, "")
        torch_got = None
        if torch_there and part.left() > 10:
            torch_got, said, took = torch_rates(folder, 0.3, min(40, part.left() - 4))
            part.row(f"{name}: torch", int(torch_got is not None), int(torch_got is None), 0, took,
                     "" if torch_got else said[-400:])
        rows(part, name, got, (torch_got or {}).get(name, {}), small)
    finally:
        shutil.rmtree(os.path.dirname(folder), ignore_errors=True)


def rows(part, name, got, beside, small):
    table = part.figures.setdefault("table", [])
    for r in got["results"]:
        what = r["what"].replace(" graph", "")
        rate = beside.get(what)
        ratio = r["rate"] / rate if rate else None
        table.append({**r, "torch": rate, "ratio": ratio})
        share_bar, ratio_bar = TARGETS.get((name, what), (0, 0))
        bad = r["share"] < share_bar or (ratio is not None and ratio < ratio_bar)
        words = (f"{r['rate']:.0f} tok/s, {100 * r['share']:.1f} % of the floor" + (f" (at least {100 * share_bar:.0f})" if share_bar else "") +
                 (f", {ratio:.2f}x torch" + (f" (at least {ratio_bar})" if ratio_bar else "") if ratio else ", no torch beside it"))
        if small or not share_bar:  # printed; nothing is asked of it
            print(f"  {name:<14} {r['what']:<24} {words}", flush=True)
        else:
            part.row(f"{name}: {r['what']}", int(not bad), int(bad), 0, 0, words)
    part.figures.setdefault("peaks", {k: got[k] for k in ("device", "matrix_tflops", "copy_gbs", "read_gbs")})


def main(part, small):
    there = not small and has_torch()
    if not small and not there:
        part.skip("torch", "no python3 with torch that sees a card is here: rates have no ratio")
    for name in SMALL if small else SHAPES:
        if part.left() < 12:
            part.skip(name, "the part's time is over")
            continue
        one(part, name, small, there)
