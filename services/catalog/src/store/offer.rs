//! Offers, always read with their tally and the viewer's vote in the same statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::domain::{
    Content, Error, Kind, Listing, Money, Offer, OfferId, Order, OrganisationId, Place, State,
    Viewer, Vote, Votes,
};

/// Stores a new offer together with its tally.
pub(crate) async fn insert(conn: &mut PgConnection, offer: &Offer) -> Result<(), Error> {
    let content = &offer.content;
    sqlx::query!(
        "WITH offer AS (
            INSERT INTO offers (
                id, organisation_id, title, description, kind, area, price_amount_minor, price_currency,
                state, created_at, updated_at, published_at, version
            )
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            RETURNING id
        )
        INSERT INTO tallies (offer_id)
        SELECT id
        FROM offer",
        offer.id.0,
        offer.organisation_id.0,
        content.title,
        content.description,
        content.kind as Kind,
        content.area,
        content.price.amount_minor,
        content.price.currency,
        offer.state as State,
        offer.created_at,
        offer.updated_at,
        offer.published_at,
        offer.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks an offer of the organisation for a change; anybody else's is not found.
/// The lock is the weaker one, which lets votes on the offer go on.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    id: OfferId,
    owner: OrganisationId,
    viewer: &Viewer,
) -> Result<Offer, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT o.id AS "id: OfferId", o.organisation_id AS "organisation_id: OrganisationId",
            o.title, o.description, o.kind AS "kind: Kind", o.area,
            o.price_amount_minor, o.price_currency, o.state AS "state: State",
            o.created_at, o.updated_at, o.published_at, o.listed_at AS "listed_at!", o.version,
            t.up, t.down, t.version AS tally_version,
            (SELECT value FROM votes WHERE offer_id = o.id AND user_id = $3) AS "mine: Vote"
        FROM offers o
        JOIN tallies t ON t.offer_id = o.id
        WHERE o.id = $1 AND o.organisation_id = $2
        FOR NO KEY UPDATE OF o"#,
        id.0,
        owner.0,
        viewer.user.map(|user| user.0),
    )
    .fetch_optional(conn)
    .await?;
    row.map(Offer::from).ok_or(Error::OfferNotFound)
}

/// Writes a changed offer, locked before, and raises its version.
pub(crate) async fn save(
    conn: &mut PgConnection,
    offer: &mut Offer,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let content = &offer.content;
    offer.version = sqlx::query_scalar!(
        "UPDATE offers
        SET title = $3, description = $4, kind = $5, area = $6, price_amount_minor = $7, price_currency = $8,
            state = $9, published_at = $10, updated_at = $11, version = version + 1
        WHERE id = $1 AND organisation_id = $2
        RETURNING version",
        offer.id.0,
        offer.organisation_id.0,
        content.title,
        content.description,
        content.kind as Kind,
        content.area,
        content.price.amount_minor,
        content.price.currency,
        offer.state as State,
        offer.published_at,
        now,
    )
    .fetch_one(conn)
    .await?;
    offer.updated_at = now;
    Ok(())
}

/// Those of the offers that exist and the viewer may see, in the order asked.
pub(crate) async fn visible(
    conn: &mut PgConnection,
    ids: &[OfferId],
    viewer: &Viewer,
) -> Result<Vec<Offer>, Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT o.id AS "id: OfferId", o.organisation_id AS "organisation_id: OrganisationId",
            o.title, o.description, o.kind AS "kind: Kind", o.area,
            o.price_amount_minor, o.price_currency, o.state AS "state: State",
            o.created_at, o.updated_at, o.published_at, o.listed_at AS "listed_at!", o.version,
            t.up, t.down, t.version AS tally_version,
            (SELECT value FROM votes WHERE offer_id = o.id AND user_id = $2) AS "mine: Vote"
        FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
        JOIN offers o ON o.id = asked.id
        JOIN tallies t ON t.offer_id = o.id
        WHERE o.published_at IS NOT NULL OR o.organisation_id = $3
        ORDER BY asked.place"#,
        &ids,
        viewer.user.map(|user| user.0),
        viewer.organisation.map(|organisation| organisation.0),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Offer::from).collect())
}

/// At most `limit` offers behind `after`, each with its place in the list.
pub(crate) async fn page(
    conn: &mut PgConnection,
    listing: &Listing,
    viewer: &Viewer,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<(Offer, Place)>, Error> {
    let found: Vec<Found> = select_page(QueryBuilder::new(""), listing, viewer, after, limit)
        .build_query_as()
        .fetch_all(conn)
        .await?;
    Ok(found
        .into_iter()
        .map(|found| found.placed(listing.order))
        .collect())
}

/// The page is cut before tallies and votes are joined, so that only its rows are looked up.
///
/// The query of a search is a scalar subquery wherever it stands: it is then worked out once, where
/// a bare call would be repeated for each row as soon as Postgres plans without the value.
/// `OFFSET 0` keeps the order out of the search: in the hope of an early end Postgres would walk
/// the index of the order instead, and read every offer for a rare word.
pub(crate) fn select_page(
    mut sql: QueryBuilder<Postgres>,
    listing: &Listing,
    viewer: &Viewer,
    after: Option<&Place>,
    limit: i64,
) -> QueryBuilder<Postgres> {
    sql.push(
        "SELECT o.id, o.organisation_id, o.title, o.description, o.kind, o.area,
            o.price_amount_minor, o.price_currency, o.state,
            o.created_at, o.updated_at, o.published_at, o.listed_at, o.version,
            t.up, t.down, t.version AS tally_version, o.rank,
            (SELECT value FROM votes WHERE offer_id = o.id AND user_id = ",
    );
    sql.push_bind(viewer.user)
        .push(") AS mine FROM (SELECT * FROM (SELECT *, ");
    match &listing.search {
        Some(search) if listing.order == Order::Relevance => sql
            .push("search_rank(search, (SELECT search_query(")
            .push_bind(search)
            .push(")))"),
        _ => sql.push("0::bigint"),
    };
    sql.push(" AS rank FROM offers WHERE ");
    match listing.own {
        Some(owner) => sql.push("organisation_id = ").push_bind(owner),
        None => sql.push("state = 'published'"),
    };
    if let Some(organisation) = listing.organisation_id {
        sql.push(" AND organisation_id = ").push_bind(organisation);
    }
    if let Some(area) = &listing.area {
        sql.push(" AND area = ").push_bind(area);
    }
    if !listing.kinds.is_empty() {
        sql.push(" AND kind = ANY(")
            .push_bind(&listing.kinds)
            .push(")");
    }
    if !listing.states.is_empty() {
        sql.push(" AND state = ANY(")
            .push_bind(&listing.states)
            .push(")");
    }
    if let Some(price) = &listing.price_max {
        sql.push(" AND price_currency = ")
            .push_bind(&price.currency);
        sql.push(" AND price_amount_minor <= ")
            .push_bind(price.amount_minor);
    }
    if let Some(search) = &listing.search {
        sql.push(" AND search @@ (SELECT search_query(")
            .push_bind(search)
            .push(")) OFFSET 0");
    }
    sql.push(") AS matching");
    match after {
        Some(Place::Newest(listed_at, id)) => {
            sql.push(" WHERE (listed_at, id) < (")
                .push_bind(*listed_at)
                .push(", ")
                .push_bind(*id)
                .push(")");
        }
        Some(Place::Price(currency, amount_minor, id)) => {
            sql.push(" WHERE (price_currency, price_amount_minor, id) > (")
                .push_bind(currency);
            sql.push(", ")
                .push_bind(*amount_minor)
                .push(", ")
                .push_bind(*id)
                .push(")");
        }
        Some(Place::Relevance(rank, id)) => {
            sql.push(" WHERE (rank, id) < (")
                .push_bind(*rank)
                .push(", ")
                .push_bind(*id)
                .push(")");
        }
        None => {}
    }
    let order = match listing.order {
        Order::Newest => " ORDER BY listed_at DESC, id DESC",
        Order::Price => " ORDER BY price_currency, price_amount_minor, id",
        Order::Relevance => " ORDER BY rank DESC, id DESC",
    };
    sql.push(order).push(" LIMIT ").push_bind(limit);
    sql.push(") AS o JOIN tallies t ON t.offer_id = o.id")
        .push(order);
    sql
}

#[derive(sqlx::FromRow)]
struct Row {
    id: OfferId,
    organisation_id: OrganisationId,
    title: String,
    description: String,
    kind: Kind,
    area: String,
    price_amount_minor: i64,
    price_currency: String,
    state: State,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    published_at: Option<DateTime<Utc>>,
    listed_at: DateTime<Utc>,
    version: i64,
    up: i64,
    down: i64,
    tally_version: i64,
    mine: Option<Vote>,
}

#[derive(sqlx::FromRow)]
struct Found {
    #[sqlx(flatten)]
    row: Row,
    rank: i64,
}

impl Found {
    fn placed(self, order: Order) -> (Offer, Place) {
        let Self { row, rank } = self;
        let place = match order {
            Order::Newest => Place::Newest(row.listed_at, row.id),
            Order::Price => {
                Place::Price(row.price_currency.clone(), row.price_amount_minor, row.id)
            }
            Order::Relevance => Place::Relevance(rank, row.id),
        };
        (row.into(), place)
    }
}

impl From<Row> for Offer {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            organisation_id: row.organisation_id,
            content: Content {
                title: row.title,
                description: row.description,
                kind: row.kind,
                area: row.area,
                price: Money {
                    amount_minor: row.price_amount_minor,
                    currency: row.price_currency,
                },
            },
            state: row.state,
            created_at: row.created_at,
            updated_at: row.updated_at,
            published_at: row.published_at,
            version: row.version,
            votes: Votes {
                up: row.up,
                down: row.down,
                mine: row.mine,
                version: row.tally_version,
            },
        }
    }
}
