"""A real Kubernetes control plane on this machine: etcd, API server, controller-manager, scheduler, and kwok
in the place of nodes. Nothing runs in containers: a pod is an object that goes through the states of a pod.

    with ControlPlane() as plane:
        plane.namespace("homeward-dev")
        plane.apply(text, "homeward-dev")
        plane.kubectl("get", "pods", "-n", "homeward-dev")
        plane.get("/api/v1/nodes")["items"]
        plane.processes.start("argocd", tool("argocd"), "--kubeconfig", plane.kubeconfig)

Everything lies in a temporary folder, listens on free ports of the loopback address, and ends with the block.
What to know of it:
- A pod is ready 0.5 s after it was bound, and gone 0.5 s after its deletion, whatever its probes and its image
  say. A pod with an image whose digest begins with BAD fails as one that crashes at its start.
- Nodes: `nodes` of them (with 0 nobody looks after pods), named node-0 ..., over three zones in turn, with 8 CPUs and 32 GiB each.
- The pace of autoscaling is that of the controller-manager's flags: a look each second, no waiting before
  replicas are taken away. What an HPA itself says about stabilisation is stronger.
- `namespace()` makes one where Pod Security enforces, and warns of, `restricted`.
- Values that autoscalers read come from metrics.py, which serves them as an aggregated API.
"""

import base64
import contextlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import tempfile
import textwrap
import threading
import time

from processes import Processes, free_port, wait_until
from tools import tool

BAD = "bad0"
ZONES = ("a", "b", "c")
SERVICE_RANGE = "10.96.0.0/16"
API_ADDRESS = "10.96.0.1"

# Whoever says one stage of pods says all of them: without a configuration kwok has some of its own.
STAGES = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {{name: pod-{name}}}
spec:
  resourceRef: {{apiGroup: v1, kind: Pod}}
  selector:
    matchExpressions: {selector}
  delay: {{durationMilliseconds: 500}}
  next: {next}
---
"""
ALIVE = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
FRESH = {"key": ".status.podIP", "operator": "DoesNotExist"}
CRASHES = f'[.spec.containers[], (.spec.initContainers // [])[]] | any(.image | contains("sha256:{BAD}")) | tostring'
ADDRESS = '{{ PodIPWith .spec.nodeName false (or .metadata.uid "") .metadata.name .metadata.namespace | Quote }}'
STATUS = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: ADDRESS
conditions:
{{ range $kind := list "Initialized" "ContainersReady" "Ready" }}
- {type: {{ $kind }}, status: "READY", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: RUNS
  started: RUNS
  STATE
{{ end }}
"""
RUNNING = "restartCount: 0\n  state: {running: {startedAt: {{ $now | Quote }}}}"
CRASHED = (
    "restartCount: 3\n"
    "  state: {waiting: {reason: CrashLoopBackOff, message: the process ended with 1}}\n"
    "  lastState: {terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }},"
    " finishedAt: {{ $now | Quote }}}}"
)
COMPLETED = """
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}}}
{{ end }}
"""


def stages():
    def one_of(key, value):
        return {"key": key, "operator": "In", "values": [value]}

    def status(runs, state):
        text = STATUS.replace("ADDRESS", ADDRESS).replace("READY", str(runs))
        return {"statusTemplate": text.replace("RUNS", str(runs).lower()).replace("STATE", state)}

    job = one_of(".metadata.ownerReferences.[].kind", "Job")
    all_of_them = {
        "ready": ([ALIVE, FRESH, one_of(CRASHES, "false")], status(True, RUNNING)),
        "crashed": ([ALIVE, FRESH, one_of(CRASHES, "true")], status(False, CRASHED)),
        "completed": ([ALIVE, one_of(".status.phase", "Running"), job], {"statusTemplate": COMPLETED}),
        "gone": (
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            {"delete": True, "finalizers": {"empty": True}},
        ),
    }
    return "".join(
        STAGES.format(name=name, selector=json.dumps(selector), next=json.dumps(following))
        for name, (selector, following) in all_of_them.items()
    )


class ControlPlane:
    def __init__(self, nodes=3):
        self.nodes = nodes

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="homeward-cluster-")
        self.folder = pathlib.Path(self._temporary.name)
        self.processes = Processes(self.folder)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.processes.stop_all()
        self._temporary.cleanup()

    def _start(self):
        self._keys()
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = self._kubeconfig()
        self._trust = ssl.create_default_context(cafile=self.file("ca.crt"))
        self._trust.load_cert_chain(self.file("admin.crt"), self.file("admin.key"))
        self._etcd_and_server()
        self._until_ready()
        self._controllers()
        if self.nodes:
            self._pods()
            self._nodes()

    def file(self, name):
        return str(self.folder / name)

    def _keys(self):
        """Two authorities, and what they sign; the system's own settings of openssl must not matter."""
        (self.folder / "openssl.cnf").write_text("[req]\ndistinguished_name = name\n[name]\n")
        names = f"DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{API_ADDRESS}"
        self._certificate("ca", "/CN=homeward-cluster", "basicConstraints=critical,CA:true")
        self._certificate("front-ca", "/CN=homeward-front", "basicConstraints=critical,CA:true")
        self._certificate("server", "/CN=kube-apiserver", f"subjectAltName={names}", by="ca")
        self._certificate("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth", by="ca")
        self._certificate("front", "/CN=front-proxy", "extendedKeyUsage=clientAuth", by="front-ca")
        self._certificate("accounts", "/CN=service-accounts", "extendedKeyUsage=clientAuth", by="ca")

    def _certificate(self, name, subject, extension, by=None):
        signer = ["-CA", self.file(f"{by}.crt"), "-CAkey", self.file(f"{by}.key")] if by else []
        subprocess.run(
            ["openssl", "req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            + ["-config", self.file("openssl.cnf"), "-days", "2", "-subj", subject, "-addext", extension, *signer]
            + ["-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.crt")],
            check=True,
            capture_output=True,
        )

    def _kubeconfig(self):
        def content(name):
            return base64.b64encode((self.folder / name).read_bytes()).decode()

        path = self.folder / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority-data": content("ca.crt")}
        user = {"client-certificate-data": content("admin.crt"), "client-key-data": content("admin.key")}
        # JSON is YAML.
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "homeward", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "homeward", "context": {"cluster": "homeward", "user": "admin"}}],
            "current-context": "homeward",
        }
        path.write_text(json.dumps(written))
        path.chmod(0o600)
        return str(path)

    def _etcd_and_server(self):
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.processes.start(
            "etcd",
            tool("etcd"),
            f"--data-dir={self.file('etcd')}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # Nothing of it is to survive a crash.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.processes.start(
            "kube-apiserver",
            tool("kube-apiserver"),
            f"--etcd-servers={client}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            # A loopback address is no valid endpoint of the service `kubernetes`.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.file('server.crt')}",
            f"--tls-private-key-file={self.file('server.key')}",
            f"--client-ca-file={self.file('ca.crt')}",
            "--authorization-mode=Node,RBAC",
            # So that Pod Security has to refuse it.
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.file('accounts.crt')}",
            f"--service-account-signing-key-file={self.file('accounts.key')}",
            # Aggregated APIs believe the server by these.
            f"--requestheader-client-ca-file={self.file('front-ca.crt')}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self.file('front.crt')}",
            f"--proxy-client-key-file={self.file('front.key')}",
        )

    def _until_ready(self):
        def ready():
            self.processes.check()
            try:
                return self.exchange("GET", "/readyz")[0] == 200
            except OSError:
                return False

        wait_until(ready, lambda: f"the API server is ready:\n{self.processes.tail('kube-apiserver')}", 60)

    def _controllers(self):
        self.processes.start(
            "kube-controller-manager",
            tool("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--root-ca-file={self.file('ca.crt')}",
            f"--service-account-private-key-file={self.file('accounts.key')}",
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--horizontal-pod-autoscaler-downscale-stabilization=1s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
        )

    def _pods(self):
        self.processes.start(
            "kube-scheduler",
            tool("kube-scheduler"),
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        (self.folder / "stages.yaml").write_text(stages())
        self.processes.start(
            "kwok",
            tool("kwok"),
            f"--kubeconfig={self.kubeconfig}",
            "--manage-all-nodes=true",
            f"--config={self.file('stages.yaml')}",
            "--node-lease-duration-seconds=40",
            HOME=self.folder,
        )

    def _nodes(self):
        for number in range(self.nodes):
            zone = f"eu-central-1{ZONES[number % len(ZONES)]}"
            labels = {
                "kubernetes.io/hostname": f"node-{number}",
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "arm64",
                "topology.kubernetes.io/region": "eu-central-1",
                "topology.kubernetes.io/zone": zone,
            }
            room = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
            self.call(
                "POST",
                "/api/v1/nodes",
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": f"node-{number}", "labels": labels},
                    "status": {"allocatable": room, "capacity": room},
                },
            )

        def usable():
            self.processes.check()
            nodes = self.get("/api/v1/nodes")["items"]
            return len(nodes) == self.nodes and not any(node["spec"].get("taints") for node in nodes)

        wait_until(usable, lambda: f"{self.nodes} nodes are ready:\n{self.processes.tail('kwok')}", 60)

    # What tests use.

    def exchange(self, method, path, body=None, content_type="application/json"):
        """One HTTP exchange with the API server; answers (status, bytes)."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self._trust)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, method, path, body=None, content_type="application/json"):
        """An exchange that must succeed; answers the object."""
        status, content = self.exchange(method, path, body, content_type)
        assert status < 300, f"{method} {path}: {status}: {content.decode(errors='replace')[:1000]}"
        return json.loads(content)

    def get(self, path):
        return self.call("GET", path)

    def patch(self, path, change):
        return self.call("PATCH", path, change, "application/merge-patch+json")

    @contextlib.contextmanager
    def watch(self, path, seen):
        """Calls seen(kind, object) for each change, in a thread, as long as the block lasts.

        What is there already comes first, as ADDED. A failure of `seen` is raised where the block ends.
        """
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=300, context=self._trust)
        connection.request("GET", f"{path}{'&' if '?' in path else '?'}watch=true")
        response = connection.getresponse()
        left, failures = threading.Event(), []

        def read():
            try:
                for line in response:
                    change = json.loads(line)
                    seen(change["type"], change["object"])
            except BaseException as failure:
                if not left.is_set():
                    failures.append(failure)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            left.set()
            connection.sock.shutdown(socket.SHUT_RDWR)
            reader.join()
            connection.close()
        if failures:
            raise failures[0]

    def kubectl(self, *arguments, stdin=None, check=True):
        """Runs kubectl; answers the finished process with its text."""
        finished = subprocess.run(
            [tool("kubectl"), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.file('discovery')}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
        )
        if check and finished.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {finished.stderr.strip()}")
        return finished

    def apply(self, text, namespace=None, *options, check=True):
        """Server-side apply: client-side apply cannot hold large definitions in its annotation."""
        where = ["--namespace", namespace] if namespace else []
        arguments = ["apply", "--server-side", "--force-conflicts", *where, *options, "-f", "-"]
        return self.kubectl(*arguments, stdin=text, check=check)

    def namespace(self, name, **labels):
        """A namespace where Pod Security enforces `restricted`, and warns of what only would make such pods."""
        security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        metadata = {"name": name, "labels": security | labels}
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: self.exchange("GET", path)[0] == 200, f"{name} has its service account")


if __name__ == "__main__":
    began = time.monotonic()
    with ControlPlane() as plane:
        print(f"ready after {time.monotonic() - began:.1f} s: {plane.url}")
        print(textwrap.indent(plane.kubectl("get", "nodes", "-L", "topology.kubernetes.io/zone").stdout, "  "))
