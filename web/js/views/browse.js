import { ask } from '../api.js';
import { h, newId } from '../dom.js';
import { number } from '../format.js';
import { follow } from '../live.js';
import { speak } from '../notices.js';
import { card } from '../parts/card.js';
import { dayOffer } from '../parts/day.js';
import { filters } from '../parts/filters.js';
import { say } from '../router.js';
import { get } from '../state.js';

const PAGE = 20;
/** Lists as they were left, by their address, for those who come back. */
const left = new Map();
const LEFT_MAX = 10;

export function browse({ query, signal, back, title }) {
  title('');
  const count = h('p', { class: 'count', role: 'status' });
  const news = h('p', { class: 'news', role: 'status' });
  const trouble = h('div', { role: 'alert' });
  const list = h('ul', { class: 'cards' });
  const more = h('button', { type: 'button', class: 'more', hidden: true, onclick: () => load(true) }, 'More offers');
  const day = h('div', {});
  const listHeading = h('h2', { tabindex: -1, id: newId('list') }, 'Offers');
  const asked = filters(query, changed);

  let cards = new Map();
  let end = null;
  /** Where the list that is shown belongs. */
  let address = location.search;
  let typed = false;
  /** Of the list that is shown; another question ends it. */
  let turn = new AbortController();
  const fresh = new Set();

  const element = h('div', { class: 'browse' },
    h('header', { class: 'hero' },
      h('h1', {}, 'Find help for your move'),
      h('p', {}, 'Crews, storage, broadband and cleaning, with the votes of people who have moved.')),
    asked.element,
    h('section', { class: 'results', 'aria-labelledby': listHeading.id },
      day, h('div', { class: 'toolbar' }, listHeading, count), news, trouble, list, more));

  function changed({ typing }) {
    const search = asked.query().toString();
    // One step back leads to before the word, not to before its last letter.
    say(search ? `/?${search}` : '/', { replace: typing && typed });
    typed = typing;
    load();
  }

  /** Reads the list, or its next page. */
  async function load(further = false) {
    if (!further) {
      turn.abort();
      turn = new AbortController();
      signal.addEventListener('abort', () => turn.abort());
      forget();
      dayOffer(day, asked.area(), turn.signal);
    }
    const { signal: mine } = turn;
    list.setAttribute('aria-busy', 'true');
    more.disabled = true;
    trouble.replaceChildren();
    const asking = location.search;
    try {
      const variables = { ...asked.variables(), first: PAGE, ...(further && { after: end }) };
      const { offers } = await ask('Offers', variables, mine);
      const nodes = offers.nodes.filter(Boolean);
      if (!further) {
        address = asking;
        cards = new Map();
        list.replaceChildren();
        if (!listening) listen();
      }
      const first = add(nodes);
      end = offers.pageInfo.hasNextPage ? offers.pageInfo.endCursor : null;
      tell();
      // The button that had the focus may be gone.
      if (further) first?.element.querySelector('a').focus();
    } catch (problem) {
      if (mine.aborted) return;
      trouble.replaceChildren(h('p', { class: 'problem' }, problem.message),
        h('button', { type: 'button', onclick: () => load(further) }, 'Try again'));
    } finally {
      if (!mine.aborted) {
        list.removeAttribute('aria-busy');
        more.disabled = false;
      }
    }
  }

  function add(nodes) {
    let first = null;
    for (const offer of nodes) {
      // Pages move while they are read.
      if (cards.has(offer.id)) continue;
      const one = card(offer, turn.signal);
      first ??= one;
      cards.set(offer.id, one);
      list.append(h('li', {}, one.element));
    }
    return first;
  }

  function tell() {
    more.hidden = end === null;
    if (cards.size === 0) count.textContent = 'Nothing fits. Try fewer filters or another word.';
    else count.textContent = `${number(cards.size)} shown${end ? ', there are more' : ''}`;
  }

  // What happens to offers while the list is shown.
  let listening = null;
  function listen() {
    listening = turn;
    turn.signal.addEventListener('abort', () => { listening = null; });
    const { area, kinds } = asked.variables().filter ?? {};
    let placed = false;
    const next = ({ change, reset }) => {
      // The list was read before the feed began: what came between is looked for once.
      if (reset || (!placed && !change)) compare();
      placed = true;
      if (change) happened(change);
    };
    follow('OfferEvents', { filter: { area, kinds } }, { next }, turn.signal);
  }

  function happened({ kind, offerId, offer }) {
    const one = cards.get(offerId);
    if (kind === 'RETIRED') {
      one?.retire();
      fresh.delete(offerId);
    } else if (one) {
      if (offer) one.update(offer);
    } else if (kind === 'PUBLISHED' && offer && asked.fits(offer)) {
      fresh.add(offerId);
    }
    announce();
  }

  /** Reads the first page again, and keeps what is shown. */
  async function compare() {
    const { signal: mine } = turn;
    try {
      const { offers } = await ask('Offers', { ...asked.variables(), first: PAGE }, mine);
      for (const offer of offers.nodes.filter(Boolean)) {
        if (cards.has(offer.id)) cards.get(offer.id).update(offer);
        else fresh.add(offer.id);
      }
      announce();
    } catch {
      // What is shown stays; the next change or cut looks again.
    }
  }

  function announce() {
    if (fresh.size === 0) return news.replaceChildren();
    const words = fresh.size === 1 ? '1 new offer' : `${number(fresh.size)} new offers`;
    news.replaceChildren(`${words} `, h('button', { type: 'button', onclick: refresh }, 'Show'));
  }

  function forget() {
    fresh.clear();
    news.replaceChildren();
  }

  async function refresh() {
    await load();
    listHeading.focus();
    speak(count.textContent);
  }

  signal.addEventListener('abort', () => {
    if (cards.size === 0) return;
    left.delete(address);
    left.set(address, { who: get('viewer')?.id, offers: [...cards.values()].map((one) => one.offer), end });
    if (left.size > LEFT_MAX) left.delete(left.keys().next().value);
  });
  const kept = back && left.get(address);
  if (kept && kept.who === get('viewer')?.id) {
    signal.addEventListener('abort', () => turn.abort());
    add(kept.offers);
    end = kept.end;
    tell();
    dayOffer(day, asked.area(), turn.signal);
    listen();
  } else load();
  return element;
}
