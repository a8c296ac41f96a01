//! The services behind the schema, called for one request.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::homeward::catalog::v1::CATALOG_SERVICE;
use api::homeward::catalog::v1::catalog_service_client::CatalogServiceClient;
use api::homeward::identity::v1::IDENTITY_SERVICE;
use api::homeward::identity::v1::identity_service_client::IdentityServiceClient;
use api::homeward::recommendations::v1::RECOMMENDATIONS_SERVICE;
use api::homeward::recommendations::v1::recommendations_service_client::RecommendationsServiceClient;
use bytes::Bytes;
use platform::auth::{Caller, Verifier};
use platform::client::Channel;
use platform::config::Secret;
use platform_contract::Service;
use platform_graphql::context::Forward;
use platform_graphql::rate::Origin;
use platform_graphql::{Context, hot};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use crate::status;

/// A connection that lets through what the caller may call.
type Guarded = InterceptedService<Channel, Forward>;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Clients {
    /// One for every service of the contracts, by its name.
    pub(crate) channels: BTreeMap<&'static str, Channel>,
    pub(crate) verifier: Arc<Verifier>,
    /// By which identity knows the BFF, and believes what it says of clients.
    pub(crate) service_secret: Option<Secret>,
    pub(crate) status: status::Known,
}

impl Clients {
    /// The way to a service.
    pub(crate) fn channel(&self, service: &'static Service) -> Channel {
        // Each that the contracts have is there; see [`crate::targets`].
        self.channels[service.name].clone()
    }
}

/// The services for a subscription, which outlives the request that began it.
#[derive(Clone)]
pub(crate) struct Owned {
    clients: Clients,
    context: Context,
}

impl Owned {
    /// The services for the request that is being executed.
    pub(crate) fn of(ctx: &async_graphql::Context<'_>) -> Owned {
        let Services { clients, context } = Services::of(ctx);
        Owned {
            clients: clients.clone(),
            context: context.clone(),
        }
    }

    pub(crate) fn services(&self) -> Services<'_> {
        Services {
            clients: &self.clients,
            context: &self.context,
        }
    }

    pub(crate) fn caller(&self) -> Result<&Caller, Status> {
        self.context.caller()
    }
}

/// The services as one request sees them.
#[derive(Clone, Copy)]
pub(crate) struct Services<'a> {
    clients: &'a Clients,
    context: &'a Context,
}

impl<'a> Services<'a> {
    /// The services for the request that is being executed.
    pub(crate) fn of(ctx: &async_graphql::Context<'a>) -> Services<'a> {
        Services {
            clients: ctx.data_unchecked(),
            context: Context::of(ctx),
        }
    }

    /// The same services for another caller.
    pub(crate) fn within<'b>(self, context: &'b Context) -> Services<'b>
    where
        'a: 'b,
    {
        Services { context, ..self }
    }

    pub(crate) fn context(&self) -> &'a Context {
        self.context
    }

    pub(crate) fn caller(&self) -> Result<&'a Caller, Status> {
        self.context.caller()
    }

    pub(crate) fn catalog(&self) -> CatalogServiceClient<Guarded> {
        CatalogServiceClient::new(self.guarded(&CATALOG_SERVICE))
    }

    /// A call of catalog whose answer stays as it came.
    pub(crate) async fn raw_catalog(
        &self,
        method: &str,
        request: impl Message + 'static,
    ) -> Result<Bytes, Status> {
        self.raw(&CATALOG_SERVICE, method, request).await
    }

    /// A call of identity whose answer stays as it came.
    pub(crate) async fn raw_identity(
        &self,
        method: &str,
        request: impl Message + 'static,
    ) -> Result<Bytes, Status> {
        self.raw(&IDENTITY_SERVICE, method, request).await
    }

    /// A call of any service whose answer stays as it came.
    pub(crate) async fn raw(
        &self,
        service: &'static Service,
        method: &str,
        request: impl Message + 'static,
    ) -> Result<Bytes, Status> {
        hot::unary(self.guarded(service), service, method, request).await
    }

    pub(crate) fn recommendations(&self) -> RecommendationsServiceClient<Guarded> {
        RecommendationsServiceClient::new(self.guarded(&RECOMMENDATIONS_SERVICE))
    }

    /// A connection to a service for the caller of this request.
    fn guarded(&self, service: &'static Service) -> Guarded {
        let forward = self.context.forward(service);
        InterceptedService::new(self.clients.channel(service), forward)
    }

    pub(crate) fn identity(&self) -> IdentityServiceClient<Guarded> {
        self.identity_for(self.context)
    }

    /// For what opens a session: the token that comes along, maybe expired, is not looked at.
    pub(crate) fn identity_as_nobody(&self) -> IdentityServiceClient<Guarded> {
        self.identity_for(&Context::new(Ok(Caller::Nobody)))
    }

    /// Tells identity the client's address, where both are configured for it.
    pub(crate) fn introduce<T>(&self, request: &mut Request<T>, origin: &Origin) {
        let secret = self.clients.service_secret.as_ref();
        let (Some(address), Some(secret)) = (origin.address, secret) else {
            return;
        };
        let address = MetadataValue::try_from(address.to_string());
        let secret = MetadataValue::try_from(secret.expose());
        // A secret that cannot be a header is none that identity could know.
        if let (Ok(address), Ok(mut secret)) = (address, secret) {
            secret.set_sensitive(true);
            request.metadata_mut().insert("x-client-address", address);
            request.metadata_mut().insert("x-service-secret", secret);
        }
    }

    /// The context of a session whose access token was just issued.
    pub(crate) async fn opened(&self, access_token: &str) -> Context {
        Context::new(self.clients.verifier.verify(access_token).await)
    }

    fn identity_for(&self, context: &Context) -> IdentityServiceClient<Guarded> {
        let channel = self.clients.channel(&IDENTITY_SERVICE);
        IdentityServiceClient::with_interceptor(channel, context.forward(&IDENTITY_SERVICE))
    }
}
