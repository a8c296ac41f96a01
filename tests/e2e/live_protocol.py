"""What a client must not do over a socket or an event stream, and the code that it gets at every BFF."""

from live_programs import Program
from stack import in_parallel, new_id, publish_offer, register, status


def violate(given):
    """All cases at one BFF; answers those that did not come to what was due."""
    with Program("protocol.mjs", given) as program:
        said = program.hear_until(lambda heard: heard and "done" in heard[-1], "all cases", 60)[:-1]
    assert len(said) > 50, said
    print(f"  {len(said)} cases at {given['url']}", flush=True)
    return [f"{case['name']}: {case['due']} is due, not {case['got']}" for case in said if not case["ok"]]


def main():
    urls, run = status()["graphql"], new_id()[:8]
    seller = register(urls, "BUSINESS", run, "protocol")
    person = register(urls, "MOVER", run, "protocol")
    given = {
        "offer": publish_offer(seller, "Followed in wrong ways"),
        "token": person.token,
        "stranger": seller.token,
        "email": person.email,
        "password": person.password,
    }
    # All at once, as one of the cases waits until it is too late.
    wrong = sum(in_parallel(len(urls), violate, [given | {"url": url} for url in urls]), [])
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    main()
