"""One vote is one trace, from the HTTP request to the SQL of the service that hears of it; nothing personal is
in any span; and a collector that is away, slow, failing or mad changes nothing for anybody.
"""

import json
import os
import pathlib
import re
import subprocess
import urllib.parse
import urllib.request

from collector import Away, Collector, Failing, Mad, Slow
from leaks import CAST_VOTE, LOGIN, Person, browse, mistakes, of_the_stack
from live_voters import movers
from stack import Client, cli, in_parallel, listening_pid, new_id, publish_offer, register, status, wait_until

CALLER = "00000000000000ab"
VOTE = "homeward.catalog.v1.CatalogService/CastVote"
# More spans than a process keeps.
REQUESTS = 2400
PEOPLE = 16
GROWTH_KIB_MAX = 64 << 10
READ = "query($id: ID!) { offer(id: $id) { title votes { up down mine } organisation { name } } }"


def send(person, document, variables, trace=None):
    """A request that is not repeated, of a trace that is known; answers status and body."""
    body = json.dumps({"query": document, "variables": variables})
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"} if trace else {}
    code, _, content = person.send(body, headers=headers)
    return code, json.loads(content)


def vote_of(offer, value):
    return {"input": {"requestId": new_id(), "offerId": offer, "value": value}}


def one_vote_is_one_trace(collector, voter, offer):
    """Answers the spans of the trace."""
    trace = new_id().replace("-", "")
    code, answer = send(voter, CAST_VOTE, vote_of(offer, "UP"), trace)
    assert code == 200 and not answer.get("errors"), answer
    missing = []

    def chain():
        """From the request on, each below the one before it, or what is missing of it."""
        spans = collector.trace(trace)
        found = {}

        def under(parent, key, service, kind, **matching):
            above = found[parent].id if parent else CALLER
            for span in spans:
                like = {"service": service, "kind": kind, "parent": above} | matching
                attributes = like.pop("attributes", {})
                if all(getattr(span, name) == value for name, value in like.items()) and all(
                    span.attributes.get(name) == value for name, value in attributes.items()
                ):
                    found[key] = span
                    return
            raise LookupError(f"{key} under {parent}")

        sql, redis = {"db.system.name": "postgresql"}, {"db.system.name": "redis"}
        try:
            answered = {"http.response.status_code": "200"}
            under(None, "request", "bff", "SERVER", name="POST /graphql", attributes=answered)
            under("request", "rate", "bff", "CLIENT", attributes=redis)
            under("request", "operation", "bff", "INTERNAL", name="mutation")
            under("operation", "call", "bff", "CLIENT", name=VOTE)
            under("call", "method", "catalog", "SERVER", name=VOTE)
            for statement in ("BEGIN", "INSERT", "COMMIT"):
                under("method", statement, "catalog", "CLIENT", attributes=sql | {"db.operation.name": statement})
            under("method", "create", "catalog", "PRODUCER", name="create events.vote")
            under("create", "send", "catalog", "CLIENT", name="send events.vote")
            under("create", "process", "recommendations", "CONSUMER", name="process events.vote")
            under("process", "claim", "recommendations", "CLIENT", name="INSERT platform.inbox", attributes=sql)
        except LookupError as lacking:
            missing[:] = [str(lacking), *map(str, spans)]
            return None
        ids = {span.id for span in spans} | {CALLER}
        # Of a process whose next batch is still to come.
        missing[:] = [f"nothing above {span}" for span in spans if span.parent not in ids]
        return None if missing else spans

    try:
        spans = wait_until(chain, "a whole trace", 30)
    except AssertionError as late:
        raise AssertionError("\n".join(missing)) from late
    assert len({span.id for span in spans}) == len(spans), "an id came twice"
    failed = [str(span) for span in spans if span.failed or "error.type" in span.attributes]
    assert not failed, failed
    return spans


def a_failure_is_marked(collector, urls):
    """A token that is refused, from the one who refuses to the one who asked."""
    trace = new_id().replace("-", "")
    send(Client(urls, "not a token"), "{ viewer { id } }", {}, trace)
    named = lambda: [span for span in collector.trace(trace) if span.name == "query"]
    operation = wait_until(named, "the span of a query that failed", 20)[0]
    assert operation.failed and operation.attributes["error.type"].startswith("TOKEN_"), operation.attributes


def nothing_personal(collector, stack, run):
    """Everyday use and everyday mistakes, with a secret in each."""
    secrets = {}
    told = cli("status", "--port-base", os.environ["HOMEWARD_PORT_BASE"], stdout=subprocess.PIPE)
    logs = pathlib.Path(re.search(r"logs are in (.+)", told.stdout.decode())[1])
    secrets |= of_the_stack(logs.parent)
    urls = stack["graphql"]
    for kind in ("BUSINESS", "MOVER"):
        person = Person(urls, f"traced{run}", kind, secrets)
        assert not person.register()["userErrors"] and not person.log_in()["userErrors"]
        browse(urls, person)
        mistakes(urls, person)
    # What each BFF has told before this has come when this has.
    for url in urls:
        trace = new_id().replace("-", "")
        credentials = {"input": {"email": person.email, "password": person.password}}
        send(Client([url]), LOGIN, credentials, trace)
        arrived = lambda: {"identity", "bff"} <= {span.service for span in collector.trace(trace)}
        wait_until(arrived, "the last spans", 20)

    def found():
        with collector.lock:
            written = b"\n".join(collector.batches).lower()
        forms = {
            name: {text, urllib.parse.quote(text), urllib.parse.quote_plus(text)} for name, text in secrets.items()
        }
        leaked = [name for name, texts in forms.items() if any(text.lower().encode() in written for text in texts)]
        return leaked, len(written)

    leaked, size = found()
    assert not leaked, leaked
    with collector.lock:
        collector.batches.append(f"welcome, {person.email}".encode())
    assert found()[0] == ["e-mail of a MOVER"], found()
    return len(secrets), size


def documented(stack):
    """Every metric of the stack is in the documentation."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs/telemetry.md").read_text(encoding="utf-8")
    told = re.findall(r"`([a-z_*]+)`", text[text.index("## Metrics") :])
    endings = {"counter": "_total", "info": "_info"}
    undocumented = set()
    for service in stack["services"]:
        with urllib.request.urlopen(f"{service['admin']}/metrics", timeout=10) as answer:
            for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", answer.read().decode(), re.MULTILINE):
                name += endings.get(kind, "")
                if not any(re.fullmatch(one.replace("*", ".*"), name) for one in told):
                    undocumented.add(name)
    assert not undocumented, undocumented


class Processes:
    """The services of the stack from outside: their memory and what they count."""

    def __init__(self, stack):
        self.admins = {f"{one['name']} {one['replica']}": one["admin"] for one in stack["services"]}
        self.pids = {name: listening_pid(urllib.parse.urlsplit(url).port) for name, url in self.admins.items()}

    def resident_kib(self):
        sizes = {}
        for name, pid in self.pids.items():
            status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            sizes[name] = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
        return sizes

    def counted(self, metric):
        """Of each process, the sum of a metric's series."""
        counts = {}
        for name, url in self.admins.items():
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            found = re.findall(rf"^{re.escape(metric)}(?:{{.*}})? (\d+)$", text, re.MULTILINE)
            counts[name] = sum(map(int, found))
        return counts


def ask_much(people, offer):
    """Votes and queries, none of them repeated; answers which were not answered as ever."""
    wrong = []

    def ask(person):
        for number in range(REQUESTS // PEOPLE):
            if number % 2:
                code, answer = send(person, READ, {"id": offer})
                good = answer.get("data", {}).get("offer", {}).get("votes")
            else:
                code, answer = send(person, CAST_VOTE, vote_of(offer, ("UP", "DOWN")[number // 2 % 2]))
                good = answer.get("data", {}).get("castVote", {}).get("votes")
            if code != 200 or answer.get("errors") or not good:
                wrong.append((code, json.dumps(answer)[:300]))

    in_parallel(PEOPLE, ask, people)
    return wrong


def faults(stack, people, offer):
    """The same requests under each kind of collector."""
    processes = Processes(stack)
    dropped, exported = "telemetry_spans_dropped_total", "telemetry_spans_exported_total"
    with Collector():
        assert ask_much(people, offer) == []
        wait_until(lambda: all(processes.counted(exported)[f"catalog {n}"] for n in (1, 2)), "spans that are taken", 30)
    before = processes.resident_kib()
    kinds = {
        "slow": Slow,
        "failing": Failing,
        "silent": lambda: Mad(b""),
        "mad": lambda: Mad(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhm"),
        "away": Away,
    }
    for kind, collector in kinds.items():
        lost = processes.counted(dropped)
        with collector():
            wrong = ask_much(people, offer)
            assert wrong == [], f"{kind}: {len(wrong)} of {REQUESTS}, as {wrong[0]}"
            now = lambda: {name: count - lost[name] for name, count in processes.counted(dropped).items()}
            wait_until(lambda: now()["catalog 1"] and now()["bff 1"], f"spans that are dropped while it is {kind}", 30)
            grown = {name: size - before[name] for name, size in processes.resident_kib().items()}
            assert max(grown.values()) < GROWTH_KIB_MAX, f"{kind}: {grown} KiB more"
        assert Processes(stack).pids == processes.pids, f"{kind}: a process has ended"
        print(
            f"  {kind}: {REQUESTS} requests answered as ever, {sum(now().values())} spans dropped, "
            f"at most {max(grown.values())} KiB more memory"
        )
    with Collector() as collector:
        trace = new_id().replace("-", "")

        def arrives():
            send(people[0], READ, {"id": offer}, trace)
            return collector.trace(trace)

        wait_until(arrives, "spans after all that", 60)


def main():
    stack, run = status(), new_id()[:8]
    urls = stack["graphql"]
    seller = register(urls, "BUSINESS", run, "traced")
    offer = publish_offer(seller, "Traced")
    people = movers(urls, f"traced-{run}", PEOPLE)
    with Collector() as collector:
        spans = one_vote_is_one_trace(collector, people[0], offer)
        print(f"  one vote: {len(spans)} spans of {len({span.service for span in spans})} services in one trace")
        a_failure_is_marked(collector, urls)
        count, size = nothing_personal(collector, stack, run)
        print(f"  {count} secrets are nowhere in {size >> 10} KiB of spans; a planted one was found")
    faults(stack, people, offer)
    documented(stack)


if __name__ == "__main__":
    main()
