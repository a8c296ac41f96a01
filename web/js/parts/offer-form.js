// The fields of an offer, as a business edits them.
import { h } from '../dom.js';
import { amountOf, CURRENCIES, KINDS, moneyOf, slug, stepOf } from '../format.js';
import { choice, field } from './form.js';

/** `{ fields, read(), fill(offer) }`. */
export function offerFields(offer) {
  const title = h('input', { name: 'title', required: true, maxlength: 120 });
  const kind = choice({ name: 'kind' }, Object.entries(KINDS), 'CREW');
  const area = h('input', { name: 'area', required: true, autocomplete: 'off', spellcheck: 'false', onchange: () => { area.value = slug(area.value); } });
  const amount = h('input', { name: 'price', type: 'number', min: 0, required: true, inputmode: 'decimal' });
  const currency = choice({ 'aria-label': 'Currency' }, CURRENCIES.map((code) => [code, code]), 'EUR');
  const description = h('textarea', { name: 'description', rows: 7, maxlength: 4000 });
  const step = () => { amount.step = stepOf(currency.value); };
  currency.addEventListener('change', step);

  const price = field('Price', amount);
  const joined = h('div', { class: 'joined' });
  amount.replaceWith(joined);
  joined.append(amount, currency);
  const fields = [
    field('Title', title, { hint: 'What one sees first, such as “Two movers and a van for half a day”.' }),
    field('Kind', kind),
    field('Area', area, { hint: 'Such as berlin-mitte.' }),
    price,
    field('Description', description),
  ];
  function fill(from) {
    title.value = from.title;
    kind.value = from.kind;
    area.value = from.area;
    if (![...currency.options].some(({ value }) => value === from.price.currency)) {
      currency.append(h('option', { value: from.price.currency }, from.price.currency));
    }
    currency.value = from.price.currency;
    step();
    amount.value = amountOf(from.price);
    description.value = from.description;
  }
  if (offer) fill(offer);
  else step();
  const read = () => ({
    title: title.value.trim(),
    description: description.value.trim(),
    kind: kind.value,
    area: slug(area.value),
    price: moneyOf(amount.value, currency.value),
  });
  return { fields, read, fill };
}
