// Views by path; links within the page change the view, and back and forward work.

let routes = [];
let main = null;
let leaving = null;

history.scrollRestoration = 'manual';

/** `routes`: pairs of a pattern, such as `/offers/:id`, and a view. */
export function start(element, table) {
  main = element;
  routes = table.map(([pattern, view]) => [
    new RegExp(`^${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`),
    view,
  ]);
  addEventListener('popstate', () => show({ back: true, focus: true }));
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('a[href^="/"]');
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || link.target || link.dataset.outside !== undefined || event.defaultPrevented) return;
    event.preventDefault();
    go(link.getAttribute('href'));
  });
  addEventListener('pagehide', keepPlace);
  show({ back: performance.getEntriesByType('navigation')[0]?.type === 'reload', focus: false });
}

export function go(path, { replace = false } = {}) {
  keepPlace();
  history[replace ? 'replaceState' : 'pushState']({ from: location.pathname }, '', path);
  show({ back: false, focus: true });
}

/** Another address for the view that is shown. */
export function say(path, { replace = false } = {}) {
  if (path === location.pathname + location.search) return;
  history[replace ? 'replaceState' : 'pushState']({}, '', path);
}

/** The view again, for somebody else. */
export const again = () => show({ back: false, focus: false, scroll: scrollY });

/** Where to come back to after a log-in. */
export const here = () => location.pathname + location.search;

function keepPlace() {
  history.replaceState({ ...history.state, scroll: scrollY }, '');
}

function show({ back, focus, scroll = back ? (history.state?.scroll ?? 0) : 0 }) {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const title = (text) => {
    if (!signal.aborted) document.title = text ? `${text} · Homeward` : 'Homeward';
  };
  for (const [pattern, view] of routes) {
    const match = pattern.exec(location.pathname);
    if (!match) continue;
    const query = new URLSearchParams(location.search);
    main.replaceChildren(view({ params: match.groups ?? {}, query, signal, back, title }));
    break;
  }
  const heading = main.querySelector('h1');
  heading.tabIndex = -1;
  if (focus) heading.focus({ preventScroll: true });
  scrollTo(0, scroll);
}
