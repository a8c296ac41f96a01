"""GraphQL over HTTP as others understand it: the audits of graphql-http, every one of them."""

import node
from stack import status


def main():
    node.run("graphql_http", "audit.mjs", *status()["graphql"])


if __name__ == "__main__":
    main()
