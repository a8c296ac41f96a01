use api::homeward::catalog::v1 as proto;
use async_graphql::{ComplexObject, Context, ID, InputObject, Object, SimpleObject};
use platform_graphql::error::{Input, Payload};
use platform_graphql::hot::Hot;
use platform_graphql::{Failure, RequestId, UserError};
use tonic::Status;
use uuid::Uuid;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{Offer, VoteValue, Votes};

#[derive(Default)]
pub(crate) struct VoteMutation;

#[Object]
impl VoteMutation {
    /// Sets the caller's vote on a published offer. The same vote again changes nothing.
    async fn cast_vote(
        &self,
        ctx: &Context<'_>,
        input: CastVoteInput,
    ) -> Option<Result<VotePayload, Status>> {
        Some(
            Input::default()
                .payload(cast(Services::of(ctx), input))
                .await,
        )
    }

    /// Takes the caller's vote on a published offer back. Without a vote nothing changes.
    async fn retract_vote(
        &self,
        ctx: &Context<'_>,
        input: RetractVoteInput,
    ) -> Option<Result<VotePayload, Status>> {
        Some(
            Input::default()
                .payload(retract(Services::of(ctx), input))
                .await,
        )
    }
}

#[derive(InputObject)]
struct CastVoteInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    offer_id: ID,
    value: VoteValue,
}

#[derive(InputObject)]
struct RetractVoteInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    offer_id: ID,
}

#[derive(SimpleObject)]
#[graphql(complex)]
struct VotePayload {
    /// The tally right after this change.
    votes: Option<Hot<Votes>>,
    user_errors: Vec<UserError>,
    #[graphql(skip)]
    offer_id: Option<Uuid>,
}

#[ComplexObject]
impl VotePayload {
    /// The offer as it is now: others may have voted since.
    async fn offer(&self, ctx: &Context<'_>) -> Option<Result<Hot<Offer>, Status>> {
        let id = self.offer_id?.to_string();
        Offer::get(Services::of(ctx), id).await.transpose()
    }
}

impl Payload for VotePayload {
    fn refused(user_errors: Vec<UserError>) -> VotePayload {
        VotePayload {
            votes: None,
            user_errors,
            offer_id: None,
        }
    }
}

impl VotePayload {
    fn new(offer_id: Uuid, votes: Option<proto::Votes>) -> Result<VotePayload, Failure> {
        Ok(VotePayload {
            votes: votes.as_ref().map(Hot::of),
            user_errors: Vec::new(),
            offer_id: Some(offer_id),
        })
    }
}

async fn cast(services: Services<'_>, input: CastVoteInput) -> Result<VotePayload, Failure> {
    let offer_id = ids::input("offerId", &input.offer_id, Kind::Offer)?;
    let request = proto::CastVoteRequest {
        request_id: RequestId::or_new(input.request_id),
        offer_id: offer_id.to_string(),
        value: input.value.row(),
    };
    VotePayload::new(
        offer_id,
        services
            .catalog()
            .cast_vote(request)
            .await?
            .into_inner()
            .votes,
    )
}

async fn retract(services: Services<'_>, input: RetractVoteInput) -> Result<VotePayload, Failure> {
    let offer_id = ids::input("offerId", &input.offer_id, Kind::Offer)?;
    let request = proto::RetractVoteRequest {
        request_id: RequestId::or_new(input.request_id),
        offer_id: offer_id.to_string(),
    };
    VotePayload::new(
        offer_id,
        services
            .catalog()
            .retract_vote(request)
            .await?
            .into_inner()
            .votes,
    )
}
