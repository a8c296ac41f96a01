"""Argo CD as processes of this machine, on the API server of a ControlPlane, and the repository that it reads.

    with ControlPlane() as plane, Repository(plane.folder) as repository:
        argocd = ArgoCD(plane)
        argocd.start()

The repository is a bare one of its own with `argocd/`, `charts/` and `k8s/` as they stand in this checkout; what a
test commits goes there and nowhere else. What must be other than in a cluster, and why, stands beside it.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

from processes import free_port, wait_until
from tools import ROOT, tool

NAMESPACE = "argocd"
# Argo CD has no setting for it: one repo-server a machine.
SOCKET = pathlib.Path("/tmp/reposerver-ask-pass.sock")
FOLDERS = ("argocd", "charts", "k8s")


class Repository:
    """A bare repository and a checkout of it."""

    def __init__(self, folder):
        self.bare = folder / "homeward.git"
        self.work = folder / "homeward"
        self.url = f"file://{self.bare}"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.bare], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", self.work], check=True)
        self.git("remote", "add", "origin", self.url)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FOLDERS],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            with contextlib.suppress(FileNotFoundError):
                (self.work / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.work / name)

    def git(self, *arguments):
        who = ["-c", "user.name=Test", "-c", "user.email=test@homeward.example", "-c", "commit.gpgsign=false"]
        finished = subprocess.run(["git", *who, *arguments], cwd=self.work, check=True, capture_output=True, text=True)
        return finished.stdout.strip()

    def read(self, path):
        return (self.work / path).read_text()

    def write(self, path, text):
        (self.work / path).parent.mkdir(parents=True, exist_ok=True)
        (self.work / path).write_text(text)

    def replace(self, path, old, new):
        text = self.read(path)
        assert old in text, f"{path} does not say {old!r}"
        self.write(path, text.replace(old, new))

    def commit(self, message):
        """Commits and pushes all that was changed; answers the commit."""
        self.git("add", "--all")
        self.git("commit", "-q", "-m", message)
        return self.push()

    def revert(self, commit):
        self.git("revert", "--no-edit", commit)
        return self.push()

    def push(self):
        self.git("push", "-q", "origin", "HEAD")
        return self.git("rev-parse", "HEAD")


class ArgoCD:
    def __init__(self, plane):
        self.plane = plane
        self.folder = plane.folder / "argocd"
        self.redis, self.repo_server = free_port(), free_port()

    def __enter__(self):
        assert not SOCKET.exists(), f"{SOCKET}: another repo-server runs on this machine, or was killed"
        self._folders()
        self._objects()
        self._processes()
        return self

    def __exit__(self, *_):
        for name in ("notifications", "applicationset-controller", "application-controller", "repo-server"):
            self.plane.processes.stop(f"argocd-{name}")
        SOCKET.unlink(missing_ok=True)

    def _folders(self):
        for name in ("tls", "ssh", "gpg", "plugins", "tmp", "bin"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "gnupg").mkdir(mode=0o700)
        # Called for each manifest even where signatures are not looked at.
        wrapper = self.folder / "bin/git-verify-wrapper.sh"
        wrapper.write_text("#!/bin/sh\nexit 0\n")
        wrapper.chmod(0o755)
        for name in ("helm", "kustomize"):
            (self.folder / "bin" / name).symlink_to(tool(name))
        (self.folder / "gitconfig").write_text("[safe]\n\tdirectory = *\n")

    def _objects(self):
        """What an installation brings besides the programs: definitions, and settings that are empty."""

        def named(kind, name, **content):
            labels = {"app.kubernetes.io/part-of": "argocd"}
            metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
            return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": metadata} | content)

        self.plane.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
        names = ("cm", "rbac-cm", "ssh-known-hosts-cm", "tls-certs-cm", "gpg-keys-cm", "notifications-cm")
        objects = [named("ConfigMap", f"argocd-{name}") for name in names]
        objects.append(named("Secret", "argocd-secret", stringData={"server.secretkey": "of this test"}))
        self.plane.apply("\n---\n".join(objects))

    def _processes(self):
        plane, redis = self.plane, f"127.0.0.1:{self.redis}"
        repo_server = f"127.0.0.1:{self.repo_server}"
        plane.processes.start(
            "redis",
            "redis-server",
            *("--bind", "127.0.0.1", "--port", self.redis, "--save", "", "--dir", self.folder),
        )
        self._start(
            "repo-server",
            *("--address", "127.0.0.1", "--port", self.repo_server, "--redis", redis),
            *("--metrics-address", "127.0.0.1", "--metrics-port", free_port()),
            # The file of the authority of clients is there by default, and excludes the other.
            *("--disable-tls", "--client-ca-path", ""),
            # A commit is seen after as long.
            *("--revision-cache-expiration", "2s"),
        )
        wait_until(SOCKET.exists, lambda: f"the repo-server is up:\n{plane.processes.tail('argocd-repo-server')}")
        self._start(
            "application-controller",
            *("--repo-server", repo_server, "--repo-server-plaintext", "--redis", redis, *self._cluster()),
            *("--metrics-port", free_port()),
            *("--app-resync", 30, "--app-resync-jitter", 0, "--self-heal-timeout-seconds", 1),
            # Else an error of rendering shows after three minutes.
            *("--repo-error-grace-period-seconds", 0),
        )
        self._start(
            "applicationset-controller",
            *("--argocd-repo-server", repo_server, "--repo-server-plaintext", *self._cluster()),
            *("--metrics-addr", f"127.0.0.1:{free_port()}", "--probe-addr", f"127.0.0.1:{free_port()}"),
            *("--webhook-addr", f"127.0.0.1:{free_port()}"),
        )
        self._start(
            "notifications",
            *("--argocd-repo-server", repo_server, "--argocd-repo-server-plaintext", *self._cluster()),
            *("--metrics-port", free_port()),
        )

    def _cluster(self):
        return "--kubeconfig", self.plane.kubeconfig, "--namespace", NAMESPACE

    def _start(self, name, *arguments):
        self.plane.processes.start(
            f"argocd-{name}",
            *(tool("argocd"), *arguments, "--logformat", "text", "--loglevel", "info"),
            ARGOCD_BINARY_NAME=f"argocd-{name}",
            # The cluster that Argo CD itself runs in is that of the kubeconfig.
            ARGOCD_FAKE_IN_CLUSTER="true",
            # Of the applicationset-controller, which asks for it again by itself.
            KUBECONFIG=self.plane.kubeconfig,
            ARGOCD_GPG_ENABLED="false",
            ARGOCD_TLS_DATA_PATH=self.folder / "tls",
            ARGOCD_SSH_DATA_PATH=self.folder / "ssh",
            ARGOCD_GNUPGHOME=self.folder / "gnupg",
            ARGOCD_GPG_DATA_PATH=self.folder / "gpg",
            ARGOCD_PLUGINSOCKFILEPATH=self.folder / "plugins",
            GIT_CONFIG_GLOBAL=self.folder / "gitconfig",
            HOME=self.folder,
            TMPDIR=self.folder / "tmp",
            PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}",
        )
