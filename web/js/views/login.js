import { h } from '../dom.js';
import { logInForm } from '../parts/login.js';
import { go } from '../router.js';
import { get } from '../state.js';

/** Where to go after it: a path of this site. */
export function nextOf(query) {
  const next = query.get('next') ?? '/';
  return /^\/(?![/\\])/.test(next) ? next : '/';
}

export function login({ query, title }) {
  title('Log in');
  const next = nextOf(query);
  const ended = query.has('ended') && !get('viewer');
  return h('div', { class: 'narrow' },
    h('h1', {}, 'Log in'),
    ended && h('p', { class: 'notice', role: 'status' }, 'Your session has ended, here or on another device. Log in to go on where you were.'),
    logInForm(() => go(next, { replace: true })),
    h('p', {}, 'No account yet? ', h('a', { href: `/register?next=${encodeURIComponent(next)}` }, 'Make one'), '.'));
}
