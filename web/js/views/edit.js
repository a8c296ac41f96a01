import { ask, change } from '../api.js';
import { h } from '../dom.js';
import { areaName, KINDS, money, STATES } from '../format.js';
import { dialog } from '../parts/dialog.js';
import { form } from '../parts/form.js';
import { offerFields } from '../parts/offer-form.js';
import { go } from '../router.js';
import { missing } from './missing.js';
import { forBusiness } from './own.js';

export const create = forBusiness(({ title }) => {
  title('New offer');
  const fields = offerFields(null);
  // The same draft, however often it is sent; another one once something in it has changed.
  let sent = null;
  const { element } = form({
    fields: fields.fields,
    button: 'Save as a draft',
    submit: async () => {
      const input = fields.read();
      const text = JSON.stringify(input);
      if (sent?.text !== text) sent = { text, requestId: crypto.randomUUID() };
      const { offer } = await change('CreateOffer', input, sent.requestId);
      go(`/own/${offer.id}`, { replace: true });
    },
  });
  return h('div', { class: 'narrow' }, h('p', { class: 'crumb' }, h('a', { href: '/own' }, '← Your offers')),
    h('h1', {}, 'New offer'), element);
});

export const edit = forBusiness(({ params: { id }, signal, title }) => {
  title('Edit offer');
  const heading = h('h1', {}, 'Edit offer');
  const body = h('div', { class: 'narrow', 'aria-busy': 'true' });
  const said = h('p', { class: 'notice', role: 'status', hidden: true });
  const element = h('div', { class: 'narrow' },
    h('p', { class: 'crumb' }, h('a', { href: '/own' }, '← Your offers')), heading, said, body);

  async function load() {
    try {
      const { offer } = await ask('Offer', { id }, signal);
      body.removeAttribute('aria-busy');
      if (!offer) element.replaceWith(missing({ title }));
      else body.replaceChildren(...editor(offer, tell));
    } catch (problem) {
      if (signal.aborted) return;
      body.replaceChildren(h('p', { class: 'problem', role: 'alert' }, problem.message),
        h('button', { type: 'button', onclick: load }, 'Try again'));
    }
  }
  function tell(text) {
    said.hidden = false;
    said.replaceChildren(text);
  }
  load();
  return element;
});

function editor(offer, tell) {
  let base = offer;
  const fields = offerFields(offer);
  const state = h('p', { class: 'from' });
  const publish = h('button', { type: 'submit' }, 'Save and publish');
  const { element } = form({
    fields: fields.fields,
    extra: [publish, h('a', { class: 'button plain', href: `/offers/${offer.id}` }, 'View')],
    button: 'Save',
    submit: async ({ submitter }) => {
      await save();
      if (submitter === publish) {
        base = (await change('PublishOffer', { id: base.id, expectedVersion: base.version })).offer;
        tell('Published: everybody sees it now.');
      }
      show();
    },
  });

  async function save() {
    const mine = fields.read();
    const patch = difference(base, mine);
    if (Object.keys(patch).length === 0) return tell('There was nothing to save.');
    for (;;) {
      try {
        const input = { id: base.id, expectedVersion: base.version, ...patch };
        base = (await change('UpdateOffer', input)).offer;
        fields.fill(base);
        return tell('Saved.');
      } catch (problem) {
        if (problem.code !== 'VERSION_MISMATCH') throw problem;
        const { offer: theirs } = await ask('Offer', { id: base.id });
        if (!theirs) throw problem;
        const keep = await conflict(theirs, { ...theirs, ...patch });
        base = theirs;
        if (keep === null) return tell('Not saved yet: look at it, and save again.');
        if (!keep) {
          fields.fill(theirs);
          show();
          return tell('These are the values of the other change. Yours were not saved.');
        }
      }
    }
  }
  function show() {
    state.textContent = `${STATES[base.state]}${base.state === 'DRAFT' ? ': only your organisation sees it.' : '.'}`;
    publish.hidden = base.state !== 'DRAFT';
  }
  show();
  return [state, element];
}

const same = (left, right) => JSON.stringify(left) === JSON.stringify(right);
const price = ({ amountMinor, currency }) => ({ amountMinor, currency });

/** What the form changes: others may have changed the rest. */
function difference(base, form) {
  const was = { ...base, price: price(base.price) };
  return Object.fromEntries(Object.entries(form).filter(([key, value]) => !same(was[key], value)));
}

/** Somebody else saved first. True keeps what was typed, false takes what they saved, null decides later. */
function conflict(theirs, mine) {
  const words = {
    title: ['Title', (value) => value],
    kind: ['Kind', (value) => KINDS[value]],
    area: ['Area', areaName],
    price: ['Price', money],
    description: ['Description', (value) => value],
  };
  const differing = Object.keys(words).filter((key) =>
    key === 'price' ? !same(price(theirs.price), price(mine.price)) : !same(theirs[key], mine[key]));
  return dialog('Somebody else changed this offer', (close) => [
    h('p', {}, 'It was saved from another window, or by somebody of your organisation, while you were editing. Nothing of yours is lost.'),
    h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, ['', 'There now', 'Yours'].map((text) => h(text ? 'th' : 'td', text && { scope: 'col' }, text)))),
      h('tbody', {}, differing.map((key) => {
        const [name, show] = words[key];
        return h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, show(theirs[key])), h('td', {}, show(mine[key])));
      })))),
    h('div', { class: 'actions' },
      h('button', { type: 'button', class: 'primary', onclick: () => close(true) }, 'Save mine'),
      h('button', { type: 'button', onclick: () => close(false) }, 'Take what is there'),
      h('button', { type: 'button', class: 'plain', onclick: () => close(null) }, 'Decide later')),
  ]);
}
