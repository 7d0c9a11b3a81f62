#!/usr/bin/env python3
"""Memory limits: what serve needs is compared with what the system allows before it is touched,
`serve --check` says the same as serve and opens no port, and under a control group's limit the
service sizes itself, works and is not killed.

usage: test_memory.py [TRINE]
"""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check, skip  # noqa: E402

CHAT = os.path.join(ROOT, DATA, "tiny_chat")
EMBED = os.path.join(ROOT, DATA, "bert-mean-st6")
WAIT_S = 120
LARGE = ["--max-sequences", "4096", "--kv-cache-mib", "4096", "--kv-dtype", "f32"]

program = os.path.join(ROOT, "build", "trine")


def arguments(*more):
    return [program, "serve", "--log-level", "warn", "--model", "chat=" + CHAT, *more]


def run(*more, **how):
    return subprocess.run(arguments(*more), capture_output=True, text=True, timeout=WAIT_S, **how)


def test_check_opens_no_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        p = run("--check", "--port", port)
        check(p.returncode == 0 and "would listen on 127.0.0.1, port " + port in p.stdout,
              "--check beside a service on that port", p)
        check("memory: " in p.stdout and "for keys and values" in p.stdout and " are there (" in p.stdout,
              "--check: the memory", p.stdout)
        p = run("--port", port)
        check(p.returncode == 1 and port in p.stderr and p.stderr.count("\n") == 1, "serve does not start", p)
    p = run("--check", "--model", "e=/no/such/model")
    check(p.returncode == 1 and "/no/such/model" in p.stderr, "--check fails where serve does", p)


def test_resource_limit():
    """Both fail alike, before the memory is touched, with what is needed and what there is."""
    if "asan" in program or "tsan" in program:
        skip("a sanitizer's own memory counts as data")
        return
    limit = 300 << 20
    low = lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    words = ("MiB of memory are needed", "300 MiB are all there is (RLIMIT_DATA (ulimit -d))",
             "lower --kv-cache-mib")
    for how in (["--check"], ["--port", "0"]):
        p = run(*how, *LARGE, preexec_fn=low)
        check(p.returncode == 1 and all(w in p.stderr for w in words) and "listening" not in p.stdout,
              f"{how} under 300 MiB", p)
    p = run("--check", preexec_fn=low)
    check(p.returncode == 0, "sized by the limit it fits", p)


def test_address_space():
    """What is mapped counts there, touched or not: stacks, files, the allocator's room."""
    if "asan" in program or "tsan" in program:
        skip("a sanitizer maps terabytes")
        return
    def under(mib, *args):
        return run(*args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20)))
    fits = 0
    for mib in range(60, 1000, 40):
        p = under(mib, "--check", "--threads", "2")
        if p.returncode == 0:
            fits += 1
            continue
        check(fits == 0, f"{mib} MiB are too little, and less was enough", p)
        if p.returncode == 127:  # not even its libraries
            continue
        check(p.returncode == 1 and p.stderr.count("\n") == 1, f"one line of {mib} MiB", p)
        told = f"{mib} MiB are all there is (RLIMIT_AS (ulimit -v))" in p.stderr or "thread" in p.stderr
        check(told or f"of the {mib} MiB that there are (RLIMIT_AS (ulimit -v))" in p.stderr, f"what of {mib} MiB", p)
    check(fits > 3, "a cache sized by the room fits", fits)


class Group:
    """A control group with a memory limit, of either version, below this process's own."""

    def __init__(self, limit):
        self.path = None
        for line in open("/proc/self/cgroup"):
            _, controllers, path = line.rstrip("\n").split(":", 2)
            v2 = controllers == ""
            if not v2 and "memory" not in controllers.split(","):
                continue
            for mount in ("/sys/fs/cgroup" + ("" if v2 else "/memory"), "/sys/fs/cgroup/unified"):
                name = f"{mount}{path.rstrip('/')}/trine-test-{os.getpid()}"
                file = os.path.join(name, "memory.max" if v2 else "memory.limit_in_bytes")
                try:
                    os.mkdir(name)
                    with open(file, "w") as f:
                        f.write(str(limit))
                    self.path, self.v2 = name, v2
                    return
                except OSError:
                    if os.path.isdir(name):
                        os.rmdir(name)

    def enter(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def peak(self):
        try:
            with open(os.path.join(self.path, "memory.peak" if self.v2 else "memory.max_usage_in_bytes")) as f:
                return int(f.read())
        except OSError:
            return None  # version 2 has it from Linux 5.19 on

    def close(self):
        os.rmdir(self.path)


def test_control_group():
    limit = 450 << 20 if "build/trine" in program else 3 << 30
    group = Group(limit)
    if not group.path:
        skip("no control group can be made here")
        return
    try:
        p = run("--check", *LARGE, preexec_fn=group.enter) if limit < 1 << 30 else None
        check(not p or (p.returncode == 1 and "of the control group" in p.stderr and
                        "lower --kv-cache-mib" in p.stderr), "more than the group's limit", p)
        process = subprocess.Popen(arguments("--port", "0", "--model", "e=" + EMBED, "--max-sequences", "4096"),
                                   stdout=subprocess.PIPE, text=True, preexec_fn=group.enter)
        line = process.stdout.readline()
        if not check(line.startswith("listening"), "it starts under the limit", line):
            process.kill()
            process.wait()
            return
        s = served.Server("127.0.0.1", int(line.rsplit(":", 1)[1]))
        check(0 < s.metric("kv_bytes") <= limit / 4, "the cache is sized by the limit", s.metric("kv_bytes"))
        statuses = []

        def ask(i):
            for k in range(4):
                a = s.post("/v1/completions", {"model": "chat", "prompt": f"one two {i} {k} " * 40,
                                               "max_tokens": 60, "temperature": 1, "seed": i})
                statuses.append(a.status)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(statuses == [200] * 64, "it works under the limit", statuses)
        process.send_signal(signal.SIGTERM)
        check(process.wait(WAIT_S) == 0, "and is not killed", process.returncode)
        peak = group.peak()
        if peak is None:
            skip("this kernel counts no peak of a control group")
        else:
            check(0 < peak < limit, "the limit was not reached", peak)
    finally:
        group.close()


def main():
    global program
    program = served.start(sys.argv[1:])
    test_check_opens_no_port()
    test_resource_limit()
    test_address_space()
    test_control_group()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
