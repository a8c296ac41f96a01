// Elements without HTML in strings: what people wrote is never read as markup.

/**
 * Makes an element. `props`: `class`, `on…` listeners, `data`, attributes (false and null leave one
 * out, true sets it without a value), and properties that have no attribute of the same meaning.
 */
export function h(name, props, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value' || key === 'textContent') element[key] = value;
    else if (key === 'data') Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...present(children));
  return element;
}

/** Other children; null, undefined and false stand for none. */
export const fill = (element, ...children) => element.replaceChildren(...present(children));

const present = (children) =>
  children.flat().filter((child) => child !== null && child !== undefined && child !== false);

const SHAPES = {
  up: 'M12 5 5.5 13h4v6h5v-6h4z',
  down: 'M12 19 18.5 11h-4V5h-5v6h-4z',
  pin: 'M12 2.5a6.5 6.5 0 0 0-6.5 6.5c0 4.6 6.5 12.5 6.5 12.5S18.5 13.6 18.5 9A6.5 6.5 0 0 0 12 2.5zm0 9a2.5 2.5 0 1 1 0-5 2.5 2.5 0 0 1 0 5z',
  CREW: 'M2 6h11v9H2zm12 3h4l3 3.5V15h-7zM6 19.2a2.2 2.2 0 1 1 0-4.4 2.2 2.2 0 0 1 0 4.4zm11 0a2.2 2.2 0 1 1 0-4.4 2.2 2.2 0 0 1 0 4.4z',
  STORAGE: 'M12 2 3 6.5v11L12 22l9-4.5v-11zm0 2.3L17.8 7 12 9.9 6.2 7zM5 8.7l6 3v7.6l-6-3z',
  BROADBAND: 'M12 16.5a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM5.2 13.4a9.6 9.6 0 0 1 13.6 0l-1.9 1.9a6.9 6.9 0 0 0-9.8 0zM1.2 9.3a15.3 15.3 0 0 1 21.6 0l-1.9 1.9a12.6 12.6 0 0 0-17.8 0z',
  CLEANING: 'M13 2h-2v8H8.5A3.5 3.5 0 0 0 5 13.5V15h14v-1.500A3.500 3.500 0 0 0 15.500 10H13zM5 16.500 4 22h4l.6-3 .6 3h5.600l.6-3 .6 3H20l-1-5.500z',
  sun: 'M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM11 1h2v4h-2zm0 18h2v4h-2zM1 11h4v2H1zm18 0h4v2h-4zM4.900 3.500l2.800 2.800-1.400 1.400-2.800-2.800zM17.700 16.300l2.800 2.800-1.400 1.400-2.800-2.800zM19.100 3.500l1.400 1.400-2.800 2.800-1.400-1.400zM6.300 16.300l1.400 1.400-2.800 2.800-1.400-1.400z',
  moon: 'M20.500 14.500A9 9 0 0 1 9.500 3.500a9 9 0 1 0 11 11z',
  star: 'm12 2 2.900 6.300 6.900.8-5.100 4.700 1.400 6.800L12 17.200 5.900 20.600l1.400-6.800L2.200 9.100l6.900-.8z',
};

/** A picture that says nothing that words beside it do not say. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', SHAPES[name]);
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(path);
  return svg;
}

/** For those who hear the page. */
export const unseen = (text) => h('span', { class: 'unseen' }, text);

let last = 0;
/** An id for labels to point at. */
export const newId = (prefix) => `${prefix}-${(last += 1)}`;
