// The offer of the day of an area.
import { ask } from '../api.js';
import { h, newId } from '../dom.js';
import { areaName } from '../format.js';
import { card } from './card.js';

/** Puts it into `place`, or nothing: it is a piece of good luck, not a part of the list. */
export async function dayOffer(place, area, signal) {
  if (place.dataset.area !== area) place.replaceChildren();
  place.dataset.area = area;
  if (!area) return;
  try {
    const { offerOfTheDay: offer } = await ask('OfferOfTheDay', { area }, signal);
    if (!offer) return place.replaceChildren();
    const id = newId('day');
    place.replaceChildren(h('section', { class: 'day', 'aria-labelledby': id },
      h('h2', { id, class: 'unseen' }, `Offer of the day in ${areaName(area)}`),
      card(offer, signal, `Offer of the day in ${areaName(area)}`).element));
  } catch {
    if (!signal.aborted) place.replaceChildren();
  }
}
