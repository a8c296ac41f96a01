// Forms: labels, what is wrong at the field that it is about, and one request at a time.
import { h, newId } from '../dom.js';

/** A labelled field: `{ element, input, name }`. `path` is what the API calls it. */
export function field(label, input, { hint, path } = {}) {
  input.id ||= newId('field');
  const help = hint && h('p', { class: 'hint', id: newId('hint') }, hint);
  const wrong = h('p', { class: 'problem', id: newId('problem') });
  input.setAttribute('aria-describedby', [help?.id, wrong.id].filter(Boolean).join(' '));
  const element = h('div', { class: 'field' }, h('label', { for: input.id }, label), help, input, wrong);
  return { element, input, wrong, path: path ?? input.name };
}

/** A drop-down list of `[value, words]`. */
export function choice(props, options, chosen) {
  return h('select', props, options.map(([value, words]) => h('option', { value, selected: value === chosen }, words)));
}

/**
 * A form that calls `submit` and shows what it throws: beside the fields that it names, or above the
 * button. The first field that is wrong gets the focus.
 */
export function form({ fields, extra = [], button, submit, props = {} }) {
  const general = h('p', { class: 'problem', role: 'alert' });
  const send = h('button', { type: 'submit', class: 'primary' }, button);
  let busy = false;
  const element = h('form', {
    ...props,
    onsubmit: async (event) => {
      event.preventDefault();
      if (busy) return;
      busy = true;
      clear();
      send.setAttribute('aria-busy', 'true');
      try {
        await submit(event);
      } catch (problem) {
        tell(problem);
      } finally {
        busy = false;
        send.removeAttribute('aria-busy');
      }
    },
  }, fields.map((one) => one.element ?? one), general, h('div', { class: 'actions' }, send, extra));

  function clear() {
    general.textContent = '';
    for (const { input, wrong } of fields) {
      input?.removeAttribute('aria-invalid');
      if (wrong) wrong.textContent = '';
    }
  }
  function tell(problem) {
    if (!problem.userErrors) console.error(problem);
    let first = null;
    const rest = [];
    for (const error of problem.userErrors ?? []) {
      const path = error.field?.join('.') ?? '';
      const at = path && fields.find((one) => one.path && (path === one.path || path.startsWith(`${one.path}.`)));
      if (!at) {
        rest.push(error.field ? `${error.field.join('.')}: ${error.message}` : error.message);
        continue;
      }
      at.wrong.textContent = sentence(error.message);
      at.input.setAttribute('aria-invalid', 'true');
      first ??= at.input;
    }
    if (!problem.userErrors?.length) rest.push(problem.message);
    general.textContent = rest.map(sentence).join(' ');
    first?.focus();
  }
  return { element, send, clear, tell };
}

/** Messages of the API begin in lower case and end without a full stop. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
