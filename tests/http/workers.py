"""What the HTTP tests of worker processes share: what a server says of its worker, and the worker's end."""

import json
import os
import signal
import time

import served


def labelled(s, name, **labels):
    want = "trine_" + name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} "
    for line in s.get("/metrics").body.decode().splitlines():
        if line.startswith(want):
            return float(line[len(want):])
    return None


def main_pid(s):
    return int(labelled(s, "worker_pid", worker="main") or 0)


def wait_for(what, seconds=20):
    until = time.monotonic() + seconds * served.slow
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(.01)
    return True


def is_there(pid):
    """As a process that still runs."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


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
    """Only ever a worker that a server of this test has started."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass
