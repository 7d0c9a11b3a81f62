#!/usr/bin/env python3
"""The clients that people use against the service, as their packages come.

    tests/clients/run.py [PROGRAM] [NAME...]    starts PROGRAM (default: build/trine) with the default
                                                models of the model store and tiny ones; NAME: only these
                                                (openai, cohere, ..., node)
Closing line: "N passed, N failed"; the exit code tells the truth. tools/clients.sh installs the packages.
"""

import hashlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
# Nothing is reported to anybody, and nothing is asked of the outside.
os.environ.update(HAYSTACK_TELEMETRY_ENABLED="False", LITELLM_LOCAL_MODEL_COST_MAP="True", DO_NOT_TRACK="1",
                  HF_HUB_DISABLE_TELEMETRY="1")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import kit  # noqa: E402
import served  # noqa: E402

PYTHON = ("openai", "cohere", "huggingface", "langchain", "llama_index", "litellm", "haystack")


class Services:
    """The running services: `all` has every model, `classifier` a classifier alone,
    `cohere_named` an embedder under a name of Cohere's."""

    def __init__(self, program, keys):
        self.started = []
        self.program, self.keys = program, keys
        self.all = self.start("emb=" + kit.EMBED, "rr=" + kit.RERANK, "cls=" + kit.CLASSIFY, "gen=" + kit.GENERATE,
                              "tiny=" + kit.TINY)
        self.classifier = self.start("cls=" + kit.CLASSIFY)
        self.cohere_named = self.start(kit.COHERE_NAME + "=" + kit.EMBED)

    def start(self, *models):
        args = [self.program, "serve", "--port", "0", "--log-level", "warn", "--api-key-file", self.keys]
        for m in models:
            args += ["--model", m]
        p = subprocess.Popen(args, cwd=kit.ROOT, stdout=subprocess.PIPE, text=True)
        self.started.append(p)
        line = p.stdout.readline()
        kit.check(line.startswith("listening on "), "the server starts", repr(line))
        return line.split()[-1]

    def stop(self):
        for p in self.started:
            p.send_signal(signal.SIGTERM)
            kit.check(p.wait(timeout=60) == 0, "the server ends with 0", p.returncode)


def run_python(name, services):
    before = served.passed, served.failed
    try:
        importlib.import_module(name + "_client").test(services)
    except Exception as e:  # a client that breaks is a failure, and the others still run
        traceback.print_exc()
        kit.check(False, f"{name} runs to its end", repr(e))
    print(f"{name:12} {served.passed - before[0]:4} passed, {served.failed - before[1]} failed", flush=True)


def run_node(services):
    folder = os.path.join(kit.ROOT, "build/clients/node")  # beside its packages, or it does not find them
    if not os.path.exists(os.path.join(folder, "installed")):
        served.skip("the node clients: node or their packages cannot be had")
        return
    shutil.copy(os.path.join(HERE, "node/run.mjs"), folder)
    p = subprocess.run(["node", "run.mjs", services.all, kit.KEY], cwd=folder, capture_output=True, text=True, timeout=300)
    sys.stderr.write(p.stderr)
    line = re.search(r"^(\d+) passed, (\d+) failed$", p.stdout, re.M)
    passed, failed = (int(line.group(1)), int(line.group(2))) if line else (0, 1)
    if p.returncode and not failed:
        failed = 1
    served.passed += passed
    served.failed += failed
    print(f"{'node':12} {passed:4} passed, {failed} failed", flush=True)


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(kit.ROOT, "build", "trine"))
    names = sys.argv[2:] or [*PYTHON, "node"]
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write(f"client:{hashlib.sha256(kit.KEY.encode()).hexdigest()}:user\n")
        keys.flush()
        services = Services(program, keys.name)
        try:
            for name in names:
                if name == "node":
                    run_node(services)
                else:
                    run_python(name, services)
        finally:
            services.stop()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
