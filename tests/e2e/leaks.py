"""Nothing personal, no token, cookie, password or key of the stack in a log, a metric or an event.

After everyday use, and after everyday mistakes, all that processes have written is searched, byte by byte.
"""

import http.cookies
import json
import os
import pathlib
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from grpc_statuses import generate_stubs, uuid_of
from http2_wire import Wire
from stack import CAST_VOTE, REGISTER, RETRACT_VOTE, Client, cli, new_id, publish_offer, status, wait_until

LOGIN = """mutation($input: LoginInput!) { login(input: $input) {
  tokens { accessToken refreshToken } viewer { id } userErrors { code } } }"""
REFRESH = """mutation($input: RefreshSessionInput!) { refreshSession(input: $input) {
  tokens { accessToken refreshToken } userErrors { code } } }"""
CHANGE_PASSWORD = """mutation($input: ChangePasswordInput!) { changePassword(input: $input) {
  userErrors { code } } }"""
LOGOUT = "mutation { logout(input: {}) { userErrors { code } } }"


class Person(Client):
    """Somebody whose every secret is noted."""

    def __init__(self, urls, run, kind, secrets):
        super().__init__(urls)
        name = f"{kind.lower()}{run}"
        self.kind, self.secrets = kind, secrets
        self.email, self.password = f"Anna.{name}@Example.com", f"open sesame {name}"
        self.account = {"email": self.email, "password": self.password, "displayName": f"Annabel Zwicky {name}"}
        self.organisation = {"organisationName": f"Zwicky Removals {name}"} if kind == "BUSINESS" else {}
        secrets |= {
            f"e-mail of a {kind}": f"anna.{name}",
            f"name of a {kind}": self.account["displayName"],
            f"password of a {kind}": self.password,
        }

    def register(self, **changes):
        account = self.account | self.organisation | {"requestId": new_id(), "kind": self.kind} | changes
        return self.ask(REGISTER, input=account)["data"]["register"]

    def log_in(self, **changes):
        payload = self.ask(LOGIN, input={"email": self.email, "password": self.password} | changes)["data"]["login"]
        return self.took(payload)

    def took(self, payload):
        """Notes the tokens of an answer and uses them."""
        if payload["tokens"]:
            self.token, self.refresh = payload["tokens"]["accessToken"], payload["tokens"]["refreshToken"]
            number = len(self.secrets)
            for part, text in zip(("claims", "signature"), self.token.split(".")[1:]):
                self.secrets[f"{part} of access token {number}"] = text
            self.secrets[f"refresh token {number}"] = self.refresh
        return payload

    def change_password(self, current, new):
        self.secrets[f"password {len(self.secrets)}"] = new
        change = {"requestId": new_id(), "currentPassword": current, "newPassword": new}
        return self.ask(CHANGE_PASSWORD, input=change)["data"]["changePassword"]


def browse(urls, person):
    """A session that a browser keeps in a cookie."""
    url = urls[0]
    origin = "://".join(urllib.parse.urlsplit(url)[:2])
    browser, headers = Client([url]), {"origin": origin, "sec-fetch-site": "same-origin"}
    credentials = {"email": person.email, "password": person.password, "session": "COOKIE"}
    body = json.dumps({"query": LOGIN, "variables": {"input": credentials}})
    _, answered, content = browser.send(body, headers=headers)
    cookies = http.cookies.SimpleCookie()
    for line in answered.get_all("set-cookie") or []:
        cookies.load(line)
    assert cookies, content
    for name, cookie in cookies.items():
        person.secrets[f"cookie {name}"] = cookie.value
    headers["cookie"] = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
    _, _, content = browser.send(json.dumps({"query": "{ viewer { email } }"}), headers=headers)
    assert json.loads(content)["data"]["viewer"]["email"] == person.email, content


def mistakes(urls, person):
    """What goes wrong on ordinary days, each time with something personal in it."""
    assert person.register(requestId=new_id())["userErrors"][0]["code"] == "EMAIL_TAKEN"
    assert person.register(email=f"{person.email} ")["userErrors"]
    assert person.register(email=f"second.{person.email}", displayName=f"{person.account['displayName']}\0")["userErrors"]
    assert person.register(email=f"third.{person.email}", password=person.password[:9])["userErrors"]
    assert person.log_in(password=f"{person.password}!")["userErrors"]
    assert person.log_in(email=f"nobody.{person.email}")["userErrors"]
    assert person.change_password(f"not {person.password}", f"not even {person.password}")["userErrors"]
    # Documents and bodies that are none, and such as carry their values in the text or in the address.
    literal = f'mutation {{ login(input: {{email: "{person.email}", password: "{person.password}"}}) {{ nothing }} }}'
    assert person.ask(literal)["errors"]
    assert person.ask(literal[:-9])["errors"]
    person.send(f'{{"query": "{person.password}", "email": "{person.email}"')
    query = {"query": f'{{ viewer {{ email(of: "{person.email}") }} }}', "access_token": person.token}
    person.send(None, method="GET", path="/graphql?" + urllib.parse.urlencode(query))
    person.send(None, method="GET", path=f"/{person.email}/{person.token}")
    forged = person.token[:-3] + ("AAA" if person.token[-3:] != "AAA" else "BBB")
    assert Client(urls, forged).ask("{ viewer { id } }")["errors"]
    assert Client(urls, person.password).ask("{ viewer { id } }")["errors"]


def call_by_grpc(stack, owner, other, organisation):
    """The same by gRPC, and bytes that are cut off within a password."""
    from homeward.identity.v1 import identity_pb2 as messages

    address = next(one["grpc"] for one in stack["services"] if one["name"] == "identity")
    path, bearer = "/homeward.identity.v1.IdentityService", (b"authorization", f"Bearer {owner.token}".encode())
    with Wire(address) as wire:
        for email, due in [(other.email, "OK"), (f"nobody.{other.email}", "NOT_FOUND"), (f"{other.email}\0", "INVALID_ARGUMENT")]:
            add = messages.AddMemberRequest(
                organisation_id=organisation, request_id=new_id(), email=email, role=messages.MEMBER_ROLE_MEMBER
            )
            said = wire.call(f"{path}/AddMember", add.SerializeToString(), bearer)
            assert said[0] == due, (due, said)
        login = messages.LoginRequest(email=owner.email, password=owner.password).SerializeToString()
        assert wire.call(f"{path}/Login", login)[0] == "OK"
        assert wire.call(f"{path}/Login", login[:-3])[1] == "REQUEST_UNDECODABLE"
        assert wire.call(f"{path}/{owner.password.replace(' ', '-')}")[1] == "METHOD_UNKNOWN"


def live(stack, seller, voter, offer):
    """A feed, and votes on it."""
    document = {"query": "subscription($id: ID!) { offerVotes(offerId: $id) { cursor } }", "variables": {"id": offer}}
    url = urllib.parse.urlsplit(stack["graphql"][0])
    headers = {"content-type": "application/json", "accept": "text/event-stream", "authorization": f"Bearer {seller.token}"}
    request = urllib.request.Request(url.geturl(), json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as feed:
        for vote in range(3):
            voter.payload("castVote", CAST_VOTE, input={"requestId": new_id(), "offerId": offer, "value": "UP"})
            voter.payload("retractVote", RETRACT_VOTE, input={"requestId": new_id(), "offerId": offer})
        assert feed.readline()


def of_the_stack(folder):
    """What the stack made for itself: keys, passwords and secrets."""
    found = {}
    for path in (folder / "secrets").iterdir():
        text = path.read_text(encoding="utf-8").strip()
        words = [urllib.parse.urlsplit(text).password] if "://" in text else re.split(r"[=,\s]", text)
        found |= {f"{path.name} {number}": word for number, word in enumerate(words) if word and len(word) >= 16}
    assert len(found) > 10, f"only {len(found)} secrets in {folder}"
    return found


def events(brokers):
    """Every event that there is: key, headers and value."""
    settings = {"bootstrap.servers": brokers, "group.id": "leaks", "enable.partition.eof": True}
    consumer = Consumer(settings | {"enable.auto.commit": False})
    try:
        topics = consumer.list_topics(timeout=10).topics
        topics = {name: topic for name, topic in topics.items() if not name.startswith("__")}
        left = {(name, number) for name, topic in topics.items() for number in topic.partitions}
        consumer.assign([TopicPartition(*one, OFFSET_BEGINNING) for one in left])
        out = []
        while left:
            message = consumer.poll(10)
            assert message, f"nothing from {len(left)} partitions for 10 s"
            if not message.error():
                headers = [part for name, value in message.headers() or [] for part in (name.encode(), value or b"")]
                out.append(b" ".join([message.key() or b"", *headers, message.value() or b""]))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left.discard((message.topic(), message.partition()))
        return b"\n".join(out)
    finally:
        consumer.close()


def written(stack, logs):
    """All that was written: name and bytes."""
    for path in sorted(logs.iterdir()):
        yield f"log {path.name}", path.read_bytes()
    for service in stack["services"]:
        with urllib.request.urlopen(f"{service['admin']}/metrics", timeout=10) as answer:
            yield f"metrics of {service['name']} {service['replica']}", answer.read()
    yield "events", events(stack["kafka"])


def search(stack, logs, secrets):
    """What is found where it should not be; and how many bytes were searched."""
    found, size = [], 0
    forms = {name: {text, urllib.parse.quote(text), urllib.parse.quote_plus(text)} for name, text in secrets.items()}
    for where, content in written(stack, logs):
        size += len(content)
        content = content.lower()
        for name, texts in forms.items():
            if any(text.lower().encode() in content for text in texts):
                found.append(f"{name} in {where}")
    return found, size


def main():
    stack, run, secrets = status(), new_id()[:8], {}
    urls = stack["graphql"]
    told = cli("status", "--port-base", os.environ["HOMEWARD_PORT_BASE"], stdout=subprocess.PIPE)
    logs = pathlib.Path(re.search(r"logs are in (.+)", told.stdout.decode())[1])
    secrets |= of_the_stack(logs.parent)
    if stack["demo"]["password"]:
        secrets["password of the demo"] = stack["demo"]["password"]

    seller, voter = (Person(urls, run, kind, secrets) for kind in ("BUSINESS", "MOVER"))
    registered = {}
    for person in (seller, voter):
        registered[person] = person.register()
        assert not registered[person]["userErrors"] and not person.log_in()["userErrors"]
        browse(urls, person)
    offer = publish_offer(seller, "Two who carry")
    live(stack, seller, voter, offer)
    for person in (seller, voter):
        person.took(person.ask(REFRESH, input={"refreshToken": person.refresh})["data"]["refreshSession"])
        mistakes(urls, person)
    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        call_by_grpc(stack, seller, voter, uuid_of(registered[seller]["organisationId"]))
    for person in (seller, voter):
        new = f"new {person.password}"
        assert not person.change_password(person.password, new)["userErrors"]
        assert not person.log_in(password=new)["userErrors"]
        person.payload("logout", LOGOUT)

    # Whoever was last to do something is in the log of events, so all before them is.
    user = uuid_of(registered[voter]["userId"]).encode()
    wait_until(lambda: events(stack["kafka"]).count(user) >= 4, "the events of a user", 20)
    found, size = search(stack, logs, secrets)
    assert not found, "\n".join(found)

    planted = logs / "planted.log"
    try:
        planted.write_text(f'{{"message": "welcome, {voter.email}"}}\n', encoding="utf-8")
        found, _ = search(stack, logs, secrets)
    finally:
        planted.unlink()
    assert found == ["e-mail of a MOVER in log planted.log"], found
    print(f"  {len(secrets)} secrets are nowhere in {size >> 10} KiB of logs, metrics and events; a planted one was found")


if __name__ == "__main__":
    main()
