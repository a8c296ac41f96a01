// Numbers, money and words as the person in front of the browser reads them.

const numbers = new Intl.NumberFormat();
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const formats = new Map();

/** Those that the forms offer. */
export const CURRENCIES = ['EUR', 'GBP', 'CHF', 'USD'];

export const KINDS = {
  CREW: 'Moving crew',
  STORAGE: 'Storage',
  BROADBAND: 'Broadband',
  CLEANING: 'Cleaning',
};

export const STATES = { DRAFT: 'Draft', PUBLISHED: 'Published', RETIRED: 'Retired' };

export const number = (value) => numbers.format(value);
export const date = (text) => dates.format(new Date(text));

function format(currency) {
  if (!formats.has(currency)) {
    formats.set(currency, new Intl.NumberFormat(undefined, { style: 'currency', currency }));
  }
  return formats.get(currency);
}

const digits = (currency) => format(currency).resolvedOptions().maximumFractionDigits;

/** `{ amountMinor, currency }` as text. */
export function money({ amountMinor, currency }) {
  const places = digits(currency);
  const whole = amountMinor % 10 ** places === 0;
  const amount = amountMinor / 10 ** places;
  if (!whole) return format(currency).format(amount);
  // 250 reads better than 250.00.
  const options = { style: 'currency', currency, minimumFractionDigits: 0, maximumFractionDigits: 0 };
  return new Intl.NumberFormat(undefined, options).format(amount);
}

/** The amount of a money as a number field shows it. */
export function amountOf({ amountMinor, currency }) {
  const amount = amountMinor / 10 ** digits(currency);
  return Number.isInteger(amount) ? String(amount) : amount.toFixed(digits(currency));
}

/** What stands in a number field, as money. */
export const moneyOf = (text, currency) => ({
  amountMinor: Math.round(Number(text) * 10 ** digits(currency)),
  currency,
});

/** The smallest step of a number field. */
export const stepOf = (currency) => (1 / 10 ** digits(currency)).toFixed(digits(currency));

/** `berlin-mitte` as a name. */
export const areaName = (slug) =>
  slug.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(' ');

/** What people type for an area, as a slug. */
export const slug = (text) =>
  text.trim().toLowerCase()
    .replaceAll('ä', 'ae').replaceAll('ö', 'oe').replaceAll('ü', 'ue').replaceAll('ß', 'ss')
    .normalize('NFD').replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
