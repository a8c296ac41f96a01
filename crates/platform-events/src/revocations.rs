//! What events make void is refused by every replica of every service.

use std::sync::Arc;
use std::time::Duration;

use platform::auth::{TOKEN_LIFETIME_MAX, Verifier};
use platform_contract::EventType;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::broadcast::{Missed, Received, Subscription, Window};
use crate::{Broadcast, Kafka};

/// All that can matter to a token that is still valid, with clocks that differ. The reader may
/// run ahead by what the client library has fetched, which is far less than the window holds.
const WINDOW: Window = Window {
    age: Duration::from_secs(TOKEN_LIFETIME_MAX.as_secs() + 60),
    bytes: 16 * 1024 * 1024,
};

/// Tells the verifier of this process which tokens are void by the events of `contract`, from
/// the longest life of a token ago until `stop`.
///
/// While no broker is there nothing is heard, and a token lives until it expires.
pub async fn revocations(
    kafka: Kafka,
    verifier: Arc<Verifier>,
    contract: &'static [EventType],
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let voiding = contract.iter().filter(|event| event.voids.is_some());
    let topics: Vec<&str> = voiding.map(|event| event.topic).collect();
    loop {
        let broadcast = Broadcast::new(contract, &topics, WINDOW);
        let mut events = broadcast.subscribe();
        tokio::select! {
            // At once, whatever the reader waits for.
            () = stop.cancelled() => return Ok(()),
            read = broadcast.run(kafka.clone(), stop.clone()) => return read,
            Missed(count) = hear(&mut events, &verifier) => {
                error!("{count} events were not looked at for revocations, reading them again");
            }
        }
    }
}

async fn hear(events: &mut Subscription, verifier: &Verifier) -> Missed {
    loop {
        match events.next().await {
            Ok(event) => {
                if let Err(error) = apply(&event, verifier) {
                    let (name, id) = (event.meta.event.name, event.meta.id);
                    error!(%error, "cannot tell what {name} {id} makes void");
                }
            }
            Err(missed) => return missed,
        }
    }
}

fn apply(event: &Received, verifier: &Verifier) -> anyhow::Result<()> {
    if let Some(voids) = event.meta.event.voids {
        verifier.revoke(&voids(&event.payload)?)?;
    }
    Ok(())
}
