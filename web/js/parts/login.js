// The form to log in, for its own page and for a dialog over another.
import { h } from '../dom.js';
import { here } from '../router.js';
import { logIn } from '../session.js';
import { dialog } from './dialog.js';
import { field, form } from './form.js';

/** Calls `done` when somebody is logged in. */
export function logInForm(done, extra = []) {
  const email = h('input', { type: 'email', name: 'email', autocomplete: 'username', required: true });
  const password = h('input', { type: 'password', name: 'password', autocomplete: 'current-password', required: true });
  return form({
    fields: [field('E-mail', email), field('Password', password)],
    button: 'Log in',
    extra,
    submit: async () => {
      await logIn(email.value.trim(), password.value);
      done();
    },
  }).element;
}

/** Over the page; answers whether somebody is logged in. */
export const logInDialog = (title, text) => dialog(title, (close) => [
  h('p', {}, text),
  logInForm(() => close(true), [
    h('button', { type: 'button', class: 'plain', onclick: () => close(false) }, 'Cancel'),
  ]),
  h('p', { class: 'small' }, 'No account yet? ',
    h('a', { href: `/register?next=${encodeURIComponent(here())}`, onclick: () => close(false) }, 'Make one'), '.'),
]);
