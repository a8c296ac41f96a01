use api::homeward::catalog::v1 as proto;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use platform_graphql::error::{Input, Payload};
use platform_graphql::hot::Hot;
use platform_graphql::{Failure, Long, RequestId, UserError};
use prost_types::FieldMask;
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{MoneyInput, Offer, OfferKind};

const OFFER: Input = Input {
    names: &[
        ("offer_id", "id"),
        ("patch", ""),
        ("update_mask", ""),
        ("currency_code", "currency"),
    ],
    words: &[],
};

#[derive(Default)]
pub(crate) struct OfferMutation;

#[Object]
impl OfferMutation {
    /// Makes a draft, owned by the organisation that the caller acts for.
    async fn create_offer(
        &self,
        ctx: &Context<'_>,
        input: CreateOfferInput,
    ) -> Option<Result<OfferPayload, Status>> {
        Some(OFFER.payload(create(Services::of(ctx), input)).await)
    }

    /// Changes the fields that are given. A retired offer stays as it is.
    async fn update_offer(
        &self,
        ctx: &Context<'_>,
        input: UpdateOfferInput,
    ) -> Option<Result<OfferPayload, Status>> {
        Some(OFFER.payload(update(Services::of(ctx), input)).await)
    }

    /// Makes a draft visible to everybody. Publishing a published offer changes nothing.
    async fn publish_offer(
        &self,
        ctx: &Context<'_>,
        input: PublishOfferInput,
    ) -> Option<Result<OfferPayload, Status>> {
        Some(OFFER.payload(publish(Services::of(ctx), input)).await)
    }

    /// Takes an offer back for good. Retiring a retired offer changes nothing.
    async fn retire_offer(
        &self,
        ctx: &Context<'_>,
        input: RetireOfferInput,
    ) -> Option<Result<OfferPayload, Status>> {
        Some(OFFER.payload(retire(Services::of(ctx), input)).await)
    }
}

#[derive(SimpleObject)]
struct OfferPayload {
    offer: Option<Hot<Offer>>,
    user_errors: Vec<UserError>,
}

impl Payload for OfferPayload {
    fn refused(user_errors: Vec<UserError>) -> OfferPayload {
        OfferPayload {
            offer: None,
            user_errors,
        }
    }
}

impl OfferPayload {
    fn new(row: Option<proto::Offer>) -> Result<OfferPayload, Failure> {
        Ok(OfferPayload {
            offer: row.as_ref().map(Hot::of),
            user_errors: Vec::new(),
        })
    }
}

#[derive(InputObject)]
struct CreateOfferInput {
    /// The same id again is the same offer, not a second one.
    request_id: Option<RequestId>,
    /// 1 to 120 characters.
    title: String,
    /// At most 4000 characters; line feeds are allowed.
    description: String,
    kind: OfferKind,
    /// A slug: `berlin-mitte`.
    area: String,
    price: MoneyInput,
}

async fn create(services: Services<'_>, input: CreateOfferInput) -> Result<OfferPayload, Failure> {
    let request = proto::CreateOfferRequest {
        request_id: RequestId::or_new(input.request_id),
        title: input.title,
        description: input.description,
        kind: input.kind.row(),
        area: input.area,
        price: Some(input.price.into()),
    };
    OfferPayload::new(
        services
            .catalog()
            .create_offer(request)
            .await?
            .into_inner()
            .offer,
    )
}

#[derive(InputObject)]
struct UpdateOfferInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    id: ID,
    /// Refuse unless the offer is at this version.
    expected_version: Option<Long>,
    title: Option<String>,
    description: Option<String>,
    kind: Option<OfferKind>,
    area: Option<String>,
    price: Option<MoneyInput>,
}

async fn update(services: Services<'_>, input: UpdateOfferInput) -> Result<OfferPayload, Failure> {
    let offer_id = ids::input("id", &input.id, Kind::Offer)?.to_string();
    let given = [
        ("title", input.title.is_some()),
        ("description", input.description.is_some()),
        ("kind", input.kind.is_some()),
        ("area", input.area.is_some()),
        ("price", input.price.is_some()),
    ];
    let paths = given
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name.to_owned());
    let request = proto::UpdateOfferRequest {
        request_id: RequestId::or_new(input.request_id),
        offer_id,
        update_mask: Some(FieldMask {
            paths: paths.collect(),
        }),
        patch: Some(proto::OfferPatch {
            title: input.title.unwrap_or_default(),
            description: input.description.unwrap_or_default(),
            kind: input.kind.map(OfferKind::row).unwrap_or_default(),
            area: input.area.unwrap_or_default(),
            price: input.price.map(Into::into),
        }),
        expected_version: input.expected_version.map(|version| version.0),
    };
    OfferPayload::new(
        services
            .catalog()
            .update_offer(request)
            .await?
            .into_inner()
            .offer,
    )
}

#[derive(InputObject)]
struct PublishOfferInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    id: ID,
    /// Refuse unless the offer is at this version.
    expected_version: Option<Long>,
}

async fn publish(
    services: Services<'_>,
    input: PublishOfferInput,
) -> Result<OfferPayload, Failure> {
    let request = proto::PublishOfferRequest {
        request_id: RequestId::or_new(input.request_id),
        offer_id: ids::input("id", &input.id, Kind::Offer)?.to_string(),
        expected_version: input.expected_version.map(|version| version.0),
    };
    OfferPayload::new(
        services
            .catalog()
            .publish_offer(request)
            .await?
            .into_inner()
            .offer,
    )
}

#[derive(InputObject)]
struct RetireOfferInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    id: ID,
    /// Refuse unless the offer is at this version.
    expected_version: Option<Long>,
}

async fn retire(services: Services<'_>, input: RetireOfferInput) -> Result<OfferPayload, Failure> {
    let request = proto::RetireOfferRequest {
        request_id: RequestId::or_new(input.request_id),
        offer_id: ids::input("id", &input.id, Kind::Offer)?.to_string(),
        expected_version: input.expected_version.map(|version| version.0),
    };
    OfferPayload::new(
        services
            .catalog()
            .retire_offer(request)
            .await?
            .into_inner()
            .offer,
    )
}
