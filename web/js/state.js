// What several parts of the page know in common, and who wants to hear of it.

const values = new Map();
const listeners = new Map();

/** `viewer`: undefined until known, null for nobody; `connection`: `ok`, `reconnecting`, `offline`. */
export const get = (key) => values.get(key);

export function set(key, value) {
  if (values.get(key) === value) return;
  values.set(key, value);
  for (const listener of [...(listeners.get(key) ?? [])]) listener(value);
}

/** Hears of each change until `signal` is aborted. */
export function watch(key, signal, listener) {
  if (!listeners.has(key)) listeners.set(key, new Set());
  listeners.get(key).add(listener);
  signal?.addEventListener('abort', () => listeners.get(key).delete(listener));
}
