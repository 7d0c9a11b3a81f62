"""What the HTTP tests share: counted checks, a server of one's own, and requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = "tests/golden/data/"
os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # no test waits for a load balancer
JSON = {"Content-Type": "application/json"}

passed = failed = skipped = 0
counting = threading.Lock()
slow = 1.0  # a sanitized program's allowance, set by start from its name


def check(ok, what, detail=""):
    global passed, failed
    with counting:
        passed += bool(ok)
        failed += not ok
    if not ok:
        line = [f.lineno for f in traceback.extract_stack() if f.name.startswith("test_")]
        print(f"{os.path.basename(sys.argv[0])}:{line[-1] if line else 0}: FAILED: {what} {detail}",
              file=sys.stderr, flush=True)
    return ok


def skip(why):
    global skipped
    skipped += 1
    print(f"skipped: {why}", file=sys.stderr, flush=True)


def start(args):
    """The program to be tested, from the command line's arguments."""
    global slow
    program = os.path.abspath(args[0] if args else os.path.join(ROOT, "build", "trine"))
    if any(word in program.split(os.sep) for word in ("asan", "tsan", "fault")):
        slow = 8.0
    return program


steps = None
STEP_S, STEP_WORK_S = .004, .0002


def take_steps():
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone
    while True:
        time.sleep(STEP_S - STEP_WORK_S)
        begin = time.thread_time()
        while time.thread_time() - begin < STEP_WORK_S:
            pass
        steps[0] += 1


def now():
    """Seconds on a clock that stands still while the machine is busy with others: a thread of the lowest priority
    takes small steps, and what a step takes on a free machine is what it counts for. For bars on how long the
    program may take; times `slow`."""
    global steps
    if steps is None:
        steps = [0]
        threading.Thread(target=take_steps, daemon=True).start()
    return steps[0] * STEP_S


def done():
    """Prints the closing line; the exit code."""
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.json = None
        if (headers.get("Content-Type") or "").startswith("application/json"):
            try:
                self.json = json.loads(body, parse_constant=lambda word: 1 / 0)  # no NaN, no Inf
            except (ValueError, ZeroDivisionError):
                pass

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"

    @property
    def code(self):
        return ((self.json or {}).get("error") or {}).get("code")

    @property
    def param(self):
        return ((self.json or {}).get("error") or {}).get("param")


class Server:
    def __init__(self, host, port):
        self.host, self.port, self.key = host, port, None

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            if isinstance(body, str):
                body = body.encode()
            elif body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            headers = dict(JSON if body is not None else {}, **(headers or {}))
            if self.key:
                headers.setdefault("Authorization", "Bearer " + self.key)
            c.request(method, path, body, headers)
            r = c.getresponse()
            return Answer(r.status, r.headers, r.read())
        finally:
            c.close()

    def post(self, path, body, headers=None):
        return self.ask("POST", path, body, headers)

    def get(self, path, headers=None):
        return self.ask("GET", path, None, headers)

    def metric(self, name):
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith("trine_" + name + " "):
                return float(line.split()[-1])
        return 0.0


class Started(Server):
    """A server of this test's own, with models of tests/golden/data by name: {name: folder}."""

    code = 0  # what it must end with

    def __init__(self, program, models, *options, log=None, env=None):
        """log: a file for what comes on stderr; env: variables beside this process's."""
        args = [program, "serve", "--port", "0", "--log-level", "warn", *options]
        for name, folder in models.items():
            args += ["--model", f"{name}={DATA}{folder}"]
        self.process = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            self.process.kill()
            raise RuntimeError(f"the server does not start: {line!r}")
        super().__init__("127.0.0.1", int(line.rsplit(":", 1)[1]))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        try:
            check(self.process.wait(timeout=60) == self.code, f"the server ends with {self.code}",
                  self.process.returncode)
        except subprocess.TimeoutExpired:
            check(False, "the server ends when told")
            self.process.kill()
            self.process.wait()
