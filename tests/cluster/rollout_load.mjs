// Load on the edge and on the services: GraphQL over HTTP and gRPC, each request sent once.
//
// Given: { graphql, grpc, people, offers, area, rate }; a person is { access, refresh }, an offer { id, uuid }.
// Requests begin at a steady rate whether or not others are answered, so a service that stands still is seen
// in the times. Says `ready` when each kind of request was answered; answers each line that it is told with
// what was counted until then; after `end` it begins nothing more, and says what came of the votes.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { say, told, until } from '../e2e/live/shared.mjs';

const TIME_MAX_MS = 10_000;
const SAMPLES_MAX = 20;
const given = await told();
/** Sockets are used in turn, so that none is idle until the proxy closes it. */
const agent = new http.Agent({ keepAlive: true, maxSockets: 64, scheduling: 'fifo' });
const counts = { requests: 0, failed: {}, samples: [], kinds: {}, times: [], keys: {} };
const tallies = {};
let pending = 0;

const pick = (list) => list[Math.floor(Math.random() * list.length)];
const bearer = ({ access }) => ({ authorization: `Bearer ${access}` });
const keyOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;

/** One GraphQL request; answers its data, and throws for whatever else comes. */
function ask(query, variables, person) {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify({ query, variables });
    const headers = { 'content-type': 'application/json', accept: 'application/json', ...(person && bearer(person)) };
    const request = http.request(given.graphql, { method: 'POST', agent, headers, timeout: TIME_MAX_MS }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => { text += part; });
      answer.on('error', reject);
      answer.on('end', () => {
        if (answer.statusCode !== 200) return reject(new Error(`HTTP ${answer.statusCode}: ${text.slice(0, 200)}`));
        const { data, errors } = JSON.parse(text);
        const refused = errors ?? Object.values(data).flatMap((field) => field?.userErrors ?? []);
        return refused.length ? reject(new Error(JSON.stringify(refused).slice(0, 300))) : resolve(data);
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
    request.end(body);
  });
}

const sessions = {};

/** A connection to a service; another one where the last was told to go away. */
function session(service) {
  const known = sessions[service];
  if (known && !known.closed && !known.destroyed && !known.leaving) return known;
  const fresh = http2.connect(given.grpc[service]);
  fresh.on('goaway', () => { fresh.leaving = true; });
  // Its streams say so themselves.
  fresh.on('error', () => {});
  sessions[service] = fresh;
  return fresh;
}

/** One unary call; answers the message, and throws for any status but OK. */
function call(service, method, message, person) {
  return new Promise((resolve, reject) => {
    const stream = session(service).request({
      ':method': 'POST',
      ':path': `/homeward.${service}.v1.${service[0].toUpperCase()}${service.slice(1)}Service/${method}`,
      'content-type': 'application/grpc',
      'grpc-timeout': `${TIME_MAX_MS}m`,
      te: 'trailers',
      ...(person && bearer(person)),
    });
    const parts = [];
    let last = {};
    stream.setTimeout(TIME_MAX_MS, () => stream.destroy(new Error('no answer in time')));
    stream.on('response', (headers) => { last = headers; });
    stream.on('trailers', (headers) => { last = headers; });
    stream.on('data', (part) => parts.push(part));
    stream.on('error', reject);
    stream.on('close', () => {
      if (last['grpc-status'] === '0') return resolve(Buffer.concat(parts).subarray(5));
      const { ':status': status, 'grpc-status': code, 'grpc-message': text } = last;
      return reject(new Error(`grpc-status ${code}, HTTP ${status}: ${decodeURIComponent(text ?? 'no answer')}`));
    });
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([head, message]));
  });
}

/** Fields of a message, all short: strings and small numbers. */
const fields = (...values) => Buffer.concat(values.map(([number, value]) => (typeof value === 'string'
  ? Buffer.concat([Buffer.from([number << 3 | 2, value.length]), Buffer.from(value)])
  : Buffer.from([number << 3, value]))));

/** The integers of a message that lies in the first field of another. */
function integers(bytes) {
  const found = {};
  for (let at = 2; at < bytes.length;) {
    const number = bytes[at++] >> 3;
    let [value, scale] = [0, 1];
    do { value += (bytes[at] & 127) * scale; scale *= 128; } while (bytes[at++] & 128);
    found[number] = value;
  }
  return { up: found[1] ?? 0, down: found[2] ?? 0, version: found[4] ?? 0 };
}

const LIST = `query($area: String) { offers(first: 10, filter: { area: $area }) {
  nodes { id title votes { up down } organisation { name } } } }`;
const VOTES = 'votes { up down version } userErrors { code message }';
const CAST = `mutation($input: CastVoteInput!) { castVote(input: $input) { ${VOTES} } }`;
const RETRACT = `mutation($input: RetractVoteInput!) { retractVote(input: $input) { ${VOTES} } }`;
const REFRESH = `mutation($input: RefreshSessionInput!) { refreshSession(input: $input) {
  tokens { accessToken refreshToken } userErrors { code message } } }`;

/** Somebody who has no request under way that changes anything, for as long as one does. */
async function alone(people, work) {
  const person = pick(people.filter(({ busy }) => !busy));
  if (!person) return;
  person.busy = true;
  try {
    await work(person);
  } finally {
    person.busy = false;
  }
}

/** Changes somebody's vote by `send`, which answers the tally, and takes note of it. */
function vote(send) {
  return alone(given.people, async (person) => {
    const offer = pick(given.offers);
    person.votes ??= {};
    const value = pick([0, 1, 2].filter((one) => one !== (person.votes[offer.id] ?? 0)));
    const { up, down, version } = await send(person, offer, value, randomUUID());
    person.votes[offer.id] = value;
    const known = tallies[offer.id] ??= {};
    if (known[version]) throw new Error(`version ${version} was answered twice`);
    known[version] = [up, down];
  });
}

async function voteByGraphql(person, offer, value, requestId) {
  const input = { requestId, offerId: offer.id };
  if (value) return (await ask(CAST, { input: { ...input, value: ['UP', 'DOWN'][value - 1] } }, person)).castVote.votes;
  return (await ask(RETRACT, { input }, person)).retractVote.votes;
}

async function voteByGrpc(person, offer, value, requestId) {
  const message = [[1, requestId], [2, offer.uuid]];
  if (value) return integers(await call('catalog', 'CastVote', fields(...message, [3, value]), person));
  return integers(await call('catalog', 'RetractVote', fields(...message), person));
}

async function refresh(person) {
  const { tokens } = (await ask(REFRESH, { input: { refreshToken: person.refresh } })).refreshSession;
  Object.assign(person, { access: tokens.accessToken, refresh: tokens.refreshToken, since: Date.now() });
}

async function viewer(person) {
  const { access } = person;
  const data = await ask('{ viewer { id email } offers(first: 1) { nodes { votes { mine } } } }', {}, person);
  if (!data.viewer) throw new Error('nobody is logged in');
  counts.keys[keyOf(access)] = (counts.keys[keyOf(access)] ?? 0) + 1;
}

/** Veterans keep a token for as long as they can; the others change theirs all the time. */
const veterans = given.people.slice(0, 4);
const young = given.people.slice(4);
const aged = () => veterans.filter(({ since }) => Date.now() - since > 8 * 60_000);
given.people.forEach((person) => { person.since = Date.now(); });

const kinds = {
  'graphql list': () => ask(LIST, { area: given.area }),
  'graphql offer': () => ask('query($id: ID!) { offer(id: $id) { title votes { version } } }', { id: pick(given.offers).id }),
  'graphql viewer': () => viewer(pick(given.people)),
  'graphql day': () => ask('query($area: String!) { offerOfTheDay(area: $area) { id } }', { area: given.area }),
  'graphql vote': () => vote(voteByGraphql),
  'graphql refresh': () => alone(aged().length ? aged() : young, refresh),
  'grpc offer': () => call('catalog', 'GetOffer', fields([1, pick(given.offers).uuid])),
  'grpc votes': () => call('catalog', 'GetVotes', fields([1, pick(given.offers).uuid])),
  'grpc viewer': () => call('identity', 'GetViewer', fields(), pick(given.people)),
  'grpc day': () => call('recommendations', 'GetOfferOfTheDay', fields([1, given.area])),
  'grpc vote': () => vote(voteByGrpc),
};

async function once(kind) {
  const began = performance.now();
  pending += 1;
  counts.requests += 1;
  try {
    await kinds[kind]();
    counts.kinds[kind] = (counts.kinds[kind] ?? 0) + 1;
  } catch (error) {
    counts.failed[kind] = (counts.failed[kind] ?? 0) + 1;
    if (counts.samples.length < SAMPLES_MAX) {
      counts.samples.push(`${new Date().toISOString()} ${kind}: ${error.message || error.code}`);
    }
  }
  pending -= 1;
  counts.times.push(performance.now() - began);
}

function report() {
  const times = counts.times.toSorted((a, b) => a - b);
  const at = (share) => times[Math.floor(share * (times.length - 1))];
  return { ...counts, times: { median: at(0.5), most: at(0.99), longest: at(1) }, votes: tallies };
}

const names = Object.keys(kinds);
let turn = 0;
const clock = setInterval(() => once(names[turn++ % names.length]), 1000 / given.rate);
await until(() => names.every((name) => counts.kinds[name]) || counts.samples.length, 30);
await say({ ready: names.every((name) => counts.kinds[name]), samples: counts.samples });
for (;;) {
  const order = await told();
  if (order.end) break;
  await say(report());
}
clearInterval(clock);
await until(() => pending === 0, 2 * TIME_MAX_MS / 1000);
await say(report());
process.exit(0);
