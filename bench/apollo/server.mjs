// The peer on Node: Apollo Server 5 with `@grpc/grpc-js` and `dataloader`, in front of the same services.
//
// Tokens are forwarded, and not looked at; there is neither admission nor telemetry. All that is in its favour.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { ApolloServer, HeaderMap } from "@apollo/server";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import DataLoader from "dataloader";
import { GraphQLScalarType } from "graphql";

const { ROOT, UPSTREAM, LISTEN_HTTP } = process.env;

const contracts = loader.loadSync(["homeward/catalog/v1/catalog.proto", "homeward/identity/v1/identity.proto"], {
  includeDirs: [`${ROOT}/proto`, `${ROOT}/crates/platform-build/proto`],
  longs: Number,
  enums: String,
});
const { catalog, identity } = grpc.loadPackageDefinition(contracts).homeward;
const offers = new catalog.v1.CatalogService(UPSTREAM, grpc.credentials.createInsecure());
const organisations = new identity.v1.IdentityService(UPSTREAM, grpc.credentials.createInsecure());

function call(client, method, request, metadata) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + 10_000 };
    client[method](request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

function globalId(kind, uuid) {
  const bytes = Buffer.allocUnsafe(17);
  bytes[0] = kind;
  bytes.write(uuid.replaceAll("-", ""), 1, "hex");
  return bytes.toString("base64url");
}

const typeDefs = `
  scalar Long
  scalar Currency
  type Query { offers(first: Int, after: String): OfferConnection }
  type OfferConnection { nodes: [Offer]! }
  type Offer { id: ID! title: String! price: Money! organisation: Organisation }
  type Money { amountMinor: Long! currency: Currency! }
  type Organisation { id: ID! name: String! }
`;

const resolvers = {
  Long: new GraphQLScalarType({ name: "Long" }),
  Currency: new GraphQLScalarType({ name: "Currency" }),
  Query: {
    offers: (_, { first, after }, { metadata }) =>
      call(offers, "ListOffers", { pageSize: first ?? 20, pageToken: after ?? "" }, metadata),
  },
  OfferConnection: { nodes: (page) => page.offers },
  Offer: {
    id: (offer) => globalId(3, offer.id),
    organisation: (offer, _, { organisation }) => organisation.load(offer.organisationId),
  },
  Money: { currency: (money) => money.currencyCode },
  Organisation: { id: (organisation) => globalId(2, organisation.id) },
};

const server = new ApolloServer({ typeDefs, resolvers, introspection: false });
await server.start();

function context(request) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", request.headers.authorization ?? "");
  const organisation = new DataLoader(async (ids) => {
    const answer = await call(organisations, "BatchGetOrganisations", { ids }, metadata);
    const found = new Map(answer.organisations.map((one) => [one.id, one]));
    return ids.map((id) => found.get(id) ?? null);
  });
  return { metadata, organisation };
}

async function answer(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const headers = new HeaderMap();
  for (const [name, value] of Object.entries(request.headers)) headers.set(name, String(value));
  const { body, status, headers: given } = await server.executeHTTPGraphQLRequest({
    httpGraphQLRequest: { method: request.method, headers, search: "", body: JSON.parse(Buffer.concat(chunks)) },
    context: async () => context(request),
  });
  response.writeHead(status ?? 200, Object.fromEntries(given));
  response.end(body.string);
}

const http = createServer((request, response) => {
  answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
});
const [host, port] = LISTEN_HTTP.split(":");
http.listen(Number(port), host);

const require = createRequire(import.meta.url);
const { dependencies } = require("./package.json");
const versions = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`);
console.log(`node ${process.version}, ${versions.join(", ")}`);
