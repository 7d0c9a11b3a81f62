#!/usr/bin/env python3
"""Signals that are no reason to end, and a log that nobody reads (FAULTS 60, 62). Closing line: "N passed, N
failed[, N skipped]"."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from served import DATA, ROOT, Server, check, done, start

program = start(sys.argv[1:])
MODEL = "e=" + DATA + "bert-mean-st6"
EMBED = {"model": "e", "input": "hello"}


class Logging(Server):
    """A server of its own with its stderr at `stderr`."""

    def __init__(self, stderr, *options):
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--model", MODEL, *options], cwd=ROOT,
                                        stdout=subprocess.PIPE, stderr=stderr, text=True)
        super().__init__("127.0.0.1", int(self.process.stdout.readline().rsplit(":", 1)[1]))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def test_survives():
    server = Logging(subprocess.DEVNULL)
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGHUP):
        server.process.send_signal(number)
        check(server.post("/v1/embeddings", EMBED).status == 200, f"it serves on after {number.name}")
    for number in (signal.SIGSTOP, signal.SIGCONT):  # waits are interrupted by it
        server.process.send_signal(number)
    check(server.post("/v1/embeddings", EMBED).status == 200, "it serves on after it was stopped")
    for _ in range(20):  # writes to a connection that was reset, which are SIGPIPE's cause
        s = socket.create_connection((server.host, server.port))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        s.close()
    check(server.post("/v1/embeddings", EMBED).status == 200, "it serves on after clients that went")
    check(server.end() == 0, "and ends when told")


def test_log_at_its_limit():
    """A log in a file that may not grow (ulimit -f): its lines are lost, nothing else."""
    with tempfile.TemporaryFile() as log:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
        try:
            server = Logging(log)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        statuses = [server.post("/v1/embeddings", EMBED).status for _ in range(20)]
        check(statuses == [200] * 20, "it serves on when its log is full", statuses)
        check(server.end() == 0, "and ends when told")
        check(log.seek(0, os.SEEK_END) == 512, "the log was full")


def test_blocked_log():
    read_end, write_end = os.pipe()
    server = Logging(write_end, "--log-level", "debug", "--log", "json")
    os.set_blocking(write_end, False)  # of this end of the test's alone or of both: it makes no difference
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(write_end, True)
    for _ in range(5):
        check(server.post("/v1/embeddings", EMBED).status == 200, "an answer though the log is full")
    until = time.monotonic() + 60
    while server.metric("log_lines_dropped_total") < 5 and time.monotonic() < until:
        time.sleep(.05)
    check(server.metric("log_lines_dropped_total") >= 5, "the lines are counted")
    check(server.end() == 0, "and it ends when told")
    os.close(read_end)
    os.close(write_end)


test_survives()
test_log_at_its_limit()
test_blocked_log()
sys.exit(done())
