#!/usr/bin/env python3
"""What a crash leaves behind: the signal, the version, the requests that were worked on and a stack
on stderr, and an exit status that is the signal's, as it would be without. Each server here is made
to crash by a signal from outside, to it alone, while it computes a text that takes long. Closing
line: "N passed, N failed[, N skipped]"."""

import ctypes
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from long_model import make
from served import DATA, ROOT, check, done, skip, start

TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine)
libc = ctypes.CDLL(None, use_errno=True)
program = start(sys.argv[1:])


class Doomed:
    def __init__(self, folder, stderr=subprocess.PIPE):
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--model", "m=" + folder], cwd=ROOT,
                                        stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ask_long(self, request_id):
        """Sends a text that keeps the device busy for long; returns once it does."""
        def ask():
            body = b'{"model": "m", "input": "' + b"a " * 20000 + b'"}'
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/embeddings", body,
                                             {"Content-Type": "application/json", "X-Request-Id": request_id})
            try:
                urllib.request.urlopen(request, timeout=120).read()
            except (OSError, ValueError, http.client.HTTPException):
                pass  # its server has crashed
        before = dict(self.computed())
        threading.Thread(target=ask, daemon=True).start()
        while not any(s > before.get(tid, 0) + .2 for tid, s in self.computed()):
            time.sleep(.01)

    def computed(self):
        """The threads that are not the front's, and how many seconds each has computed."""
        for tid, name in self.threads():
            if not name.startswith("front"):
                with open(f"/proc/{self.process.pid}/task/{tid}/stat", encoding="ascii") as f:
                    yield tid, int(f.read().rsplit(")", 1)[1].split()[11]) / os.sysconf("SC_CLK_TCK")

    def threads(self):
        folder = f"/proc/{self.process.pid}/task"
        for tid in os.listdir(folder):
            with open(f"{folder}/{tid}/comm", encoding="ascii") as f:
                yield int(tid), f.read().strip()

    def signal_thread(self, tid, number):
        libc.syscall(TGKILL, self.process.pid, tid, number)

    def end(self, within_s=120):
        said = self.process.communicate(timeout=within_s)[1]
        return self.process.returncode, said


def check_report(what, number, code, said):
    check(code == -number, f"{what}: ends by {number.name}", code)
    check(re.search(rf"^trine crashed: {number.name} sent by process {os.getpid()}, thread \S+; version "
                    r"\d+\.\d+\.\d+, commit \w+$", said, re.M), f"{what}: signal, thread and version", said)
    check(len(re.findall(r"^\S*\(\S*\+0x[0-9a-f]+\)", said, re.M)) >= 2, f"{what}: a stack", said)


def test_who_was_worked_on(folder):
    """A crash in one thread tells what the others worked on; in that one, what it worked on itself."""
    doomed = Doomed(folder)
    doomed.ask_long("crash.one-1")
    doomed.process.send_signal(signal.SIGSEGV)
    code, said = doomed.end()
    check_report("SIGSEGV in another thread", signal.SIGSEGV, code, said)
    found = re.search(r"^thread (\S+) worked on crash\.one-1$", said, re.M)
    if not check(found, "the thread that computes and its request are named", said):
        return
    doomed = Doomed(folder)
    doomed.ask_long("crash.one-2")
    for tid, name in doomed.threads():
        if name == found.group(1):
            doomed.signal_thread(tid, signal.SIGSEGV)
    code, said = doomed.end()
    check_report("SIGSEGV in the thread that computes", signal.SIGSEGV, code, said)
    check(f", thread {found.group(1)};" in said, "the thread that crashed is named", said)
    check(re.search(r"^this thread worked on crash\.one-2$", said, re.M), "and its request", said)
    lines = subprocess.run(["tools/where.sh"], input=said, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    check(re.search(r"^ +\w+ at \S+\.[ch]:\d+", lines, re.M), "tools/where.sh finds a function and its line", lines)


def test_connection(folder):
    """The threads that read requests are the HTTP library's: a fault in one is told as well."""
    doomed = Doomed(folder)
    connections = [tid for tid, name in doomed.threads() if name == "civetweb-worker"]
    if check(connections, "there are threads of connections"):
        doomed.signal_thread(connections[0], signal.SIGSEGV)
    try:
        code, said = doomed.end(20)
    except subprocess.TimeoutExpired:
        doomed.process.kill()
        code, said = doomed.end()
    check_report("SIGSEGV in a connection's thread", signal.SIGSEGV, code, said)


def test_generation(folder):
    """A step's texts are named too. Which moment the signal meets is not ours to say: up to ten servers are tried."""
    said = ""
    for _ in range(10):
        doomed = Doomed(folder)
        ended = threading.Event()

        def ask(number):
            body = b'{"model": "m", "prompt": "one", "max_tokens": 400, "ignore_eos": true, "n": 4}'
            while not ended.is_set():
                request = urllib.request.Request(f"http://127.0.0.1:{doomed.port}/v1/completions", body,
                                                 {"Content-Type": "application/json",
                                                  "X-Request-Id": f"crash.text-{number}"})
                try:
                    urllib.request.urlopen(request, timeout=120).read()
                except (OSError, ValueError, http.client.HTTPException):
                    return
        before = dict(doomed.computed())
        for number in range(6):
            threading.Thread(target=ask, args=(number,), daemon=True).start()
        while not any(s > before.get(tid, 0) + .1 for tid, s in doomed.computed()):
            time.sleep(.01)
        doomed.process.send_signal(signal.SIGSEGV)
        code, said = doomed.end()
        ended.set()
        check_report("SIGSEGV while texts are generated", signal.SIGSEGV, code, said)
        if re.search(r"^thread (?!front)\S+ worked on .*crash\.text-\d", said, re.M):
            check(True, "the texts of a step are named")
            return
    check(False, "the texts of a step are named", said)


def test_other_signals(folder):
    """Nothing is worked on: no request is named."""
    for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        doomed = Doomed(folder)
        doomed.process.send_signal(number)
        code, said = doomed.end()
        check_report(number.name, number, code, said)
        check("worked on" not in said, f"{number.name}: no request is named", said)


def test_nobody_reads(folder):
    """A full pipe behind stderr does not keep the process from ending."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(write_end, True)
    doomed = Doomed(folder, write_end)
    doomed.process.send_signal(signal.SIGSEGV)
    check(doomed.end()[0] == -signal.SIGSEGV, "it ends though nobody reads")
    os.close(read_end)
    os.close(write_end)


def test_sanitized(folder):
    """A sanitizer's build: its own report, in threads of ours too."""
    doomed = Doomed(folder)
    doomed.signal_thread(next(tid for tid, name in doomed.threads() if name == "front-0"), signal.SIGSEGV)
    code, said = doomed.end()
    check(code == 1 and "AddressSanitizer: SEGV" in said, "the sanitizer tells of it", f"{code} {said}")


def main():
    if TGKILL is None:
        skip("the number of tgkill is not known on this machine")
        return done()
    with tempfile.TemporaryDirectory() as folder:
        if "asan" in program:
            test_sanitized(DATA + "bert-mean-st6")
        else:
            long_model = os.path.join(folder, "long")
            make(ROOT, long_model)
            test_who_was_worked_on(long_model)
            test_connection(DATA + "bert-mean-st6")
            test_generation(DATA + "tiny_chat")
            test_other_signals(DATA + "bert-mean-st6")
            test_nobody_reads(DATA + "bert-mean-st6")
    return done()


sys.exit(main())
