import { h } from '../dom.js';

export function missing({ title }) {
  title('Not here');
  return h('div', { class: 'narrow' },
    h('h1', {}, 'There is nothing here'),
    h('p', {}, 'What was here may have been taken back, or the address has a mistake in it.'),
    h('p', {}, h('a', { href: '/' }, 'Look at the offers'), '.'));
}
