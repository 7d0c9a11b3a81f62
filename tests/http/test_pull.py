#!/usr/bin/env python3
"""`trine pull` against a hub on loopback (fake_hub.py).

    tests/http/test_pull.py [-v] [PROGRAM]      default: build/trine; -v: the time of each test

Closing line: "N passed, N failed"; the exit code tells the truth.
"""

import concurrent.futures
import contextlib
import json
import os
import pty
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_hub import FakeHub, Fault, Repo, git_sha1  # noqa: E402
import served  # noqa: E402
from served import ROOT, check  # noqa: E402

NAME = "acme/tiny-model"
MIB = 1 << 20

program = os.path.join(ROOT, "build", "trine")


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def model_files(weights=3 * MIB):
    return {
        ".gitattributes": b"*.bin filter=lfs\n",
        "README.md": b"# tiny\n",
        "config.json": b'{"model_type": "bert"}\n',
        "tokenizer.json": b'{"version": "1.0"}\n' * 999,
        "tokenizer_config.json": b"{}",
        "special_tokens_map.json": b"{}",
        "vocab.txt": b"[PAD]\n[UNK]\n",
        "modules.json": b"[]",
        "sentence_bert_config.json": b'{"max_seq_length": 256}',
        "config_sentence_transformers.json": b"",
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": noise(5000, 2),
        "2_Dense/pytorch_model.bin": b"pickle",
        "model.safetensors": noise(weights),
        "pytorch_model.bin": noise(9999, 3),
        "onnx/model.onnx": noise(9999, 4),
        "onnx/config.json": b"{}",
    }


NEEDED = [name for name in model_files(1)
          if name not in (".gitattributes", "README.md", "pytorch_model.bin",
                          "2_Dense/pytorch_model.bin") and not name.startswith("onnx/")]


class World:
    """A fresh hub and a fresh store for one test."""

    def __enter__(self):
        self.hub = FakeHub()
        self.home = tempfile.mkdtemp(prefix="trine-pull-")
        self.store = os.path.join(self.home, "store")
        return self

    def __exit__(self, *exc):
        self.hub.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def folder(self, name=NAME):
        return os.path.join(self.store, "models", *name.split("/"))

    def env(self, **more):
        env = {"PATH": os.environ.get("PATH", ""), "HOME": self.home, "TRINE_HOME": self.store,
               "HF_ENDPOINT": self.hub.endpoint, "no_proxy": "*"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update(more)
        return env

    def start(self, *args, preexec=None, **env):
        return subprocess.Popen([program, "pull", *args], env=self.env(**env), text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, preexec_fn=preexec)

    def pull(self, *args, preexec=None, **env):
        child = self.start(*(args or (NAME,)), preexec=preexec, **env)
        out, err = child.communicate(timeout=120)
        child.out, child.err = out, err
        return child

    def part(self, size, timeout=20):
        """Waits until a part of at least that size lies there; its path."""
        end = time.monotonic() + timeout
        parent = os.path.dirname(self.folder())
        while time.monotonic() < end:
            for at, _, names in os.walk(parent):
                for name in names:
                    path = os.path.join(at, name)
                    with contextlib.suppress(FileNotFoundError):  # whole by now, and renamed
                        if name.endswith(".part") and os.path.getsize(path) >= size:
                            return path
            time.sleep(0.02)
        return None

    def leftovers(self):
        parent = os.path.dirname(self.folder())
        if not os.path.isdir(parent):
            return []
        return [n for n in os.listdir(parent) if n.startswith(".") and not n.endswith(".lock")]

    def is_whole(self, files, name=NAME, needed=None):
        folder = self.folder(name)
        found = {os.path.relpath(os.path.join(at, n), folder)
                 for at, _, names in os.walk(folder) for n in names}
        if found != set(needed or NEEDED) | {".trine-pull.json"}:
            return False
        for file in needed or NEEDED:
            with open(os.path.join(folder, file), "rb") as got:
                if got.read() != files[file]:
                    return False
        return True

    def absent(self, name=NAME):
        return not os.path.exists(self.folder(name))


def one_line(text):
    return text.count("\n") == 1 and text.startswith("trine pull: ")


def test_fresh():
    with World() as w:
        files = model_files()
        repo = w.hub.repos[NAME] = Repo(files)
        run = w.pull()
        check(run.returncode == 0, "a fresh pull", run.err)
        check(w.is_whole(files), "just the needed files, with their content")
        check(run.out == w.folder() + "\n", "its folder on stdout", run.out)
        check("pulling acme/tiny-model" in run.err and "\r" not in run.err, "plain lines", run.err)
        check(w.leftovers() == [], "nothing else is left", w.leftovers())
        with open(os.path.join(w.folder(), ".trine-pull.json")) as file:
            record = json.load(file)
        check(record["commit"] == repo.find("main") and record["revision"] == "main", "record")
        by_name = {f["name"]: f for f in record["files"]}
        check(by_name["config.json"]["git_sha1"] == git_sha1(files["config.json"]), "git's hash")
        check(len(by_name["model.safetensors"]["sha256"]) == 64, "the LFS hash")


def test_again():
    with World() as w:
        files = model_files()
        repo = w.hub.repos[NAME] = Repo(files)
        w.pull()
        inode = os.stat(w.folder()).st_ino
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and "is there" in run.err, "a second pull", run.err)
        check([r.path for r in w.hub.seen()] ==
              [f"/api/models/{NAME}/revision/main?blobs=true"], "asks only for the listing",
              w.hub.seen())
        check(os.stat(w.folder()).st_ino == inode, "the folder stays")
        w.hub.forget()
        run = w.pull(NAME + "@" + repo.find("main"))
        check(run.returncode == 0 and not w.hub.seen(), "a commit that is there asks nobody", run.err)
        run = w.pull(HF_HUB_OFFLINE="1")
        check(run.returncode == 0 and not w.hub.seen(), "offline: no connection", run.err)
        check(run.out == w.folder() + "\n", "its folder all the same", run.out)
        run = w.pull(HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1")
        check(run.returncode == 0, "offline needs no hub", run.err)
        run = w.pull("acme/other", HF_HUB_OFFLINE="1")
        check(run.returncode == 1 and one_line(run.err) and not w.hub.seen(),
              "offline and not there", run.err)
        run = w.pull(NAME + "@v9", HF_HUB_OFFLINE="1")
        check(run.returncode == 1 and not w.hub.seen(), "offline and another revision", run.err)


def test_damaged_folder():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)
        w.pull()
        with open(os.path.join(w.folder(), "tokenizer.json"), "r+b") as file:
            file.write(b"X")
        os.remove(os.path.join(w.folder(), "vocab.txt"))
        run = w.pull(HF_HUB_OFFLINE="1")
        check(run.returncode == 1, "offline: damage is seen", run.err)
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "damage is mended", run.err)
        loaded = sorted(r.path.rsplit("/", 1)[1] for r in w.hub.seen(part="/resolve/"))
        check(loaded == ["tokenizer.json", "vocab.txt"], "only what was damaged is loaded", loaded)


def test_touched_folder():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)
        w.pull()
        os.utime(os.path.join(w.folder(), "model.safetensors"))
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and not w.hub.seen(part="/resolve/"),
              "a new time alone: the file is read, not loaded", run.err)


def test_folder_of_a_package():
    """What tools/bring_models.py leaves: a record without a commit, sha256 of every file."""
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)
        os.makedirs(w.folder())
        with open(os.path.join(w.folder(), "model.safetensors"), "wb") as file:
            file.write(files["model.safetensors"])
        with open(os.path.join(w.folder(), ".trine-pull.json"), "w") as file:
            json.dump({"repo": NAME, "source": {"package": "p"}, "files": []}, file)
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "the hub's files take its place", run.err)
        check(not w.hub.seen("cdn", "") or
              all("/blobs/" in r.path and r.path.find(".safetensors") < 0 for r in w.hub.seen("cdn")),
              "requests are well formed")
        big = [r for r in w.hub.seen("hub", "/resolve/") if r.path.endswith("/model.safetensors")
               and "2_Dense" not in r.path]
        check(not big, "weights that are there already are not loaded", big)


def test_kill_and_resume():
    with World() as w:
        files = model_files(8 * MIB)
        w.hub.repos[NAME] = Repo(files)
        w.hub.faults.append(Fault("slow", "model.safetensors", times=9, rate=4 * MIB))
        child = w.start(NAME)
        part = w.part(2 * MIB)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if not check(part is not None, "a part grows"):
            return
        size = os.path.getsize(part)
        check(w.absent(), "killed in mid-file: no folder")
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "goes on after kill -9", run.err)
        ranges = [r.headers.get("Range") for r in w.hub.seen("cdn")]
        check(f"bytes={size}-" in ranges, "asks for the rest only", (size, ranges))
        check(w.leftovers() == [], "nothing else is left", w.leftovers())


def test_interrupt():
    for number in (signal.SIGINT, signal.SIGTERM):
        with World() as w:
            files = model_files(8 * MIB)
            w.hub.repos[NAME] = Repo(files)
            w.hub.faults.append(Fault("slow", "model.safetensors", times=9, rate=2 * MIB))
            child = w.start(NAME)
            part = w.part(MIB)
            begin = time.monotonic()
            child.send_signal(number)
            out, err = child.communicate(timeout=20)
            check(child.returncode == 130 and "stopped" in err, "Ctrl-C: exit 130", err)
            check(time.monotonic() - begin < 3, "and soon")
            check(part and os.path.exists(part) and w.absent(), "a part to resume, no folder")
            w.hub.forget()
            run = w.pull()
            check(run.returncode == 0 and w.is_whole(files), "the next pull goes on", run.err)
            check(any(r.headers.get("Range") for r in w.hub.seen("cdn")), "from where it was")


def test_lost_connection():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)
        w.hub.faults.append(Fault("drop", "model.safetensors", times=2, at=MIB))
        w.hub.faults.append(Fault("drop", "tokenizer.json", times=1, at=100))
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "a lost connection is taken up again",
              run.err)
        ranges = [r.headers.get("Range") for r in w.hub.seen("cdn") if r.headers.get("Range")]
        check(len(ranges) == 2, "with Range, each time", ranges)
        check("trying again" in run.err, "and it is said", run.err)


def test_range_troubles():
    for kind in ("ignore_range", "wrong_range", "refuse_range"):
        with World() as w:
            files = model_files()
            w.hub.repos[NAME] = Repo(files)
            w.hub.faults.append(Fault("drop", "model.safetensors", at=MIB))
            w.hub.faults.append(Fault(kind, "model.safetensors"))
            run = w.pull()
            check(run.returncode == 0 and w.is_whole(files), f"{kind}: the file is begun anew",
                  run.err)
            check(w.hub.faults[1].times == 0, f"{kind} came to pass")
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files())
        w.hub.faults.append(Fault("drop", "model.safetensors", at=MIB))
        w.hub.faults.append(Fault("corrupt", "model.safetensors", times=9))
        run = w.pull()
        check(run.returncode == 1 and "model.safetensors" in run.err, "a resumed file is verified",
              run.err)


def test_busy_hub():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)
        w.hub.faults.append(Fault("status", "listing", status=503))
        w.hub.faults.append(Fault("status", "model.safetensors", status=429, after=1))
        w.hub.faults.append(Fault("status", "config.json", status=500))
        begin = time.monotonic()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "503, 429 and 500 pass", run.err)
        check(time.monotonic() - begin > 1.4, "Retry-After is waited for")
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files())
        w.hub.faults.append(Fault("status", "vocab.txt", times=99, status=502))
        run = w.pull("--quiet", NAME)
        check(run.returncode == 1 and one_line(run.err) and "502" in run.err, "it ends some time",
              run.err)
        tries = len(w.hub.seen(part="vocab.txt"))
        check(tries == 5, "after five tries", tries)


def test_wrong_content():
    for name in ("model.safetensors", "tokenizer.json"):
        with World() as w:
            files = model_files()
            w.hub.repos[NAME] = Repo(files)
            w.hub.faults.append(Fault("corrupt", name))
            run = w.pull("--quiet", NAME)
            check(run.returncode == 1 and one_line(run.err) and name in run.err and
                  "deleted" in run.err, "a wrong hash is refused", run.err)
            check(w.absent() and w.part(0, 0.1) is None, "nothing of it stays")
            w.hub.forget()
            run = w.pull()
            check(run.returncode == 0 and w.is_whole(files), "and the next pull is right", run.err)
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files())
        w.hub.faults.append(Fault("longer", "vocab.txt"))
        run = w.pull("--quiet", NAME)
        check(run.returncode == 1 and "more than" in run.err and w.absent(), "too many bytes", run.err)


def alter_file(name, change):
    def alter(listing):
        for sibling in listing["siblings"]:
            if sibling["rfilename"] == name:
                change(sibling)
    return alter


def test_hostile_listing():
    changes = [
        ("no git hash", "config.json", lambda s: s.pop("blobId"), "hash"),
        ("null git hash", "config.json", lambda s: s.update(blobId=None), "hash"),
        ("a hash that is none", "config.json", lambda s: s.update(blobId="x" * 40), "hash"),
        ("no sha256", "model.safetensors", lambda s: s["lfs"].pop("sha256"), "hash"),
        ("no size", "vocab.txt", lambda s: s.pop("size"), "size"),
        ("a negative size", "vocab.txt", lambda s: s.update(size=-5), "size"),
        ("a size as text", "vocab.txt", lambda s: s.update(size="5"), "size"),
        ("a name that climbs", "README.md", lambda s: s.update(rfilename="../x.json"), "../x.json"),
        ("one in the middle", "README.md", lambda s: s.update(rfilename="a/../../x"), "refused"),
        ("an absolute name", "README.md", lambda s: s.update(rfilename="/etc/x"), "/etc/x"),
        ("a backslash climb", "README.md", lambda s: s.update(rfilename="..\\x"), "refused"),
        ("a name that is none", "README.md", lambda s: s.update(rfilename=7), "rfilename"),
        ("more than the disk has", "model.safetensors", lambda s: s["lfs"].update(size=1 << 49),
         "are free"),
        ("more than any disk has", "model.safetensors", lambda s: s["lfs"].update(size=1 << 52),
         "size"),
    ]
    for what, name, change, word in changes:
        with World() as w:
            w.hub.repos[NAME] = Repo(model_files())
            w.hub.repos[NAME].alter = alter_file(name, change)
            run = w.pull("--quiet", NAME)
            check(run.returncode == 1 and one_line(run.err) and word in run.err, what, run.err)
            check(w.absent() and not w.hub.seen(part="/resolve/"), what + ": nothing is loaded")
    for what, change in (("no commit", lambda l: l.pop("sha")),
                         ("a commit that is none", lambda l: l.update(sha="../../x")),
                         ("no list", lambda l: l.pop("siblings")),
                         ("a list that is none", lambda l: l.update(siblings={}))):
        with World() as w:
            w.hub.repos[NAME] = Repo(model_files())
            w.hub.repos[NAME].alter = change
            run = w.pull("--quiet", NAME)
            check(run.returncode == 1 and one_line(run.err) and w.absent(), what, run.err)


def test_token():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files, token="hf_secret")
        run = w.pull(HF_TOKEN="hf_secret")
        check(run.returncode == 0 and w.is_whole(files), "a private repository", run.err)
        check(all(r.headers.get("Authorization") == "Bearer hf_secret" for r in w.hub.seen("hub")),
              "the hub gets the token")
        check(len(w.hub.seen("cdn")) == 2 and
              not any("Authorization" in r.headers for r in w.hub.seen("cdn")),
              "the host behind a redirect does not")
        check("hf_secret" not in run.err + run.out, "it is not printed")
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files(), token="hf_secret")
        run = w.pull()
        check(run.returncode == 1 and one_line(run.err) and "HF_TOKEN" in run.err and
              "private" in run.err, "no token", run.err)
        run = w.pull(HF_TOKEN="wrong")
        check(run.returncode == 1 and one_line(run.err) and "does not accept HF_TOKEN" in run.err,
              "a wrong token", run.err)
        w.hub.forget()
        run = w.pull(HF_TOKEN="a\r\nX-Evil: 1")
        check(run.returncode == 1 and not w.hub.seen(), "a token that is none", run.err)


def test_refusals():
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files())
        w.hub.repos["acme/gated"] = Repo(model_files(), gated=True)
        w.hub.repos["acme/old"] = Repo({"config.json": b"{}", "pytorch_model.bin": b"x"})
        w.hub.repos["acme/dense"] = Repo({"config.json": b"{}", "model.safetensors": b"x",
                                          "2_Dense/config.json": b"{}",
                                          "2_Dense/pytorch_model.bin": b"x"})
        w.hub.repos["acme/data"] = Repo({"README.md": b"x"})
        w.hub.repos["acme/noconfig"] = Repo({"model.safetensors": b"x"})
        for args, words in (
                (["acme/gated"], "gated"),
                (["acme/nothing"], "no such repository"),
                ([NAME + "@v2"], "no revision 'v2'"),
                ([NAME, "--file", "x.gguf"], "no file 'x.gguf'"),
                (["acme/old"], "pytorch_model.bin"),
                (["acme/dense"], "2_Dense/model.safetensors"),
                (["acme/data"], "not a model"),
                (["acme/noconfig"], "no config.json"),
                (["../etc"], "not a repository's name"),
                (["/etc/passwd"], "not a repository's name"),
                (["a/b/c"], "not a repository's name"),
                ([NAME + "@../x"], "not a revision"),
                ([NAME, "--file", "../x"], "not a file")):
            run = w.pull("--quiet", *args)
            check(run.returncode == 1 and one_line(run.err) and words in run.err, words, run.err)
        check(not any("passwd" in r.path or "etc" in r.path for r in w.hub.seen()),
              "bad names are not sent")
        for args in ([], [NAME, "acme/gated"], [NAME + "@"], ["--nonsense", NAME], ["--file"]):
            child = w.start(*args)
            out, err = child.communicate(timeout=20)
            check(child.returncode == 2 and err.count("\n") == 1 and not out, f"usage {args}", err)
        run = w.pull("--help")
        check(run.returncode == 0 and "Example" in run.out and not run.err, "--help")


def test_revisions():
    with World() as w:
        files, other = model_files(), model_files()
        other["config.json"] = b'{"model_type": "bert", "of": "v2"}'
        repo = w.hub.repos[NAME] = Repo(files)
        commit = repo.add(other, "refs/pr/1")
        run = w.pull(NAME + "@refs/pr/1")
        check(run.returncode == 0 and w.is_whole(other), "a pull request's revision", run.err)
        check(w.hub.seen(part="/revision/refs%2Fpr%2F1"), "its slashes are escaped")
        run = w.pull(NAME + "@" + commit)
        check(run.returncode == 0 and w.is_whole(other), "a commit", run.err)
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "back to main", run.err)
        loaded = [r.path.rsplit("/", 1)[1] for r in w.hub.seen(part="/resolve/")]
        check(loaded == ["config.json"], "only what differs is loaded", loaded)
        check(w.leftovers() == [], "the old folder is gone", w.leftovers())


def test_failed_update():
    with World() as w:
        files, other = model_files(), model_files()
        other["model.safetensors"] = noise(MIB, 9)
        other["config.json"] = b"{}"
        repo = w.hub.repos[NAME] = Repo(files)
        w.pull()
        repo.add(other, "main")
        w.hub.faults.append(Fault("corrupt", "model.safetensors", times=9))
        run = w.pull("--quiet", NAME)
        check(run.returncode == 1 and w.is_whole(files), "a failed update leaves the old model",
              run.err)
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(other), "then it is updated", run.err)


def test_renamed_repository():
    with World() as w:
        files = model_files()
        w.hub.repos["new/name"] = w.hub.repos[NAME] = Repo(files, token="hf_t")
        moved = Fault("moved", NAME, to="new/name")
        w.hub.faults.append(moved)
        run = w.pull(HF_TOKEN="hf_t")
        check(run.returncode == 0 and w.is_whole(files), "a redirect within the hub", run.err)
        check(w.hub.seen(part="/api/models/new/name/"), "is followed")


def test_shards():
    with World() as w:
        files = {"config.json": b"{}", "tokenizer.json": b"{}",
                 "model-00001-of-00002.safetensors": noise(MIB, 5),
                 "model-00002-of-00002.safetensors": noise(MIB, 6),
                 "other-00001-of-00001.safetensors": noise(999, 7)}
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {
            "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
            "c": "model-00001-of-00002.safetensors"}}).encode()
        needed = [name for name in files if not name.startswith("other")]
        w.hub.repos[NAME] = Repo(files)
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files, needed=needed), "shards", run.err)
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and not w.hub.seen(part="/resolve/"), "and again", run.err)
    for shard in ("../../x.safetensors", "absent.safetensors", "/x", "", 7):
        with World() as w:
            w.hub.repos[NAME] = Repo({"config.json": b"{}", "model.safetensors.index.json":
                                      json.dumps({"weight_map": {"a": shard}}).encode()})
            run = w.pull("--quiet", NAME)
            check(run.returncode == 1 and one_line(run.err) and "shard" in run.err and w.absent(),
                  f"shard {shard!r}", run.err)
    with World() as w:
        w.hub.repos[NAME] = Repo({"config.json": b"{}", "model.safetensors.index.json": b"[1,"})
        run = w.pull("--quiet", NAME)
        check(run.returncode == 1 and "index.json" in run.err, "an index that is none", run.err)


def test_gguf():
    with World() as w:
        files = {"README.md": b"x", "m-q4_0.gguf": noise(MIB, 8), "m-q8_0.gguf": noise(MIB, 9)}
        w.hub.repos[NAME] = Repo(files)
        run = w.pull("--quiet", NAME)
        check(run.returncode == 1 and "--file m-q4_0.gguf" in run.err, "which file?", run.err)
        run = w.pull(NAME, "--file", "m-q4_0.gguf")
        check(run.returncode == 0 and w.is_whole(files, needed=["m-q4_0.gguf"]), "--file", run.err)
        w.hub.forget()
        run = w.pull(NAME, "--file", "m-q8_0.gguf")
        check(run.returncode == 0 and w.is_whole(files, needed=["m-q4_0.gguf", "m-q8_0.gguf"]),
              "a second file beside the first", run.err)
        check(len(w.hub.seen("cdn")) == 1, "which is not loaded again")
        run = w.pull(NAME, "--file", "m-q4_0.gguf", HF_HUB_OFFLINE="1")
        check(run.returncode == 0, "offline", run.err)


def test_full_disk():
    with World() as w:
        files = model_files()
        w.hub.repos[NAME] = Repo(files)

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write() then fails with EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

        run = w.pull("--quiet", NAME, preexec=small_files)
        check(run.returncode == 1 and one_line(run.err) and "cannot write" in run.err,
              "a write that fails", run.err)
        check(w.absent(), "leaves no folder")
        w.hub.forget()
        run = w.pull()
        check(run.returncode == 0 and w.is_whole(files), "and is taken up again", run.err)
        check(f"bytes={MIB}-" in [r.headers.get("Range") for r in w.hub.seen("cdn")], "there")
        run = w.pull("--quiet", NAME, TRINE_HOME="/dev/null/store")
        check(run.returncode == 1 and one_line(run.err), "a store that cannot be", run.err)


def test_two_at_once():
    with World() as w:
        files = model_files(8 * MIB)
        w.hub.repos[NAME] = Repo(files)
        w.hub.faults.append(Fault("slow", "model.safetensors", times=2, rate=4 * MIB))
        first = w.start(NAME)
        w.part(MIB)
        second = w.pull("--quiet", NAME)
        check(second.returncode == 1 and "another pull" in second.err, "the second steps back",
              second.err)
        out, err = first.communicate(timeout=60)
        check(first.returncode == 0 and w.is_whole(files), "the first goes on", err)


def test_redirects():
    for what, to in (("a loop", ""), ("a file", "file:///etc/passwd"), ("ftp", "ftp://127.0.0.1/x"),
                     ("nonsense", "http://")):
        with World() as w:
            w.hub.repos[NAME] = Repo(model_files())
            w.hub.faults.append(Fault("redirect", "vocab.txt", times=99, to=to))
            run = w.pull("--quiet", NAME)
            check(run.returncode == 1 and one_line(run.err) and "redirect" in run.err,
                  f"redirect: {what}", run.err)
            check(len(w.hub.seen(part="vocab.txt")) <= 11, "not followed for ever")


def test_quiet_and_terminal():
    with World() as w:
        w.hub.repos[NAME] = Repo(model_files())
        run = w.pull("--quiet", NAME)
        check(run.returncode == 0 and run.err == "", "--quiet says nothing", run.err)
    with World() as w:
        files = model_files(8 * MIB)
        w.hub.repos[NAME] = Repo(files)
        w.hub.faults.append(Fault("slow", "model.safetensors", times=1, rate=8 * MIB))
        ours, theirs = pty.openpty()
        child = subprocess.Popen([program, "pull", NAME], env=w.env(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
        os.close(ours)
        child.communicate(timeout=60)
        check(child.returncode == 0 and w.is_whole(files), "on a terminal")
        check(b"\r" in shown and b"%" in shown and b"MiB/s" in shown and b"left" in shown and
              b"100%" in shown, "a bar with rate and time left", shown[-300:])


def test_unreachable():
    with World() as w:
        begin = time.monotonic()
        run = w.pull(HF_ENDPOINT="http://127.0.0.1:1")
        check(run.returncode == 1 and one_line(run.err) and "cannot reach" in run.err, "refused",
              run.err)
        run = w.pull(HF_ENDPOINT="http://name.invalid")
        check(run.returncode == 1 and one_line(run.err), "no such host", run.err)
        run = w.pull(HF_ENDPOINT="huggingface.co")
        check(run.returncode == 1 and one_line(run.err) and "HF_ENDPOINT" in run.err, "no address",
              run.err)
        check(time.monotonic() - begin < 5, "at once")
        # a listener whose queue is full drops what else comes: nothing answers
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fill = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            fill.append(one)
        begin = time.monotonic()
        run = w.pull(HF_ENDPOINT=f"http://127.0.0.1:{full.getsockname()[1]}")
        took = time.monotonic() - begin
        check(run.returncode == 1 and one_line(run.err) and 5 < took < 15,
              "nobody answers: within ten seconds or so", (took, run.err))
        for one in fill + [full]:
            one.close()
        check(w.absent(), "nothing is made")


def main(args):
    global program
    options = [arg for arg in args if arg.startswith("-")]
    args = [arg for arg in args if not arg.startswith("-")]
    if args:
        program = os.path.abspath(args[0])
    if not os.access(program, os.X_OK):
        print(f"test_pull.py: {program} is not there: run make first", file=sys.stderr)
        return 1
    def one(named):
        name, test = named
        begin = time.monotonic()
        try:
            test()
        except Exception:
            check(False, name, traceback.format_exc())
        if "-v" in options:
            print(f"{name}: {time.monotonic() - begin:.1f} s", file=sys.stderr)

    # each has a hub and a folder of its own, and waits for most of its time
    tests = [named for named in globals().items() if named[0].startswith("test_")]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, tests))
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
