// What to look for, as a form and as the query of the address.
import { ask } from '../api.js';
import { h, icon, newId } from '../dom.js';
import { areaName, CURRENCIES, KINDS, moneyOf, slug } from '../format.js';
import { choice, field } from './form.js';

/** Typing is over when nothing was typed for so long. */
const TYPED_MS = 350;
const ORDERS = { NEWEST: 'Newest first', PRICE: 'Cheapest first', RELEVANCE: 'Best match first' };

const wide = matchMedia('(min-width: 60rem)');
/** Asked for once. */
let areas = null;

/** The form; `changed({ typing })` is called whenever something else is asked. */
export function filters(query, changed) {
  const search = h('input', { type: 'search', name: 'q', value: query.get('q') ?? '', enterkeyhint: 'search', placeholder: 'Piano, attic, fibre …', oninput: typed });
  const area = h('input', { name: 'area', value: query.get('area') ?? '', autocomplete: 'off', spellcheck: 'false', placeholder: 'Anywhere', list: newId('areas'), onfocus: suggest });
  const suggestions = h('datalist', { id: area.getAttribute('list') });
  const chosen = new Set(query.get('kinds')?.split(','));
  const kinds = Object.entries(KINDS).map(([value, words]) => {
    const input = h('input', { type: 'checkbox', name: 'kinds', value, checked: chosen.has(value) });
    return { input, element: h('label', { class: 'chip' }, input, icon(value), words) };
  });
  const max = h('input', { type: 'number', name: 'max', min: 0, inputmode: 'decimal', value: query.get('max') ?? '', placeholder: 'Any' });
  const currency = choice({ name: 'currency', 'aria-label': 'Currency of the highest price' },
    CURRENCIES.map((code) => [code, code]), query.get('currency') ?? 'EUR');
  const order = choice({ name: 'order' }, Object.entries(ORDERS), query.get('order') ?? '');
  const price = field('Highest price', max);
  const joined = h('div', { class: 'joined' });
  max.replaceWith(joined);
  joined.append(max, currency);
  max.step = 'any';

  const clear = h('button', { type: 'button', class: 'plain', onclick: reset }, 'Clear');
  const fold = h('details', {},
    h('summary', {}, 'Filters'),
    field('Area', area).element, suggestions,
    h('fieldset', { class: 'chips' }, h('legend', {}, 'What for'), kinds.map((one) => one.element)),
    price.element,
    field('Order', order).element,
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'unseen-until-focused' }, 'Show offers'), clear));
  const element = h('form', {
    class: 'filters',
    role: 'search',
    'aria-label': 'Offers',
    onchange: (event) => event.target !== search && apply(),
    onsubmit: (event) => {
      event.preventDefault();
      apply();
    },
  }, field('Search', search).element, fold);
  fold.open = wide.matches;
  settle();

  let timer = null;
  function typed() {
    clearTimeout(timer);
    timer = setTimeout(() => element.isConnected && apply(true), TYPED_MS);
  }
  let last = text();
  function apply(typing = false) {
    clearTimeout(timer);
    area.value = slug(area.value);
    settle();
    if (text() === last) return;
    last = text();
    changed({ typing });
  }
  /** The best match is one of words, and there must be something to clear. */
  function settle() {
    const searching = search.value.trim() !== '';
    const option = order.querySelector('[value=RELEVANCE]');
    option.hidden = option.disabled = !searching;
    if (!order.value || (!searching && order.value === 'RELEVANCE')) order.value = 'NEWEST';
    clear.hidden = text() === '';
  }
  function reset() {
    for (const input of [search, area, max]) input.value = '';
    for (const { input } of kinds) input.checked = false;
    order.value = 'NEWEST';
    apply();
    search.focus();
  }

  async function suggest() {
    try {
      areas ??= ask('Areas').then(({ offers }) => [...new Set(offers.nodes.filter(Boolean).map((one) => one.area))].sort());
      suggestions.replaceChildren(...(await areas).map((value) => h('option', { value }, areaName(value))));
    } catch {
      areas = null;
    }
  }

  function picked() {
    return kinds.filter(({ input }) => input.checked).map(({ input }) => input.value);
  }
  function priceMax() {
    return max.value !== '' && Number(max.value) >= 0 ? moneyOf(max.value, currency.value) : null;
  }

  /** For the address: only what differs from nothing. */
  function asked() {
    const parts = {
      q: search.value.trim(),
      area: slug(area.value),
      kinds: picked().join(','),
      max: max.value,
      currency: max.value && currency.value !== 'EUR' ? currency.value : '',
      order: order.value === 'NEWEST' ? '' : order.value,
    };
    const entries = Object.entries(parts).filter(([, value]) => value);
    return new URLSearchParams(entries);
  }
  function text() {
    return asked().toString();
  }
  function variables() {
    const filter = {};
    if (slug(area.value)) filter.area = slug(area.value);
    if (picked().length > 0) filter.kinds = picked();
    if (priceMax()) filter.priceMax = priceMax();
    const words = search.value.trim();
    return { filter, orderBy: order.value, ...(words && { search: words }) };
  }
  /** Whether an offer of the right area and kind fits; which words it holds only the server knows. */
  function fits(offer) {
    const limit = priceMax();
    if (search.value.trim()) return false;
    return !limit || (offer.price.currency === limit.currency && offer.price.amountMinor <= limit.amountMinor);
  }
  return { element, query: asked, variables, fits, area: () => slug(area.value) };
}
