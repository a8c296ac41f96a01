//! What everybody may see of offers, kept in Redis; all else is asked of Postgres each time.

use std::time::Duration;

use api::homeward::catalog::v1::{self as proto, OfferPublished, VoteCast};
use platform_cache::{Cache, Loaded, Redis, Settings};
use platform_contract::Event;
use platform_db::Db;
use platform_events::broadcast::{Missed, Received, Window};
use platform_events::{Broadcast, Kafka};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use crate::domain::{Error, OfferId, Viewer};
use crate::store;

const SETTINGS: Settings = Settings {
    name: "offer",
    life_max: Duration::from_secs(60),
    // The largest offer takes about 17 KB: 4,000 characters of four bytes.
    value_bytes_max: 32 << 10,
};

/// What can still matter to a value that is alive, with clocks that differ.
const WINDOW: Window = Window {
    age: Duration::from_secs(120),
    bytes: 8 << 20,
};

/// Reads of offers by id.
#[derive(Clone)]
pub(crate) struct Offers {
    db: Db,
    /// Offers that were published once, without anybody's vote, with the versions of offer and
    /// tally. What everybody may see needs no comparison with the viewer.
    public: Cache<proto::Offer, 2>,
}

impl Offers {
    pub(crate) fn new(db: Db, redis: &Redis) -> Self {
        Self {
            db,
            public: Cache::new(redis, SETTINGS),
        }
    }

    /// Those of the offers that exist and the viewer may see, in the order asked.
    pub(crate) async fn visible(
        &self,
        ids: &[OfferId],
        viewer: &Viewer,
    ) -> Result<Vec<proto::Offer>, Error> {
        let keys: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let mut offers = self.public.get(&keys, |ids| self.load(ids)).await?;
        let Some(user) = viewer.user else {
            return Ok(offers.into_iter().flatten().collect());
        };

        let mut conn = self.db.read().await?;
        let (public, rest): (Vec<_>, Vec<_>) = ids
            .iter()
            .zip(&mut offers)
            .partition(|(_, offer)| offer.is_some());
        let ids = Vec::from_iter(public.iter().map(|(id, _)| **id));
        if !ids.is_empty() {
            let votes = store::vote::of_user(&mut conn, &ids, user).await?;
            for (id, offer) in public {
                let tally = offer.as_mut().and_then(|offer| offer.votes.as_mut());
                if let (Some(tally), Some(vote)) = (tally, votes.get(id)) {
                    tally.set_mine(proto::VoteValue::from(*vote));
                }
            }
        }
        let ids = Vec::from_iter(rest.iter().map(|(id, _)| **id));
        if viewer.organisation.is_some() && !ids.is_empty() {
            // Drafts of their own, and what was published since.
            let mut own = store::offer::visible(&mut conn, &ids, viewer).await?;
            for (id, place) in rest {
                if let Some(at) = own.iter().position(|offer| offer.id == *id) {
                    *place = Some(own.swap_remove(at).into());
                }
            }
        }
        Ok(offers.into_iter().flatten().collect())
    }

    async fn load(&self, ids: Vec<Uuid>) -> Result<Vec<Loaded<Uuid, proto::Offer, 2>>, Error> {
        let ids: Vec<OfferId> = ids.into_iter().map(OfferId).collect();
        let mut conn = self.db.read().await?;
        let nobody = Viewer::default();
        let offers = store::offer::visible(&mut conn, &ids, &nobody).await?;
        let loaded = offers.into_iter().map(|offer| Loaded {
            key: offer.id.0,
            versions: [offer.version, offer.votes.version],
            value: offer.into(),
        });
        Ok(loaded.collect())
    }

    /// After the commit of a new version of the offer.
    pub(crate) async fn changed(&self, id: OfferId, version: i64) {
        self.public.invalidate(id.0, [version, 0]).await;
    }

    /// After the commit of a new version of its tally.
    pub(crate) async fn voted(&self, id: OfferId, version: i64) {
        self.public.invalidate(id.0, [0, version]).await;
    }

    async fn hear(&self, event: &Received) {
        let (key, version) = (&event.meta.key, event.meta.version);
        match key.parse().map(OfferId) {
            Ok(id) if event.meta.event.topic == OfferPublished::TOPIC => {
                self.changed(id, version).await;
            }
            Ok(id) => self.voted(id, version).await,
            Err(_) => error!("the key {key:?} of an event of ours is no id"),
        }
    }
}

/// Invalidates by our own events what a replica that died after its commit could not, until
/// `stop`.
pub(crate) async fn invalidate(
    kafka: Kafka,
    offers: Offers,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let topics = [OfferPublished::TOPIC, VoteCast::TOPIC];
    let broadcast = Broadcast::new(api::EVENTS, &topics, WINDOW);
    let mut events = broadcast.subscribe();
    let heard = async {
        loop {
            match events.next().await {
                Ok(event) => offers.hear(&event).await,
                Err(Missed(count)) => {
                    warn!(
                        "{count} events were missed; what they made old may be read for a minute"
                    );
                }
            }
        }
    };
    tokio::select! {
        // At once, whatever the reader waits for.
        () = stop.cancelled() => Ok(()),
        read = broadcast.run(kafka, stop.clone()) => read,
        never = heard => never,
    }
}
