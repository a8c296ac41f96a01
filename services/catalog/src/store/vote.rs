//! A vote and what it does to the tally are one statement.
//!
//! All of it runs at READ COMMITTED, and holds there:
//! the vote's row is locked first and the tally's second, so votes never deadlock;
//! the upsert sees the newest vote of the same user even where the snapshot does not, and
//! `previous` hands what it replaced to the tally;
//! the UPDATE waits for a twin's lock and adds to what that twin committed, because its row is
//! joined (a joined CTE keeps its rows when the update is tried again on the newer tally).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Error, OfferId, State, UserId, Viewer, Vote, Votes};

/// What came of a vote.
pub(crate) struct Outcome {
    pub(crate) votes: Votes,
    /// The tally has a new version, and is locked until the end of the transaction.
    pub(crate) changed: bool,
}

/// Sets the user's vote on a published offer; the same vote again changes nothing.
pub(crate) async fn cast(
    conn: &mut PgConnection,
    offer: OfferId,
    user: UserId,
    viewer: &Viewer,
    value: Vote,
    now: DateTime<Utc>,
) -> Result<Outcome, Error> {
    let tally = sqlx::query!(
        "WITH cast_vote AS (
            INSERT INTO votes (offer_id, user_id, value, created_at, updated_at)
            SELECT id, $2, $3, $4, $4
            FROM offers
            WHERE id = $1 AND state = 'published'
            ON CONFLICT (offer_id, user_id) DO UPDATE
            SET value = excluded.value, previous = votes.value, updated_at = excluded.updated_at
            WHERE votes.value <> excluded.value
            RETURNING offer_id, value, previous
        )
        UPDATE tallies
        SET up = up + (value = 'up')::int - coalesce(previous = 'up', false)::int,
            down = down + (value = 'down')::int - coalesce(previous = 'down', false)::int,
            version = version + 1
        FROM cast_vote
        WHERE tallies.offer_id = cast_vote.offer_id
        RETURNING up, down, version",
        offer.0,
        user.0,
        value as Vote,
        now,
    )
    .fetch_optional(&mut *conn)
    .await?;

    match tally {
        Some(tally) => Ok(Outcome {
            votes: Votes {
                up: tally.up,
                down: tally.down,
                mine: Some(value),
                version: tally.version,
            },
            changed: true,
        }),
        None => {
            // A vote that changed nothing has locked its row, so `mine` holds until the commit.
            // Another `mine` means that the offer was published only after the vote was tried.
            let votes = unchanged(conn, offer, viewer).await?;
            if votes.mine == Some(value) {
                Ok(Outcome {
                    votes,
                    changed: false,
                })
            } else {
                Err(Error::OfferNotPublished)
            }
        }
    }
}

/// Takes the user's vote on a published offer back; without a vote nothing changes.
pub(crate) async fn retract(
    conn: &mut PgConnection,
    offer: OfferId,
    user: UserId,
    viewer: &Viewer,
) -> Result<Outcome, Error> {
    let tally = sqlx::query!(
        "WITH retracted AS (
            DELETE FROM votes
            USING offers
            WHERE votes.offer_id = $1 AND votes.user_id = $2
                AND offers.id = votes.offer_id AND offers.state = 'published'
            RETURNING votes.offer_id, votes.value
        )
        UPDATE tallies
        SET up = up - (value = 'up')::int,
            down = down - (value = 'down')::int,
            version = version + 1
        FROM retracted
        WHERE tallies.offer_id = retracted.offer_id
        RETURNING up, down, version",
        offer.0,
        user.0,
    )
    .fetch_optional(&mut *conn)
    .await?;

    match tally {
        Some(tally) => Ok(Outcome {
            votes: Votes {
                up: tally.up,
                down: tally.down,
                mine: None,
                version: tally.version,
            },
            changed: true,
        }),
        None => Ok(Outcome {
            votes: unchanged(conn, offer, viewer).await?,
            changed: false,
        }),
    }
}

/// The user's votes on these offers.
pub(crate) async fn of_user(
    conn: &mut PgConnection,
    offers: &[OfferId],
    user: UserId,
) -> Result<HashMap<OfferId, Vote>, Error> {
    let offers: Vec<_> = offers.iter().map(|offer| offer.0).collect();
    let votes = sqlx::query!(
        r#"SELECT offer_id AS "offer_id: OfferId", value AS "value: Vote"
        FROM votes
        WHERE user_id = $1 AND offer_id = ANY($2)"#,
        user.0,
        &offers,
    )
    .fetch_all(conn)
    .await?;
    Ok(votes
        .into_iter()
        .map(|vote| (vote.offer_id, vote.value))
        .collect())
}

/// The tally of an offer that the viewer may see, with the viewer's vote.
pub(crate) async fn of_offer(
    conn: &mut PgConnection,
    offer: OfferId,
    viewer: &Viewer,
) -> Result<Votes, Error> {
    let (_, votes) = current(conn, offer, viewer).await?;
    Ok(votes)
}

/// The tally where nothing changed, or why nothing could.
/// A statement of its own: the snapshot of the one before may be older than a twin's commit.
async fn unchanged(
    conn: &mut PgConnection,
    offer: OfferId,
    viewer: &Viewer,
) -> Result<Votes, Error> {
    match current(conn, offer, viewer).await? {
        (State::Published, votes) => Ok(votes),
        (State::Draft | State::Retired, _) => Err(Error::OfferNotPublished),
    }
}

async fn current(
    conn: &mut PgConnection,
    offer: OfferId,
    viewer: &Viewer,
) -> Result<(State, Votes), Error> {
    let found = sqlx::query!(
        r#"SELECT o.state AS "state: State", t.up, t.down, t.version,
            (SELECT value FROM votes WHERE offer_id = o.id AND user_id = $2) AS "mine: Vote"
        FROM offers o
        JOIN tallies t ON t.offer_id = o.id
        WHERE o.id = $1 AND (o.published_at IS NOT NULL OR o.organisation_id = $3)"#,
        offer.0,
        viewer.user.map(|user| user.0),
        viewer.organisation.map(|organisation| organisation.0),
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::OfferNotFound)?;

    let votes = Votes {
        up: found.up,
        down: found.down,
        mine: found.mine,
        version: found.version,
    };
    Ok((found.state, votes))
}
