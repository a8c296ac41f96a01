use std::path::PathBuf;
use std::time::Duration;

use async_graphql::Executor;
use clap::Args;
use platform::admission::{Admission, AdmissionLimits};
use platform::config::{at_least_one, duration};

use super::{Endpoint, Origins};
use crate::persisted::{Manifest, ManifestError, Persisted};

/// The GraphQL endpoint and its limits.
#[derive(Args, Clone, Debug)]
pub struct EndpointArgs {
    /// Time for a request that names none, handed on to every call that it makes.
    #[arg(env = "REQUEST_DEADLINE", default_value = "10s", value_parser = duration)]
    pub request_deadline: Duration,

    /// Longest time that a request can ask for; more is cut to it. Below `HTTP_DEADLINE`, which
    /// answers without an error to read.
    #[arg(env = "REQUEST_DEADLINE_MAX", default_value = "25s", value_parser = duration)]
    pub request_deadline_max: Duration,

    /// Requests executed at once.
    #[arg(env = "REQUESTS_MAX", default_value_t = 256, value_parser = at_least_one)]
    pub requests_max: usize,

    /// Requests that wait for their turn; beyond, what matters least is refused.
    #[arg(env = "REQUEST_QUEUE_MAX", default_value_t = 512)]
    pub request_queue_max: usize,

    /// Longest wait of a request for its turn; a tenth of it while the queue does not empty.
    #[arg(env = "REQUEST_QUEUE_AGE_MAX", default_value = "500ms", value_parser = duration)]
    pub request_queue_age_max: Duration,

    /// File with the documents that clients may name. Production executes no others.
    #[arg(env = "PERSISTED_MANIFEST")]
    pub persisted_manifest: Option<PathBuf>,

    /// Bytes kept of documents that clients leave here with their hash; 0 keeps none.
    #[arg(env = "PERSISTED_AUTOMATIC_BYTES_MAX", default_value_t = 8 << 20)]
    pub persisted_automatic_bytes_max: usize,

    /// How long anybody may keep the answer to a persisted query that says nothing of who asks.
    #[arg(env = "PUBLIC_AGE", default_value = "0s", value_parser = duration)]
    pub public_age: Duration,

    /// Origins whose pages may use the endpoint, separated by commas.
    #[arg(env = "CORS_ORIGINS", default_value = "")]
    pub cors_origins: Origins,
}

impl<E: Executor> Endpoint<E> {
    /// The endpoint as it is configured. With `closed`, nothing but the documents of the manifest
    /// is executed, if there is one.
    pub fn configured(self, args: &EndpointArgs, closed: bool) -> Result<Self, ManifestError> {
        let mut persisted = Persisted::default().automatic(args.persisted_automatic_bytes_max);
        if let Some(path) = &args.persisted_manifest {
            let manifest = Manifest::read(path)?;
            persisted = persisted.manifest(manifest).only_listed(closed);
        }
        let admission = Admission::new(AdmissionLimits {
            running: args.requests_max,
            waiting: args.request_queue_max,
            age: args.request_queue_age_max,
        });
        Ok(self
            .deadline(args.request_deadline, args.request_deadline_max)
            .persisted(persisted)
            .public_age(args.public_age)
            .admission(admission)
            .cors(args.cors_origins.clone()))
    }
}
