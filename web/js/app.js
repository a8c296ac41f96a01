// The frame around the views: who is logged in, the theme, and how the connection is.
import { h, icon } from './dom.js';
import { connectionBar, speak, versionBar } from './notices.js';
import { again, go, here, start } from './router.js';
import { loadViewer, logOut } from './session.js';
import { get, set, watch } from './state.js';
import { browse } from './views/browse.js';
import { create, edit } from './views/edit.js';
import { login } from './views/login.js';
import { missing } from './views/missing.js';
import { offer } from './views/offer.js';
import { own } from './views/own.js';
import { register } from './views/register.js';

const element = (id) => document.getElementById(id);

function person() {
  const viewer = get('viewer');
  element('own').hidden = !viewer?.organisation;
  if (!viewer) {
    element('person').replaceChildren(
      h('a', { href: '/login', onclick: withNext }, 'Log in'),
      h('a', { class: 'button', href: '/register', onclick: withNext }, 'Register'));
    return;
  }
  element('person').replaceChildren(
    h('span', { class: 'name', id: 'viewer', title: viewer.email }, viewer.displayName),
    h('button', { type: 'button', class: 'plain', onclick: leave }, 'Log out'));
}

/** Back to where one was, unless that is a log-in itself. */
function withNext(event) {
  if (/^\/(login|register)/.test(location.pathname)) return;
  event.preventDefault();
  go(`${event.currentTarget.getAttribute('href')}?next=${encodeURIComponent(here())}`);
}

async function leave() {
  try {
    await logOut();
    speak('You are logged out.');
    element('person').querySelector('a').focus();
  } catch (problem) {
    speak(problem.message);
  }
}

function theme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const button = element('theme');
  const now = () => document.documentElement.dataset.theme ?? (dark.matches ? 'dark' : 'light');
  const show = () => {
    const other = now() === 'dark' ? 'light' : 'dark';
    button.replaceChildren(icon(other === 'dark' ? 'moon' : 'sun'));
    button.setAttribute('aria-label', `Use ${other} colours`);
  };
  button.addEventListener('click', () => {
    const chosen = now() === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem('theme', chosen);
    } catch {
      // Good for this page, then.
    }
    show();
  });
  dark.addEventListener('change', show);
  show();
}

// A jump within the page, not a change of its address.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  element('main').focus();
});
theme();
connectionBar(element('connection'));
versionBar(element('version'));
set('connection', navigator.onLine ? 'ok' : 'offline');
watch('viewer', null, person);
await loadViewer().catch(() => set('viewer', null));

start(element('main'), [
  ['/', browse],
  ['/offers/:id', offer],
  ['/login', login],
  ['/register', register],
  ['/own', own],
  ['/own/new', create],
  ['/own/:id', edit],
  ['/.*', missing],
]);

let who = get('viewer')?.id;
watch('viewer', null, (viewer) => {
  const other = viewer?.id !== who;
  who = viewer?.id;
  // Forms go on to where they lead by themselves, and keep what was typed.
  if (other && !/^\/(login|register)$/.test(location.pathname) && !document.querySelector('dialog[open]')) again();
});
watch('ended', null, () => {
  document.querySelectorAll('dialog[open]').forEach((open) => open.close());
  if (!/^\/(login|register)$/.test(location.pathname)) go(`/login?ended&next=${encodeURIComponent(here())}`);
});
