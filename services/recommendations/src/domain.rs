//! What is known of offers, and which one is recommended.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

/// The votes that every offer is taken to have had before its first one: twenty, eight of them up.
/// So a vote tells little while there are few, and what nobody has voted on stands below what half
/// of many like, and above what most of many dislike.
const VOTES_BEFORE: u128 = 20;
const UP_BEFORE: u128 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct OfferId(pub(crate) Uuid);

/// What was last heard of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) id: OfferId,
    /// `None` if it is not told, as with an offer that is retired.
    pub(crate) area: Option<String>,
    pub(crate) published: bool,
    pub(crate) version: i64,
}

/// What was last heard of the votes on an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) offer_id: OfferId,
    pub(crate) up: i64,
    pub(crate) down: i64,
    pub(crate) version: i64,
}

/// An offer that may become the offer of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: OfferId,
    pub(crate) up: i64,
    pub(crate) down: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no published offer is known in this area")]
    AreaWithoutOffers,
    #[error(transparent)]
    Db(#[from] sqlx::Error),
}

/// The day that a moment belongs to, for everybody.
pub(crate) fn day(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive()
}

impl Candidate {
    /// The better one: that with the larger share of up votes, [`VOTES_BEFORE`] counted in. With
    /// the same share the one that more people have voted on, and then the older one.
    pub(crate) fn or(self, other: Candidate) -> Candidate {
        match self.compare(&other) {
            Ordering::Less => other,
            Ordering::Equal | Ordering::Greater => self,
        }
    }

    fn compare(&self, other: &Candidate) -> Ordering {
        let (ours, theirs) = (self.share(), other.share());
        // a/b < c/d as a * d < c * b: exact, and the same on every machine.
        (ours.0 * theirs.1)
            .cmp(&(theirs.0 * ours.1))
            .then(ours.1.cmp(&theirs.1))
            .then(other.id.cmp(&self.id))
    }

    /// Up votes, and all votes.
    fn share(&self) -> (u128, u128) {
        let up = u128::from(self.up.unsigned_abs());
        let down = u128::from(self.down.unsigned_abs());
        (up + UP_BEFORE, up + down + VOTES_BEFORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(up: i64, down: i64) -> Candidate {
        Candidate {
            id: OfferId(Uuid::now_v7()),
            up,
            down,
        }
    }

    #[track_caller]
    fn wins(better: (i64, i64), worse: (i64, i64)) {
        let worse = candidate(worse.0, worse.1);
        let better = candidate(better.0, better.1);
        assert_eq!(better.or(worse), better);
        assert_eq!(worse.or(better), better);
    }

    #[test]
    fn one_vote_on_a_new_offer_does_not_win_against_many() {
        wins((80, 20), (1, 0));
        wins((52, 48), (1, 0));
        wins((5, 1), (1, 0));
        wins((3, 0), (2, 0));
        wins((400, 100), (4, 0));
    }

    #[test]
    fn what_nobody_knows_stands_between_what_is_liked_and_what_is_not() {
        wins((1, 0), (0, 0));
        wins((50, 50), (0, 0));
        wins((0, 0), (0, 1));
        wins((0, 0), (30, 70));
        wins((0, 1), (0, 100));
    }

    #[test]
    fn with_the_same_share_more_votes_win_and_then_the_older_offer() {
        // 16 of 40 is 8 of 20.
        wins((8, 12), (0, 0));
        let older = candidate(3, 1);
        let newer = candidate(3, 1);
        assert_eq!(newer.or(older), older);
        assert_eq!(older.or(newer), older);
    }

    #[test]
    fn no_number_of_votes_is_too_large() {
        wins((i64::MAX, 0), (i64::MAX, i64::MAX));
        wins((i64::MAX, i64::MAX), (i64::MAX - 1, i64::MAX));
    }

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        let moment = |text: &str| day(text.parse().unwrap()).to_string();
        assert_eq!(moment("2026-01-31T23:59:59.999999Z"), "2026-01-31");
        assert_eq!(moment("2026-02-01T00:00:00Z"), "2026-02-01");
        assert_eq!(moment("2026-02-01T00:30:00+01:00"), "2026-01-31");
    }
}
