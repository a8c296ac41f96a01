// @urql/core with its persisted exchange: documents are known by their hash after the first request.
import assert from 'node:assert/strict';
import { cacheExchange, Client, fetchExchange } from '@urql/core';
import { persistedExchange } from '@urql/exchange-persisted';
import { documents, given, untitled, watched } from './shared.mjs';

const { page, create, partial } = documents('urql');
// It goes on by GET as long as the address is short.
const HANDSHAKE = ['GET hash: PERSISTED_QUERY_NOT_FOUND', 'GET hash and text: data'];
const KNOWN = ['GET hash: data'];

for (const url of given.urls) {
  const { fetch, seen } = watched();
  const client = new Client({
    url,
    fetch,
    exchanges: [cacheExchange, persistedExchange(), fetchExchange],
    fetchOptions: { headers: { authorization: `Bearer ${given.token}` } },
  });

  const titles = [];
  let after = null;
  let exchanges = HANDSHAKE;
  do {
    const { data, error } = await client.query(page, { area: given.area, first: 2, after }).toPromise();
    assert.ifError(error);
    assert.deepEqual(seen(), exchanges, 'the handshake is made once on each replica');
    titles.push(...data.offers.edges.map((edge) => edge.node.title));
    for (const { node } of data.offers.edges) {
      assert.ok(node.organisation.name && node.price.currency === 'EUR' && !('votes' in node));
    }
    after = data.offers.pageInfo.endCursor;
    exchanges = KNOWN;
  } while (after);
  assert.deepEqual(titles, given.titles);

  const kept = await client.query(page, { area: given.area, first: 2, after: null }).toPromise();
  assert.equal(kept.data.offers.edges.length, 2);
  assert.deepEqual(seen(), [], 'the client has kept the answer');

  const refused = await client.mutation(create, { input: untitled }).toPromise();
  assert.ifError(refused.error);
  const [{ code, field }] = refused.data.createOffer.userErrors;
  assert.deepEqual([refused.data.createOffer.offer, code, field], [null, 'FIELD_INVALID', ['title']]);
  assert.deepEqual(seen(), ['POST text: data']);
  const made = await client.mutation(create, { input: { ...untitled, title: 'By urql' } }).toPromise();
  assert.deepEqual(made.data.createOffer.userErrors, []);
  assert.equal(made.data.createOffer.offer.title, 'By urql');
  seen();

  const { data, error } = await client.query(partial, { id: given.offer }).toPromise();
  assert.equal(data.node.title, given.titles[0]);
  assert.equal(data.offers, null);
  const [{ path, extensions }, ...others] = error.graphQLErrors;
  assert.deepEqual([path, extensions.reason, others], [['offers'], 'PAGE_TOKEN_INVALID', []]);
  assert.deepEqual(seen(), [HANDSHAKE[0], 'GET hash and text: data, PAGE_TOKEN_INVALID']);
}
