// Opens connections of people and tells, with the time, what becomes of each.
//
// Given: { connections }, each { name, kind, url, token, offer }. Every connection follows `session`
// and the votes of the offer. Says `ready` when all have their first messages; then, of each feed,
// `said` and `ended`, and of sockets `closed`.
import WebSocket from 'ws';
import {
  EVENT_STREAM, GRAPHQL_WS, SESSION, STREAM_TOKEN, VOTES, bearer, events, say, socketUrl, told, until,
} from './shared.mjs';

const { connections } = await told();
const first = new Set();
let waiting = 0;

/** What a feed has said, in a word. */
function heard({ name }, feed, { data, errors }) {
  first.add(`${name} ${feed}`);
  const word = errors
    ? `refused: ${errors[0].extensions.reason}`
    : data.session?.kind ?? `version ${data.offerVotes.votes.version}`;
  say({ name, feed, said: word, at: Date.now() });
}

const operations = (offer) => [
  ['session', { query: SESSION }],
  ['votes', { query: VOTES, variables: { offer } }],
];

const kinds = {
  ws(connection) {
    const { name, url, token, offer } = connection;
    const socket = new WebSocket(socketUrl(url), GRAPHQL_WS);
    const send = (message) => socket.send(JSON.stringify(message));
    socket.on('open', () => send({ type: 'connection_init', payload: bearer(token) }));
    socket.on('message', (text) => {
      const { type, id, payload } = JSON.parse(text);
      if (type === 'connection_ack') {
        operations(offer).forEach(([feed, request]) => send({ type: 'subscribe', id: feed, payload: request }));
      } else if (type === 'next') {
        heard(connection, id, payload);
      } else if (type === 'error') {
        heard(connection, id, { errors: payload });
      } else if (type === 'complete') {
        say({ name, feed: id, ended: 'complete', at: Date.now() });
      }
    });
    socket.on('close', (code, reason) => say({ name, closed: code, reason: `${reason}`, at: Date.now() }));
    socket.on('error', () => {});
  },

  sse(connection) {
    for (const [feed, request] of operations(connection.offer)) {
      const { url, token } = connection;
      const headers = { 'content-type': 'application/json', accept: EVENT_STREAM, ...bearer(token) };
      const response = fetch(url, { method: 'POST', headers, body: JSON.stringify(request) });
      listen(connection, response, () => feed);
    }
  },

  async single(connection) {
    const { url, token, offer } = connection;
    const headers = bearer(token);
    headers[STREAM_TOKEN] = await (await fetch(url, { method: 'PUT', headers })).text();
    const stream = fetch(url, { headers: { ...headers, accept: EVENT_STREAM } });
    listen(connection, stream, ({ id }) => id);
    await stream;
    for (const [operationId, request] of operations(offer)) {
      const body = JSON.stringify({ ...request, extensions: { operationId } });
      const sent = { ...headers, 'content-type': 'application/json' };
      const { status } = await fetch(url, { method: 'POST', headers: sent, body });
      if (status !== 202) throw new Error(`an operation of a single connection: ${status}`);
    }
  },
};

/** Tells what a stream of events says, until it ends. */
async function listen(connection, response, feedOf) {
  const { name } = connection;
  let [feed, ended] = ['stream', 'in order'];
  try {
    for await (const { event, data } of events(await response)) {
      feed = feedOf(data);
      if (event === 'next') heard(connection, feed, data.payload ?? data);
      else say({ name, feed, ended: event, at: Date.now() });
    }
  } catch (error) {
    ended = `${error}`;
  }
  say({ name, feed: connection.kind === 'single' ? 'stream' : feed, ended, at: Date.now() });
}

for (const connection of connections) {
  waiting += operations().length;
  kinds[connection.kind](connection);
}
say({ ready: await until(() => first.size === waiting, 20), at: Date.now() });
await told();
