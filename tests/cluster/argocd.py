"""Argo CD with the files of argocd/, on a real API server, from a repository made of this checkout.

Shown are: the order of the first start; every service of every environment Synced and Healthy; that a commit of one
digest rolls that service and no other; that drift is corrected; that a template that does not render changes nothing;
that a bad digest ends Degraded while the pods before it serve, and that `git revert` heals it; that a file of values
becomes a service, within its project's rights, and goes with the file; that a pull request has its preview for as long
as it is open, namespace included; and who is told.

What is other than in a cluster: argocd/repository.yaml names the repository, the code host and a shorter pause between
looks; the chart waits for less than five minutes before it calls a rollout failed; the test asks for a comparison after
a push where the code host would. No pod runs anything: one with a
bad digest fails as one that crashes. The operators of custom resources are played by argocd_world.py.
"""

import re
import time

import crds
from argocd_host import NAMESPACE, ArgoCD, Repository
from argocd_world import CodeHost, Operators, Receiver
from control_plane import BAD, ControlPlane
from metrics import Metrics
from processes import wait_until

ENVIRONMENTS = ("dev", "staging", "production")
REFRESH = "argocd.argoproj.io/refresh"
APPLICATIONS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications"


def digest(begin):
    return "sha256:" + (begin * 64)[:64]


def image(text):
    return f'image:\n  digest: "{text}"\n'


def trouble(application):
    """What Argo CD says is wrong with an application, in one line."""
    status = application.get("status", {})
    operation = status.get("operationState", {})
    said = [status.get("sync", {}).get("status"), status.get("health", {}).get("status")]
    said += [operation.get("phase"), operation.get("message", "")[:300]]
    said += [condition["message"][:300] for condition in status.get("conditions", [])]
    return " | ".join(str(part) for part in said if part)


def asked(application):
    return REFRESH in application["metadata"].get("annotations", {})


def good(application):
    status = application.get("status", {})
    return (
        status.get("sync", {}).get("status") == "Synced"
        and status.get("health", {}).get("status") == "Healthy"
        and status.get("operationState", {}).get("phase") == "Succeeded"
    )


class Delivery:
    def __init__(self, plane, repository, host, receiver, operators, metrics):
        self.plane, self.repository = plane, repository
        self.host, self.receiver = host, receiver
        self.operators, self.metrics = operators, metrics
        self.services = services(repository)
        for service in self.services:
            # Little to do, so that every scaler is content with what there is.
            metrics.cpu[service] = 20
            for name in ("rpc_server_calls_per_second", "http_server_requests_per_second"):
                metrics.pods[service, name] = 1

    # What is seen of it.

    def applications(self):
        self.plane.processes.check()
        return {found["metadata"]["name"]: found for found in self.plane.get(APPLICATIONS)["items"]}

    def until(self, condition, what, seconds=60):
        """Waits for condition(applications); says of all that are not good what is wrong with them."""

        def report():
            bad = {name: found for name, found in self.applications().items() if not good(found)}
            return what + "".join(f"\n  {name}: {trouble(found)}" for name, found in bad.items())

        wait_until(lambda: condition(self.applications()), report, seconds, pause=0.3)

    def until_good(self, names, what, seconds=60):
        self.until(lambda found: all(name in found and good(found[name]) for name in names), what, seconds)

    def names(self, *services):
        return [f"{environment}-{service}" for environment in ENVIRONMENTS for service in services]

    def exists(self, path):
        return self.plane.exchange("GET", path)[0] == 200

    def deployment(self, service, environment="dev"):
        return self.plane.get(f"/apis/apps/v1/namespaces/homeward-{environment}/deployments/{service}")

    def runs(self, service, wanted, environment="dev"):
        return wanted in self.deployment(service, environment)["spec"]["template"]["spec"]["containers"][0]["image"]

    def running(self, *but):
        """The generation and the pods of every deployment but those named, as namespace/name."""
        seen = {}
        for found in self.plane.get("/apis/apps/v1/deployments")["items"]:
            place = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
            seen[place] = (found["metadata"]["generation"], set())
        for pod in self.plane.get("/api/v1/pods")["items"]:
            place = f"{pod['metadata']['namespace']}/{pod['metadata']['labels']['app.kubernetes.io/name']}"
            if place in seen and "deletionTimestamp" not in pod["metadata"]:
                seen[place][1].add(pod["metadata"]["uid"])
        return {place: what for place, what in seen.items() if place not in but}

    def look(self):
        """Asks Argo CD to compare all with the repository, as the code host's webhook does after a push."""
        for name in self.applications():
            change = {"metadata": {"annotations": {REFRESH: "normal"}}}
            self.plane.exchange("PATCH", f"{APPLICATIONS}/{name}", change, "application/merge-patch+json")

    def until_compared(self):
        self.look()
        self.until(lambda found: not any(map(asked, found.values())), "everything was compared")

    def commit(self, message):
        commit = self.repository.commit(message)
        self.look()
        return commit

    def revert(self, commit):
        self.repository.revert(commit)
        self.look()

    # What is shown.

    def starts_in_order(self):
        """Overlays before services, and of a service its secrets and users before its pods."""
        self.plane.kubectl(
            *("apply", "--server-side", "-k", str(self.repository.work / "argocd")),
            *("--selector", "homeward.example/bootstrap=true"),
        )

        def root_waits(found):
            root = found["homeward"].get("status", {}).get("operationState", {})
            return "ApplicationSet/environments" in root.get("message", "")

        self.until(root_waits, "the root waits for the environments")
        wait_until(lambda: len(self.operators.waiting["stores"]) >= len(ENVIRONMENTS), "every overlay is applied")
        sets = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applicationsets"
        assert not self.exists(f"{sets}/services"), "services are made before the overlays are healthy"
        self.operators.release("stores")

        def each_waits(found):
            return all(
                "ExternalSecret" in found.get(name, {}).get("status", {}).get("operationState", {}).get("message", "")
                for name in self.names(*self.services)
            )

        self.until(each_waits, "each service waits for its secret")
        early = [place for place in self.running() if place.startswith("homeward-")]
        assert not early, f"pods are made before their secrets: {early}"
        self.operators.release("secrets")
        self.until(lambda found: all(map(good, found.values())), "everything is synced and healthy", 120)
        found = self.applications()
        assert set(self.names(*self.services)) < set(found), sorted(found)

    def one_digest_rolls_one_service(self):
        before, wanted = self.running("homeward-dev/catalog"), digest("1")
        self.repository.write("charts/digests/dev/catalog.yaml", image(wanted))
        commit = self.commit("A new catalog")
        self.tells("dev-catalog runs", commit)
        status = self.deployment("catalog")["status"]
        assert self.runs("catalog", wanted) and status["updatedReplicas"] == status["readyReplicas"], "told too early"
        self.until_compared()
        self.until_good(["dev-catalog"], "the new catalog is up")
        assert self.running("homeward-dev/catalog") == before, "something else was rolled, too"
        assert not self.receiver.heard("dev-identity runs", commit), "told of what did not change"

    def drift_is_corrected(self):
        place = "/apis/apps/v1/namespaces/homeward-dev/deployments/catalog"
        container = {"name": "catalog", "image": f"registry.example/catalog@{digest('2')}"}
        change = {"spec": {"template": {"spec": {"containers": [container]}}}}
        self.plane.call("PATCH", place, change, "application/strategic-merge-patch+json")
        policy = "/apis/networking.k8s.io/v1/namespaces/homeward-dev/networkpolicies/catalog"
        self.plane.call("DELETE", policy)
        wait_until(lambda: self.exists(policy), "the deleted policy is back")
        wait_until(lambda: self.runs("catalog", digest("1")), "the image is that of the repository")
        self.until_good(["dev-catalog"], "the catalog is as it was")

    def what_does_not_render_changes_nothing(self):
        before = self.running()
        self.repository.write("charts/service/templates/broken.yaml", '{{ fail "this cannot be rendered" }}\n')
        self.repository.write("charts/digests/dev/catalog.yaml", image(digest("3")))
        commit = self.commit("A template that fails")

        def shown(found):
            every = (found[name]["status"] for name in self.names(*self.services))
            return all(
                status["sync"]["status"] == "Unknown" and "this cannot be rendered" in str(status.get("conditions"))
                for status in every
            )

        self.until(shown, "every application shows the error")
        assert self.running() == before, "something changed although nothing was rendered"
        self.tells("dev-catalog cannot be rendered", "this cannot be rendered")
        self.revert(commit)
        self.until_good(self.names(*self.services), "everything is synced again")
        assert self.running() == before, "something changed although all is as it was"

    def bad_digest_is_reverted(self):
        before = self.running("homeward-dev/catalog")
        replicas = self.deployment("catalog")["status"]["readyReplicas"]
        self.repository.write("charts/digests/dev/catalog.yaml", image(f"sha256:{(BAD + '0' * 64)[:64]}"))
        commit = self.commit("A catalog that crashes")

        def degraded(found):
            return found["dev-catalog"]["status"]["health"]["status"] == "Degraded"

        self.until(degraded, "the catalog is degraded")
        status = self.deployment("catalog")["status"]
        assert status.get("readyReplicas") == replicas and status["unavailableReplicas"] > 0, status
        self.tells("dev-catalog is degraded", commit)
        self.revert(commit)
        wait_until(lambda: self.runs("catalog", digest("1")), "the digest before it is back")
        self.until_good(["dev-catalog"], "the catalog is healed")
        assert self.running("homeward-dev/catalog") == before, "something else was rolled, too"

    def values_become_a_service(self):
        """Only within the rights of its project, and for as long as they are there."""
        before, work = self.running(), self.repository
        files = ["charts/values/{}.yaml", "charts/contracts/{}.yaml"]
        files += [f"charts/digests/{environment}/{{}}.yaml" for environment in ENVIRONMENTS]
        for name in files:
            work.write(name.format("movers"), work.read(name.format("catalog")).replace("catalog", "movers"))
        role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: movers}\n"
        work.write(
            "charts/service/templates/role.yaml", f'{{{{ if eq .Values.name "movers" }}}}\n{role}{{{{ end }}}}\n'
        )
        self.commit("A service that wants too much")

        def refused(found):
            return "not permitted in project services" in trouble(found.get("dev-movers", {}))

        self.until(refused, "a kind that the project does not have is refused")
        self.tells("dev-movers cannot be applied", "not permitted in project")
        place = "/apis/apps/v1/namespaces/homeward-dev/deployments/movers"
        assert not self.exists(place), "part of what was refused was applied"
        work.git("rm", "-q", "charts/service/templates/role.yaml")
        self.commit("What it needs")
        self.until_good(self.names("movers"), "the new service is up in every environment")
        assert self.exists(place)
        work.git("rm", "-q", *(name.format("movers") for name in files))
        self.commit("No movers")
        self.until(lambda found: not set(self.names("movers")) & set(found), "the applications are gone")
        kinds = "deployments,replicasets,services,serviceaccounts,networkpolicies,externalsecrets,hpa,pdb"
        left = self.plane.kubectl("get", kinds, "-A", "-l", "app.kubernetes.io/name=movers", "-o", "name").stdout
        # Replica sets go after their deployment.
        assert not [name for name in left.split() if not name.startswith("replicaset")], left
        wait_until(lambda: self.running() == before, "all else is as it was")

    def pull_requests_are_previewed(self):
        before, work, namespace = self.running(), self.repository, "/api/v1/namespaces/homeward-pr-7"
        work.git("checkout", "-q", "-b", "change-7")
        work.write("charts/digests/preview/catalog.yaml", image(digest("7")))
        commit = work.commit("A change")
        work.git("checkout", "-q", "main")
        # The other has no label.
        self.host.open = {7: (commit, ["preview"]), 8: (commit, [])}
        names = ["pr-7", *(f"pr-7-{service}" for service in self.services)]
        self.until_good(names, "the preview is up", 90)
        assert not [name for name in self.applications() if name.startswith("pr-8")], "a preview nobody asked for"
        place = "/apis/apps/v1/namespaces/homeward-pr-7/deployments/catalog"
        assert digest("7") in str(self.plane.get(place)["spec"]["template"]), "the preview is not of the change"
        security = self.plane.get(namespace)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        assert security == "restricted", security
        self.projects_allow_what_is_used("root", "platform", "services", "previews")
        self.host.open = {}
        self.until(lambda found: not set(names) & set(found), "the applications of the preview are gone")
        wait_until(lambda: not self.exists(namespace), lambda: f"no namespace: {self.plane.get(namespace)['status']}")
        assert self.running() == before, "a preview changed something outside"
        assert not self.receiver.heard("pr-7"), "somebody is told of a preview"

    def nothing_without_a_project(self):
        """What names no project may do nothing, whoever makes it."""
        source = {"repoURL": self.repository.url, "targetRevision": "HEAD", "path": "k8s/overlays/preview"}
        spec = {"project": "default", "source": source, "destination": {"name": "in-cluster", "namespace": "default"}}
        metadata = {"name": "stray", "namespace": NAMESPACE}
        found = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec}
        self.plane.call("POST", APPLICATIONS, found)
        self.until(lambda found: "InvalidSpecError" in str(found["stray"].get("status")), "it is refused")
        self.plane.call("DELETE", f"{APPLICATIONS}/stray")

    def projects_allow_what_is_used(self, *names):
        """And no more, but for what only a worker has."""
        for name in names:
            spec = self.plane.get(f"{APPLICATIONS.replace('applications', 'appprojects')}/{name}")["spec"]
            kinds = spec["clusterResourceWhitelist"] + spec["namespaceResourceWhitelist"]
            used = {
                (found.get("group", ""), found["kind"])
                for application in self.applications().values()
                for found in application["status"].get("resources", [])
                if application["spec"]["project"] == name
            }
            unused = {(kind["group"], kind["kind"]) for kind in kinds} - used - {("keda.sh", "ScaledObject")}
            assert not unused, f"the project {name} allows what nobody uses: {unused}"

    def replicas_are_left_to_the_scaler(self):
        self.metrics.cpu["catalog"] = 10000
        wait_until(lambda: self.deployment("catalog")["status"].get("readyReplicas") == 3, "the catalog is scaled")
        generation = self.deployment("catalog")["metadata"]["generation"]
        self.until_compared()
        found = self.applications()["dev-catalog"]
        assert found["status"]["sync"]["status"] == "Synced", f"the replicas are called drift: {trouble(found)}"
        self.until_good(["dev-catalog"], "the catalog is as many as it should be")
        assert self.deployment("catalog")["metadata"]["generation"] == generation, "somebody else set the replicas"

    def tells(self, *parts):
        wait_until(lambda: self.receiver.heard(*parts), lambda: f"{parts} among {self.receiver.texts}")


def services(repository):
    return sorted(path.stem for path in (repository.work / "charts/values").glob("*.yaml"))


def prepare(repository, host):
    """What differs from a cluster; the docstring on top says why."""
    settings = {"url": repository.url, "api": host.url, "pollSeconds": "2"}
    for key, value in settings.items():
        text = repository.read("argocd/repository.yaml")
        text, found = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {value}", text)
        assert found == 1, f"argocd/repository.yaml does not say {key} once"
        repository.write("argocd/repository.yaml", text)
    deadline = "progressDeadlineSeconds: 300"
    repository.replace("charts/service/templates/deployment.yaml", deadline, deadline.replace("300", "12"))
    repository.commit("The checkout")


def secrets(plane, receiver):
    """What people put there by hand: where to tell, and how to ask the code host."""
    told = {"argocd-notifications-secret": {"deployments-url": receiver.url}, "pull-requests": {"token": "none"}}
    for name, content in told.items():
        metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "argocd"}}
        found = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}
        plane.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", found)


def main():
    with ControlPlane() as plane, CodeHost() as host, Receiver() as receiver, Metrics(plane) as metrics:
        crds.install(plane)
        repository = Repository(plane.folder)
        prepare(repository, host)
        ours = services(repository)
        held = {
            "stores": lambda found: found["kind"] == "SecretStore",
            "secrets": lambda found: found["kind"] == "ExternalSecret" and found["metadata"]["name"] in ours,
        }
        with Operators(plane, **held) as operators, ArgoCD(plane):
            secrets(plane, receiver)
            delivery = Delivery(plane, repository, host, receiver, operators, metrics)
            for shown in (
                delivery.starts_in_order,
                delivery.one_digest_rolls_one_service,
                delivery.drift_is_corrected,
                delivery.what_does_not_render_changes_nothing,
                delivery.bad_digest_is_reverted,
                delivery.values_become_a_service,
                delivery.pull_requests_are_previewed,
                delivery.nothing_without_a_project,
                delivery.replicas_are_left_to_the_scaler,
            ):
                start = time.monotonic()
                shown()
                print(f"  {shown.__name__.replace('_', ' ')}: {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
