"""What a right allowed to follow ends with the right, within two seconds and at every BFF.

A logout at one BFF, a role taken by another member, a password changed elsewhere, and a token that
expires end sockets and event streams of that person at both; nobody else is disturbed.
"""

import contextlib
import tempfile
import time
import urllib.parse

import grpc

from grpc_statuses import generate_stubs, uuid_of
from live_programs import Program, one_more
from stack import CAST_VOTE, Client, new_id, publish_offer, register, status, wait_until

SECONDS_MAX = 2
KINDS = ("ws", "sse", "single")

LOGOUT = "mutation { logout(input: {}) { userErrors { code } } }"
CHANGE_PASSWORD = """mutation($input: ChangePasswordInput!) { changePassword(input: $input) {
  userErrors { code message field } } }"""


def everywhere(who, token, offer, urls):
    """Connections of every kind at every BFF."""
    return [
        {"name": f"{who}, {kind} at {bff}", "kind": kind, "url": url, "token": token, "offer": offer}
        for bff, url in enumerate(urls, 1)
        for kind in KINDS
    ]


class Watch:
    """What became of the connections of some people."""

    def __init__(self, program):
        self.program, self.heard = program, []
        said = program.hear_until(lambda heard: heard and "ready" in heard[-1], "first messages", 30)
        assert said[-1]["ready"], said
        self.heard += said[:-1]

    def of(self, name):
        return [said for said in self.heard if said["name"] == name]

    def ended(self, name, kind):
        """Whether the connection is gone altogether."""
        ends = [said for said in self.of(name) if "closed" in said or said.get("ended", "complete") != "complete"]
        return len(ends) == (2 if kind == "sse" else 1)

    def ends(self, connections, act, last, reasons):
        """Acts, and looks at how these connections end; answers the slowest in seconds."""
        before = len(self.heard)
        act()
        began = time.time()

        def all_ended(said):
            self.heard[before:] = said
            return all(self.ended(one["name"], one["kind"]) for one in connections)

        self.program.hear_until(all_ended, f"the ends of {[one['name'] for one in connections]}", 15)
        names = {one["name"] for one in connections}
        others = [said for said in self.heard[before:] if said["name"] not in names]
        assert not others, f"somebody else was disturbed: {others}"
        for one in connections:
            self.in_order(one, last, reasons)
        return max(said["at"] for said in self.heard[before:]) / 1000 - began

    def in_order(self, connection, last, reasons):
        """The session's last word comes first, then the end, with its reason."""
        said = self.of(connection["name"])
        words = [one["said"] for one in said if one.get("feed") == "session" and "said" in one]
        assert words[: 1 + len(last)] == ["OPEN", *last], (connection["name"], said)
        if connection["kind"] == "ws":
            assert said[-1].get("closed") == 4403 and said[-1]["reason"] in reasons, said[-3:]
            assert len(said[-1]["reason"]) <= 123
        else:
            votes = [one["said"] for one in said if one.get("feed") == "votes" and "said" in one]
            assert all(word.startswith(("version", "refused")) for word in votes), said
            refused = {word for word in votes + words if word.startswith("refused")}
            assert refused <= {f"refused: {reason}" for reason in reasons}, said


def logged_in_again(urls, person):
    """Another session of the same person."""
    client = Client(urls)
    client.log_in(person.email, person.password)
    return client


def main():
    stack = status()
    urls, run = stack["graphql"], new_id()[:8]
    assert len(urls) >= 2, urls
    owner = register(urls, "BUSINESS", run, "owner")
    helper = register(urls, "BUSINESS", run, "helper")
    mover = register(urls, "MOVER", run, "rights")
    voter = register(urls, "MOVER", run, "voter")
    offer = publish_offer(owner, "Followed by many")
    organisation = owner.data("{ viewer { organisation { id } } }")["viewer"]["organisation"]["id"]
    address = urllib.parse.urlsplit(next(one["grpc"] for one in stack["services"] if one["name"] == "identity")).netloc

    with contextlib.ExitStack() as within:
        generate_stubs(within.enter_context(tempfile.TemporaryDirectory()))
        from homeward.identity.v1 import identity_pb2 as messages, identity_pb2_grpc

        identity = identity_pb2_grpc.IdentityServiceStub(within.enter_context(grpc.insecure_channel(address)))
        as_owner = [("authorization", f"Bearer {owner.token}")]
        member = {"organisation_id": uuid_of(organisation), "request_id": new_id()}
        manager = messages.AddMemberRequest(**member, email=helper.email, role=messages.MEMBER_ROLE_MANAGER)
        added = identity.AddMember(manager, metadata=as_owner).membership
        log_in = messages.LoginRequest(
            email=helper.email, password=helper.password, organisation_id=uuid_of(organisation)
        )
        managing = identity.Login(log_in).tokens.access_token

        short = within.enter_context(one_more("identity", ACCESS_TOKEN_TTL="8s"))["LISTEN_GRPC"]
        short = identity_pb2_grpc.IdentityServiceStub(within.enter_context(grpc.insecure_channel(short)))
        brief = short.Login(messages.LoginRequest(email=mover.email, password=mover.password)).tokens

        leaving, other = logged_in_again(urls, mover), logged_in_again(urls, mover)
        groups = {
            "who stays": voter.token,
            "whose token expires": brief.access_token,
            "who leaves": leaving.token,
            "whose role is taken": managing,
            "whose password is changed": other.token,
        }
        groups = {who: everywhere(who, token, offer, urls) for who, token in groups.items()}
        given = {"connections": [one for group in groups.values() for one in group]}
        watch = Watch(within.enter_context(Program("rights.mjs", given)))

        def expire():
            wait_until(lambda: time.time() > brief.access_token_expire_time.seconds, "the end of a token", 15)

        def log_out():
            # At the first BFF; half of the connections are at the other.
            Client(urls[:1], leaving.token).payload("logout", LOGOUT)

        def take_role():
            take = messages.UpdateMemberRequest(
                **member | {"request_id": new_id()}, user_id=added.user_id, role=messages.MEMBER_ROLE_MEMBER
            )
            identity.UpdateMember(take, metadata=as_owner)

        def change_password():
            change = {"currentPassword": mover.password, "newPassword": f"new {mover.password}"}
            mover.payload("changePassword", CHANGE_PASSWORD, input={"requestId": new_id()} | change)

        revoked = {"TOKEN_REVOKED"}
        for who, act, last, reasons in [
            ("who leaves", log_out, ["ENDED"], revoked),
            ("whose role is taken", take_role, ["ROLE_CHANGED"], revoked),
            ("whose token expires", expire, [], {"TOKEN_EXPIRED"}),
            ("whose password is changed", change_password, ["ROLE_CHANGED"], revoked),
        ]:
            seconds = watch.ends(groups[who], act, last, reasons)
            # A token is accepted for five seconds beyond its end, as clocks differ.
            most = SECONDS_MAX + (5 if act is expire else 0)
            print(f"  the feeds of one {who} end within {seconds:.2f} s", flush=True)
            assert seconds <= most, f"{seconds} s for the feeds of one {who}"

        vote = {"requestId": new_id(), "offerId": offer, "value": "UP"}
        voter.payload("castVote", CAST_VOTE, input=vote)
        stays = {one["name"] for one in groups["who stays"]}
        told = watch.program.hear_until(lambda said: len(said) >= len(stays), "the vote, for those who stay")
        assert {one["name"] for one in told if one.get("said") == "version 1"} == stays, told


if __name__ == "__main__":
    main()
