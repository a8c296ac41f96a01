// Follows feeds in three ways while their connections are cut, and tells what each was told.
//
// Given: { urls, feeds, cuts, bytes, planted }, a feed being { kind, client, bff, offers } or
// { kind, client, bff, filter }; feeds of one client share its connection. Says `ready` when each
// feed has its first message, `cut` when enough was cut. Told { versions, changes }, the last version
// of each offer and the number of changes, it waits for these and says what was received.
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';
import { EVENTS, VOTES, bearer, say, socketUrl, told, until } from './shared.mjs';
import { Cuts, proxy } from './proxy.mjs';

const PAUSE_MS = 20;
/** Which message a planted fault is about. */
const FAULTY = 5;
const given = await told();
const cuts = new Cuts(given.cuts, given.bytes);
const urls = await Promise.all(given.urls.map((url) => proxy(url, cuts)));
const retry = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (1 + Math.random())));
/** The newest version that anybody knows, by offer. */
const newest = new Map();
const count = { messages: 0, resumed: 0, replayed: 0, again: 0 };

/** One subscription of one follower, wherever it is connected. */
class Feed {
  received = [];

  errors = [];

  after = null;

  /** Up to which version this connection only repeats what others know already. */
  known = 0;

  constructor(kind, { offer, filter }) {
    Object.assign(this, { kind, offer, filter, name: filter ? 'offerEvents' : 'offerVotes' });
  }

  /** Written anew for each connection, with the last cursor. */
  request() {
    const variables = {
      toJSON: () => {
        this.known = this.after ? newest.get(this.offer) ?? 0 : 0;
        count.resumed += this.after ? 1 : 0;
        return { offer: this.offer, filter: this.filter, after: this.after };
      },
    };
    return { query: this.filter ? EVENTS : VOTES, variables };
  }

  follow(client) {
    const again = () => {
      count.again += 1;
      setTimeout(() => this.follow(client), PAUSE_MS);
    };
    let passing = false;
    client.subscribe(this.request(), {
      next: (result) => {
        passing = canPass(result.errors);
        this.next(result, passing);
      },
      error: (error) => {
        // graphql-sse takes some ways in which a connection can break for the end; its user does not.
        if (error instanceof Error || canPass(error)) again();
        else this.errors.push(error.code ? `${error.code} ${error.reason}` : error);
      },
      complete: () => (passing ? again() : this.errors.push('it was completed')),
    });
  }

  next({ data, errors }, passing) {
    if (errors) {
      if (!passing) this.errors.push(errors);
      return;
    }
    const { votes, change, cursor, reset } = data[this.name];
    this.after = cursor;
    count.messages += 1;
    if (votes) {
      this.received.push([votes.version, votes.up, votes.down, reset]);
      if (votes.version <= this.known) count.replayed += 1;
      newest.set(this.offer, Math.max(newest.get(this.offer) ?? 0, votes.version));
    } else {
      this.received.push([change, reset]);
    }
  }

  last() {
    return this.received.at(-1)?.[0] ?? -1;
  }
}

/** Whether the errors of a GraphQL answer are of a kind that a repeat can help. */
function canPass(errors) {
  return Array.isArray(errors) && errors.every(({ extensions }) => extensions?.retryable);
}

/** A socket that loses, repeats or swaps messages on their way in. */
function faulty(fault) {
  return class extends WebSocket {
    count = 0;

    held = null;

    set onmessage(listener) {
      super.onmessage = listener && ((event) => this.faulty(event).forEach((one) => listener(one)));
    }

    faulty(event) {
      if (JSON.parse(event.data).type !== 'next') return [event];
      this.count += 1;
      if (this.count === FAULTY + 1 && fault === 'swapped') return [event, this.held];
      if (this.count !== FAULTY) return [event];
      this.held = event;
      return fault === 'repeated' ? [event, event] : [];
    }
  };
}

const clients = {
  ws: (bff) => {
    let turn = bff;
    return createWs({
      url: () => socketUrl(urls[turn++ % urls.length]),
      webSocketImpl: given.planted ? faulty(given.planted) : WebSocket,
      connectionParams: bearer(given.token),
      retryAttempts: Infinity,
      retryWait: retry,
      shouldRetry: () => true,
    });
  },
  sse: (bff) => {
    let turn = bff;
    const url = () => urls[turn++ % urls.length];
    return createSse({ url, headers: bearer(given.token), retryAttempts: Infinity, retry });
  },
  // Its requests belong to the process that has its stream.
  single: (bff) => createSse({
    url: urls[bff],
    // The package writes the token of the stream into what it is given, so each has one of its own.
    headers: () => bearer(given.token),
    singleConnection: true,
    retryAttempts: Infinity,
    retry,
  }),
};

const feeds = [];
for (const { kind, bff, offers = [], filter } of given.feeds) {
  const client = clients[kind](bff);
  const own = filter ? [new Feed(kind, { filter })] : offers.map((offer) => new Feed(kind, { offer }));
  own.forEach((feed) => feed.follow(client));
  feeds.push(...own);
}
const began = await until(() => feeds.every((feed) => feed.received.length > 0), 30);
say({ ready: began, silent: feeds.filter(({ received }) => !received.length) });

const enough = until(() => cuts.done >= cuts.wanted, 120).then(() => say({ cuts: cuts.done }));
const { versions, changes } = await told();
await enough;
const caughtUp = (feed) => (feed.filter ? feed.received.length > changes : feed.last() >= versions[feed.offer]);
await until(() => feeds.every(caughtUp), 30);
// What comes beyond the end would be wrong, too.
await new Promise((resolve) => setTimeout(resolve, 300));
const results = feeds.map(({ kind, offer, received, errors }) => ({ kind, offer, received, errors }));
await say({ feeds: results, count: { ...count, cuts: cuts.done } });
process.exit(0);
