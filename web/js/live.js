// One WebSocket for everything that moves, by the protocol `graphql-transport-ws`. After a cut it
// comes back by itself, and each feed goes on behind the last cursor that it has seen.
import { request } from './api.js';
import { set } from './state.js';

const ACK_MS = 10_000;
const SILENCE_MS = 25_000;
const PONG_MS = 8_000;
const PAUSE_MS = 500;
const PAUSE_MAX_MS = 30_000;
/** A connection that held so long is a good one: the next pause is short again. */
const GOOD_MS = 5_000;

/** By the id that the protocol knows them by. */
const feeds = new Map();
let lastId = 0;
let socket = null;
let acknowledgedAt = null;
let failures = 0;
let timer = null;
/** An attempt to connect that is no longer wanted sees another number. */
let attempt = 0;
let connecting = false;
let before = async () => {};

/** What is asked over plain HTTP before each further connection: it renews the cookie, and fails where there is no way. */
export function beforeReconnect(check) {
  before = check;
}

/**
 * Follows a subscription until `signal` is aborted. `next` gets the value of its one field;
 * `failed` is called once if the server refuses it for good, `done` when the server ends it.
 * `after` is where to begin.
 */
export function follow(name, variables, { next, failed, done, after = null }, signal) {
  if (signal.aborted) return;
  const id = String((lastId += 1));
  feeds.set(id, { id, name, variables, next, failed, done, after, refusals: 0 });
  signal.addEventListener('abort', () => {
    if (!feeds.delete(id)) return;
    send({ id, type: 'complete' });
  });
  if (acknowledgedAt !== null) start(feeds.get(id));
  else connect();
}

/** Connects anew, since it is somebody else who asks: after a request, which tells who. */
export function renew() {
  failures = 0;
  drop();
  connect(true);
}

function send(message) {
  if (acknowledgedAt !== null) socket.send(JSON.stringify(message));
}

function start(feed) {
  const variables = feed.after ? { ...feed.variables, after: feed.after } : feed.variables;
  send({ id: feed.id, type: 'subscribe', payload: request(feed.name, variables) });
}

async function connect(again = false) {
  if (connecting || socket || feeds.size === 0) return;
  clearTimeout(timer);
  if (!navigator.onLine) return set('connection', 'offline');
  const mine = (attempt += 1);
  connecting = true;
  try {
    if (again) await before();
  } catch {
    if (mine === attempt) lost();
    return;
  }
  if (mine !== attempt) return;
  connecting = false;
  const url = new URL('/graphql', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  socket = new WebSocket(url, 'graphql-transport-ws');
  socket.onopen = () => socket.send('{"type":"connection_init"}');
  socket.onmessage = ({ data }) => {
    listen();
    receive(JSON.parse(data));
  };
  socket.onclose = lost;
  deadline(ACK_MS);
}

/** After some time without a word one is asked for; without an answer the connection is given up. */
function listen() {
  clearTimeout(timer);
  timer = setTimeout(probe, SILENCE_MS);
}

function probe(patience = PONG_MS) {
  if (acknowledgedAt === null) return;
  send({ type: 'ping' });
  deadline(patience);
}

function deadline(time) {
  clearTimeout(timer);
  timer = setTimeout(lost, time);
}

/** Lets go of the connection, without a word of it. */
function drop() {
  clearTimeout(timer);
  attempt += 1;
  connecting = false;
  acknowledgedAt = null;
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
  socket = null;
}

/** The connection is gone: comes back after a pause that grows, and differs from page to page. */
function lost() {
  if (acknowledgedAt !== null && performance.now() - acknowledgedAt > GOOD_MS) failures = 0;
  drop();
  if (!navigator.onLine) return set('connection', 'offline');
  if (feeds.size === 0) return;
  set('connection', 'reconnecting');
  const pause = Math.min(PAUSE_MS * 2 ** failures, PAUSE_MAX_MS);
  failures += 1;
  timer = setTimeout(() => connect(true), pause * (0.5 + Math.random() / 2));
}

function receive(message) {
  const feed = feeds.get(message.id);
  switch (message.type) {
    case 'connection_ack':
      acknowledgedAt = performance.now();
      set('connection', 'ok');
      feeds.forEach(start);
      break;
    case 'ping':
      send({ type: 'pong' });
      break;
    case 'next': {
      const [value] = Object.values(message.payload.data ?? {});
      if (!feed || !value) break;
      feed.refusals = 0;
      if (value.cursor) feed.after = value.cursor;
      feed.next(value);
      break;
    }
    case 'error':
      if (feed) refused(feed, message.payload[0]);
      break;
    case 'complete':
      feeds.delete(message.id);
      feed?.done?.();
      break;
  }
}

/** A place that is no longer known is forgotten, and what can pass is tried again. */
function refused(feed, error) {
  const { retryable, retryAfterMs = 0 } = error?.extensions ?? {};
  feed.refusals += 1;
  if ((!retryable && !feed.after) || feed.refusals > 8) {
    feeds.delete(feed.id);
    return feed.failed?.(error);
  }
  if (!retryable) feed.after = null;
  const pause = Math.max(retryAfterMs, PAUSE_MS * 2 ** feed.refusals) * (0.5 + Math.random() / 2);
  setTimeout(() => feeds.has(feed.id) && start(feed), pause);
}

addEventListener('online', () => {
  failures = 0;
  drop();
  set('connection', feeds.size > 0 ? 'reconnecting' : 'ok');
  connect(true);
});
addEventListener('offline', () => {
  drop();
  set('connection', 'offline');
});
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible') return;
  // The machine may have slept.
  if (socket) return probe(3_000);
  failures = 0;
  if (!connecting) connect(true);
});
