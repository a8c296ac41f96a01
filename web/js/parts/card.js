// An offer in a list.
import { h, icon } from '../dom.js';
import { areaName, KINDS, money } from '../format.js';
import { learn } from '../votes.js';
import { votesOf } from './votes.js';

/** What is known of offers beside their votes, for the page of one to begin with. */
export const offers = new Map();

/** `{ element, offer, update(offer), retire() }`. */
export function card(offer, signal, badge) {
  const kind = h('p', { class: 'kind' });
  const link = h('a', { href: `/offers/${offer.id}` });
  const from = h('p', { class: 'from' });
  const about = h('p', { class: 'about' });
  const price = h('p', { class: 'price' });
  const foot = h('div', { class: 'foot' });
  const element = h('article', { class: 'card', data: { id: offer.id } },
    badge && h('p', { class: 'badge' }, icon('star'), badge),
    kind, h('h3', {}, link), from, about, foot);

  const self = { element, offer: null, update, retire };
  function update(next) {
    if (self.offer && next.version < self.offer.version) return;
    const changed = self.offer && next.version > self.offer.version;
    self.offer = next;
    offers.set(next.id, next);
    learn(next.id, next.votes);
    kind.replaceChildren(icon(next.kind), KINDS[next.kind]);
    link.textContent = next.title;
    from.textContent = [next.organisation?.name, areaName(next.area)].filter(Boolean).join(' · ');
    about.textContent = next.description;
    price.textContent = money(next.price);
    if (changed) mark();
  }
  function retire() {
    element.classList.add('gone');
    foot.replaceChildren(price, h('p', { class: 'from' }, 'No longer offered'));
  }
  function mark() {
    element.classList.remove('changed');
    void element.offsetWidth;
    element.classList.add('changed');
  }
  update(offer);
  foot.append(price, votesOf(offer, signal));
  return self;
}
