"""A browser: it logs in by cookie through GraphiQL's page, and what other sites send has no effect."""

import node
from stack import new_id, register, status


def main():
    urls = status()["graphql"]
    seller = register(urls, "BUSINESS", new_id()[:8], "browser")
    for url in urls[:1]:
        node.run("browser", "session.mjs", url, seller.email, seller.password)


if __name__ == "__main__":
    main()
