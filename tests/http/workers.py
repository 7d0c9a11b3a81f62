"""What the HTTP tests of worker processes share: what a server says of its worker, and the worker's end."""

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


def kill(pid, sig=signal.SIGKILL):
    """Only ever a worker that a server of this test has started."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass
