// @apollo/client with its link for persisted queries, and pages merged in its cache.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { CombinedGraphQLErrors } from '@apollo/client/errors';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { relayStylePagination } from '@apollo/client/utilities';
import { filter, firstValueFrom } from 'rxjs';
import { documents, given, untitled, watched } from './shared.mjs';

const { page, create, partial } = documents('apollo');
const HANDSHAKE = ['GET hash: PERSISTED_QUERY_NOT_FOUND', 'POST hash and text: data'];
const KNOWN = ['GET hash: data'];
const whole = ({ data }) => !data.offers.pageInfo.hasNextPage;
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

for (const uri of given.urls) {
  const { fetch, seen } = watched();
  const client = new ApolloClient({
    cache: new InMemoryCache({
      typePolicies: { Query: { fields: { offers: relayStylePagination(['filter', 'orderBy']) } } },
    }),
    link: ApolloLink.from([
      new PersistedQueryLink({ sha256, useGETForHashedQueries: true }),
      new HttpLink({ uri, fetch, headers: { authorization: `Bearer ${given.token}` } }),
    ]),
  });

  const query = client.watchQuery({
    query: gql(page),
    variables: { area: given.area, first: 2, withVotes: true },
    notifyOnNetworkStatusChange: false,
  });
  const kept = query.subscribe(() => {});
  const first = await firstValueFrom(query.pipe(filter(({ loading }) => !loading)));
  assert.deepEqual(seen(), HANDSHAKE, 'the handshake is made once on each replica');
  assert.ok(first.data.offers.edges.every(({ node }) => node.votes.mine === null));
  let { pageInfo } = first.data.offers;
  while (pageInfo.hasNextPage) {
    const { data } = await query.fetchMore({ variables: { after: pageInfo.endCursor } });
    assert.deepEqual(seen(), KNOWN);
    ({ pageInfo } = data.offers);
  }
  const merged = (await firstValueFrom(query.pipe(filter(whole)))).data.offers;
  assert.deepEqual(merged.edges.map(({ node }) => node.title), given.titles);
  kept.unsubscribe();

  const mutation = gql(create);
  const refused = await client.mutate({ mutation, variables: { input: untitled } });
  const [{ code, field }] = refused.data.createOffer.userErrors;
  assert.deepEqual([refused.data.createOffer.offer, code, field], [null, 'FIELD_INVALID', ['title']]);
  // This link names mutations by their hash, too, but never by GET.
  assert.deepEqual(seen(), ['POST hash: PERSISTED_QUERY_NOT_FOUND', 'POST hash and text: data']);
  const made = await client.mutate({ mutation, variables: { input: { ...untitled, title: 'By Apollo' } } });
  assert.equal(made.data.createOffer.offer.title, 'By Apollo');
  assert.deepEqual(seen(), ['POST hash: data']);

  const { data, error } = await client.query({
    query: gql(partial),
    variables: { id: given.offer },
    errorPolicy: 'all',
  });
  assert.equal(data.node.title, given.titles[0]);
  assert.equal(data.offers, null);
  assert.ok(CombinedGraphQLErrors.is(error));
  const [{ path, extensions }, ...others] = error.errors;
  assert.deepEqual([path, extensions.reason, others], [['offers'], 'PAGE_TOKEN_INVALID', []]);
  assert.deepEqual(seen(), [HANDSHAKE[0], 'POST hash and text: data, PAGE_TOKEN_INVALID']);
  client.stop();
}
