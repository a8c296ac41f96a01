// Votes as they are known here: the newest that the server said, and what was just clicked.
import { change } from './api.js';
import { follow } from './live.js';

/** By the id of the offer. */
const known = new Map();

function entry(id) {
  if (!known.has(id)) {
    const nothing = { up: 0, down: 0, mine: null, version: -1 };
    known.set(id, { id, votes: nothing, wish: undefined, busy: false, problem: null, after: null, faces: new Set(), watchers: 0, stop: null });
  }
  return known.get(id);
}

/** Takes what the server said, unless newer is known. */
export function learn(id, votes) {
  const one = entry(id);
  if (votes.version < one.votes.version) return;
  one.votes = votes;
  tell(one);
}

/** Calls `face` with the votes now and whenever they change, until `signal` is aborted. */
export function show(id, signal, face) {
  const one = entry(id);
  one.faces.add(face);
  signal.addEventListener('abort', () => one.faces.delete(face));
  face(shown(one));
}

/** Follows the votes while somebody watches; answers a function that ends it. */
export function keep(id) {
  const one = entry(id);
  one.watchers += 1;
  if (one.watchers === 1) {
    one.stop = new AbortController();
    const next = ({ votes, cursor }) => {
      one.after = cursor;
      learn(id, votes);
    };
    follow('OfferVotes', { offerId: id }, { next, after: one.after }, one.stop.signal);
  }
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    one.watchers -= 1;
    if (one.watchers === 0) one.stop.abort();
  };
}

/** Sets the vote to `UP`, `DOWN` or null. Shown at once; taken back if the server refuses it. */
export async function vote(id, value) {
  const one = entry(id);
  one.wish = value;
  one.problem = null;
  tell(one);
  // Clicks while one is on its way are sent after it, the last one only.
  if (one.busy) return;
  one.busy = true;
  while (one.wish !== undefined) {
    const wish = one.wish;
    try {
      const input = wish ? { offerId: id, value: wish } : { offerId: id };
      const { votes } = await change(wish ? 'CastVote' : 'RetractVote', input);
      if (one.wish === wish) one.wish = undefined;
      learn(id, votes);
    } catch (problem) {
      one.wish = undefined;
      one.problem = problem;
    }
  }
  one.busy = false;
  tell(one);
}

function shown({ votes, wish, problem, busy }) {
  const told = { ...votes, problem, busy };
  if (wish === undefined) return told;
  told.up += (wish === 'UP') - (votes.mine === 'UP');
  told.down += (wish === 'DOWN') - (votes.mine === 'DOWN');
  told.mine = wish;
  return told;
}

function tell(one) {
  const now = shown(one);
  for (const face of one.faces) face(now);
}
