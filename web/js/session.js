// Who is logged in, and what becomes of the session elsewhere.
import { ask, change } from './api.js';
import { beforeReconnect, follow, renew } from './live.js';
import { get, set, watch } from './state.js';

/** Of the feed that tells how the session is. */
let watching = null;

/** Asks who is logged in. */
export async function loadViewer() {
  become((await ask('Viewer')).viewer);
}

export async function logIn(email, password) {
  const { viewer } = await change('Login', { email, password, session: 'COOKIE' });
  become(viewer);
}

export async function logOut() {
  // What is heard of it from now on is our own doing.
  watching?.abort();
  try {
    await change('Logout', {});
    become(null);
  } catch (problem) {
    watchSession();
    throw problem;
  }
}

/** An account, and a session of it. */
export async function register({ email, password, displayName, kind, organisationName }, requestId) {
  await change('Register', { email, password, displayName, kind, organisationName }, requestId);
  await logIn(email, password);
}

function become(viewer) {
  const before = get('viewer');
  if (before !== undefined && JSON.stringify(before) === JSON.stringify(viewer)) return;
  const other = before?.id !== viewer?.id;
  set('viewer', viewer);
  if (!other) return;
  watchSession();
  // A connection is somebody's from its first word on.
  if (before !== undefined) renew();
}

function watchSession() {
  watching?.abort();
  watching = null;
  if (!get('viewer')) return;
  watching = new AbortController();
  follow('Session', {}, {
    next: ({ kind }) => {
      // Rights that have changed take a new token, which an ordinary request fetches.
      if (kind === 'ROLE_CHANGED') loadViewer().catch(() => {});
      if (kind === 'ENDED') set('ended', Date.now());
    },
  }, watching.signal);
}

beforeReconnect(loadViewer);
watch('ended', null, () => become(null));
