// Windows of a browser that watch what goes wrong in them.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What Chromium says of a server that is not there, and nothing else. */
const CUT = [
  /^WebSocket connection to 'ws:\/\/[\d.:]+\/graphql' failed: (Error in connection establishment: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INTERNET_DISCONNECTED)|Connection closed before receiving a handshake response|)$/,
  /^Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INTERNET_DISCONNECTED|SOCKET_NOT_CONNECTED)$/,
];

export const launch = () => chromium.launch({
  executablePath: execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Somebody's browser: a context of its own, at one site. */
export async function person(browser, site, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options });
  context.setDefaultTimeout(20_000);
  return {
    context,
    /** Opens a window at a path of the site. */
    async open(path) {
      const page = await context.newPage();
      page.complaints = [];
      page.cut = false;
      page.on('console', (message) => {
        if (message.type() !== 'error') return;
        if (page.cut && CUT.some((kind) => kind.test(message.text()))) return;
        page.complaints.push(message.text());
      });
      page.on('pageerror', (error) => page.complaints.push(error.stack));
      page.on('request', (request) => {
        const url = new URL(request.url());
        if (url.origin !== site) page.complaints.push(`asks ${url.origin}`);
      });
      await page.goto(site + path);
      await page.waitForSelector('h1');
      // A document that was loaded anew has lost this.
      await page.evaluate(() => { window.same = true; });
      return page;
    },
  };
}

export function nothingWrong(...pages) {
  for (const page of pages) assert.deepEqual(page.complaints, [], page.url());
}

/** Looks for what keeps people out, in both themes. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // What has just moved is still tinted.
    await page.waitForFunction(() => document.getAnimations().length === 0);
    const { violations } = await page.evaluate(() => axe.run());
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('\n')}`);
    assert.deepEqual(told, [], `${what}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}

/** Kept for people to look at. */
export function picture(folder) {
  mkdirSync(folder, { recursive: true });
  return (page, name) => page.screenshot({ path: join(folder, `${name}.png`) });
}

export const vote = (page, id, side) => page.locator(`.card[data-id="${id}"] .vote.${side}`);

/** Waits until a vote button shows a number. */
export const counts = (button, number) => button.locator('.count').filter({ hasText: new RegExp(`^${number}$`) }).waitFor();

export async function logIn(page, { email, password }) {
  await page.getByRole('link', { name: 'Log in' }).first().click();
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForSelector('#viewer');
}
