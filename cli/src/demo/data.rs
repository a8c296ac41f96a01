//! The demo data: parts in `cli/demo/data.json`, put together for every area.

use anyhow::Context;
use serde::Deserialize;

use crate::os::hash;

const JSON: &str = include_str!("../../demo/data.json");
const VOTES_PER_USER: u64 = 12;

#[derive(Deserialize)]
struct Parts {
    areas: Vec<Area>,
    businesses: Vec<Business>,
    movers: Vec<String>,
    clients: Vec<String>,
}

#[derive(Deserialize)]
struct Area {
    slug: String,
    name: String,
    city: String,
    street: String,
    station: String,
    homes: String,
    parking: String,
    price_percent: i64,
}

#[derive(Deserialize)]
struct Business {
    email: String,
    person: String,
    organisation: String,
    offers: Vec<Template>,
}

#[derive(Deserialize)]
struct Template {
    kind: String,
    price_minor: i64,
    title: String,
    description: String,
}

/// Somebody to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Of a business only.
    pub(super) organisation: Option<String>,
}

/// An offer to make and publish.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// Who makes it.
    pub(super) business: String,
    pub(super) kind: String,
    pub(super) area: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) price_minor: i64,
}

/// Which offer a user votes on, by its place in the list, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) offer: usize,
    pub(super) up: bool,
}

pub(super) struct Data {
    /// Businesses first.
    pub(super) users: Vec<User>,
    pub(super) offers: Vec<Offer>,
}

pub(super) fn fingerprint() -> String {
    hash::hex(JSON.as_bytes())
}

pub(super) fn data() -> anyhow::Result<Data> {
    let parts: Parts = serde_json::from_str(JSON).context("cli/demo/data.json")?;
    let businesses = parts.businesses.iter().map(|business| User {
        email: business.email.clone(),
        name: business.person.clone(),
        kind: "BUSINESS",
        organisation: Some(business.organisation.clone()),
    });
    let people = |names: &[String], kind| -> Vec<User> {
        names.iter().map(|name| person(name, kind)).collect()
    };
    let users = businesses
        .chain(people(&parts.movers, "MOVER"))
        .chain(people(&parts.clients, "CLIENT"))
        .collect();
    let mut offers = Vec::new();
    for area in &parts.areas {
        for business in &parts.businesses {
            offers.extend(
                business
                    .offers
                    .iter()
                    .map(|template| offer(business, area, template)),
            );
        }
    }
    Ok(Data { users, offers })
}

fn person(name: &str, kind: &'static str) -> User {
    let local = name.to_lowercase().replace(' ', ".").replace('\'', "");
    User {
        email: format!("{local}@homeward.example"),
        name: name.to_owned(),
        kind,
        organisation: None,
    }
}

fn offer(business: &Business, area: &Area, template: &Template) -> Offer {
    let mut parking = area.parking.clone();
    if let Some(first) = parking.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let fill = |text: &str| {
        text.replace("{area}", &area.name)
            .replace("{city}", &area.city)
            .replace("{street}", &area.street)
            .replace("{station}", &area.station)
            .replace("{homes}", &area.homes)
            .replace("{parking}", &area.parking)
            .replace("{parking_sentence}", &parking)
    };
    Offer {
        business: business.email.clone(),
        kind: template.kind.clone(),
        area: area.slug.clone(),
        title: fill(&template.title),
        description: fill(&template.description),
        // Nobody asks for 287.53 euros.
        price_minor: template.price_minor * area.price_percent / 100 / 50 * 50,
    }
}

/// A fixed choice per user: mostly up, some offers much more popular than others.
pub(super) fn votes(email: &str, offers: usize) -> Vec<Vote> {
    let mut votes: Vec<Vote> = Vec::new();
    for round in 0..VOTES_PER_USER {
        let draw = |what: &str| {
            u64::from_str_radix(&hash::hex(format!("{what}:{round}:{email}").as_bytes()), 16)
                .unwrap_or(0)
        };
        // The smaller of two draws, so that the first offers have more votes.
        let spread = |number: u64| usize::try_from(number % offers as u64).unwrap_or(0);
        let offer = spread(draw("one")).min(spread(draw("other")));
        let up = draw("value") % 4 != 0;
        if votes.iter().all(|vote| vote.offer != offer) {
            votes.push(Vote { offer, up });
        }
    }
    votes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_3_businesses_50_users_and_200_offers_in_8_areas() {
        let data = data().unwrap();
        let businesses = data
            .users
            .iter()
            .filter(|user| user.kind == "BUSINESS")
            .count();
        assert_eq!((businesses, data.users.len()), (3, 53));
        let areas: BTreeSet<_> = data.offers.iter().map(|offer| &offer.area).collect();
        assert_eq!((data.offers.len(), areas.len()), (200, 8));
        let emails: BTreeSet<_> = data.users.iter().map(|user| &user.email).collect();
        assert_eq!(emails.len(), 53);
    }

    #[test]
    fn offers_keep_to_the_contract_and_can_be_told_apart() {
        let data = data().unwrap();
        for offer in &data.offers {
            assert!(
                (1..=120).contains(&offer.title.chars().count()),
                "{}",
                offer.title
            );
            assert!(offer.description.chars().count() <= 4000);
            assert!(offer.price_minor > 0);
            assert!(
                !offer.title.contains('{') && !offer.description.contains('{'),
                "{}",
                offer.title
            );
        }
        let keys: BTreeSet<_> = data
            .offers
            .iter()
            .map(|o| (&o.business, &o.area, &o.title))
            .collect();
        assert_eq!(keys.len(), data.offers.len());
    }

    #[test]
    fn votes_are_the_same_each_time_and_one_per_offer() {
        let once = votes("anna.keller@homeward.example", 200);
        assert_eq!(once, votes("anna.keller@homeward.example", 200));
        let offers: BTreeSet<_> = once.iter().map(|vote| vote.offer).collect();
        assert_eq!(offers.len(), once.len());
        assert!(once.len() > 8);
    }
}
