// What a client must not do over a socket or a stream, and what that comes to.
//
// Given: { url, token, stranger, email, password, offer }, the tokens of two people and the account
// of the first. Says one object per case: what came of it, and what was due.
import { request } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import WebSocket from 'ws';
import { EVENT_STREAM, GRAPHQL_WS, STREAM_TOKEN, VOTES, bearer, events, say, socketUrl, told } from './shared.mjs';

const given = await told();
const ACK = Symbol('the acknowledgement is waited for');
const init = (payload) => ({ type: 'connection_init', payload });
const votes = { query: VOTES, variables: { offer: given.offer } };
const subscribe = (id, payload = votes) => ({ type: 'subscribe', id, payload });
const json = { 'content-type': 'application/json' };

/** Name, frames sent, close code due, and options of the handshake. */
const CLOSED = [
  ['no subprotocol', [], 4406, { protocol: null }],
  ['an older subprotocol', [], 4406, { protocol: 'graphql-ws' }],
  ['nothing is said for long', [], 4408],
  ['no JSON', ['{'], 4400],
  ['a list', ['[]'], 4400],
  ['no type', ['{}'], 4400],
  ['bytes', [Buffer.from('{"type":"connection_init"}')], 4400],
  ['a type that does not exist', [init(), ACK, { type: 'start', id: '1', payload: votes }], 4400],
  ['a type that is the server\'s', [init(), ACK, { type: 'next', id: '1', payload: {} }], 4400],
  ['an init with a payload that is no object', [init('token')], 4400],
  ['a subscribe without id', [init(), ACK, { type: 'subscribe', payload: votes }], 4400],
  ['a subscribe with an empty id', [init(), ACK, subscribe('')], 4400],
  ['a subscribe without payload', [init(), ACK, { type: 'subscribe', id: '1' }], 4400],
  ['a query that is no text', [init(), ACK, subscribe('1', { query: 7 })], 4400],
  ['a complete without id', [init(), ACK, { type: 'complete' }], 4400],
  ['a subscribe before the init', [subscribe('1')], 4401],
  ['an id in use', [init(), ACK, subscribe('1'), subscribe('1')], 4409],
  ['a second init', [init(), ACK, init()], 4429],
  ['two inits at once', [init(), init()], 4429],
  ['a token that nobody has signed', [init(bearer(`${given.token.slice(0, -6)}AAAAAA`))], 4403],
  ['a token that is none', [init(bearer('x'))], 4403],
  ['a message too large', ['x'.repeat(200_000)], 1009],
  ['a message of many parts too large', [parts], 1009],
  ['text that is not UTF-8', [(socket) => socket.send(Buffer.from([0x7b, 0xff]), { binary: false })], 1007],
];

function parts(socket) {
  for (let part = 0; part < 100; part += 1) socket.send('x'.repeat(2000), { fin: false, binary: false });
}

/**
 * Name, frames sent, types of the answers due; the socket stays open. A number among the frames
 * waits until so many answers are there.
 */
const ALLOWED = [
  ['pings and pongs', [{ type: 'pong' }, { type: 'ping' }, init(), ACK, { type: 'ping', payload: { a: 1 } }],
    ['pong', 'connection_ack', 'pong {"a":1}']],
  ['an init with an empty payload', [init({})], ['connection_ack']],
  ['an init with null', [init(null)], ['connection_ack']],
  ['the end of what never began', [init(), ACK, { type: 'complete', id: '9' }, { type: 'ping' }], ['connection_ack', 'pong']],
  ['a document that is none', [init(), ACK, subscribe('1', { query: '{' }), 2, { type: 'ping' }],
    ['connection_ack', 'error 1', 'pong']],
  ['a field that does not exist', [init(), ACK, subscribe('1', { query: 'subscription { nothing }' })],
    ['connection_ack', 'error 1']],
  ['a query', [init(), ACK, subscribe('1', { query: '{ __typename }' })],
    ['connection_ack', 'next 1', 'complete 1']],
  ['an id that is free again', [init(), ACK, subscribe('1', { query: '{ __typename }' }), 3, subscribe('1')],
    ['connection_ack', 'next 1', 'complete 1', 'next 1']],
];

/** Sends frames, and answers the close code, or nothing when as many messages as wanted have come. */
function socket(frames, { protocol = GRAPHQL_WS, headers = {} } = {}, wanted = Infinity) {
  const open = new WebSocket(socketUrl(given.url), protocol ?? [], { headers });
  const heard = [];
  const left = [...frames];
  const go = () => {
    while (left.length && left[0] !== ACK && !(left[0] > heard.length)) {
      const frame = left.shift();
      if (typeof frame === 'function') frame(open);
      else if (typeof frame !== 'number') {
        open.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
      }
    }
  };
  return new Promise((resolve) => {
    const done = (outcome) => {
      resolve({ heard, ...outcome });
      open.terminate();
    };
    open.on('open', go);
    open.on('message', (text) => {
      const { type, id, payload } = JSON.parse(text);
      heard.push([type, id ?? (type === 'pong' && payload ? JSON.stringify(payload) : [])].flat().join(' '));
      if (type === 'connection_ack' && left[0] === ACK) left.shift();
      go();
      if (heard.length >= wanted) done({});
    });
    open.on('close', (code, reason) => done({ code, reason: `${reason}` }));
    open.on('unexpected-response', (_, response) => done({ status: response.statusCode }));
    open.on('error', (error) => done({ error: `${error}` }));
    setTimeout(() => done({ late: true }), 20_000);
  });
}

/** One request; answers its status, and its events if it has some. */
async function exchange(method, headers, body, query = '') {
  const response = await fetch(given.url + query, { method, headers, body: body && JSON.stringify(body) });
  const { status } = response;
  if (!response.headers.get('content-type')?.startsWith(EVENT_STREAM)) return { status, text: await response.text() };
  const said = [];
  for await (const { event, data } of events(response)) {
    said.push(event === 'next' ? Object.keys(data.payload ?? data).sort().join() : event);
    if (said.length === 2) break;
  }
  return { status, said };
}

async function streams() {
  const asked = { accept: EVENT_STREAM };
  const post = (body, headers = {}) => exchange('POST', { ...json, ...asked, ...headers }, body);
  const due = async (name, outcome, wanted) => {
    const { status, said } = await outcome;
    const got = said ? [status, ...said] : status;
    say({ name, got, due: wanted, ok: isDeepStrictEqual(got, wanted) });
  };
  await due('a query', post({ query: '{ __typename }' }), [200, 'data', 'complete']);
  await due('a document that is none', post({ query: '{' }), [200, 'errors', 'complete']);
  await due('a field that does not exist', post({ query: 'subscription { nothing }' }), [200, 'errors', 'complete']);
  await due('no JSON', exchange('POST', { ...json, ...asked }, undefined), 400);
  await due('another type of content', exchange('POST', { ...asked, 'content-type': 'text/plain' }, votes), 415);
  await due('too much', post({ query: ' '.repeat(200_000) }), 413);
  // As in an answer that is no stream, it is the field that is refused.
  await due('a token that is none', post(votes, bearer('x')), [200, 'data,errors', 'complete']);
  const plain = { ...json, accept: 'application/graphql-response+json' };
  await due('a subscription that nobody can be told of', exchange('POST', plain, votes), 400);
  const mutation = '?query=mutation%7Blogout(input:%7B%7D)%7BuserErrors%7Bcode%7D%7D%7D';
  await due('a mutation by GET', exchange('GET', asked, undefined, mutation), 405);

  const mine = bearer(given.token);
  const reserve = async (headers) => (await exchange('PUT', headers)).text;
  const first = await exchange('PUT', mine);
  await due('a reservation', first, 201);
  const stream = { ...mine, [STREAM_TOKEN]: first.text };
  const operation = (operationId, headers = stream) => exchange('POST', { ...json, ...headers }, {
    ...votes, extensions: operationId && { operationId },
  });
  await due('a stream that nobody has reserved', exchange('GET', { ...asked, ...mine, [STREAM_TOKEN]: 'x' }), 404);
  await due('an operation of no stream', operation('1', { ...mine, [STREAM_TOKEN]: 'x' }), 404);
  await due('the end of an operation of no stream',
    exchange('DELETE', { ...mine, [STREAM_TOKEN]: 'x' }, undefined, '?operationId=1'), 404);
  await due('a stream of somebody else', exchange('GET', { ...asked, ...bearer(given.stranger), [STREAM_TOKEN]: first.text }), 404);
  await due('an operation on a stream of somebody else',
    operation('1', { ...bearer(given.stranger), [STREAM_TOKEN]: first.text }), 404);

  const connected = await fetch(given.url, { headers: { ...stream, ...asked } });
  const heard = events(connected);
  await due('a second listener', exchange('GET', { ...asked, ...stream }), 409);
  await due('an operation without id', operation(undefined), 400);
  await due('an operation', operation('1'), 202);
  const { value } = await heard.next();
  await due('its message', { status: `${value.event} ${value.data.id}` }, 'next 1');
  await due('an id in use', operation('1'), 409);
  await due('an end without id', exchange('DELETE', stream), 400);
  await due('the end of an operation', exchange('DELETE', stream, undefined, '?operationId=1'), 200);
  await due('an id that is free again', operation('1'), 202);
  // Reserved and never used, which must not matter.
  await due('another reservation', { status: (await reserve(mine)) === first.text }, false);
}

/** A browser's session, and pages of other sites that try to use it. */
async function cookies() {
  const { origin } = new URL(given.url);
  const query = 'mutation($input: LoginInput!) { login(input: $input) { userErrors { code } } }';
  const input = { email: given.email, password: given.password, session: 'COOKIE' };
  const answer = await fetch(given.url, {
    method: 'POST',
    headers: { ...json, origin, 'sec-fetch-site': 'same-origin' },
    body: JSON.stringify({ query, variables: { input } }),
  });
  const cookie = answer.headers.getSetCookie().map((one) => one.split(';')[0]).join('; ');
  const due = async (name, headers, frames, wanted) => {
    const { code, status, heard } = await socket(frames, { headers: { cookie, ...headers } }, 1);
    const got = status ?? code ?? heard[0];
    say({ name, got, due: wanted, ok: got === wanted });
  };
  await due('a cookie from its own page', { origin }, [init()], 'connection_ack');
  await due('a cookie from a page of another site', { origin: 'https://evil.example' }, [init()], 403);
  await due('a cookie from a page without an origin', { origin: 'null' }, [init()], 403);
  await due('a cookie and a token', { origin }, [init(bearer(given.token))], 4403);
  const stream = (headers) => new Promise((resolve) => {
    const sent = request(given.url, { method: 'POST', headers: { ...json, accept: EVENT_STREAM, cookie, ...headers } });
    sent.on('response', ({ statusCode }) => {
      resolve(statusCode);
      sent.destroy();
    });
    sent.on('error', () => {});
    sent.end(JSON.stringify(votes));
  });
  const own = await stream({ origin, 'sec-fetch-site': 'same-origin' });
  say({ name: 'a stream with a cookie from its own page', got: own, due: 200, ok: own === 200 });
  const other = await stream({ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' });
  say({ name: 'a stream with a cookie from another site', got: other, due: 403, ok: other === 403 });
}

await Promise.all(CLOSED.map(async ([name, frames, code, options]) => {
  const outcome = await socket(frames, options);
  const short = Buffer.byteLength(outcome.reason ?? '') <= 123;
  say({ name, got: outcome, due: code, ok: outcome.code === code && short });
}));
await Promise.all(ALLOWED.map(async ([name, frames, answers]) => {
  const { heard, code } = await socket(frames, {}, answers.length);
  say({ name, got: heard, due: answers, ok: !code && isDeepStrictEqual(heard, answers) });
}));
await streams();
await cookies();
await say({ done: true });
process.exit(0);
