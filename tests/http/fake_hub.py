#!/usr/bin/env python3
"""A hub on loopback for tests: the part of the Hugging Face hub's protocol that `trine pull` speaks.

Two servers, so that two origins: the hub (listing, small files, redirects) and the store behind it
(large files). As on the real one, an LFS file's /resolve/ answers 302 to the other host, with the
headers that huggingface_hub reads. A test adds repositories and faults, and reads `requests`.

By hand:  tests/http/fake_hub.py org/name=FOLDER ...   (then HF_ENDPOINT=... trine pull org/name)
"""

import collections
import hashlib
import http.server
import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse

Request = collections.namedtuple("Request", "server method path headers")


class Repo:
    """Files by commit; `revisions` names commits. Files ending in `lfs` endings are LFS files."""

    lfs_endings = (".safetensors", ".gguf", ".bin", ".onnx")

    def __init__(self, files, commit=None, token=None, gated=False):
        self.commits, self.revisions = {}, {}
        self.token = token  # private to its owner
        self.gated = gated
        self.alter = None  # changes the listing before it is sent
        self.add(files, "main", commit)

    def add(self, files, revision, commit=None):
        tree = [(name, git_sha1(data)) for name, data in sorted(files.items())]
        commit = commit or hashlib.sha1(repr(tree).encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.revisions[revision] = commit
        return commit

    def find(self, revision):
        return revision if revision in self.commits else self.revisions.get(revision)

    def is_lfs(self, name):
        return name.endswith(self.lfs_endings)


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Fault:
    """What goes wrong with a file's bytes, `times` times. kind:
    drop (the connection is reset after `at` bytes), ignore_range, wrong_range, refuse_range (416),
    status (answers `status`, with Retry-After when `after`), slow (`rate` bytes a second),
    corrupt (one byte is changed), longer (bytes are added), redirect (to `to`)."""

    def __init__(self, kind, file="", times=1, at=0, status=503, after=None, rate=0, to=""):
        self.kind, self.file, self.times = kind, file, times
        self.at, self.status, self.after, self.rate, self.to = at, status, after, rate, to


class FakeHub:
    def __init__(self, port=0):
        self.repos, self.faults, self.requests, self.blobs = {}, [], [], {}
        self.lock = threading.Lock()
        self.hub = self.server("hub", port)
        self.cdn = self.server("cdn", 0)
        self.endpoint = f"http://127.0.0.1:{self.hub.server_port}"

    def server(self, name, port):
        handler = type("Handler", (Handler,), {"world": self, "server_name": name})
        server = Server(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self):
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()

    def take_fault(self, *kinds, file):
        with self.lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.times > 0 and fault.file in ("", file):
                    fault.times -= 1
                    return fault
        return None

    def seen(self, server=None, part=""):
        with self.lock:
            return [r for r in self.requests
                    if (server is None or r.server == server) and part in r.path]

    def forget(self):
        with self.lock:
            self.requests.clear()
            self.faults.clear()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = None
    server_name = ""

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        with self.world.lock:
            self.world.requests.append(
                Request(self.server_name, self.command, self.path, dict(self.headers.items())))
        try:
            if self.server_name == "cdn":
                self.blob()
            elif self.path.startswith("/api/models/"):
                self.listing()
            else:
                self.resolve()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.answer(status, json.dumps({"error": message}).encode(), X_Error_Code=code,
                    X_Error_Message=message)

    def admit(self, name, revision):
        """The repository and commit, or None when the refusal has been sent."""
        repo = self.world.repos.get(name)
        token = self.headers.get("Authorization", "")
        if repo is None or (repo.token and token != f"Bearer {repo.token}"):
            if repo is None and token:
                self.refuse(404, "RepoNotFound", "Repository not found")
            else:  # the real hub does not tell a missing repository from a private one
                self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        commit = repo.find(revision)
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo, commit

    def listing(self):
        path, _, query = self.path.partition("?")
        name, _, revision = path[len("/api/models/"):].partition("/revision/")
        moved = self.world.take_fault("moved", file=name)
        if moved:
            self.answer(307, Location=self.path.replace(name, moved.to))
            return
        fault = self.world.take_fault("status", file="listing")
        if fault:
            self.answer(fault.status, **({"Retry_After": fault.after} if fault.after else {}))
            return
        admitted = self.admit(name, urllib.parse.unquote(revision))
        if not admitted:
            return
        repo, commit = admitted
        siblings = []
        for file, data in repo.commits[commit].items():
            sibling = {"rfilename": file}
            if "blobs=true" in query:
                sibling["size"] = len(data)
                sibling["blobId"] = git_sha1(data)
                if repo.is_lfs(file):
                    sha256 = hashlib.sha256(data).hexdigest()
                    pointer = (f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\n"
                               f"size {len(data)}\n").encode()
                    sibling["blobId"] = git_sha1(pointer)
                    sibling["lfs"] = {"sha256": sha256, "size": len(data),
                                      "pointerSize": len(pointer)}
            siblings.append(sibling)
        made = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": bool(repo.token),
                "gated": "auto" if repo.gated else False, "siblings": siblings}
        if repo.alter:
            repo.alter(made)
        self.answer(200, json.dumps(made).encode(), Content_Type="application/json")

    def resolve(self):
        name, _, rest = urllib.parse.unquote(self.path[1:].partition("?")[0]).partition("/resolve/")
        revision, _, file = rest.partition("/")
        admitted = self.admit(name, revision)
        if not admitted:
            return
        repo, commit = admitted
        if repo.gated:
            self.refuse(403, "GatedRepo", "Access to this model is restricted.")
            return
        data = repo.commits[commit].get(file)
        if data is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        redirect = self.world.take_fault("redirect", file=file)
        if redirect:
            self.answer(302, Location=redirect.to or self.path)
        elif repo.is_lfs(file):
            sha256 = hashlib.sha256(data).hexdigest()
            self.world.blobs[sha256] = (file, data)
            where = f"http://127.0.0.1:{self.world.cdn.server_port}/blobs/{sha256}?signature=x"
            self.answer(302, Location=where, X_Repo_Commit=commit, X_Linked_Size=len(data),
                        X_Linked_Etag=f'"{sha256}"')
        else:
            self.content(file, data, git_sha1(data), X_Repo_Commit=commit)

    def blob(self):
        sha256 = self.path[len("/blobs/"):].partition("?")[0]
        if sha256 not in self.world.blobs:
            self.answer(404)
            return
        file, data = self.world.blobs[sha256]
        self.content(file, data, hashlib.md5(data).hexdigest())  # another ETag, as a real CDN has

    def content(self, file, data, etag, **headers):
        take = lambda *kinds: self.world.take_fault(*kinds, file=file)
        fault = take("status")
        if fault:
            self.answer(fault.status, b"busy", **({"Retry_After": fault.after} if fault.after else {}))
            return
        if take("corrupt"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        if take("longer"):
            data += b"and more"
        begin, status = 0, 200
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and not take("ignore_range"):
            begin, status = int(wanted[len("bytes="):].split("-")[0]), 206
            if begin >= len(data) or take("refuse_range"):
                self.answer(416, Content_Range=f"bytes */{len(data)}")
                return
            if take("wrong_range"):
                begin = begin // 2
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if self.command != "HEAD":
            self.send(file, data[begin:])

    def send(self, file, data):
        drop = self.world.take_fault("drop", file=file)
        slow = self.world.take_fault("slow", file=file)
        if drop:
            self.wfile.write(data[:drop.at])
            self.wfile.flush()
            # SO_LINGER 0: a reset, not an orderly end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif slow:
            step = max(1, slow.rate // 20)
            for at in range(0, len(data), step):
                self.wfile.write(data[at:at + step])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(data)


def read_folder(folder):
    files = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files


def main(args):
    if not args or any("=" not in arg for arg in args):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    hub = FakeHub()
    for arg in args:
        name, _, folder = arg.partition("=")
        hub.repos[name] = Repo(read_folder(folder))
    print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        hub.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
