//! Loads the demo data.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread,
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{
    api::{Api, accepted, text, user_error},
    data::{self, Data, Offer, User},
    password, set_mark,
};
use crate::{
    os::hash,
    stack::{plan::Plan, state::Account},
};

/// Requests at once: few, as password hashing takes a core each.
const WORKERS: usize = 4;

pub(crate) enum Report {
    Progress(String),
    Done(anyhow::Result<()>),
}

/// Loads what is missing, on a thread of its own, and reports.
pub(crate) fn load(plan: &Plan, reports: &Sender<Report>) {
    let done = run(plan, reports);
    // Nobody listens any more when the stack is being stopped.
    let _ = reports.send(Report::Done(done));
}

fn run(plan: &Plan, reports: &Sender<Report>) -> anyhow::Result<()> {
    let bff = plan
        .started_endpoints()
        .find(|endpoint| endpoint.service == "bff");
    let port = bff
        .and_then(|endpoint| endpoint.http)
        .context("the BFF has no HTTP port")?;
    let api = Api { port };
    let password = password(plan)?;
    let Data { users, offers } = data::data()?;

    let tokens = each(reports, "users", &users, |user| {
        token(&api, user, &password)
    })?;
    let tokens: BTreeMap<&str, &String> = users
        .iter()
        .map(|user| user.email.as_str())
        .zip(&tokens)
        .collect();
    let token_of = |email: &str| tokens.get(email).map(|token| token.as_str());

    let mut present = BTreeMap::new();
    for business in users.iter().filter(|user| user.kind == "BUSINESS") {
        for (key, id) in offers_of(&api, token_of(&business.email))? {
            present.insert((business.email.clone(), key.0, key.1), id);
        }
    }
    let ids = each(reports, "offers", &offers, |offer| {
        let key = (
            offer.business.clone(),
            offer.area.clone(),
            offer.title.clone(),
        );
        publish(&api, token_of(&offer.business), offer, present.get(&key))
    })?;

    let voters: Vec<&User> = users
        .iter()
        .filter(|user| user.kind != "BUSINESS")
        .collect();
    each(reports, "voters", &voters, |user| {
        for vote in data::votes(&user.email, ids.len()) {
            let offer = &ids[vote.offer];
            let input = json!({
                "requestId": hash::uuid(&format!("vote:{}:{}", user.email, vote.offer)),
                "offerId": offer,
                "value": if vote.up { "UP" } else { "DOWN" },
            });
            let token = token_of(&user.email);
            accepted(api.mutate(token, "castVote", "votes { version }", input)?)?;
        }
        Ok(())
    })?;

    let accounts = users.iter().map(|user| Account {
        email: user.email.clone(),
        kind: user.kind.to_owned(),
    });
    set_mark(plan, accounts.collect())
}

/// Does the work for every item, several at once, and answers in their order.
fn each<T: Sync, R: Send>(
    reports: &Sender<Report>,
    what: &str,
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let worker = |reports: Sender<Report>| -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return Ok(());
            };
            let result = work(item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(index, result);
            let text = format!("demo data: {} of {} {what}", results.len(), items.len());
            let _ = reports.send(Report::Progress(text));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let reports = reports.clone();
                scope.spawn(|| worker(reports))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })
    })?;
    Ok(results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect())
}

/// Registers the user unless that has happened, and logs in.
fn token(api: &Api, user: &User, password: &str) -> anyhow::Result<String> {
    let credentials = json!({ "email": user.email, "password": password });
    let mut registration = json!({
        "requestId": hash::uuid(&format!("register:{}", user.email)),
        "displayName": user.name,
        "kind": user.kind,
        "email": user.email,
        "password": password,
    });
    if let Some(organisation) = &user.organisation {
        registration["organisationName"] = json!(organisation);
    }
    let payload = api.mutate(None, "register", "userId", registration)?;
    // The first run of a load long ago: its request id is forgotten, its account is not.
    let known = user_error(&payload)
        .is_some_and(|(code, _)| matches!(code, "ALREADY_EXISTS" | "EMAIL_TAKEN"));
    if !known {
        accepted(payload).with_context(|| format!("cannot register {}", user.email))?;
    }
    let payload = accepted(api.mutate(None, "login", "tokens { accessToken }", credentials)?)
        .with_context(|| format!("cannot log {} in", user.email))?;
    text(&payload, "/tokens/accessToken")
}

/// Id and whether it is published, by area and title.
type Present = BTreeMap<(String, String), (String, bool)>;

/// The offers that a business has already.
fn offers_of(api: &Api, token: Option<&str>) -> anyhow::Result<Present> {
    let query = "query Demo($after: String) { offers(first: 100, after: $after, filter: { own: true }) { edges { node { id area title state } } pageInfo { hasNextPage endCursor } } }";
    let mut present = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let page = api.send(token, query, json!({ "after": after }))?["offers"].take();
        for edge in page["edges"].as_array().into_iter().flatten() {
            let node = &edge["node"];
            let key = (text(node, "/area")?, text(node, "/title")?);
            present.insert(key, (text(node, "/id")?, node["state"] != "DRAFT"));
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(present);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// Makes the offer visible, making it first if need be, and answers its id.
fn publish(
    api: &Api,
    token: Option<&str>,
    offer: &Offer,
    present: Option<&(String, bool)>,
) -> anyhow::Result<String> {
    let key = format!("{}:{}:{}", offer.business, offer.area, offer.title);
    let id = match present {
        Some((id, true)) => return Ok(id.clone()),
        Some((id, false)) => id.clone(),
        None => {
            let input = json!({
                "requestId": hash::uuid(&format!("create:{key}")),
                "title": offer.title,
                "description": offer.description,
                "kind": offer.kind,
                "area": offer.area,
                "price": { "amountMinor": offer.price_minor, "currency": "EUR" },
            });
            let payload = accepted(api.mutate(token, "createOffer", "offer { id }", input)?)
                .with_context(|| format!("cannot create the offer {:?}", offer.title))?;
            text(&payload, "/offer/id")?
        }
    };
    let input = json!({ "requestId": hash::uuid(&format!("publish:{key}")), "id": id });
    accepted(api.mutate(token, "publishOffer", "offer { id }", input)?)
        .with_context(|| format!("cannot publish the offer {:?}", offer.title))?;
    Ok(id)
}
