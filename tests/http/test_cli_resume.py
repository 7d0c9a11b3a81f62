#!/usr/bin/env python3
"""trine embed, interrupted: what a run that is ended leaves behind, and that one which goes on writes the
same file; two runs on one file.

    tests/http/test_cli_resume.py [PROGRAM]
"""

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import served  # noqa: E402
import test_cli as cli  # noqa: E402
from served import ROOT, check  # noqa: E402
from test_cli import DATA, EMBED, WAIT_S, environment, run, one_line, rows_of, read_npy, texts  # noqa: E402


def wait_for(condition):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def interrupted(d, lines, how, flags=("--resume",), name="o", feed=1000):
    """Starts a run on the lines through a fifo, ends it by a signal once a journal is there; by
    Ctrl-C once `feed` lines were taken, which may be before."""
    out = os.path.join(d, name)
    fifo = os.path.join(d, "in.txt")
    os.mkfifo(fifo)
    child = subprocess.Popen([cli.program, "embed", "--model", EMBED, fifo, "-o", out, *flags],
                             stderr=subprocess.PIPE, env=environment())
    fed = 0
    writer = os.open(fifo, os.O_WRONLY)
    journal = out + ".partial.json"
    before = os.path.exists(journal) and open(journal).read()
    until = time.monotonic() + WAIT_S
    while fed < len(lines) and time.monotonic() < until:
        chunk = "".join(t + "\n" for t in lines[fed:fed + 200]).encode()
        os.write(writer, chunk)  # blocks while the pipe is full
        fed += 200
        time.sleep(0.05)
        if how != signal.SIGINT and os.path.exists(journal) and open(journal).read() != before:
            break
        if how == signal.SIGINT and fed >= feed:
            break
    child.send_signal(how)
    code = child.wait(WAIT_S)
    child.stderr.close()
    os.close(writer)
    os.unlink(fifo)
    return code


def rows_kept(journal):
    if not os.path.exists(journal):
        return 0
    with open(journal) as f:
        return json.load(f)["rows"]


def test_resume():
    lines = texts(20000)
    with tempfile.TemporaryDirectory() as d:
        path, want, out = (os.path.join(d, n) for n in ("in.txt", "want.jsonl", "o"))
        partial, journal = out + ".partial", out + ".partial.json"
        everything = "\n".join(lines) + "\n"

        def write(text):
            with open(path, "w") as f:
                f.write(text)

        write(everything)
        check(run("embed", "--model", EMBED, path, "-o", want, "-q").returncode == 0, "whole run")
        with open(want, "rb") as f:
            whole = f.read()
        os.unlink(path)

        check(interrupted(d, lines, signal.SIGKILL) == -signal.SIGKILL, "killed")
        check(not os.path.exists(out) and os.path.exists(partial), "no file before it is complete")
        with open(journal) as f:
            done = json.load(f)["rows"]
        check(0 < done < 20000, "some rows are journalled", done)
        with open(partial, "ab") as f:
            f.write(b'{"id":99,"embed')  # a torn tail
        write(everything)

        # Refusals name what differs and leave the partial file alone.
        with open(partial, "rb") as f:
            before = f.read()
        for flags, words in ((["--normalize", "no"], "--normalize"), (["--max-length", "8"], "8"),
                             (["--format", "f32"], "--format"), (["--pooling", "cls"], "--pooling")):
            p = run("embed", "--model", EMBED, path, "-o", out, "--resume", *flags)
            check(p.returncode == 1 and one_line(p, "cannot resume", words), words, p.stderr)
        other = os.path.join(DATA, "bert-cls-mean")
        p = run("embed", "--model", other, path, "-o", out, "--resume")
        check(p.returncode == 1 and one_line(p, "cannot resume", "model"), "another model", p.stderr)
        write(everything.replace("text number 3 ", "text number 3! ", 1))
        p = run("embed", "--model", EMBED, path, "-o", out, "--resume")
        check(p.returncode == 1 and one_line(p, "cannot resume", "in.txt"), "edited", p.stderr)
        write(everything[:1000])
        p = run("embed", "--model", EMBED, path, "-o", out, "--resume")
        check(p.returncode == 1 and one_line(p, "cannot resume", "in.txt"), "shorter", p.stderr)
        with open(partial, "rb") as f:
            check(before.startswith(f.read()), "rows are kept through refusals")

        os.unlink(path)  # killed once more, further on
        check(interrupted(d, lines, signal.SIGKILL) == -signal.SIGKILL, "killed again")
        with open(journal) as f:
            check(done < json.load(f)["rows"], "it went on from there")
        write(everything)
        p = run("embed", "--model", EMBED, path, "-o", out, "--resume")
        check(p.returncode == 0 and b"resumed behind" in p.stderr, "resumed", p.stderr)
        with open(out, "rb") as f:
            check(f.read() == whole, "the same bytes as an uninterrupted run")
        check(not os.path.exists(partial) and not os.path.exists(journal), "nothing else stays")

        for name in ("o.npy", "o.f32"):  # Ctrl-C keeps what a --resume run has done
            os.unlink(path)
            for feed in (1000, 4000, 16000):  # a slow machine has done nothing of the first yet
                check(interrupted(d, lines, signal.SIGINT, name=name, feed=feed) == 130, "interrupted")
                if rows_kept(os.path.join(d, name + ".partial.json")):
                    break
            write(everything)
            p = run("embed", "--model", EMBED, path, "-o", os.path.join(d, name), "--resume")
            check(p.returncode == 0 and b"resumed behind" in p.stderr, name, p.stderr)
        dim = len(rows_of(whole[:whole.index(b"\n")])[0]["embedding"])
        shape, raw = read_npy(os.path.join(d, "o.npy"))
        with open(os.path.join(d, "o.f32"), "rb") as f:
            check(f.read() == raw and shape == (20000, dim), "npy and f32 agree")
        rows = rows_of(whole)
        check(raw == b"".join(struct.pack(f"<{dim}f", *r["embedding"]) for r in rows),
              "and hold the vectors of an uninterrupted run")

        os.unlink(path)
        os.unlink(out)
        check(interrupted(d, lines, signal.SIGINT, flags=()) == 130, "interrupted")
        check(not [n for n in os.listdir(d) if n in ("o", "o.partial", "o.partial.json")], "Ctrl-C leaves nothing")


def test_two_runs_on_one_file():
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, "o.jsonl")
        p = subprocess.Popen([cli.program, "embed", "--model", EMBED, "-o", out],
                             stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        check(wait_for(lambda: os.path.exists(out + ".partial")), "the first has begun")
        second = run("embed", "--model", EMBED, "-o", out, stdin="x\n")
        check(second.returncode == 1 and one_line(second, "another run"), "the second is refused",
              second.stderr)
        p.communicate(b"x\n", timeout=WAIT_S)
        check(p.returncode == 0 and os.path.exists(out), "the first is unharmed")


def main():
    cli.program = served.start(sys.argv[1:])
    os.chdir(ROOT)
    test_resume()
    test_two_runs_on_one_file()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
