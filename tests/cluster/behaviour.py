"""What our chart does on a real control plane: rollouts, evictions, spread over zones, autoscaling, a bad image.

Two things are not as in a cluster: how long a rollout may stand still (PROGRESS, so that a bad image is told in
seconds), and that pods are objects of kwok. Everything else is what helm renders for production.
"""

import contextlib
import re
import time

import crds
import render
from admission import make
from control_plane import BAD, ZONES, ControlPlane
from metrics import NAME, Metrics
from processes import wait_until

ENVIRONMENT = "production"
NAMESPACE = render.namespace(ENVIRONMENT)
WORKER = render.WORKER
DESIRED = 3
PROGRESS = 8
NODES = 6


class Cluster:
    """The namespace of an environment, and the questions that all checks ask."""

    def __init__(self, plane):
        self.plane = plane

    def path(self, *parts, group="api/v1"):
        return "/".join([f"/{group}/namespaces", NAMESPACE, *parts])

    def deployment(self, service):
        return self.plane.get(self.path("deployments", service, group="apis/apps/v1"))

    def scaler(self, service):
        path = self.path("horizontalpodautoscalers", service, group="apis/autoscaling/v2")
        return self.plane.get(path)

    def pods(self, service):
        """Those that are not on their way out."""
        pods = self.plane.get(self.path(f"pods?labelSelector={NAME}%3D{service}"))["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def apply(self, text):
        self.plane.apply(
            re.sub(r"progressDeadlineSeconds: \d+", f"progressDeadlineSeconds: {PROGRESS}", text), NAMESPACE
        )

    def condition(self, service, kind):
        conditions = self.deployment(service)["status"].get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def settled(self, service, replicas, seconds=100):
        """All replicas, and only those, are of the newest template and serve."""

        def now():
            deployment = self.deployment(service)
            status = deployment.get("status", {})
            counts = [status.get(f"{key}eplicas", 0) for key in ("r", "updatedR", "availableR", "readyR")]
            observed = status.get("observedGeneration") == deployment["metadata"]["generation"]
            return observed and set(counts) == {replicas} and len(self.pods(service)) == replicas

        wait_until(now, lambda: f"{service} has {replicas} replicas: {self.deployment(service)['status']}", seconds)

    @contextlib.contextmanager
    def endpoints(self, service):
        """A list of how many endpoints were ready, at each change as long as the block lasts."""
        slices, counts = {}, []

        def seen(kind, one):
            ready = [end for end in one.get("endpoints") or [] if end["conditions"].get("ready")]
            slices[one["metadata"]["name"]] = 0 if kind == "DELETED" else len(ready)
            counts.append(sum(slices.values()))

        path = self.path("endpointslices", group="apis/discovery.k8s.io/v1")
        with self.plane.watch(f"{path}?labelSelector=kubernetes.io/service-name%3D{service}", seen):
            wait_until(lambda: counts and counts[-1] >= DESIRED, f"endpoints of {service}")
            del counts[:-1]
            yield counts

    def zones(self, service):
        """How many pods each zone has."""
        nodes = {
            node["metadata"]["name"]: node["metadata"]["labels"] for node in self.plane.get("/api/v1/nodes")["items"]
        }
        counts = dict.fromkeys(ZONES, 0)
        for pod in self.pods(service):
            if "nodeName" in pod["spec"]:
                counts[nodes[pod["spec"]["nodeName"]]["topology.kubernetes.io/zone"][-1]] += 1
        return counts

    def cordon(self, zone, closed):
        for number in range(NODES):
            if ZONES[number % len(ZONES)] == zone:
                self.plane.patch(f"/api/v1/nodes/node-{number}", {"spec": {"unschedulable": closed}})

    def evict(self, pod):
        """The status that the server answers an eviction with."""
        name = pod["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        return self.plane.exchange("POST", self.path("pods", name, "eviction"), body)[0]


def with_digest(service, seed):
    return render.service(service, ENVIRONMENT, "--set", f"image.digest={render.digest(seed)}")


def comes_up(cluster, metrics):
    """Every service has its replicas, in all zones, before anybody can say how busy it is."""
    for service in render.services():
        cluster.apply(render.service(service, ENVIRONMENT))
    cluster.apply(render.worker(ENVIRONMENT))
    for service in [*render.services(), WORKER]:
        cluster.settled(service, DESIRED)
        assert cluster.zones(service) == dict.fromkeys(ZONES, 1), f"{service}: {cluster.zones(service)}"

    def blind():
        conditions = cluster.scaler("catalog")["status"].get("conditions", [])
        return any(one["type"] == "ScalingActive" and one["status"] == "False" for one in conditions)

    wait_until(blind, "the scaler says that it sees nothing")
    return f"{len(render.services()) + 1} services with {DESIRED} replicas, one per zone"


def rolls_out(cluster, metrics):
    """A new image replaces all pods, and at no moment fewer than all endpoints are ready."""
    with cluster.endpoints("catalog") as ready:
        cluster.apply(with_digest("catalog", "ab"))
        cluster.settled("catalog", DESIRED)
        lowest = min(ready)
    images = {pod["spec"]["containers"][0]["image"].split("@")[1] for pod in cluster.pods("catalog")}
    assert images == {render.digest("ab")}, images
    assert lowest >= DESIRED, f"only {lowest} endpoints were ready"

    # The same count, where the strategy is another: it can be red.
    careless = with_digest("catalog", "ac").replace("maxUnavailable: 0", "maxUnavailable: 50%")
    with cluster.endpoints("catalog") as ready:
        cluster.apply(careless)
        cluster.settled("catalog", DESIRED)
        planted = min(ready)
    assert planted < DESIRED, "nobody notices a rollout that takes pods away first"
    cluster.apply(with_digest("catalog", "ab"))
    cluster.settled("catalog", DESIRED)
    return f"lowest {lowest} of {DESIRED} ready; {planted} with a strategy that takes pods away first"


def is_evicted(cluster, metrics):
    """One pod may be taken, the second has to wait; a drain empties a node a pod at a time."""
    first, second, _ = cluster.pods("catalog")
    answers = [cluster.evict(first), cluster.evict(second)]
    assert answers == [201, 429], f"evictions are answered {answers}"
    cluster.settled("catalog", DESIRED)

    with cluster.endpoints("catalog") as ready:
        node = cluster.pods("catalog")[0]["spec"]["nodeName"]
        cluster.plane.kubectl("drain", node, "--force", "--delete-emptydir-data", "--timeout=60s")
        left = [pod for pod in cluster.pods("catalog") if pod["spec"].get("nodeName") == node]
        assert not left, f"{node} is not empty"
        cluster.plane.kubectl("uncordon", node)
        cluster.settled("catalog", DESIRED)
        lowest = min(ready)
    assert lowest >= DESIRED - 1, f"a drain left {lowest} endpoints"

    # Without a budget nobody waits.
    budget = cluster.path("poddisruptionbudgets", "catalog", group="apis/policy/v1")
    cluster.plane.call("DELETE", budget)
    first, second, _ = cluster.pods("catalog")
    planted = [cluster.evict(first), cluster.evict(second)]
    assert planted == [201, 201], f"without a budget evictions are answered {planted}"
    cluster.apply(with_digest("catalog", "ab"))
    cluster.settled("catalog", DESIRED)
    return f"evictions {answers}, lowest {lowest} ready in a drain; {planted} without a budget"


def scales(cluster, metrics):
    """Exactly as many replicas as the load needs, by CPU, by requests and by lag, up and down."""
    counts = []
    rate = "rpc_server_calls_per_second"
    for title, cpu, calls, lag, catalog, sorter in [
        # 70 % of 250m are 175m for each; 200 calls for each; 1000 events behind for each.
        ("CPU and lag up", 1400, 100, 6500, 8, 7),
        ("CPU and lag down", 100, 100, 0, DESIRED, DESIRED),
        ("requests up, and lag beyond all partitions", 100, 1100, 90000, 6, 12),
        ("requests and lag down", 100, 100, 3500, DESIRED, 4),
    ]:
        metrics.cpu["catalog"] = cpu
        metrics.pods["catalog", rate] = calls
        metrics.external["events_lag"] = lag
        cluster.settled("catalog", catalog)
        cluster.settled(WORKER, sorter)
        for service in ("catalog", WORKER):
            zones = cluster.zones(service).values()
            # Where some of a step go again, nobody moves the others.
            assert "up" not in title or max(zones) - min(zones) <= 1, f"{service}: {zones}"
        counts.append(f"{catalog}/{sorter}")
    asked = f"events_lag{{consumer={WORKER}}}"
    assert asked in metrics.asked and rate in metrics.asked, f"the scalers asked for {metrics.asked}"
    return f"replicas of catalog/{WORKER}: {', '.join(counts)}"


def waits_for_a_zone(cluster, metrics):
    """With a zone closed, what would crowd the others waits for it."""
    cluster.apply(render.worker(ENVIRONMENT))
    cluster.cordon("c", True)
    metrics.external["events_lag"] = 12000

    def waiting():
        pods = cluster.pods(WORKER)
        return len(pods) == 12 and sum("nodeName" not in pod["spec"] for pod in pods)

    waits = wait_until(waiting, lambda: f"pods wait for the zone: {cluster.zones(WORKER)}")
    zones = cluster.zones(WORKER)
    assert max(zones.values()) - zones["c"] <= 1, zones
    # As in dev, where a crowd is better than nobody.
    cluster.apply(render.worker(ENVIRONMENT).replace("DoNotSchedule", "ScheduleAnyway"))
    cluster.settled(WORKER, 12)
    crowded = cluster.zones(WORKER)
    assert crowded["c"] == 0, crowded
    cluster.cordon("c", False)
    cluster.apply(render.worker(ENVIRONMENT))
    cluster.settled(WORKER, 12)
    return f"{waits} of 12 waited; none where a zone is only wished for"


def survives_a_bad_image(cluster, metrics):
    """It is told as failed, what served before serves on, and the good image heals it."""
    good = {pod["metadata"]["name"] for pod in cluster.pods("catalog")}
    assert cluster.condition("catalog", "Progressing")["status"] == "True"
    with cluster.endpoints("catalog") as ready:
        cluster.apply(with_digest("catalog", BAD))
        failed = lambda: cluster.condition("catalog", "Progressing").get("reason") == "ProgressDeadlineExceeded"
        wait_until(failed, "the rollout is told as failed", 30 + PROGRESS)
        lowest = min(ready)
        crashed = [pod for pod in cluster.pods("catalog") if pod["metadata"]["name"] not in good]
        reasons = {pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] for pod in crashed}
        assert reasons == {"CrashLoopBackOff"}, reasons
        assert good <= {pod["metadata"]["name"] for pod in cluster.pods("catalog")}, "a pod that served is gone"
        cluster.apply(with_digest("catalog", "ab"))
        cluster.settled("catalog", DESIRED)
        lowest = min(ready)
    assert lowest >= DESIRED, f"only {lowest} endpoints were ready"
    return f"{len(crashed)} crashed, lowest {lowest} of {DESIRED} ready"


CHECKS = (comes_up, rolls_out, is_evicted, scales, waits_for_a_zone, survives_a_bad_image)


def main():
    began = time.monotonic()
    with ControlPlane(nodes=NODES) as plane:
        crds.install(plane)
        make(plane, render.overlay("cluster"))
        make(plane, render.overlay(ENVIRONMENT))
        with Metrics(plane) as metrics:
            print(f"  ready after {time.monotonic() - began:.1f} s", flush=True)
            cluster = Cluster(plane)
            for check in CHECKS:
                start = time.monotonic()
                said = check(cluster, metrics)
                plane.processes.check()
                print(f"  {check.__name__.replace('_', ' ')}: {said}, {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
