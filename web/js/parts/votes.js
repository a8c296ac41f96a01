// The two buttons of an offer, and how the votes move.
import { h, icon, newId, unseen } from '../dom.js';
import { number } from '../format.js';
import { speak } from '../notices.js';
import { get } from '../state.js';
import { keep, show, vote } from '../votes.js';
import { logInDialog } from './login.js';

/** Votes are followed while their buttons can be seen, or nearly. */
const seen = new IntersectionObserver(
  (entries) => entries.forEach(({ target, isIntersecting }) => target.dispatchEvent(
    new CustomEvent('seen', { detail: isIntersecting }),
  )),
  { rootMargin: '200px' },
);

/** `changed` is called with the votes when they are others than before. */
export function votesOf(offer, signal, changed) {
  const note = h('p', { class: 'problem small', id: newId('vote-note') });
  const sides = [['UP', 'up', 'votes up'], ['DOWN', 'down', 'votes down']].map(([value, side, words]) => {
    const count = h('span', { class: 'count' });
    const button = h('button', {
      type: 'button',
      class: `vote ${side}`,
      'aria-describedby': note.id,
      onclick: () => click(value),
    }, icon(side), count, unseen(` ${words}`));
    return { value, side, count, button };
  });
  const element = h('div', { class: 'votes', role: 'group', 'aria-label': `Votes on ${offer.title}` },
    h('div', { class: 'pair' }, sides.map(({ button }) => button)), note);

  let mine = null;
  async function click(value) {
    if (!get('viewer') && !(await logInDialog('Log in to vote', 'A vote is one person’s, so it needs an account.'))) return;
    vote(offer.id, mine === value ? null : value);
  }

  let last = null;
  show(offer.id, signal, (votes) => {
    mine = votes.mine;
    for (const { value, side, count, button } of sides) {
      const text = number(votes[side]);
      const moved = last && last[side] !== votes[side];
      if (count.textContent !== text) count.textContent = text;
      button.setAttribute('aria-pressed', String(votes.mine === value));
      if (moved) flash(button);
    }
    element.classList.toggle('busy', votes.busy);
    note.textContent = votes.problem ? `Not counted: ${votes.problem.message}` : '';
    if (votes.problem && votes.problem !== last?.problem) speak(note.textContent);
    if (last && (last.up !== votes.up || last.down !== votes.down)) changed?.(votes);
    last = votes;
  });

  let stop = null;
  element.addEventListener('seen', ({ detail }) => {
    stop?.();
    stop = detail ? keep(offer.id) : null;
  });
  seen.observe(element);
  signal.addEventListener('abort', () => {
    seen.unobserve(element);
    stop?.();
  });
  return element;
}

function flash(button) {
  button.classList.remove('moved');
  // Begins anew if it runs already.
  void button.offsetWidth;
  button.classList.add('moved');
}
