// Many sockets that follow one offer, then one among others that does not read.
//
// Given: { url, pid, sockets, voters, votes, offer, readers, slowVotes, slowOffer }, `voters` being
// tokens. Says one object per part; all times are in milliseconds, all sizes in bytes.
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { GRAPHQL_WS, bearer, say, socketUrl, told, until } from './shared.mjs';

const FOLLOW = 'subscription($offer: ID!) { offerVotes(offerId: $offer) { votes { version } reset } }';
// As long as an answer can be made, so that it does not fit into the buffers of TCP for long.
const aliases = Array.from({ length: 150 }, (_, number) => `${'a'.repeat(100)}${number}: version`);
const FOLLOW_MUCH = FOLLOW.replace('version }', `version ${aliases.join(' ')} }`);
const MUCH = 10;
const BATCH = 100;

const given = await told();
const memory = () => 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${given.pid}/status`, 'utf8'))[1]);

/** A socket with some subscriptions; `version` and `wrong` are about each message of any of them. */
class Follower {
  constructor(offer, query = FOLLOW, feeds = 1) {
    this.versions = Array(feeds).fill(-1);
    this.at = 0;
    this.wrong = null;
    this.socket = new WebSocket(socketUrl(given.url), GRAPHQL_WS, { perMessageDeflate: false });
    const send = (message) => this.socket.send(JSON.stringify(message));
    this.socket.on('open', () => send({ type: 'connection_init' }));
    this.socket.on('message', (bytes) => {
      const text = bytes.toString();
      if (text.includes('connection_ack')) {
        const payload = { query, variables: { offer } };
        for (let id = 0; id < feeds; id += 1) send({ type: 'subscribe', id: `${id}`, payload });
        return;
      }
      this.heard(text);
    });
    this.socket.on('error', (error) => this.wrong ??= `${error}`);
    this.socket.on('close', (code) => { this.closed = code; });
  }

  heard(text) {
    const id = Number(/"id":"(\d+)"/.exec(text)?.[1]);
    const version = Number(/"version":(\d+)/.exec(text)?.[1]);
    if (version !== this.versions[id] + 1 || !text.includes('"reset":false')) {
      this.wrong ??= `${text.slice(0, 300)} after version ${this.versions[id]}`;
    }
    this.versions[id] = version;
    this.at = performance.now();
  }

  has(version) {
    return this.versions.every((one) => one >= version);
  }
}

const turn = given.voters.map(() => 0);

/** Changes the vote of a voter; the votes of one voter are one after the other. */
async function vote(voter, offerId) {
  const value = (turn[voter] += 1) % 2 ? 'UP' : 'DOWN';
  const response = await fetch(given.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer(given.voters[voter]) },
    body: JSON.stringify({
      query: 'mutation($input: CastVoteInput!) { castVote(input: $input) { votes { version } userErrors { code } } }',
      variables: { input: { offerId, value } },
    }),
  });
  const answer = await response.json();
  return answer.data?.castVote?.votes?.version ?? Promise.reject(new Error(JSON.stringify(answer)));
}

function quantiles(times) {
  times.sort((a, b) => a - b);
  const at = (share) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))]);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

const troubled = (followers) => [...new Set(followers.map(({ wrong }) => wrong).filter(Boolean))].slice(0, 3);

async function idle() {
  const before = memory();
  const began = performance.now();
  const followers = [];
  while (followers.length < given.sockets) {
    const batch = Array.from({ length: BATCH }, () => new Follower(given.offer));
    followers.push(...batch);
    await until(() => batch.every((one) => one.has(0) || one.wrong), 30);
  }
  const opened = performance.now() - began;
  const after = memory();
  const times = [];
  for (let number = 0; number < given.votes; number += 1) {
    const cast = performance.now();
    const version = await vote(0, given.offer);
    await until(() => followers.every((one) => one.has(version)), 20);
    times.push(...followers.map((one) => one.at - cast));
  }
  const told = followers.filter((one) => one.has(given.votes)).length;
  say({ opened, before, after, told, wrong: troubled(followers), ...quantiles(times) });
  return followers;
}

async function slow() {
  const readers = Array.from({ length: given.readers }, () => new Follower(given.slowOffer));
  const sleeper = new Follower(given.slowOffer, FOLLOW_MUCH, MUCH);
  await until(() => [...readers, sleeper].every((one) => one.has(0) || one.wrong), 30);
  sleeper.socket.pause();
  const before = memory();
  let most = before;
  const watching = setInterval(() => { most = Math.max(most, memory()); }, 50);
  const began = performance.now();
  const each = given.slowVotes / given.voters.length;
  await Promise.all(given.voters.map(async (_, voter) => {
    for (let number = 0; number < each; number += 1) await vote(voter, given.slowOffer);
  }));
  const cast = performance.now();
  await until(() => readers.every((one) => one.has(given.slowVotes)), 20);
  const late = Math.max(...readers.map((one) => one.at)) - cast;
  clearInterval(watching);
  const told = readers.filter((one) => one.has(given.slowVotes)).length;
  const asleep = [...sleeper.versions];
  sleeper.socket.resume();
  await until(() => sleeper.closed || sleeper.has(given.slowVotes), 20);
  say({
    seconds: (cast - began) / 1000,
    before,
    most,
    told,
    late,
    wrong: troubled(readers),
    sleeper: { asleep: Math.max(...asleep), versions: sleeper.versions, wrong: sleeper.wrong, closed: sleeper.closed ?? null },
  });
}

const followers = await idle();
await slow();
await say({ still: followers.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length });
process.exit(0);
