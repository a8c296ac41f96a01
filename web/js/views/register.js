import { h } from '../dom.js';
import { field, form } from '../parts/form.js';
import { go } from '../router.js';
import { register as make } from '../session.js';
import { nextOf } from './login.js';

const KINDS = [
  ['MOVER', 'I am moving', 'Find offers and vote on them.'],
  ['CLIENT', 'We send people who move', 'An employer, a university or a housing association.'],
  ['BUSINESS', 'We are a business', 'Offer crews, storage, broadband or cleaning.'],
];

export function register({ query, title }) {
  title('Make an account');
  const next = nextOf(query);
  const kinds = KINDS.map(([value, words, hint], index) => {
    const input = h('input', { type: 'radio', name: 'kind', value, checked: index === 0, onchange: choose });
    return { input, element: h('label', { class: 'option' }, input, h('span', {}, h('strong', {}, words), h('span', { class: 'hint' }, hint))) };
  });
  const kind = () => kinds.find(({ input }) => input.checked).input.value;
  const organisationName = h('input', { name: 'organisationName', autocomplete: 'organization', maxlength: 120 });
  const organisation = field('Name of the business', organisationName);
  const displayName = h('input', { name: 'displayName', autocomplete: 'name', required: true, maxlength: 80 });
  const email = h('input', { type: 'email', name: 'email', autocomplete: 'username', required: true });
  const password = h('input', { type: 'password', name: 'password', autocomplete: 'new-password', required: true, minlength: 10, maxlength: 128 });

  function choose() {
    const business = kind() === 'BUSINESS';
    organisation.element.hidden = !business;
    organisationName.required = business;
  }
  choose();

  // The same registration, however often it is sent; another one once something in it has changed.
  let sent = null;
  const { element } = form({
    fields: [
      h('fieldset', { class: 'options' }, h('legend', {}, 'What are you here for?'), kinds.map((one) => one.element)),
      organisation,
      field('Your name', displayName),
      field('E-mail', email),
      field('Password', password, { hint: '10 characters or more.' }),
    ],
    button: 'Make the account',
    submit: async () => {
      const account = {
        kind: kind(),
        displayName: displayName.value.trim(),
        email: email.value.trim(),
        password: password.value,
        ...(kind() === 'BUSINESS' && { organisationName: organisationName.value.trim() }),
      };
      const text = JSON.stringify(account);
      if (sent?.text !== text) sent = { text, requestId: crypto.randomUUID() };
      await make(account, sent.requestId);
      go(account.kind === 'BUSINESS' && next === '/' ? '/own' : next, { replace: true });
    },
  });
  return h('div', { class: 'narrow' },
    h('h1', {}, 'Make an account'),
    element,
    h('p', {}, 'You have one? ', h('a', { href: `/login?next=${encodeURIComponent(next)}` }, 'Log in'), '.'));
}
