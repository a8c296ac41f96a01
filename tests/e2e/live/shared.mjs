// What the programs of this folder have in common.
import { createInterface } from 'node:readline';

export const VOTES = `subscription($offer: ID!, $after: String) {
  offerVotes(offerId: $offer, after: $after) { votes { up down version } cursor reset } }`;
export const EVENTS = `subscription($filter: OfferEventFilter, $after: String) {
  offerEvents(filter: $filter, after: $after) { change { kind offerId version } cursor reset } }`;
export const SESSION = 'subscription { session { kind } }';

export const GRAPHQL_WS = 'graphql-transport-ws';
export const EVENT_STREAM = 'text/event-stream';
export const STREAM_TOKEN = 'x-graphql-event-stream-token';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The next line on standard input, which is JSON. */
export async function told() {
  const { value, done } = await lines.next();
  if (done) throw new Error('the script has gone');
  return JSON.parse(value);
}

/** Says something to the script; whoever ends with it waits until it is heard. */
export function say(value) {
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(value)}\n`, resolve));
}

/** A URL of a BFF for its sockets. */
export const socketUrl = (url) => url.replace('http', 'ws');

export const bearer = (token) => (token ? { authorization: `Bearer ${token}` } : {});

/** The events of a response, `{ event, data }` each; throws if the connection breaks. */
export async function* events(response) {
  let text = '';
  const decoder = new TextDecoder();
  for await (const bytes of response.body) {
    text += decoder.decode(bytes, { stream: true });
    const whole = text.split('\n\n');
    text = whole.pop();
    for (const block of whole) {
      const fields = { event: '', data: '' };
      for (const line of block.split('\n')) {
        const [, name, value] = /^(\w*):? ?(.*)$/.exec(line);
        if (name in fields) fields[name] += value;
      }
      if (fields.event) yield { event: fields.event, data: fields.data && JSON.parse(fields.data) };
    }
  }
}

/** Waits for a condition; answers whether it held in time. */
export async function until(condition, seconds) {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}
