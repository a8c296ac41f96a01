// Logs in through GraphiQL's page by cookie, and looks for a token wherever a script can; then
// other sites try to use the session. Arguments: the URL of a BFF, an e-mail address, a password.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [endpoint, email, password] = process.argv.slice(2);
const site = new URL(endpoint).origin;
// Every JWT begins so.
const TOKEN = /eyJ[\w-]{10}/;

const title = 'Made by another site';
const create = `mutation { createOffer(input: { title: "${title}", description: "", kind: CREW,
  area: "berlin", price: { amountMinor: 1, currency: "EUR" } }) { offer { id } userErrors { code } } }`;
const own = '{ offers(filter: { own: true }) { nodes { title } } }';

const profile = mkdtempSync(join(tmpdir(), 'browser-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  const page = await graphiql();
  await noTokenWithin(page);
  await otherSitesHaveNoEffect(page);
  await leave(page);
  console.log('a browser has a session, no script has a token, other sites have neither');
} finally {
  await context.close();
  rmSync(profile, { recursive: true });
}

/** Opens the page, logs in, and runs the query that stands there. */
async function graphiql() {
  const page = await context.newPage();
  page.complaints = [];
  page.bodies = [];
  page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(error.message));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== site) page.complaints.push(`asks ${url.origin}`);
  });
  page.on('response', (response) => {
    if (response.url() === endpoint) page.bodies.push(response.text());
  });

  await page.goto(`${site}/graphiql`);
  await page.fill('#bar input[name=email]', email);
  await page.fill('#bar input[name=password]', password);
  await page.click('#bar button');
  await page.waitForSelector(`#viewer:text-is("${email}")`);
  await page.click('.graphiql-execute-button');
  await page.waitForSelector('.result-window:has-text("Query")');
  // What was read from the schema is shown as well, in a dialog and a panel.
  await page.click('button[aria-label="Show Documentation Explorer"]');
  await page.waitForSelector('.graphiql-doc-explorer-content >> text=Mutation');
  await page.click('button[aria-label="Open short keys dialog"]');
  await page.waitForSelector('.graphiql-dialog');
  await page.keyboard.press('Escape');
  assert.deepEqual(page.complaints, [], 'the page runs under its policy, and asks nobody else');
  return page;
}

/** The session is there, and nothing of it is in reach of a script. */
async function noTokenWithin(page) {
  const cookies = await context.cookies(site);
  assert.ok(cookies.length > 0 && cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === 'Strict'));
  await page.reload();
  await page.waitForSelector(`#viewer:text-is("${email}")`);
  const seen = await page.evaluate(async (endpoint) => {
    const send = (query) => fetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    });
    const answers = [];
    for (const query of [
      '{ viewer { id email } }',
      'mutation { refreshSession(input: {}) { tokens { accessToken refreshToken } userErrors { code } } }',
      'mutation { refreshSession(input: { session: COOKIE }) { tokens { accessToken refreshToken } viewer { id } } }',
    ]) {
      const answer = await send(query);
      answers.push({ headers: [...answer.headers], body: await answer.json() });
    }
    const databases = await indexedDB.databases();
    const stores = { cookie: document.cookie, local: { ...localStorage }, session: { ...sessionStorage } };
    return { answers, databases, stores, page: document.documentElement.outerHTML };
  }, endpoint);
  assert.deepEqual(seen.stores, { cookie: '', local: {}, session: {} });
  assert.deepEqual(seen.databases, []);
  assert.doesNotMatch(JSON.stringify(seen), TOKEN);
  assert.doesNotMatch(JSON.stringify(seen.answers), /set-cookie/i);
  const [viewer, bought, renewed] = seen.answers.map((answer) => answer.body.data);
  assert.equal(viewer.viewer.email, email);
  assert.equal(bought.refreshSession.tokens, null);
  assert.equal(renewed.refreshSession.tokens, null);
  assert.equal(renewed.refreshSession.viewer.id, viewer.viewer.id);
  const bodies = await Promise.all(page.bodies);
  assert.ok(bodies.length > 0);
  for (const body of bodies) assert.doesNotMatch(body, TOKEN);
}

/** Pages of two other origins, one of which gets the cookie sent along, since its host is the same. */
async function otherSitesHaveNoEffect(page) {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>Another site</title>');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = server.address().port;
  let withCookie = 0;
  for (const origin of [`http://127.0.0.1:${port}`, `http://localhost:${port}`]) {
    const other = await context.newPage();
    const answers = [];
    other.on('response', (response) => {
      if (response.url().startsWith(site)) answers.push(response);
    });
    await other.goto(origin);
    const read = await other.evaluate(async ({ endpoint, create, own }) => {
      const url = `${endpoint}?query=${encodeURIComponent(own)}`;
      const text = { 'content-type': 'text/plain' };
      const json = { 'content-type': 'application/json' };
      const body = JSON.stringify({ query: create });
      const tries = [
        [endpoint, { method: 'POST', credentials: 'include', headers: json, body }],
        [endpoint, { method: 'POST', credentials: 'include', headers: text, body }],
        [endpoint, { method: 'POST', credentials: 'include', headers: text, body, mode: 'no-cors' }],
        [`${endpoint}?query=${encodeURIComponent(create)}`, { credentials: 'include', mode: 'no-cors' }],
        [url, { credentials: 'include' }],
        [url, { credentials: 'include', mode: 'no-cors' }],
      ];
      const read = [];
      for (const [url, options] of tries) {
        try {
          read.push(await (await fetch(url, options)).text());
        } catch {
          read.push('');
        }
      }
      return read;
    }, { endpoint, create, own });
    assert.ok(read.every((text) => text === ''), 'another site reads nothing');

    // A form, whose one field is made into JSON: `{"query": "...", "x": "="}`.
    await Promise.all([
      other.waitForURL(endpoint),
      other.evaluate(({ endpoint, create }) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'POST', action: endpoint, enctype: 'text/plain' });
        const input = document.createElement('input');
        input.name = `${JSON.stringify({ query: create }).slice(0, -1)},"x":"`;
        input.value = '"}';
        form.append(input);
        document.body.append(form);
        form.submit();
      }, { endpoint, create }),
    ]);
    for (const answer of answers) {
      const sent = 'cookie' in (await answer.request().allHeaders());
      const refused = answer.request().method() === 'OPTIONS' || answer.status() >= 400;
      // Without the cookie it is nobody who asks.
      assert.ok(refused || !sent, `${origin}: ${answer.status()} ${answer.url()}`);
      withCookie += sent ? 1 : 0;
    }
    await other.close();
  }
  server.close();
  assert.ok(withCookie > 0, 'without the cookie nothing would be shown');

  const ask = (query) => page.evaluate((query) => window.ask(query), query);
  assert.deepEqual((await ask(own)).data.offers.nodes, []);
  // The same change from a page of this site is made.
  assert.ok((await ask(create)).data.createOffer.offer.id);
  assert.deepEqual((await ask(own)).data.offers.nodes, [{ title }]);
}

async function leave(page) {
  await page.click('#bar button');
  await page.waitForSelector('#bar input[name=email]');
  assert.deepEqual(await context.cookies(site), []);
}
