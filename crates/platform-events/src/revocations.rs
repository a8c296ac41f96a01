//! What events make void is refused by every replica of every service.

use std::sync::Arc;
use std::time::Duration;

use platform::auth::{TOKEN_LIFETIME_MAX, Verifier};
use platform_contract::EventType;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::broadcast::{Received, Window};
use crate::{Broadcast, Kafka};

/// From how long ago on events can matter to a token that is still valid, with clocks that
/// differ. The age of the window of a [`Broadcast`] with [`revoking`] is not less.
pub const REVOCATIONS_AGE: Duration = Duration::from_secs(TOKEN_LIFETIME_MAX.as_secs() + 60);

/// Tells the verifier of this process which tokens are void by the events of `contract`, from
/// the longest life of a token ago until `stop`.
///
/// While no broker is there nothing is heard, and a token lives until it expires. A process that
/// has a [`Broadcast`] of these topics anyway gives it [`revoking`] instead.
pub async fn revocations(
    kafka: Kafka,
    verifier: Arc<Verifier>,
    contract: &'static [EventType],
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let voiding = contract.iter().filter(|event| event.voids.is_some());
    let topics: Vec<&str> = voiding.map(|event| event.topic).collect();
    // Nobody comes later.
    let window = Window {
        age: REVOCATIONS_AGE,
        bytes: 0,
    };
    let broadcast = Broadcast::new(contract, &topics, window).each(revoking(verifier));
    broadcast.run(kafka, stop).await
}

/// For [`Broadcast::each`]: tells the verifier which tokens are void by an event.
pub fn revoking(verifier: Arc<Verifier>) -> impl Fn(&Received) + Send + Sync + 'static {
    move |event| {
        if let Err(error) = apply(event, &verifier) {
            let (name, id) = (event.meta.event.name, event.meta.id);
            error!(%error, "cannot tell what {name} {id} makes void");
        }
    }
}

fn apply(event: &Received, verifier: &Verifier) -> anyhow::Result<()> {
    if let Some(voids) = event.meta.event.voids {
        verifier.revoke(&voids(&event.payload)?)?;
    }
    Ok(())
}
