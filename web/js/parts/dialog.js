// Dialogs: the browser's own keep the focus inside and give it back.
import { h, newId } from '../dom.js';

/** Shows a dialog until it is closed; `fill(close)` makes its content. Answers what `close` was given, or null. */
export function dialog(title, fill) {
  return new Promise((resolve) => {
    const id = newId('dialog');
    let answer = null;
    const close = (value) => {
      answer = value;
      element.close();
    };
    const element = h('dialog', {
      'aria-labelledby': id,
      onclose: () => {
        element.remove();
        resolve(answer);
      },
    }, h('h2', { id }, title));
    element.append(...fill(close));
    document.body.append(element);
    element.showModal();
  });
}

/** Asks before something that cannot be undone. */
export const confirmed = (title, text, yes) => dialog(title, (close) => [
  h('p', {}, text),
  h('div', { class: 'actions' },
    h('button', { type: 'button', class: 'danger', onclick: () => close(true) }, yes),
    h('button', { type: 'button', autofocus: true, onclick: () => close(null) }, 'Cancel')),
]);
