// A TCP proxy that cuts connections in the middle of whatever they say.
import { connect, createServer } from 'node:net';

/** How often connections are cut in all, and after how many bytes on average. */
export class Cuts {
  constructor(wanted, bytes) {
    Object.assign(this, { wanted, bytes, done: 0 });
  }

  /** After how many bytes a new connection is cut: any moment is as likely as any other. */
  budget() {
    return Math.ceil(-this.bytes * Math.log(1 - Math.random()));
  }
}

/** Listens before a server; answers the URL to use in its place. */
export async function proxy(url, cuts) {
  const { hostname, port, pathname } = new URL(url);
  const server = createServer({ noDelay: true }, (client) => {
    let left = cuts.budget();
    const upstream = connect({ host: hostname, port, noDelay: true });
    client.pipe(upstream);
    upstream.on('data', (bytes) => {
      left -= bytes.length;
      if (left >= 0 || cuts.done >= cuts.wanted) {
        client.write(bytes);
        return;
      }
      cuts.done += 1;
      // In order or not, and perhaps in the middle of a message.
      if (Math.random() < 0.5) {
        client.end(bytes.subarray(0, bytes.length + left));
      } else {
        client.resetAndDestroy();
      }
      upstream.destroy();
    });
    upstream.on('end', () => client.end());
    // Whoever is killed leaves without a word.
    upstream.on('error', () => client.destroy());
    client.on('error', () => upstream.destroy());
    client.on('close', () => upstream.destroy());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}${pathname}`;
}
