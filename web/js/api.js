// GraphQL by the names of documents that the server knows; the session is a cookie that no script sees.
import { ids } from './documents.js';
import { get, set } from './state.js';

const ENDPOINT = '/graphql';
const TIME_MS = 15_000;
/** A change is repeated this long while a repeat can help. Its request id makes that safe. */
const PATIENCE_MS = 12_000;

/** Why something did not happen, in words for the person. */
export class Problem extends Error {
  constructor(message, details = {}) {
    super(message);
    Object.assign(this, { code: '', reason: '', retryable: false, userErrors: [] }, details);
  }
}

/** What a subscription sends as its payload, and a request as its body. */
export const request = (name, variables) => ({ documentId: ids[name], variables });

/** The data of a query; fields that failed below the root are null in it. */
export async function ask(name, variables = {}, signal) {
  const { data, errors = [] } = await send(name, variables, signal);
  const failed = Object.entries(data ?? {}).some(
    ([field, value]) => value === null && errors.some((error) => error.path?.[0] === field),
  );
  if (errors.length > 0 && (!data || failed)) throw refused(errors[0]);
  return data;
}

/** Makes a change, and answers its payload; what the person can put right is a `Problem`. */
export async function change(name, input, requestId = crypto.randomUUID()) {
  const variables = { input: { ...input, requestId } };
  if (name === 'Login') delete variables.input.requestId;
  const end = performance.now() + PATIENCE_MS;
  for (let pause = 250; ; pause *= 2) {
    try {
      const [payload] = Object.values(await ask(name, variables));
      const [first] = payload.userErrors;
      if (first) throw new Problem(first.message, { code: first.code, userErrors: payload.userErrors });
      return payload;
    } catch (problem) {
      // A log-in has no request id, and guesses are counted.
      const repeat = problem.retryable && name !== 'Login' && navigator.onLine;
      if (!repeat || performance.now() + pause > end) throw problem;
      await new Promise((resolve) => setTimeout(resolve, Math.max(pause, problem.retryAfterMs ?? 0)));
    }
  }
}

async function send(name, variables, signal) {
  const answer = await post(name, variables, signal);
  if (!answer.errors?.some((error) => error.extensions?.code === 'UNAUTHENTICATED')) return answer;
  // The session has ended, which the server told once and took the cookie back: from now on it is
  // nobody who asks.
  const again = await post(name, variables, signal);
  if (get('viewer') && again.errors?.[0]?.extensions?.reason !== 'CREDENTIALS_INVALID') set('ended', Date.now());
  return again;
}

async function post(name, variables, signal) {
  const time = AbortSignal.timeout(TIME_MS);
  let response;
  let answer;
  try {
    response = await fetch(ENDPOINT, {
      method: 'POST',
      headers: {
        accept: 'application/graphql-response+json, application/json;q=0.9',
        'content-type': 'application/json',
      },
      body: JSON.stringify(request(name, variables)),
      signal: signal ? AbortSignal.any([signal, time]) : time,
    });
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    const message = navigator.onLine ? 'The server cannot be reached right now.' : 'You are offline.';
    throw new Problem(message, { code: 'NETWORK', retryable: true });
  }
  if (answer.errors?.some((error) => error.extensions?.reason === 'PERSISTED_QUERY_NOT_FOUND')) {
    // The server is of another version than the page.
    set('outdated', true);
  }
  return answer;
}

function refused(error) {
  const { code = '', reason = '', retryable = false, retryAfterMs } = error.extensions ?? {};
  return new Problem(words(code, reason, error.message), { code, reason, retryable, retryAfterMs });
}

function words(code, reason, message) {
  if (code === 'UNAUTHENTICATED') return 'Log in to do this.';
  if (reason === 'ROLE_REQUIRED') return 'Your account is not for this.';
  if (code === 'RESOURCE_EXHAUSTED') return 'That was a lot in a short time. Try again in a moment.';
  if (code === 'UNAVAILABLE' || code === 'DEADLINE_EXCEEDED') return 'This part is away right now. Try again in a moment.';
  if (code === 'INTERNAL' || code === 'UNKNOWN') return 'Something went wrong on our side.';
  return message;
}
