"""Pods and deployments as processes: what the kubelet and the deployment controller do, by the chart's numbers.

A pod migrates first, as its init container does, and is ready when `/ready` of its admin port says so. A rolling
restart starts one pod more than is wanted (maxSurge 1), and takes an old one away when the new one is ready
(maxUnavailable 0). When a pod is taken away two things begin at the same moment, as in a cluster: its endpoint
is withdrawn, which those who balance hear of within `LAG_SECONDS_MAX`, and it sleeps as its preStop hook says.
Then it gets SIGTERM, and must end with 0 before its grace period is over, which has run since the beginning.
"""

import collections
import contextlib
import pathlib
import queue
import random
import re
import signal
import subprocess
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How late a proxy may hear that an endpoint is new or gone. The delay of each change is drawn anew: it is not a
# pause of the test but what the preStop hook is there for.
LAG_SECONDS_MAX = 2.0
START_SECONDS_MAX = 60
PROBE_SECONDS = 0.5

Contract = collections.namedtuple("Contract", "pre_stop grace drain")


def contract(service, environment="production"):
    """Seconds of the preStop hook, of the grace period and for the process to drain, as the chart renders them."""
    text = (ROOT / f"charts/golden/{environment}/{service}.yaml").read_text(encoding="utf-8")

    def seconds(pattern):
        found = set(re.findall(pattern, text))
        assert len(found) == 1, f"{service}: {found} for {pattern}"
        return int(found.pop())

    return Contract(
        seconds(r"preStop:\s+sleep:\s+\{?seconds: (\d+)"),
        seconds(r"terminationGracePeriodSeconds: (\d+)"),
        seconds(r'SHUTDOWN_GRACE,?\s+value: "?(\d+)s'),
    )


class Pod:
    """One process of a service, with its ports."""

    def __init__(self, service, number, ports, variables, programs, folder):
        self.name, self.ports = f"{service}-{number}", ports
        self.program, self.log = programs / service, folder / f"{service}-{number}.log"
        listen = {f"LISTEN_{port.upper()}": f"127.0.0.1:{number}" for port, number in ports.items()}
        self.variables = variables | listen
        self.process = None

    def start(self, migrates):
        with open(self.log, "ab") as log:
            if migrates:
                subprocess.run([self.program, "migrate"], env=self.variables, stdout=log, stderr=log, check=True)
            serving = {name: value for name, value in self.variables.items() if name != "MIGRATE_DATABASE_URL"}
            self.process = subprocess.Popen([self.program], env=serving, stdout=log, stderr=log)

    def ready(self):
        """What the readiness probe finds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait_ready(self):
        end = time.monotonic() + START_SECONDS_MAX
        while not self.ready():
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}: {self.tail()}"
            assert time.monotonic() < end, f"{self.name} is not ready in {START_SECONDS_MAX} s: {self.tail()}"
            time.sleep(0.05)

    def tail(self):
        return self.log.read_text(encoding="utf-8")[-1500:]


class Endpoints:
    """The endpoints of a service, as those who balance know them: each change reaches them late, and in order."""

    def __init__(self, change, lag=lambda: random.uniform(0, LAG_SECONDS_MAX)):
        self.change, self.lag, self.changes = change, lag, queue.Queue()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def publish(self, pod, present):
        self.changes.put((time.monotonic() + self.lag(), pod, present))

    def _follow(self):
        while change := self.changes.get():
            due, pod, present = change
            time.sleep(max(0, due - time.monotonic()))
            self.change(pod, present)
            self.changes.task_done()

    def settle(self):
        """Waits until all is known to those who balance."""
        self.changes.join()

    def close(self):
        self.changes.put(None)
        self.thread.join()


class Deployment:
    """A service with so many replicas."""

    def __init__(self, service, replicas, terms, make_pod, migrates, endpoints):
        self.service, self.replicas, self.terms = service, replicas, terms
        self.make_pod, self.migrates, self.endpoints = make_pod, migrates, endpoints
        self.pods, self.all, self.leaving, self.wrong, self.ends = [], [], [], [], []
        self.least_ready = None

    def add(self):
        """A new pod, once it is ready."""
        pod = self.make_pod(self.service)
        # From here on it ends with the deployment, whatever comes of its start.
        self.all.append(pod)
        pod.start(self.migrates)
        pod.wait_ready()
        self.pods.append(pod)
        self.endpoints.publish(pod, True)
        return pod

    def start(self):
        for _ in range(self.replicas):
            self.add()
        self.endpoints.settle()

    def restart(self):
        """A rolling restart. Pods that leave are not waited for, as a deployment does not wait for them either."""
        for old in list(self.pods):
            self.add()
            self.remove(old)

    def remove(self, pod, terms=None):
        self.pods.remove(pod)
        assert len(self.pods) >= self.replicas, f"{len(self.pods)} pods of {self.service} are left"
        self.endpoints.publish(pod, False)
        leaving = threading.Thread(target=self._terminate, args=(pod, terms or self.terms))
        leaving.start()
        self.leaving.append(leaving)

    def _terminate(self, pod, terms):
        began = time.monotonic()
        time.sleep(terms.pre_stop)
        if pod.process.poll() is not None:
            self.wrong.append(f"{pod.name} ended by itself with {pod.process.returncode}: {pod.tail()}")
            return
        pod.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        try:
            code = pod.process.wait(max(0, began + terms.grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            pod.process.kill()
            code = f"SIGKILL, since its grace period of {terms.grace} s was over"
        self.ends.append(time.monotonic() - told)
        if code != 0:
            self.wrong.append(f"{pod.name} ended with {code}: {pod.tail()}")
        if "the rest is cut off" in pod.log.read_text(encoding="utf-8"):
            self.wrong.append(f"{pod.name} has cut off what it was doing: {pod.tail()}")

    def settle(self):
        """Waits until those that leave have left."""
        for leaving in self.leaving:
            leaving.join()
        self.leaving.clear()
        self.endpoints.settle()

    def probe(self):
        """Notes how many pods are ready of those that shall serve."""
        if len(self.pods) < self.replicas:
            return
        ready = sum(pod.ready() for pod in list(self.pods))
        if ready < self.replicas and not self.wrong:
            self.wrong.append(f"only {ready} of {self.replicas} pods of {self.service} are ready")
        self.least_ready = ready if self.least_ready is None else min(ready, self.least_ready)

    def close(self):
        for pod in self.all:
            if pod.process and pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()
        for leaving in self.leaving:
            leaving.join()
        self.endpoints.close()


@contextlib.contextmanager
def probed(deployments):
    """Looks at all deployments, again and again, for the length of the block."""
    going = threading.Event()
    going.set()

    def probe():
        while going.is_set():
            for deployment in deployments:
                deployment.probe()
            time.sleep(PROBE_SECONDS)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        going.clear()
        thread.join()
