// What the programs of this folder have in common.
import { readFileSync } from 'node:fs';

/** What a program is given, as JSON on its standard input. */
export const given = JSON.parse(readFileSync(0, 'utf8'));

/** A `fetch` that notes each exchange, as in `GET hash: PERSISTED_QUERY_NOT_FOUND`. */
export function watched() {
  const seen = [];
  const watch = async (url, options = {}) => {
    const method = options.method ?? 'GET';
    const sent = method === 'GET'
      ? Object.fromEntries(new URL(url).searchParams)
      : JSON.parse(options.body);
    const extensions = typeof sent.extensions === 'string' ? JSON.parse(sent.extensions) : sent.extensions;
    const parts = [];
    if (extensions?.persistedQuery) parts.push('hash');
    if (sent.documentId) parts.push('id');
    if (sent.query) parts.push('text');
    const response = await fetch(url, options);
    const { data, errors = [] } = await response.clone().json();
    const told = errors.map((error) => error.extensions.reason);
    if (data !== undefined) told.unshift('data');
    seen.push(`${method} ${parts.join(' and ')}: ${told.join(', ')}`);
    return response;
  };
  return {
    fetch: watch,
    /** What was noted since the last time. */
    seen: () => seen.splice(0),
  };
}

// Names differ between runs and clients, so that nobody has left the documents here before.
export const documents = (client) => ({
  page: `
    query ${client}Page_${given.run}($area: String!, $first: Int!, $after: String, $withVotes: Boolean! = false) {
      offers(first: $first, after: $after, filter: { area: $area }, orderBy: PRICE) {
        edges { cursor node { ...Card } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }
    fragment Card on Offer {
      id
      title
      price { ...Amount }
      organisation { id name }
      votes @include(if: $withVotes) { up mine version }
    }
    fragment Amount on Money { amountMinor currency }`,
  create: `
    mutation ${client}Create_${given.run}($input: CreateOfferInput!) {
      createOffer(input: $input) { offer { id title version } userErrors { code message field } }
    }`,
  partial: `
    query ${client}Partial_${given.run}($id: ID!) {
      node(id: $id) { __typename id ... on Offer { title } }
      offers(after: "not a cursor") { nodes { id } }
    }`,
});

/** An offer that breaks one rule. */
export const untitled = {
  title: '',
  description: 'Two people, one van.',
  kind: 'CREW',
  area: 'berlin',
  price: { amountMinor: 1, currency: 'EUR' },
};
