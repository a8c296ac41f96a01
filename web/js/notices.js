// What the page says beside the view: how the connection is, and news for those who hear it.
import { h } from './dom.js';
import { get, watch } from './state.js';

/** A cut that is mended at once is not worth a word. */
const QUIET_MS = 1_200;

const spoken = document.getElementById('spoken');

/** For those who hear the page; the last of several words wins. */
export function speak(text) {
  spoken.textContent = text;
}

/** The bar that tells how the connection is. */
export function connectionBar(element) {
  const words = {
    offline: 'You are offline. What you see may be old; it goes on by itself.',
    reconnecting: 'Reconnecting … What you see may be old.',
  };
  let timer = null;
  const show = () => {
    clearTimeout(timer);
    const state = get('connection');
    const tell = () => {
      element.dataset.state = state;
      element.replaceChildren(...(words[state] ? [h('p', {}, words[state])] : []));
    };
    if (state === 'reconnecting' && element.childElementCount === 0) timer = setTimeout(tell, QUIET_MS);
    else tell();
  };
  watch('connection', null, show);
  show();
}

/** Says once that the page is older than the server. */
export function versionBar(element) {
  watch('outdated', null, () => {
    const reload = h('button', { type: 'button', class: 'quiet', onclick: () => location.reload() }, 'Reload');
    element.replaceChildren(h('p', {}, 'There is a new version of this page. ', reload));
  });
}
