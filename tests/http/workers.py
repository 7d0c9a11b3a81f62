"""What the HTTP tests, the faults' run and the benchmarks of worker processes share: how a server is told to have a
worker, what it says of it, what the system says of a process, and the worker's end."""

import json
import os
import signal
import time

import served

SETUPS = {"isolate": ["--isolate"], "device": ["--device", "worker", "--warm-fallback"],
          "gpu": ["--device", "cuda", "--warm-fallback", "--dtype", "f32"]}


def add_arguments(parser, program=os.path.join(served.ROOT, "build/trine")):
    """Which program, and how it has its worker: a.program and SETUPS[a.setup]."""
    parser.add_argument("program", nargs="?", default=program)
    parser.add_argument("--setup", choices=SETUPS, default="isolate")


def labelled(s, name, **labels):
    """A metric with exactly these labels; None: there is none."""
    want = "trine_" + name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} "
    for line in s.get("/metrics").body.decode().splitlines():
        if line.startswith(want):
            return float(line[len(want):])
    return None


def gauges(s):
    """What is said of the main worker at one moment: {"pid": 7.0, "up": 1.0, "generation_completed": 3.0, ...}."""
    found = {}
    for line in s.get("/metrics").body.decode().splitlines():
        name, _, value = line.partition('{worker="main"} ')
        if value and name.startswith("trine_worker_"):
            found[name[len("trine_worker_"):]] = float(value)
    return found


def main_pid(s):
    return int(gauges(s).get("pid", 0))


def settled(read, want, seconds=20):
    """Waits until read() is what is wanted; what it is in the end."""
    until = time.monotonic() + seconds * served.slow
    while (got := read()) != want and time.monotonic() < until:
        time.sleep(.01)
    return got


def wait_for(what, seconds=20):
    return settled(lambda: bool(what()), True, seconds)


def state_of(pid):
    """Its state's letter, and its parent; None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            state, parent = f.read().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None
    return state, int(parent)


def is_there(pid):
    """As a process that still runs."""
    return (state_of(pid) or "Z")[0] != "Z"


def parent_of(pid):
    return state_of(pid)[1]


def descendants(pid):
    """{pid: its state's letter}"""
    states = {int(entry): state_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    found, more = {}, [pid]
    while more:
        parent = more.pop()
        children = {p: s[0] for p, s in states.items() if s and s[1] == parent}
        found.update(children)
        more += children
    return found


def hang_up(s, log):
    """What is said of SIGHUP, in the file that has the server's log as JSON: level and message."""
    s.process.send_signal(signal.SIGHUP)

    def said():  # the server writes at the same place of the file, which is not to be moved
        lines = os.pread(log.fileno(), 1 << 20, 0).decode().splitlines(keepends=True)
        return [e for e in map(json.loads, (x for x in lines if x.endswith("\n"))) if e["event"] == "signal"]
    if not wait_for(said):
        return None, "nothing"
    return said()[-1]["level"], said()[-1]["message"]


def kill(pid, sig=signal.SIGKILL):
    """Only ever a worker that a server of one's own has started. False: it is gone already."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return False
    return True


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")
