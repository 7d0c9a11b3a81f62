"""Real faults of the card's worker under a load through HTTP: nothing that was asked is lost. What is computed on the
CPU meanwhile is the same by the bars of f32; texts may part where two tokens lie as near as that."""

import base64
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time

import kit

sys.path.insert(0, os.path.join(kit.ROOT, "tests/http"))
OPTIONS = ["--device", "cuda", "--warm-fallback", "--dtype", "f32", "--worker-watchdog-ms", "2000", "--worker-backoff-ms",
           "10:50", "--worker-sentinel-ms", "0"]
NEAR = 1e-3
# At which result the card fails: well behind what a start takes. The emulated one counts each kernel too.
AT, AT_EMULATED = 400, 8000
PARTED = 0.1  # of all answers, texts that went another way

HOLD = """
import sys, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(max(0, free - int(sys.argv[1]) * 2**20), dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.read()
"""


class Same:
    """An answer to which another is equal if its numbers are near and its form is the same."""

    def __init__(self, want):
        self.want, self.parted = want, 0

    def __ne__(self, got):
        parted = []
        same = near(got, self.want, parted)
        self.parted += bool(same and parted)
        return not same

    def __eq__(self, got):
        return not self != got

    __hash__ = None


def near(got, want, parted, key=""):
    if key == "choices" or key == "usage":  # generated: there and whole, as load.essence has seen
        if not near(got, want, []):
            parted.append(key)
        return type(got) is type(want) and len(got) == len(want)
    if isinstance(want, bool) or want is None or isinstance(got, bool):
        return got == want
    if isinstance(want, (int, float)):
        return isinstance(got, (int, float)) and abs(got - want) <= NEAR * max(1, abs(want))
    if isinstance(want, str):
        if key == "embedding" and isinstance(got, str) and len(got) == len(want):
            a, b = ([x for (x,) in struct.iter_unpack("<f", base64.b64decode(s))] for s in (got, want))
            return all(abs(x - y) <= NEAR for x, y in zip(a, b))
        return got == want
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(near(g, w, parted, key) for g, w in zip(got, want))
    if isinstance(want, dict):
        return isinstance(got, dict) and got.keys() == want.keys() and all(near(got[k], want[k], parted, k) for k in want)
    return got == want


class Rig:
    """A server on the card, and a load whose answers are known from one without faults."""

    def __init__(self, part, small):
        import load
        import served
        import workers
        self.part, self.small = part, small
        self.load, self.served, self.workers = load, served, workers
        os.environ.update({k: v for k, v in kit.environment().items() if k in ("LD_LIBRARY_PATH", "TRINE_CUDA_LIBS")})
        self.program = kit.program("trine")
        self.pool = load.requests(1, *((4, 1, 12) if small else (12, 3, 40)))
        with served.Started(self.program, load.MODELS, *OPTIONS) as s:
            self.answers = load.expected(s.port, self.pool)

    def up(self, s):
        return self.workers.labelled(s, "worker_up", worker="main") == 1

    def under_load(self, what, harm, seconds, options=()):
        """harm(s) makes one fault and returns whether the worker was one that computes; again until the time is over."""
        began = time.monotonic()
        answers = [Same(a) for a in self.answers]
        with tempfile.TemporaryFile("w+") as log:
            try:
                with self.served.Started(self.program, self.load.MODELS, *OPTIONS, *options, log=log) as s:
                    run = self.load.Load(s.port, self.pool, answers, clients=8, timeout=60)
                    faults = 0
                    while time.monotonic() - began < seconds:
                        if self.workers.wait_for(lambda: self.up(s), 15):
                            faults += bool(harm(s))
                    run.finish()
                    back = self.workers.wait_for(lambda: self.up(s), 20)
                    parted = sum(a.parted for a in answers)
            except Exception as e:
                log.seek(0)
                self.part.row(what, failed=1, seconds=time.monotonic() - began, words=f"{e}\n{log.read()[-800:]}")
                return
        bad = [f"{kind}: {words}" for kind, words in run.wrong]
        if not faults:
            bad.append("no fault came about")
        if run.asked != run.right + len(run.wrong) or not run.right:
            bad.append(f"{run.asked} asked, {run.right} right, {len(run.wrong)} wrong")
        if not back:
            bad.append("the worker did not come back")
        if parted > PARTED * max(1, run.right):
            bad.append(f"{parted} of {run.right} texts went another way")
        words = f"{faults} faults, {run.right} answers right, {len(run.wrong)} lost, {parted} texts parted"
        self.part.row(what, 1 if bad else run.right, len(bad), 0, time.monotonic() - began, "\n".join([words, *bad[:4]]))

    def signal(self, number):
        def harm(s):
            pid = self.workers.main_pid(s)
            if not pid:
                return False
            time.sleep(.3)  # that it has work
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return False
            return self.workers.wait_for(lambda: self.workers.main_pid(s) != pid or not self.workers.is_there(pid), 15)
        return harm


def held_memory(rig, leave_mib):
    """Another process holds all but some MiB: the start says so in a line, and serves."""
    what = f"start with {leave_mib} MiB left on the card"
    began = time.monotonic()
    holder = subprocess.Popen(["python3", "-c", HOLD, str(leave_mib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        if holder.stdout.readline().strip() != "held":
            rig.part.skip(what, "no python3 with torch is here to hold the card's memory")
            return
        options = ["auto" if o == "cuda" else o for o in OPTIONS]
        with tempfile.TemporaryFile("w+") as log:
            try:
                with rig.served.Started(rig.program, rig.load.MODELS, *options, log=log) as s:
                    got = rig.load.expected(s.port, rig.pool[:4])
                ok = all(Same(w) == g for g, w in zip(got, rig.answers))
                words = "" if ok else "it answers otherwise"
            except Exception as e:
                log.seek(0)
                ok, words = False, f"{e}\n{log.read()[-800:]}"
        rig.part.row(what, int(ok), int(not ok), 0, time.monotonic() - began, words)
    finally:
        holder.stdin.close()
        holder.wait()


def main(part, small):
    if not kit.program("trine-gpu"):
        for what in ("kill -9", "hang", "illegal address", "start with too little memory"):
            part.skip(what, "trine-gpu is not in this build")
        return
    try:
        rig = Rig(part, small)
    except Exception as e:
        part.row("a server on the card", failed=1, words=str(e)[:1500])
        return
    seconds = 4 if small else 20
    rig.under_load("kill -9 of the worker", rig.signal(signal.SIGKILL), seconds)
    rig.under_load("the worker stands still", rig.signal(signal.SIGSTOP), seconds)
    at = AT_EMULATED if kit.emulated() else AT
    faulty = kit.program("trine-gpu" if kit.emulated() else "tests/trine-gpu-faults")
    for what, fault in (("illegal address", "lost"), ("a kernel that does not end", "hang")):
        if not faulty:
            part.skip(what, "trine-gpu-faults is not in this build")
            continue

        def harm(s):
            pid = rig.workers.main_pid(s)
            return rig.workers.wait_for(lambda: rig.workers.main_pid(s) != pid, 20)
        with tempfile.TemporaryDirectory() as scratch:  # a worker sees no variable of the server's but a few
            worker = os.path.join(scratch, "trine-gpu")
            with open(worker, "w") as f:
                f.write(f'#!/bin/sh\nTRINE_GPU_FAULT={fault}@{at} exec {faulty} "$@"\n')
            os.chmod(worker, 0o755)
            rig.under_load(what, harm, seconds, ["--worker", worker])
    if not small:
        held_memory(rig, 700)
