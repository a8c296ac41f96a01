//! How many processes each service gets: `bff=2,catalog=2`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// More would leave the ports of the BFF.
const MAX: u16 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u16>")]
pub(crate) struct Replicas(BTreeMap<String, u16>);

impl Replicas {
    /// One, unless said otherwise.
    pub(crate) fn of(&self, service: &str) -> u16 {
        self.0.get(service).copied().unwrap_or(1)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, u16>> for Replicas {
    type Error = String;

    fn try_from(counts: BTreeMap<String, u16>) -> Result<Self, String> {
        match counts.values().find(|count| !(1..=MAX).contains(*count)) {
            Some(count) => Err(format!("{count} is not a count from 1 to {MAX}")),
            None => Ok(Self(counts)),
        }
    }
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut replicas = BTreeMap::new();
        for part in text.split(',') {
            let (name, count) = part
                .split_once('=')
                .ok_or(format!("{part:?} is not service=count"))?;
            let count = count
                .parse()
                .ok()
                .filter(|count| (1..=MAX).contains(count))
                .ok_or(format!("{count:?} is not a count from 1 to {MAX}"))?;
            if replicas.insert(name.trim().to_owned(), count).is_some() {
                return Err(format!("{name} is named twice"));
            }
        }
        Ok(Self(replicas))
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_the_count_given_and_else_one() {
        let replicas: Replicas = "bff=2,catalog=3".parse().unwrap();
        assert_eq!(
            (
                replicas.of("bff"),
                replicas.of("catalog"),
                replicas.of("identity")
            ),
            (2, 3, 1)
        );
        assert_eq!(replicas.to_string(), "bff=2,catalog=3");
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for bad in [
            "",
            "bff",
            "bff=",
            "bff=0",
            "bff=11",
            "bff=-1",
            "bff=1,bff=2",
            "bff=1,",
        ] {
            assert!(bad.parse::<Replicas>().is_err(), "{bad:?}");
        }
    }
}
