// What a team with Relay writes; only the compiler reads it.
import { graphql } from 'relay-runtime';

export const page = graphql`
  query OffersQuery($area: String!, $id: ID!) {
    ...Offers_list @arguments(area: $area, first: 2)
    node(id: $id) {
      ...Offers_card @alias
    }
  }
`;

// Asked for again as `OffersPageQuery`, with the cursor of the page before.
export const list = graphql`
  fragment Offers_list on Query
  @refetchable(queryName: "OffersPageQuery")
  @argumentDefinitions(
    area: { type: "String!" }
    first: { type: "Int", defaultValue: 20 }
    after: { type: "String" }
  ) {
    offers(first: $first, after: $after, filter: { area: $area }, orderBy: PRICE)
      @connection(key: "Offers_offers", filters: ["filter", "orderBy"]) {
      edges {
        node {
          title
          ...Offers_card
        }
      }
    }
  }
`;

// Asked for again through `node`, as `OffersCardQuery`.
export const card = graphql`
  fragment Offers_card on Offer @refetchable(queryName: "OffersCardQuery") {
    id
    price {
      amountMinor
      currency
    }
    organisation {
      name
    }
    votes {
      up
      mine
    }
  }
`;

export const vote = graphql`
  mutation OffersVoteMutation($input: CastVoteInput!) {
    castVote(input: $input) {
      offer {
        ...Offers_card
      }
      userErrors {
        code
        field
      }
    }
  }
`;
