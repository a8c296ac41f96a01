"""Five thousand sockets on one BFF: what one costs, and how long a vote takes to reach all of them.

Then one among others that does not read, which costs bounded memory and nobody else's messages.
"""

import re

from live_programs import Program
from stack import in_parallel, listening_pid, new_id, publish_offer, register, status

SOCKETS = 5000
SOCKET_BYTES_MAX = 64 << 10
VOTES = 10
READERS = 200
SLOW_VOTES = 300
# What the process may take for one that does not read, and for whatever else it does meanwhile.
SLOW_BYTES_MAX = 32 << 20


def main():
    url, run = status()["graphql"][0], new_id()[:8]
    pid = listening_pid(int(re.search(r":(\d+)/", url)[1]))
    seller = register([url], "BUSINESS", run, "idle")
    voters = in_parallel(6, lambda number: register([url], "MOVER", run, f"idle-{number}").token, range(6))
    given = {
        "url": url,
        "pid": pid,
        "voters": voters,
        "sockets": SOCKETS,
        "votes": VOTES,
        "offer": publish_offer(seller, "Followed by thousands"),
        "readers": READERS,
        "slowVotes": SLOW_VOTES,
        "slowOffer": publish_offer(seller, "Followed by one who sleeps"),
    }
    with Program("idle.mjs", given) as program:
        idle = program.hear(180)
        each = (idle["after"] - idle["before"]) / SOCKETS
        print(
            f"  {SOCKETS} sockets opened in {idle['opened'] / 1000:.1f} s: {each / 1024:.1f} KiB each"
            f" ({idle['before'] >> 20} MiB before, {idle['after'] >> 20} MiB after)",
            flush=True,
        )
        print(
            f"  a vote reaches them in {idle['p50']} ms (p50), {idle['p99']} ms (p99), {idle['max']} ms (max)"
            f" from when it is sent, over {VOTES} votes",
            flush=True,
        )
        assert idle["wrong"] == [] and idle["told"] == SOCKETS, idle
        assert each <= SOCKET_BYTES_MAX, f"{each} bytes for a socket"

        slow = program.hear(120)
        sleeper, grown = slow["sleeper"], slow["most"] - slow["before"]
        print(
            f"  {SLOW_VOTES} votes in {slow['seconds']:.1f} s beside one that does not read: {grown / 2**20:.1f} MiB more,"
            f" {READERS} others have the last vote {slow['late']:.0f} ms after its answer;"
            f" the one had {max(sleeper['versions'])} votes and the code {sleeper['closed']} when it woke up",
            flush=True,
        )
        assert slow["wrong"] == [] and slow["told"] == READERS, slow
        assert grown <= SLOW_BYTES_MAX, f"{grown} bytes for one that does not read"
        # What it was told has no hole, and if that is not everything it knows that it is not.
        assert sleeper["asleep"] < SLOW_VOTES and sleeper["wrong"] is None, sleeper
        assert min(sleeper["versions"]) == SLOW_VOTES or sleeper["closed"], sleeper
        assert program.hear(10)["still"] == SOCKETS


if __name__ == "__main__":
    main()
