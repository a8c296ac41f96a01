//! The RPCs: parse, change under one transaction, answer.

mod convert;
mod parse;

use api::homeward::catalog::v1::{
    BatchGetOffersRequest, BatchGetOffersResponse, CastVoteRequest, CastVoteResponse,
    CreateOfferRequest, CreateOfferResponse, ErrorReason, GetOfferRequest, GetOfferResponse,
    GetVotesRequest, GetVotesResponse, ListOffersRequest, ListOffersResponse, OfferPublished,
    OfferRetired, OfferUpdated, PublishOfferRequest, PublishOfferResponse, RetireOfferRequest,
    RetireOfferResponse, RetractVoteRequest, RetractVoteResponse, UpdateOfferRequest,
    UpdateOfferResponse, VoteCast, VoteRetracted, catalog_service_server::CatalogService,
};
use platform::auth::{Caller, OrgRole};
use platform::error::Refusal;
use platform::time::now;
use platform_contract::{Event, PlatformReason};
use platform_db::{Begun, Db};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::cached::Offers;
use crate::domain::{Error, Offer, OrganisationId, Place, UserId, Viewer};
use crate::store;
use crate::store::vote::Outcome;

pub(crate) struct Catalog {
    pub(crate) db: Db,
    pub(crate) offers: Offers,
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn create_offer(
        &self,
        request: Request<CreateOfferRequest>,
    ) -> Result<Response<CreateOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = owner(&caller)?;
        let content = parse::content(&request)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let offer = Offer::draft(owner, content, now());
        store::offer::insert(&mut tx, &offer).await?;
        let id = offer.id.0;
        let response = CreateOfferResponse {
            offer: Some(offer.into()),
        };
        tx.finish(&response).await?;

        info!(offer.id = %id, "created offer {id}");
        Ok(Response::new(response))
    }

    async fn update_offer(
        &self,
        request: Request<UpdateOfferRequest>,
    ) -> Result<Response<UpdateOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = owner(&caller)?;
        let (id, patch) = parse::patch(&request)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let mut offer = store::offer::lock(&mut tx, id, owner, &viewer(&caller)).await?;
        offer.expect_version(request.expected_version)?;
        let changed = offer.change(patch)?;
        if changed {
            store::offer::save(&mut tx, &mut offer, now()).await?;
            say(&mut tx, OfferUpdated::from(&offer), &caller).await?;
        }
        let version = offer.version;
        let response = UpdateOfferResponse {
            offer: Some(offer.into()),
        };
        tx.finish(&response).await?;

        if changed {
            self.offers.changed(id, version).await;
        }
        Ok(Response::new(response))
    }

    async fn publish_offer(
        &self,
        request: Request<PublishOfferRequest>,
    ) -> Result<Response<PublishOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = owner(&caller)?;
        let id = parse::offer_id(&request.offer_id)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let mut offer = store::offer::lock(&mut tx, id, owner, &viewer(&caller)).await?;
        offer.expect_version(request.expected_version)?;
        let now = now();
        let changed = offer.publish(now)?;
        if changed {
            store::offer::save(&mut tx, &mut offer, now).await?;
            say(&mut tx, OfferPublished::from(&offer), &caller).await?;
        }
        let version = offer.version;
        let response = PublishOfferResponse {
            offer: Some(offer.into()),
        };
        tx.finish(&response).await?;

        if changed {
            self.offers.changed(id, version).await;
            info!(offer.id = %id.0, "published offer {}", id.0);
        }
        Ok(Response::new(response))
    }

    async fn retire_offer(
        &self,
        request: Request<RetireOfferRequest>,
    ) -> Result<Response<RetireOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = owner(&caller)?;
        let id = parse::offer_id(&request.offer_id)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let mut offer = store::offer::lock(&mut tx, id, owner, &viewer(&caller)).await?;
        offer.expect_version(request.expected_version)?;
        let changed = offer.retire();
        if changed {
            store::offer::save(&mut tx, &mut offer, now()).await?;
            say(&mut tx, OfferRetired::from(&offer), &caller).await?;
        }
        let version = offer.version;
        let response = RetireOfferResponse {
            offer: Some(offer.into()),
        };
        tx.finish(&response).await?;

        if changed {
            self.offers.changed(id, version).await;
            info!(offer.id = %id.0, "retired offer {}", id.0);
        }
        Ok(Response::new(response))
    }

    async fn get_offer(
        &self,
        request: Request<GetOfferRequest>,
    ) -> Result<Response<GetOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let id = parse::offer_id(&request.get_ref().offer_id)?;

        let found = self.offers.visible(&[id], &viewer(&caller)).await?;
        let offer = found.into_iter().next().ok_or(Error::OfferNotFound)?;
        Ok(Response::new(GetOfferResponse { offer: Some(offer) }))
    }

    async fn batch_get_offers(
        &self,
        request: Request<BatchGetOffersRequest>,
    ) -> Result<Response<BatchGetOffersResponse>, Status> {
        let caller = Caller::of(&request);
        let ids = parse::offer_ids(&request.get_ref().ids)?;

        let offers = self.offers.visible(&ids, &viewer(&caller)).await?;
        Ok(Response::new(BatchGetOffersResponse { offers }))
    }

    async fn list_offers(
        &self,
        request: Request<ListOffersRequest>,
    ) -> Result<Response<ListOffersResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let listing = parse::listing(&request, &caller)?;
        let page = self.db.page::<Place>(&request)?;

        let mut conn = self.db.read().await.map_err(Error::Db)?;
        let mut found = store::offer::page(
            &mut conn,
            &listing,
            &viewer(&caller),
            page.after.as_ref(),
            page.limit(),
        )
        .await?;
        let next_page_token = page.next(&mut found, |(_, place)| place.clone());
        let offers = found.into_iter().map(|(offer, _)| offer.into()).collect();
        Ok(Response::new(ListOffersResponse {
            offers,
            next_page_token,
        }))
    }

    async fn get_votes(
        &self,
        request: Request<GetVotesRequest>,
    ) -> Result<Response<GetVotesResponse>, Status> {
        let caller = Caller::of(&request);
        let id = parse::offer_id(&request.get_ref().offer_id)?;

        // The reader and the cache may be behind an event that the caller will not hear again.
        let mut conn = self.db.begin().await.map_err(Error::Db)?;
        let votes = store::vote::of_offer(&mut conn, id, &viewer(&caller)).await?;
        Ok(Response::new(GetVotesResponse {
            votes: Some(votes.into()),
        }))
    }

    async fn cast_vote(
        &self,
        request: Request<CastVoteRequest>,
    ) -> Result<Response<CastVoteResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let user = UserId(caller.user()?.id);
        let (id, value) = parse::vote(&request)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let Outcome { votes, changed } =
            store::vote::cast(&mut tx, id, user, &viewer(&caller), value, now()).await?;
        if changed {
            let event = VoteCast {
                offer_id: id.0.to_string(),
                version: votes.version,
                user_id: user.0.to_string(),
                value: request.value,
                up: votes.up,
                down: votes.down,
            };
            say(&mut tx, event, &caller).await?;
        }
        let version = votes.version;
        let response = CastVoteResponse {
            votes: Some(votes.into()),
        };
        tx.finish(&response).await?;

        if changed {
            self.offers.voted(id, version).await;
        }
        Ok(Response::new(response))
    }

    async fn retract_vote(
        &self,
        request: Request<RetractVoteRequest>,
    ) -> Result<Response<RetractVoteResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let user = UserId(caller.user()?.id);
        let id = parse::offer_id(&request.offer_id)?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let Outcome { votes, changed } =
            store::vote::retract(&mut tx, id, user, &viewer(&caller)).await?;
        if changed {
            let event = VoteRetracted {
                offer_id: id.0.to_string(),
                version: votes.version,
                user_id: user.0.to_string(),
                up: votes.up,
                down: votes.down,
            };
            say(&mut tx, event, &caller).await?;
        }
        let version = votes.version;
        let response = RetractVoteResponse {
            votes: Some(votes.into()),
        };
        tx.finish(&response).await?;

        if changed {
            self.offers.voted(id, version).await;
        }
        Ok(Response::new(response))
    }
}

/// In the transaction that makes it true, after the UPDATE that counts it.
async fn say(tx: &mut PgConnection, event: impl Event, by: &Caller) -> Result<(), Error> {
    let said = platform_events::publish(tx, &event, by).await;
    said.map_err(|error| Error::Db(error.into()))
}

fn viewer(caller: &Caller) -> Viewer {
    match caller.user() {
        Ok(user) => Viewer {
            user: Some(UserId(user.id)),
            organisation: user.organisation.map(|(id, _)| OrganisationId(id)),
        },
        Err(_) => Viewer::default(),
    }
}

/// The organisation that the caller may change offers for.
fn owner(caller: &Caller) -> Result<OrganisationId, Status> {
    match caller.user()?.organisation {
        Some((id, role)) if role >= OrgRole::Manager => Ok(OrganisationId(id)),
        _ => Err(Error::OrganisationRequired.into()),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::OfferNotFound => Refusal::new(ErrorReason::OfferNotFound, message).into(),
            Error::OfferNotPublished => {
                Refusal::new(ErrorReason::OfferNotPublished, message).into()
            }
            Error::OfferRetired => Refusal::new(ErrorReason::OfferRetired, message).into(),
            Error::VersionMismatch(_) => {
                Refusal::new(PlatformReason::VersionMismatch, message).into()
            }
            Error::OrganisationRequired => {
                Refusal::new(ErrorReason::OrganisationRequired, message).into()
            }
            Error::Db(error) => platform_db::error::status(error),
        }
    }
}
