import { ask } from '../api.js';
import { fill, h, icon } from '../dom.js';
import { areaName, date, KINDS, money, number } from '../format.js';
import { follow } from '../live.js';
import { speak } from '../notices.js';
import { offers } from '../parts/card.js';
import { votesOf } from '../parts/votes.js';
import { learn } from '../votes.js';
import { get } from '../state.js';
import { missing } from './missing.js';

/** Votes are told to those who hear the page, at most this often. */
const TOLD_MS = 5_000;

export function offer({ params: { id }, signal, title }) {
  const heading = h('h1', {}, 'Offer');
  const body = h('div', { class: 'body', 'aria-busy': 'true' });
  const element = h('article', { class: 'offer' },
    h('p', { class: 'crumb' }, h('a', { href: '/', onclick: back }, '← Offers')), heading, body);
  let shown = null;
  let votes = null;

  function show(next) {
    if (shown && next.version < shown.version) return;
    const changed = shown && next.version > shown.version;
    shown = next;
    offers.set(id, next);
    learn(id, next.votes);
    title(next.title);
    heading.textContent = next.title;
    votes ??= votesOf(next, signal, told());
    const retired = next.state === 'RETIRED';
    const own = next.organisation && next.organisation.id === get('viewer')?.organisation?.id;
    body.removeAttribute('aria-busy');
    fill(body,
      h('p', { class: 'kind' }, icon(next.kind), KINDS[next.kind], h('span', { class: 'place' }, icon('pin'),
        h('a', { href: `/?area=${encodeURIComponent(next.area)}` }, areaName(next.area)))),
      retired && h('p', { class: 'notice' }, 'This offer was taken back and is no longer to be had.'),
      h('div', { class: 'facts' },
        h('p', { class: 'price' }, money(next.price)),
        next.state === 'PUBLISHED' && votes),
      h('p', { class: 'text' }, next.description),
      h('p', { class: 'from' },
        next.organisation && `Offered by ${next.organisation.name}`,
        next.publishedAt && ` · since ${date(next.publishedAt)}`),
      own && h('p', {}, h('a', { class: 'button', href: `/own/${id}` }, 'Edit this offer')));
    if (changed) speak(retired ? 'This offer was taken back.' : 'This offer was just changed.');
  }

  async function load() {
    try {
      const { offer: found } = await ask('Offer', { id }, signal);
      if (found) return show(found);
      if (!shown) element.replaceWith(missing({ title }));
    } catch (problem) {
      if (signal.aborted || shown) return;
      // An address that names nothing at all.
      if (problem.code === 'INVALID_ARGUMENT') return element.replaceWith(missing({ title }));
      body.removeAttribute('aria-busy');
      body.replaceChildren(h('p', { class: 'problem', role: 'alert' }, problem.message),
        h('button', { type: 'button', onclick: load }, 'Try again'));
    }
  }

  if (offers.has(id)) show(offers.get(id));
  load().then(() => {
    if (!shown?.organisation) return;
    const filter = { organisationId: shown.organisation.id };
    const next = ({ change, reset }) => {
      if (reset || (change?.offerId === id && change.version > shown.version)) load();
    };
    follow('OfferEvents', { filter }, { next }, signal);
  });
  return element;
}

/** Back to the list as it was left, if that is where one came from. */
function back(event) {
  if (history.state?.from !== '/') return;
  event.preventDefault();
  history.back();
}

function told() {
  let last = -TOLD_MS;
  return ({ up, down }) => {
    if (performance.now() - last < TOLD_MS) return;
    last = performance.now();
    speak(`Votes: ${number(up)} up, ${number(down)} down`);
  };
}
