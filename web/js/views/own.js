import { ask, change } from '../api.js';
import { fill, h, icon } from '../dom.js';
import { areaName, KINDS, money, STATES } from '../format.js';
import { confirmed } from '../parts/dialog.js';
import { votesOf } from '../parts/votes.js';
import { go } from '../router.js';
import { get } from '../state.js';
import { speak } from '../notices.js';
import { learn } from '../votes.js';

const PAGE = 50;

/** The view for those who act for an organisation; others are told what it is for. */
export function forBusiness(view) {
  return (context) => {
    if (get('viewer')?.organisation) return view(context);
    context.title('Your offers');
    const text = get('viewer')
      ? 'Offers are made by businesses, and your account is not one of a business.'
      : 'Log in with the account of a business to see and edit its offers.';
    return h('div', { class: 'narrow' }, h('h1', {}, 'Your offers'), h('p', {}, text),
      !get('viewer') && h('p', {}, h('a', { class: 'button', href: `/login?next=${encodeURIComponent(location.pathname)}` }, 'Log in')));
  };
}

export const own = forBusiness(({ signal, title }) => {
  title('Your offers');
  const trouble = h('div', { role: 'alert' });
  const rows = h('ul', { class: 'rows', 'aria-busy': 'true' });
  const more = h('button', { type: 'button', class: 'more', hidden: true, onclick: load }, 'More offers');
  let end = null;

  async function load() {
    trouble.replaceChildren();
    try {
      const { offers } = await ask('Offers', { first: PAGE, after: end, filter: { own: true } }, signal);
      for (const offer of offers.nodes.filter(Boolean)) rows.append(row(offer, signal));
      end = offers.pageInfo.endCursor;
      more.hidden = !offers.pageInfo.hasNextPage;
      if (!rows.childElementCount) rows.replaceWith(h('p', { class: 'empty' }, 'No offers yet. Make the first one: it stays a draft until you publish it.'));
    } catch (problem) {
      if (signal.aborted) return;
      trouble.replaceChildren(h('p', { class: 'problem' }, problem.message),
        h('button', { type: 'button', onclick: load }, 'Try again'));
    } finally {
      rows.removeAttribute('aria-busy');
    }
  }
  load();
  return h('div', { class: 'own' },
    h('div', { class: 'toolbar' }, h('h1', {}, 'Your offers'),
      h('a', { class: 'button primary', href: '/own/new' }, 'New offer')),
    h('p', { class: 'from' }, get('viewer').organisation.name),
    trouble, rows, more);
});

function row(offer, signal) {
  const item = h('li', { class: 'row' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  let shown = offer;

  async function act(name, said) {
    problem.textContent = '';
    try {
      const { offer: changed } = await change(name, { id: shown.id, expectedVersion: shown.version });
      shown = changed;
      show();
      item.querySelector('a').focus();
      speak(said);
    } catch (error) {
      problem.textContent = error.code === 'VERSION_MISMATCH'
        ? 'This offer was changed meanwhile. Open it to see how it is now.'
        : error.message;
    }
  }
  async function retire() {
    const yes = await confirmed(`Take back “${shown.title}”?`, 'It can no longer be found or voted on, and that is for good.', 'Take it back');
    if (yes) act('RetireOffer', 'The offer was taken back.');
  }
  function show() {
    learn(shown.id, shown.votes);
    fill(item,
      h('div', { class: 'what' },
        h('p', { class: 'kind' }, icon(shown.kind), KINDS[shown.kind], h('span', { class: `state ${shown.state.toLowerCase()}` }, STATES[shown.state])),
        h('h2', {}, h('a', { href: shown.state === 'RETIRED' ? `/offers/${shown.id}` : `/own/${shown.id}` }, shown.title)),
        h('p', { class: 'from' }, `${areaName(shown.area)} · ${money(shown.price)}`)),
      h('div', { class: 'do' },
        shown.state === 'PUBLISHED' && votesOf(shown, signal),
        shown.state === 'DRAFT' && h('button', { type: 'button', class: 'primary', onclick: () => act('PublishOffer', 'The offer is published.') }, 'Publish'),
        shown.state !== 'RETIRED' && h('button', { type: 'button', onclick: () => go(`/own/${shown.id}`) }, 'Edit'),
        shown.state === 'PUBLISHED' && h('button', { type: 'button', class: 'danger plain', onclick: retire }, 'Take back')),
      problem);
  }
  show();
  return item;
}
