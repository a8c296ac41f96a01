// What moves by itself: a vote in one window moves the count in another, through a restart of the
// BFF and a cut of the network; a session that ends elsewhere; a page of another origin.
// Arguments: the URL of a BFF, an area, an offer, two accounts (e-mail, password), a command that
// restarts the BFF, a folder for pictures.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { counts, launch, logIn, nothingWrong, person, picture, vote } from './shared.mjs';

const [endpoint, area, id, accounts, restart, folder] = process.argv.slice(2);
const site = new URL(endpoint).origin;
const [first, second] = JSON.parse(accounts);
const keep = picture(folder);

const browser = await launch();
try {
  const [left, right] = await Promise.all([first, second].map(async (account) => {
    const somebody = await person(browser, site);
    const page = await somebody.open(`/?area=${area}`);
    notePlaces(page);
    await logIn(page, account);
    return { ...somebody, page, up: vote(page, id, 'up').last() };
  }));
  await votesMove(left, right);
  await theServerRestarts(left, right);
  await theNetworkIsCut(left, right);
  await anotherOriginIsRefused(left);
  await theSessionEnds(left);
  console.log('counts move in every window, through a restart and a cut; another origin hears nothing');
} finally {
  await browser.close();
}

/** Keeps where the page asks the feed of the offer to go on, beside the last place that it was told. */
function notePlaces(page) {
  let [feed, seen] = [null, null];
  page.asked = [];
  page.on('websocket', (socket) => {
    socket.on('framesent', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type !== 'subscribe' || message.payload.variables.offerId !== id) return;
      feed = message.id;
      page.asked.push({ after: message.payload.variables.after, seen });
    });
    socket.on('framereceived', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === 'next' && message.id === feed) seen = message.payload.data.offerVotes.cursor;
    });
  });
}

/** Votes in one window, and waits for both to show it. */
async function voteIn(one, other) {
  const before = Number(await one.up.locator('.count').textContent());
  const pressed = (await one.up.getAttribute('aria-pressed')) === 'true';
  await one.up.click();
  const after = before + (pressed ? -1 : 1);
  await Promise.all([counts(one.up, after), counts(other.up, after)]);
}

async function votesMove(left, right) {
  await voteIn(left, right);
  await voteIn(right, left);
  await keep(right.page, 'live-light');
  nothingWrong(left.page, right.page);
}

async function theServerRestarts(left, right) {
  for (const { page } of [left, right]) {
    page.cut = true;
    page.asked.length = 0;
  }
  const [program, ...words] = JSON.parse(restart);
  await promisify(execFile)(program, words);
  // Nobody reloads anything.
  await voteIn(left, right);
  await voteIn(right, left);
  for (const { page } of [left, right]) {
    await page.waitForSelector('#connection:empty', { state: 'attached' });
    assert.ok(page.asked.length > 0);
    for (const { after, seen } of page.asked) assert.equal(after, seen, 'it goes on behind what it has seen');
    assert.ok(await page.evaluate(() => window.same), 'the page is the one from before');
    page.cut = false;
  }
  nothingWrong(left.page, right.page);
}

async function theNetworkIsCut(left, right) {
  left.page.cut = true;
  await left.context.setOffline(true);
  await left.page.getByText('You are offline.').waitFor();
  await keep(left.page, 'offline-light');
  const missed = Number(await right.up.locator('.count').textContent());
  const pressed = (await right.up.getAttribute('aria-pressed')) === 'true';
  await right.up.click();
  const now = missed + (pressed ? -1 : 1);
  await counts(right.up, now);
  // What was there is still there; what is clicked is said not to count.
  await counts(left.up, missed);
  await left.up.click();
  await left.page.getByText('Not counted: You are offline.').last().waitFor();
  await left.context.setOffline(false);
  await counts(left.up, now);
  await left.page.waitForSelector('#connection:empty', { state: 'attached' });
  assert.ok(await left.page.evaluate(() => window.same));
  left.page.cut = false;
  nothingWrong(left.page);
  await voteIn(left, right);
}

/** A page of another port of the host: a browser sends it the cookie along. */
async function anotherOriginIsRefused({ context }) {
  assert.equal((await context.cookies(site)).length, 1);
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>Another site</title>');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const open = async (origin) => {
    const page = await context.newPage();
    const said = [];
    page.on('console', (message) => said.push(message.text()));
    await page.goto(origin);
    const heard = await page.evaluate((url) => new Promise((resolve) => {
      const heard = [];
      const socket = new WebSocket(url, 'graphql-transport-ws');
      socket.onopen = () => {
        heard.push('open');
        socket.send('{"type":"connection_init"}');
      };
      socket.onmessage = ({ data }) => {
        heard.push(JSON.parse(data).type);
        socket.close();
      };
      socket.onclose = () => resolve(heard);
    }), endpoint.replace('http', 'ws'));
    await page.close();
    return { heard, said };
  };
  const stranger = await open(`http://127.0.0.1:${server.address().port}`);
  assert.deepEqual(stranger.heard, []);
  assert.match(stranger.said.join(), /Unexpected response code: 403/);
  assert.deepEqual((await open(site)).heard, ['open', 'connection_ack']);
  server.close();
}

/** By a log-out in another tab, then by a new password somewhere else. */
async function theSessionEnds({ context, page }) {
  const tab = await context.newPage();
  await tab.goto(site);
  await tab.getByRole('button', { name: 'Log out' }).click();
  await page.getByText('Your session has ended').waitFor();
  await keep(page, 'ended-light');
  await tab.close();

  await page.getByLabel('E-mail').fill(first.email);
  await page.getByLabel('Password').fill(first.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForSelector('.cards .card');
  assert.equal(page.url(), `${site}/?area=${area}`);

  const ask = async (token, query, input) => {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
    const answer = await fetch(endpoint, { method: 'POST', headers, body: JSON.stringify({ query, variables: { input } }) });
    const { data } = await answer.json();
    const [payload] = Object.values(data);
    assert.deepEqual(payload.userErrors, []);
    return payload;
  };
  const { tokens } = await ask(null,
    'mutation($input: LoginInput!) { login(input: $input) { tokens { accessToken } userErrors { code } } }', first);
  await ask(tokens.accessToken,
    'mutation($input: ChangePasswordInput!) { changePassword(input: $input) { userErrors { code } } }',
    { currentPassword: first.password, newPassword: `${first.password} two` });
  await page.getByText('Your session has ended').waitFor();
  assert.ok(await page.evaluate(() => window.same));
  nothingWrong(page);
}
