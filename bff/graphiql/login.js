// Logs in by a cookie: the tokens of the session never come into reach of a script.
{
  const bar = document.getElementById("bar");
  const element = (name, properties = {}) =>
    Object.assign(document.createElement(name), properties);
  const problem = (answer, payload) =>
    answer.errors?.[0].message ?? payload?.userErrors[0]?.message ?? "";

  const show = (email) => {
    const form = element("form");
    const says = element("output");
    if (email === null) {
      const address = element("input", { type: "email", name: "email", placeholder: "e-mail" });
      const password = element("input", { type: "password", name: "password", placeholder: "password" });
      address.autocomplete = "username";
      password.autocomplete = "current-password";
      form.append(address, password, element("button", { textContent: "Log in" }), says);
      form.onsubmit = async (event) => {
        event.preventDefault();
        const answer = await window.ask(
          `mutation($input: LoginInput!) {
            login(input: $input) { viewer { email } userErrors { message } }
          }`,
          { input: { email: address.value, password: password.value, session: "COOKIE" } },
        );
        const payload = answer.data?.login;
        says.textContent = problem(answer, payload);
        if (payload?.viewer) show(payload.viewer.email);
      };
    } else {
      form.append(
        element("span", { id: "viewer", textContent: email }),
        element("button", { textContent: "Log out" }),
        says,
      );
      form.onsubmit = async (event) => {
        event.preventDefault();
        const answer = await window.ask("mutation { logout(input: {}) { userErrors { message } } }");
        says.textContent = problem(answer, answer.data?.logout);
        if (!says.textContent) show(null);
      };
    }
    bar.replaceChildren(form);
  };

  window.ask("{ viewer { email } }").then((answer) => show(answer.data?.viewer?.email ?? null));
}
