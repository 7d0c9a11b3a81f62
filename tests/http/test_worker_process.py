#!/usr/bin/env python3
"""The worker as a process beside the service: which of them the system takes when memory is out, how its lines are
written, what is said when it is of another build, or where limits leave it no memory, and how SIGHUP is told.

Usage: python3 tests/http/test_worker_process.py [TRINE]"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import hang_up, kill, labelled, main_pid, parent_of, wait_for  # noqa: E402

MODELS = {"e": "bert-mean-st6"}


def beside(program, name):
    return os.path.join(os.path.dirname(program), name)


def oom_score_adj(pid):
    with open(f"/proc/{pid}/oom_score_adj") as f:
        return int(f.read())


def test_out_of_memory(program):
    with served.Started(program, MODELS, "--isolate", "--worker-backoff-ms", "20", "--log-level", "off") as s:
        own = oom_score_adj(s.process.pid)
        for life in (1, 2):
            check(wait_for(lambda: labelled(s, "worker_generation", worker="main") == life and main_pid(s)), "is there")
            pid = main_pid(s)
            got = oom_score_adj(pid), oom_score_adj(parent_of(pid))
            check(got == (min(own + 300, 1000), own), "the worker goes first, and no other process", (got, own))
            kill(pid)


def lines_of(program, *options):
    """What is said by all processes of a service whose worker ends at its second start, for want of memory."""
    env = {"TRINE_WORKER_FAULTS": "kind=memory-start,life=2"}
    with tempfile.TemporaryFile() as log:
        with served.Started(program, MODELS, "--isolate", "--worker", beside(program, "tests/trine-worker-faults"),
                            "--worker-backoff-ms", "20", *options, log=log, env=env) as s:
            kill(main_pid(s))
            check(wait_for(lambda: labelled(s, "worker_generation", worker="main") == 3 and
                           labelled(s, "worker_up", worker="main") == 1), "it comes up again")
            check(labelled(s, "worker_losses_total", worker="main", cause="memory") == 1, "the second start had none")
        log.seek(0)
        lines = log.read().decode().splitlines()
    return [x for x in lines if not x.startswith("fault: ")]  # which are the test's, not the worker's


def test_lines(program):
    said = lines_of(program, "--log", "json", "--log-level", "warn")
    events = []
    for line in said:
        try:
            events.append(json.loads(line))
        except ValueError:
            check(False, "each line is an object", line)
    ends = [e for e in events if e["event"] == "worker_ends"]
    check(len(ends) == 1 and ends[0]["level"] == "error" and ends[0]["status"] == 5 and
          "no memory" in ends[0]["message"] and "time" in ends[0], "the worker's, too", events)
    check(any(e["event"] == "worker_lost" for e in events), "beside the service's", events)
    said = lines_of(program, "--log-level", "error")
    check([bool(re.match(r"\d{4}-\S+Z error trine-worker: no memory", x)) for x in said] == [True],
          "as text where nothing else is said, at the service's level", said)
    check(lines_of(program, "--log-level", "off") == [], "and none at all where none is wanted")


def test_other_build(program):
    """A worker that was left behind by a build of the service alone."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    commit = re.search(r"\(commit (\S+)\)", version).group(1)
    other = ("1" if commit[0] == "0" else "0") + commit[1:]
    with open(beside(program, "trine-worker"), "rb") as f:
        worker = f.read()
    check(worker.count(commit.encode() + b"\0") > 0, "the commit is in the program")
    with tempfile.TemporaryDirectory() as folder:
        old = os.path.join(folder, "trine-worker")
        with open(old, "wb") as f:
            f.write(worker.replace(commit.encode() + b"\0", other.encode() + b"\0"))
        os.chmod(old, 0o755)
        for option in (["--isolate"], ["--device", "worker"]):
            p = subprocess.run([program, "serve", "--port", "0", *option, "--worker", old, "--worker-backoff-ms", "1",
                                "--log-level", "off", "--model", f"e={DATA}{MODELS['e']}"],
                               cwd=ROOT, capture_output=True, text=True, timeout=60 * served.slow, check=False)
            check(p.returncode == 1 and p.stdout == "" and p.stderr.count("\n") == 1, "no service, in one line",
                  (p.returncode, p.stderr))
            check(f"commit {other}" in p.stderr and f"commit {commit}" in p.stderr and "trine-worker is of another build"
                  in p.stderr and "'make' does" in p.stderr, "which both are, and what to do", p.stderr)


def test_limits(program):
    """What the system has not for a worker's shared memory is said in its size, and by which limit."""
    for which, name in ((resource.RLIMIT_FSIZE, "ulimit -f"), (resource.RLIMIT_AS, "ulimit -v")):
        least = 600 << 20 if which == resource.RLIMIT_AS else 1000 << 10
        if which == resource.RLIMIT_AS and "build/asan" in program:
            continue  # its runtime has terabytes
        p = subprocess.run([program, "serve", "--check", "--isolate", "--log-level", "off", "--model",
                            f"e={DATA}{MODELS['e']}"], cwd=ROOT, capture_output=True, text=True, check=False,
                           timeout=60 * served.slow, preexec_fn=lambda: resource.setrlimit(which, (least, least)))
        check(p.returncode == 1 and "262144 KiB" in p.stderr and p.stderr.count("\n") == 1 and
              p.stderr.endswith(f"{name} is {least // 1024} KiB\n"), f"{name}: size and limit", p.stderr)


def test_hang_up(program):
    """SIGHUP is no warning where there is nothing to warn of."""
    for options, words in (([], "nothing to reload"), (["--isolate"], "the worker is up")):
        with tempfile.TemporaryFile() as log:
            with served.Started(program, MODELS, *options, "--log", "json", "--log-level", "info", log=log) as s:
                level, said = hang_up(s, log)
                check(level == "info" and words in said, words, (level, said))


def main():
    program = served.start(sys.argv[1:])
    test_out_of_memory(program)
    test_limits(program)
    test_hang_up(program)
    test_other_build(program)
    test_lines(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
