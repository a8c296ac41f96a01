"""Rolling restarts of every service under load lose no request, no message of a feed, and no event.

The services run as processes with the contract of pods (`rollout_pods.py`) behind a real proxy that sends nothing
twice (`rollout_proxy.py`). 200 clients follow votes over WebSockets and event streams; when theirs is closed they
come back at another replica with their cursor, which is what the API asks of clients. All other requests are sent
once. Between the restarts a migration expands and contracts the database of catalog, so that each new pod of the
version that does not know it migrates a database that a newer one has left, as after a rollback; and identity
changes its signing key. At the end the same is done without a preStop hook, and requests must fail.
"""

import argparse
import base64
import contextlib
import itertools
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import rollout_books as books
from live_programs import Program
from rollout_pods import LAG_SECONDS_MAX, Deployment, Endpoints, Pod, contract, probed
from rollout_proxy import Proxy
from rollout_stack import Infrastructure, Service, sql, variables
from stack import new_id, publish_offer, register, wait_until

HERE = pathlib.Path(__file__).resolve().parent
# In the order in which they are started: each after those that it asks.
SERVICES = ["identity", "catalog", "recommendations", "bff"]
REPLICAS = 2
FEEDS = 200
OFFERS = 8
PEOPLE = 16
# Requests begun a second.
RATE = 50
AREA = "rollout"
LOAD = "../../cluster/rollout_load.mjs"


class Cluster:
    """All deployments behind the proxy."""

    def __init__(self, infrastructure, folder, terms):
        self.infrastructure, self.terms = infrastructure, terms
        self.services = {name: Service(name, infrastructure.programs) for name in SERVICES}
        fronts = [(name, port) for name, one in self.services.items() for port in one.ports if port != "admin"]
        self.proxy = Proxy({front: infrastructure.port() for front in fronts}, folder)
        self.variables = variables(infrastructure, self.services.values(), self.proxy, terms)
        numbers = itertools.count(1)

        def make_pod(name):
            ports = {port: infrastructure.port() for port in self.services[name].ports}
            return Pod(name, next(numbers), ports, self.variables[name], infrastructure.programs, folder)

        self.deployments = {
            name: Deployment(name, REPLICAS, terms[name], make_pod, one.migrates, Endpoints(self.proxy.change))
            for name, one in self.services.items()
        }

    def __enter__(self):
        try:
            for deployment in self.deployments.values():
                deployment.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for deployment in self.deployments.values():
            deployment.close()
        self.proxy.close()

    def run(self, service, *arguments):
        """A command of a service, as an operator runs it; answers what it prints."""
        command = [self.infrastructure.programs / service, *arguments]
        return subprocess.run(
            command, env=self.variables[service], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout

    def signing_key(self):
        """The id of the key that signs."""
        keys = [json.loads(line) for line in self.run("identity", "keys", "list", "--json").splitlines()]
        return next(key["kid"] for key in keys if key["state"] == "signing")

    def wrong(self):
        return [line for deployment in self.deployments.values() for line in deployment.wrong]


def publish(urls):
    """Offers, once everybody has heard of them."""
    seller = register(urls, "BUSINESS", new_id()[:8], 0)
    offers = [publish_offer(seller, f"Crew {number}", area=AREA) for number in range(OFFERS)]
    day = f'{{ offerOfTheDay(area: "{AREA}") {{ id }} }}'
    wait_until(lambda: (seller.ask(day).get("data") or {}).get("offerOfTheDay"), "an offer of the day")
    return offers


def voters(urls, count):
    """So many people who are logged in."""
    people = []
    for number in range(count):
        person = register(urls, "MOVER", new_id()[:8], number)
        tokens = person.log_in(person.email, person.password)["tokens"]
        people.append({"access": tokens["accessToken"], "refresh": tokens["refreshToken"]})
    return people


def uuid_of(global_id):
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(global_id + "==")[1:17]))


def load(cluster, urls, offers):
    """The program that asks, in the name of people of its own."""
    return Program(
        LOAD,
        {
            "graphql": urls[0],
            "grpc": {name: cluster.proxy.url(name, "grpc") for name in ("catalog", "identity", "recommendations")},
            "people": voters(urls, PEOPLE),
            "offers": [{"id": offer, "uuid": uuid_of(offer)} for offer in offers],
            "area": AREA,
            "rate": RATE,
        },
    )


def followers(urls, offers):
    """The program that follows, half by WebSocket and half by event stream, each on a connection of its own."""
    kinds = itertools.cycle([("ws", offer) for offer in offers] + [("sse", offer) for offer in offers])
    feeds = [{"kind": kind, "bff": 0, "offers": [offer]} for kind, offer in itertools.islice(kinds, FEEDS)]
    return Program("followers.mjs", {"urls": urls, "feeds": feeds, "cuts": 0, "bytes": 1})


def told(program, **order):
    program.tell(order)
    return program.hear()


class Story:
    """What happens between the restarts, and what is said of each step."""

    def __init__(self, cluster, asking):
        self.cluster, self.asking, self.began = cluster, asking, time.monotonic()
        self.old_key = cluster.signing_key()

    def say(self, what):
        report = told(self.asking, report=True)
        failed = sum(report["failed"].values())
        seconds = time.monotonic() - self.began
        print(f"  {seconds:5.0f} s  {what}: {report['requests']} requests, {failed} failed", flush=True)

    def restart(self, *names):
        """Restarts services at the same time."""
        failures = []

        def run(deployment):
            try:
                deployment.restart()
            except BaseException as failure:  # carried to the thread of the script
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(self.cluster.deployments[name],)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self.say(f"{', '.join(names)} restarted")

    def settle(self):
        for deployment in self.cluster.deployments.values():
            deployment.settle()
        self.say("all that were replaced have left")

    def migrate(self, step):
        owner = self.cluster.variables["catalog"]["MIGRATE_DATABASE_URL"]
        sql(owner, (HERE / f"rollout_{step}.sql").read_text(encoding="utf-8"))
        self.say(f"{step} migration")

    def rotate(self):
        self.cluster.run("identity", "keys", "rotate")
        self.say("a key is published")

    def rotated(self):
        """Waits until the new key signs and tokens of both were taken since; answers how many of each."""
        wait_until(lambda: self.cluster.signing_key() != self.old_key, "the new key signs", 60)
        before, new = told(self.asking, report=True)["keys"], self.cluster.signing_key()

        def of_both():
            now = told(self.asking, report=True)["keys"]
            taken = {key: now.get(key, 0) - before.get(key, 0) for key in (self.old_key, new)}
            return all(taken.values()) and taken

        taken = wait_until(of_both, "tokens of both keys are taken", 30)
        self.say("tokens of both keys are taken")
        return taken


def restarts(cluster, asking, count):
    """Each service alone first, then all at once as often as is left, as after a commit that changes all."""
    story = Story(cluster, asking)
    story.rotate()
    for name in SERVICES:
        if name == "catalog":
            story.migrate("expand")
        story.restart(name)
    for turn in range(1, count):
        story.settle()
        if turn == count - 1:
            story.migrate("contract")
        story.restart(*SERVICES)
    story.settle()
    return story.rotated()


def show(report, result, cluster, resets):
    counts, times = result["count"], report["times"]
    ends = [seconds for deployment in cluster.deployments.values() for seconds in deployment.ends]
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report["kinds"].items()))
    print(f"  {report['requests']} requests ({kinds}); failed: {report['failed'] or 'none'}")
    print(
        f"  answered in {times['median']:.0f} ms (median), {times['most']:.0f} ms (99 of 100),"
        f" {times['longest']:.0f} ms (longest)"
    )
    print(
        f"  {len(result['feeds'])} feeds: {counts['messages']} messages, {counts['resumed']} resumptions,"
        f" {counts['again']} of them by the user, {resets} resets"
    )
    ready = min(deployment.least_ready for deployment in cluster.deployments.values())
    print(
        f"  {len(ends)} pods have left, the slowest {max(ends):.1f} s after SIGTERM;"
        f" never fewer than {ready} of {REPLICAS} pods were ready"
    )


def whole(cluster, urls, offers, count):
    """The run in which nothing may fail; answers what is wrong."""
    with contextlib.ExitStack() as programs:
        # They are told everything from the first vote on.
        following = programs.enter_context(followers(urls, offers))
        begun = following.hear()
        assert begun["ready"], f"these were not told how things are: {begun['silent'][:3]}"
        assert following.hear()["cuts"] == 0
        asking = programs.enter_context(load(cluster, urls, offers))
        begun = asking.hear()
        assert begun["ready"], begun["samples"]
        with probed(cluster.deployments.values()):
            taken = restarts(cluster, asking, count)
        report = told(asking, end=True)
        versions = {offer: len(report["votes"].get(offer, {})) for offer in offers}
        result = told(following, versions=versions, changes=0)
    wrong, resets = books.feeds(result, report["votes"])
    show(report, result, cluster, resets)
    kept, new = taken.values()
    print(f"  since the keys have changed, {kept} requests with the old one and {new} with the new one", flush=True)
    wrong = books.failures(report) + cluster.wrong() + books.votes(report["votes"]) + wrong[:5]
    wrong += books.proxied(cluster.proxy)
    wait_until(lambda: books.heard(cluster.infrastructure), "consumers know what there is to know", 60)
    print(f"  {sum(versions.values())} votes, each an event that its consumer has heard of", flush=True)
    if not wrong:
        books.faults_are_noticed(result["feeds"][0], report["votes"][result["feeds"][0]["offer"]])
    # Without these the run would show nothing.
    if result["count"]["resumed"] < count * FEEDS:
        wrong.append(f"{result['count']['resumed']} resumptions are too few to show anything")
    return wrong


def without_hook(cluster, urls, offers):
    """Without the hook a pod is gone before those who balance know it: requests fail, and are counted."""
    deployment = cluster.deployments["catalog"]
    with load(cluster, urls, offers) as asking:
        assert asking.hear()["ready"]
        deployment.endpoints.lag = lambda: LAG_SECONDS_MAX
        deployment.add()
        deployment.remove(deployment.pods[0], deployment.terms._replace(pre_stop=0))
        deployment.settle()
        count = wait_until(lambda: sum(told(asking, report=True)["failed"].values()), "requests fail", 20)
    assert cluster.proxy.faults(), "the proxy has seen nothing of it"
    print(f"  without a preStop hook {count} requests fail", flush=True)


def killed(cluster):
    """A pod that is killed is missed, and not taken for one that has left in order."""
    deployment = cluster.deployments["recommendations"]
    pod = deployment.pods[0]
    pod.process.kill()
    pod.process.wait()
    deployment.probe()
    deployment.add()
    deployment.remove(pod)
    deployment.settle()
    assert len(deployment.wrong) == 2, deployment.wrong
    print("  a pod that is killed is noticed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=2, help="rolling restarts of each service (2)")
    parser.add_argument("--break", dest="broken", choices=["prestop"], help="runs with a fault, and must fail")
    options = parser.parse_args()
    terms = {name: contract(name) for name in SERVICES}
    if options.broken == "prestop":
        terms = {name: one._replace(pre_stop=0) for name, one in terms.items()}
    print(f"  seconds by the chart: {', '.join(f'{name} {tuple(one)}' for name, one in terms.items())}", flush=True)
    # Whoever is told to end leaves nothing, either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        infrastructure = stack.enter_context(Infrastructure())
        cluster = stack.enter_context(Cluster(infrastructure, folder, terms))
        urls = [f"{cluster.proxy.url('bff', 'http')}/graphql"]
        offers = publish(urls)
        print(f"  all is there after {time.monotonic() - began:.0f} s", flush=True)
        wrong = whole(cluster, urls, offers, options.restarts)
        if not wrong:
            books.loss_is_noticed(infrastructure)
            without_hook(cluster, urls, offers)
            killed(cluster)
    books.close(wrong)


if __name__ == "__main__":
    main()
