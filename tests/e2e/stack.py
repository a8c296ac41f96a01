"""The stack as a script outside sees it: its status, and GraphQL over HTTP. Standard library only."""

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.parse
import uuid


def status():
    """What `homeward status --json` says of the stack under test."""
    base = os.environ["HOMEWARD_PORT_BASE"]
    answer = cli("status", "--json", "--port-base", base, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)


def cli(*arguments, **options):
    """Runs the command line tool and fails when it fails."""
    return subprocess.run([os.environ["HOMEWARD_CLI"], *arguments], check=True, **options)


def wait_until(condition, what, seconds=60):
    """Waits for a condition and returns what it answered; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class NoAnswer(Exception):
    """The connection broke, so nobody knows whether the request took effect."""


class Client:
    """One caller with kept connections, one per BFF. Not to be shared between threads."""

    def __init__(self, urls, token=None):
        self.urls = [urllib.parse.urlsplit(url) for url in urls]
        self.connections = {}
        self.token = token

    def send(self, body, method="POST", headers=None, path=None, url=None):
        """One HTTP exchange; answers (status, headers, bytes)."""
        url = url or random.choice(self.urls)
        connection = self.connections.pop(url, None) or http.client.HTTPConnection(
            url.hostname, url.port, timeout=30
        )
        all_headers = {"content-type": "application/json", "accept": "application/json"}
        if self.token:
            all_headers["authorization"] = f"Bearer {self.token}"
        all_headers.update(headers or {})
        try:
            connection.request(method, path or url.path, body, all_headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as broken:
            connection.close()
            raise NoAnswer(str(broken)) from broken
        if not response.will_close:
            self.connections[url] = connection
        return response.status, response.headers, content

    def ask(self, document, **variables):
        """One GraphQL request; answers the parsed body whatever it says."""
        body = json.dumps({"query": document, "variables": variables})
        _, _, content = self.send(body)
        return json.loads(content)

    def data(self, document, **variables):
        """One GraphQL request that must succeed without an error; repeated while a repeat can help."""
        return self.insist(document, variables)["data"]

    def insist(self, document, variables, seconds=120):
        """Repeats a request, with the same variables, until it is answered for good."""
        end = time.monotonic() + seconds
        pause = 0.02
        while True:
            try:
                answer = self.ask(document, **variables)
            except (NoAnswer, json.JSONDecodeError) as broken:
                answer = {"errors": [{"message": str(broken), "extensions": {"retryable": True}}]}
            errors = answer.get("errors")
            if not errors:
                return answer
            if not any(error.get("extensions", {}).get("retryable") for error in errors):
                raise AssertionError(f"refused: {json.dumps(errors)[:600]}")
            if time.monotonic() > end:
                raise AssertionError(f"not answered within {seconds} s: {json.dumps(errors)[:600]}")
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 1.0)

    def payload(self, field, document, **variables):
        """A mutation that must succeed without a user error; answers its payload."""
        payload = self.data(document, **variables)[field]
        assert payload["userErrors"] == [], f"{field}: {payload['userErrors']}"
        return payload

    def log_in(self, email, password):
        """Logs in and sends the token from now on."""
        payload = self.payload(
            "login",
            """mutation($input: LoginInput!) { login(input: $input) {
                 tokens { accessToken refreshToken } viewer { id email organisation { id } }
                 userErrors { code message field } } }""",
            input={"email": email, "password": password},
        )
        self.token = payload["tokens"]["accessToken"]
        return payload


REGISTER = """mutation($input: RegisterInput!) { register(input: $input) {
  userId organisationId userErrors { code message field } } }"""

CREATE_OFFER = """mutation($input: CreateOfferInput!) { createOffer(input: $input) {
  offer { id version state } userErrors { code message field } } }"""

PUBLISH_OFFER = """mutation($input: PublishOfferInput!) { publishOffer(input: $input) {
  offer { id version state } userErrors { code message field } } }"""

CAST_VOTE = """mutation($input: CastVoteInput!) { castVote(input: $input) {
  votes { up down mine version } userErrors { code message field } } }"""

RETRACT_VOTE = """mutation($input: RetractVoteInput!) { retractVote(input: $input) {
  votes { up down mine version } userErrors { code message field } } }"""


def new_id():
    return str(uuid.uuid4())


def register(urls, kind, run, number):
    """A new account that is logged in."""
    email = f"{kind.lower()}-{run}-{number}@example.com"
    password = f"correct horse {run} {number}"
    account = {
        "requestId": new_id(),
        "email": email,
        "password": password,
        "displayName": f"Person {number}",
        "kind": kind,
    }
    if kind == "BUSINESS":
        account["organisationName"] = f"Movers {run} {number}"
    client = Client(urls)
    client.payload("register", REGISTER, input=account)
    client.log_in(email, password)
    client.email, client.password = email, password
    return client


def publish_offer(seller, title, **fields):
    """A published offer of the seller's; answers its id."""
    offer = {
        "requestId": new_id(),
        "title": title,
        "description": "Two people, one van, four hours.",
        "kind": "CREW",
        "area": "test-area",
        "price": {"amountMinor": 24900, "currency": "EUR"},
    } | fields
    offer_id = seller.payload("createOffer", CREATE_OFFER, input=offer)["offer"]["id"]
    seller.payload("publishOffer", PUBLISH_OFFER, input={"requestId": new_id(), "id": offer_id})
    return offer_id


def in_parallel(threads, work, items):
    """Runs work(item) for all items on some threads; the first failure is raised at the end."""
    pending = list(enumerate(items))
    results, failures, lock = [None] * len(pending), [], threading.Lock()

    def run():
        while not failures:
            with lock:
                if not pending:
                    return
                index, item = pending.pop()
            try:
                results[index] = work(item)
            except BaseException as failure:  # carried to the caller's thread
                failures.append(failure)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return results


def listening_pid(port):
    """The process that listens on a port of the loopback address, or None."""
    inodes = set()
    # Java listens on IPv6 sockets for IPv4 addresses, too.
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                    found.append(int(pid))
        except OSError:
            continue
    # Children inherit the socket; the eldest is the server itself.
    return min(found, default=None)


def kill(pid):
    """kill -9; one that is gone already is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def rows(database, statement):
    """Rows of a service's database, each a list of strings."""
    url = urllib.parse.urlsplit(status()["postgres"])._replace(path=f"/{database}").geturl()
    answer = subprocess.run(
        ["psql", url, "--no-psqlrc", "-qAt", "-F", "\t", "-c", statement],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [line.split("\t") for line in answer.stdout.splitlines()]
