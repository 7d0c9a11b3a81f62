#!/usr/bin/env python3
"""What a crash leaves behind: the signal, the version, the request that was worked on and a stack on
stderr, and an exit status that is the signal's, as it would be without. Each server here is made to
crash by a signal from outside, sent to it alone."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time

from served import DATA, ROOT, check, done, skip, start

program = start(sys.argv[1:])
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_TGKILL = {"x86_64": 234, "aarch64": 131}[os.uname().machine]


class Doomed:
    """A server with a generator and an encoder, its stderr in a file."""

    def __init__(self, stderr=None):
        self.read_end = None
        self.process = subprocess.Popen(
            [program, "serve", "--port", "0", "--model", "g=" + DATA + "tiny_qwen2", "--model",
             "e=" + DATA + "tiny_bert"], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=stderr or subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stdout:
            found = re.search(r"listening on http://[^:]+:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break

    def thread(self, name):
        """The number of the thread of that name."""
        folder = f"/proc/{self.process.pid}/task"
        for tid in os.listdir(folder):
            with open(f"{folder}/{tid}/comm", encoding="ascii") as f:
                if f.read().strip() == name:
                    return int(tid)
        return None

    def kill_thread(self, tid, number):
        return LIBC.syscall(SYS_TGKILL, self.process.pid, tid, number)

    def end(self):
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said
