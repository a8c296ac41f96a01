// The web client as people use it: look around, register, vote, sell, by mouse and by keyboard, on
// a screen and on a phone. Arguments: the URL of a BFF, an area, offers in it, a folder for pictures.
import assert from 'node:assert/strict';
import { accessible, counts, launch, nothingWrong, person, picture, vote } from './shared.mjs';

const [endpoint, area, offerIds, folder] = process.argv.slice(2);
const site = new URL(endpoint).origin;
const [pianoId, cheapId] = offerIds.split(',');
const run = Date.now().toString(36);
const password = 'correct horse battery';
const keep = picture(folder);

const browser = await launch();
try {
  await looksAround();
  await worksOnAPhone();
  const mover = await registersAndVotes();
  await needsNoMouse(mover);
  await aBusinessSells();
  console.log(`people browse, register, vote and sell; pictures are in ${folder}`);
} finally {
  await browser.close();
}

async function looksAround() {
  const nobody = await person(browser, site);
  const page = await nobody.open('/');
  await page.waitForSelector('.cards .card');
  await keep(page, 'offers-light');
  await accessible(page, 'offers');

  // What is asked stands in the address: reload, back and forward keep it.
  const shown = () => page.locator('.cards .card').evaluateAll((cards) => cards.map((card) => card.dataset.id));
  const shows = (...ids) => page.waitForFunction(
    (ids) => JSON.stringify([...document.querySelectorAll('.cards .card')].map((card) => card.dataset.id).sort()) === ids,
    JSON.stringify(ids.sort()),
  );
  await page.getByLabel('Area').fill(area);
  await page.getByLabel('Area').press('Enter');
  await page.waitForURL(`${site}/?area=${area}`);
  await page.waitForSelector('.day .card');
  const all = await shown();
  assert.ok(all.includes(pianoId) && all.includes(cheapId));
  await page.getByLabel('Search').fill('piano');
  await shows(pianoId);
  assert.equal(new URL(page.url()).searchParams.get('q'), 'piano');
  await page.reload();
  await shows(pianoId);
  assert.equal(await page.getByLabel('Search').inputValue(), 'piano');
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.waitForURL(`${site}/`);
  await page.goBack();
  await shows(pianoId);
  await page.goForward();
  await page.waitForFunction(() => document.querySelectorAll('.cards .card').length === 20);

  await page.goto(`${site}/?area=${area}`);
  await page.locator('.chip', { hasText: 'Cleaning' }).click();
  await shows(cheapId);
  await page.locator('.chip', { hasText: 'Cleaning' }).click();
  await shows(...all);
  await page.getByLabel('Highest price', { exact: true }).fill('100');
  await page.getByLabel('Highest price', { exact: true }).press('Enter');
  await shows(cheapId);
  await page.getByRole('button', { name: 'Clear' }).click();

  // Further pages, and the same place after a look at one offer.
  const more = page.getByRole('button', { name: 'More offers' });
  await more.click();
  await page.waitForFunction(() => document.querySelectorAll('.cards .card').length > 20);
  const many = await shown();
  assert.equal(new Set(many).size, many.length);
  await page.locator('.cards .card h3 a').nth(25).click();
  await page.waitForSelector('.offer .facts');
  await page.waitForFunction(() => document.activeElement.tagName === 'H1');
  await accessible(page, 'an offer');
  await keep(page, 'offer-light');
  await page.getByRole('link', { name: '← Offers' }).click();
  await page.waitForFunction((count) => document.querySelectorAll('.cards .card').length === count, many.length);
  assert.deepEqual(await shown(), many);
  assert.ok(await page.evaluate(() => scrollY > 500), 'the place in the list is kept');

  // The theme that was chosen stays.
  await page.getByRole('button', { name: 'Use dark colours' }).click();
  await page.reload();
  await page.waitForSelector('.cards .card');
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'dark');
  await page.goto(`${site}/?area=${area}`);
  await page.waitForSelector('.day .card');
  await keep(page, 'offers-dark');
  await accessible(page, 'offers of an area');

  for (const [path, heading] of [['/login', 'Log in'], ['/register', 'Make an account'], ['/own', 'Your offers'], [`/offers/AAAA`, 'There is nothing here']]) {
    await page.goto(site + path);
    await page.getByRole('heading', { level: 1, name: heading }).waitFor();
    await accessible(page, path);
  }
  nothingWrong(page);
  await nobody.context.close();
}

async function worksOnAPhone() {
  const phone = await person(browser, site, { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true, colorScheme: 'dark', deviceScaleFactor: 2 });
  const page = await phone.open(`/?area=${area}`);
  await page.waitForSelector('.cards .card');
  await keep(page, 'offers-phone');
  await page.getByText('Filters', { exact: true }).tap();
  await page.locator('.chip', { hasText: 'Cleaning' }).tap();
  await page.waitForFunction(() => document.querySelectorAll('.cards .card').length === 1);
  for (const path of ['/', `/offers/${pianoId}`, '/login', '/register']) {
    await page.goto(site + path);
    await page.waitForSelector(path === '/' ? '.card' : 'h1');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(wide, 320, `${path} fits`);
  }
  await keep(page, 'register-phone');
  await accessible(page, 'a phone');
  nothingWrong(page);
  await phone.context.close();
}

/** Registers when a vote asks for it, and votes. */
async function registersAndVotes() {
  const account = { email: `mover-${run}@example.com`, password };
  const mover = await person(browser, site);
  const page = await mover.open(`/?area=${area}`);
  const up = vote(page, pianoId, 'up').last();
  const before = Number(await up.locator('.count').textContent());
  await up.click();
  await page.getByRole('dialog').waitFor();
  await accessible(page, 'the dialog to log in');
  await page.getByRole('link', { name: 'Make one' }).click();
  await page.getByLabel('Your name').fill('Mara Mover');
  await page.getByLabel('E-mail').fill('not-free@example.com');
  await page.getByLabel('Password').fill('short');
  await page.getByRole('button', { name: 'Make the account' }).click();
  assert.ok(await page.getByLabel('Password').evaluate((input) => !input.validity.valid));
  await page.getByLabel('E-mail').fill(account.email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.waitForSelector('#viewer:text-is("Mara Mover")');
  assert.equal(page.url(), `${site}/?area=${area}`);

  await up.click();
  await counts(up, before + 1);
  assert.equal(await up.getAttribute('aria-pressed'), 'true');
  await page.reload();
  await counts(up, before + 1);
  assert.equal(await up.getAttribute('aria-pressed'), 'true');
  await up.click();
  await counts(up, before);
  await vote(page, pianoId, 'down').last().click();
  await page.waitForSelector(`.cards .card[data-id="${pianoId}"] .down[aria-pressed="true"]`);
  assert.deepEqual(await page.evaluate(() => document.cookie), '');

  // A vote that the server refuses is taken back, and said so.
  await page.route(endpoint, (route) => (/CastVote|value/.test(route.request().postData())
    ? route.fulfill({ json: { data: { castVote: null }, errors: [{ message: 'no', path: ['castVote'], extensions: { code: 'PERMISSION_DENIED', reason: 'ROLE_REQUIRED' } }] } })
    : route.continue()));
  await up.click();
  await page.getByText('Not counted: Your account is not for this.').last().waitFor();
  await counts(up, before);
  assert.equal(await up.getAttribute('aria-pressed'), 'false');
  await page.unroute(endpoint);

  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('link', { name: 'Log in' }).waitFor();
  assert.deepEqual(await mover.context.cookies(), []);
  await page.waitForSelector(`.cards .card[data-id="${pianoId}"] .down[aria-pressed="false"]`);
  nothingWrong(page);
  await mover.context.close();
  return account;
}

async function needsNoMouse({ email }) {
  const mover = await person(browser, site);
  const page = await mover.open(`/offers/${pianoId}`);
  await page.waitForSelector('.offer .vote');
  /** Presses Tab until something has the focus, which must be to be seen. */
  async function tabTo(what, test, argument) {
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab');
      if (!(await page.evaluate(test, argument))) continue;
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, 'none', `${what} shows its focus`);
      return;
    }
    assert.fail(`${what} cannot be reached`);
  }
  const named = (text) => [text, (text) => document.activeElement.textContent.trim() === text, text];
  const input = (name) => [name, (name) => document.activeElement.name === name, name];
  await tabTo(...named('Skip to the content'));
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.keyboard.press('Control+Home');
  await page.evaluate(() => document.activeElement.blur());
  await tabTo(...named('Log in'));
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Log in' }).waitFor();
  await tabTo(...input('email'));
  await page.keyboard.type(email);
  await tabTo(...input('password'));
  await page.keyboard.type('wrong horse battery');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  await page.getByLabel('Password').focus();
  await page.keyboard.press('Control+A');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.offer .vote');
  await tabTo('the vote', () => document.activeElement.matches('.vote.up'));
  const pressed = await page.locator('.offer .vote.up').getAttribute('aria-pressed');
  await page.keyboard.press('Space');
  await page.waitForSelector(`.offer .vote.up[aria-pressed="${pressed !== 'true'}"]`);
  await page.waitForSelector('.offer .votes:not(.busy)');
  nothingWrong(page);
  await mover.context.close();
}

async function aBusinessSells() {
  const watcher = await person(browser, site);
  const watching = await watcher.open(`/?area=${area}`);
  await watching.waitForSelector('.cards .card');

  const business = await person(browser, site);
  const page = await business.open('/register');
  await page.getByText('We are a business').click();
  await page.getByLabel('Name of the business').fill(`Removals ${run}`);
  await page.getByLabel('Your name').fill('Berta Business');
  await page.getByLabel('E-mail').fill(`business-${run}@example.com`);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.getByText('No offers yet.').waitFor();
  await accessible(page, 'no own offers');

  await page.getByRole('link', { name: 'New offer' }).click();
  await page.getByLabel('Title').fill(`Two people and a barrow ${run}`);
  await page.getByLabel('Area').fill(area);
  await page.getByLabel('Price', { exact: true }).fill('49.50');
  await page.getByLabel('Description').fill('We carry.\nYou watch.');
  await accessible(page, 'a new offer');
  await page.getByRole('button', { name: 'Save as a draft' }).click();
  await page.getByText('Draft: only your organisation sees it.').waitFor();
  const id = page.url().split('/').at(-1);
  await page.getByRole('button', { name: 'Save and publish' }).click();
  await page.getByText('Published: everybody sees it now.').waitFor();
  await keep(page, 'edit-light');

  // Somebody who looks at the list is told, and asks for it.
  await watching.getByText('1 new offer').waitFor();
  await watching.getByRole('button', { name: 'Show', exact: true }).click();
  const card = watching.locator(`.cards .card[data-id="${id}"]`);
  await card.getByText('€49.50').waitFor();

  // Two windows edit it: the second is told what the first has done.
  const second = await business.open(`/own/${id}`);
  await second.getByLabel('Title').fill(`Three people and a barrow ${run}`);
  await page.getByLabel('Title').fill(`Two people and a cart ${run}`);
  await page.getByLabel('Price', { exact: true }).fill('52');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await page.getByText('Saved.').waitFor();
  await card.getByText('€52').waitFor();
  await second.getByRole('button', { name: 'Save', exact: true }).click();
  const dialog = second.getByRole('dialog', { name: 'Somebody else changed this offer' });
  await dialog.getByText(`Two people and a cart ${run}`).waitFor();
  assert.equal(await dialog.getByText('€52').count(), 0, 'what was not touched is no conflict');
  await accessible(second, 'a conflict');
  await keep(second, 'conflict-light');
  await dialog.getByRole('button', { name: 'Save mine' }).click();
  await second.getByText('Saved.').waitFor();
  assert.equal(await second.getByLabel('Price', { exact: true }).inputValue(), '52');
  await card.getByText(`Three people and a barrow ${run}`).waitFor();

  await page.getByRole('link', { name: '← Your offers' }).click();
  await page.getByRole('link', { name: `Three people and a barrow ${run}` }).waitFor();
  await accessible(page, 'own offers');
  await page.emulateMedia({ colorScheme: 'dark' });
  await keep(page, 'own-dark');
  await page.getByRole('button', { name: 'Take back' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Take it back' }).click();
  await page.getByText('Retired').waitFor();
  await card.getByText('No longer offered').waitFor();
  nothingWrong(page, second, watching);
  await business.context.close();
  await watcher.context.close();
}
