// Starts GraphiQL. What is typed in may hold a password, so nothing is kept beyond the page.
{
  const { endpoint, nonce } = document.currentScript.dataset;
  // Read by the one library that makes a style element.
  window.__webpack_nonce__ = nonce;

  const values = new Map();
  const storage = {
    get length() {
      return values.size;
    },
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => values.set(key, value),
    removeItem: (key) => values.delete(key),
    clear: () => values.clear(),
  };

  // With the cookie of this site, which no script can read.
  const fetcher = async (body, options = {}) => {
    const response = await fetch(endpoint, {
      method: "POST",
      credentials: "same-origin",
      headers: {
        accept: "application/graphql-response+json, application/json;q=0.9",
        "content-type": "application/json",
        ...options.headers,
      },
      body: JSON.stringify(body),
    });
    return response.json();
  };
  window.ask = (query, variables) => fetcher({ query, variables });

  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  const defaultQuery = "# Ctrl-Space completes, Ctrl-Enter sends.\n{\n  __typename\n}\n";
  root.render(React.createElement(GraphiQL, { fetcher, storage, defaultQuery }));
}
