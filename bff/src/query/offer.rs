use api::homeward::catalog::v1 as proto;
use async_graphql::{Context, ID, InputObject, Object};
use platform_graphql::Page;
use platform_graphql::hot::{Hot, List};
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{MoneyInput, Offer, OfferKind, OfferOrder, OfferState};

#[derive(Default)]
pub(crate) struct OfferQuery;

#[Object]
impl OfferQuery {
    /// An offer by its global id; null if there is none that the caller may see.
    async fn offer(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Hot<Offer>, Status>> {
        offer(Services::of(ctx), &id).await.transpose()
    }

    /// Published offers; with `filter.own` those of the organisation acted for, in any state.
    async fn offers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Between 1 and 100; 20 without it.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
        #[graphql(desc = "Only these; without it all that are published.")] filter: Option<
            OfferFilter,
        >,
        #[graphql(desc = "With a search by relevance, else newest first.")] order_by: Option<
            OfferOrder,
        >,
        #[graphql(desc = "Words to find; the last may be a beginning, accents do not matter.")]
        search: Option<String>,
    ) -> Option<Result<List<Offer>, Status>> {
        let page = Page::new(first, after);
        Some(offers(Services::of(ctx), page, filter, order_by, search).await)
    }
}

/// All parts that are given must hold.
#[derive(InputObject)]
struct OfferFilter {
    area: Option<String>,
    /// One of these; all without it.
    kinds: Option<Vec<OfferKind>>,
    organisation_id: Option<ID>,
    /// At most this, in this currency.
    price_max: Option<MoneyInput>,
    /// Only those of the organisation that the caller acts for, drafts and retired ones as well.
    own: Option<bool>,
    /// With `own`: one of these; all without it.
    states: Option<Vec<OfferState>>,
}

async fn offer(services: Services<'_>, id: &ID) -> Result<Option<Hot<Offer>>, Status> {
    services.caller()?;
    match ids::parse("id", id)?.only(Kind::Offer) {
        Some(id) => Offer::get(services, id.to_string()).await,
        None => Ok(None),
    }
}

async fn offers(
    services: Services<'_>,
    page: Result<Page, Status>,
    filter: Option<OfferFilter>,
    order_by: Option<OfferOrder>,
    search: Option<String>,
) -> Result<List<Offer>, Status> {
    let page = page?;
    let filter = match filter {
        Some(filter) => match filter.request()? {
            Some(filter) => Some(filter),
            None => return Ok(List::empty(&page)),
        },
        None => None,
    };
    let request = proto::ListOffersRequest {
        page_size: page.size,
        page_token: page.token.clone(),
        filter,
        order: order_by.map(OfferOrder::row).unwrap_or_default(),
        search: search.unwrap_or_default(),
    };
    let answer = services.raw_catalog("ListOffers", request).await?;
    List::new(&page, &answer)
}

impl OfferFilter {
    /// `None` if nothing can match.
    fn request(self) -> Result<Option<proto::OfferFilter>, Status> {
        let organisation_id = match &self.organisation_id {
            Some(id) => match ids::parse("filter.organisationId", id)?.only(Kind::Organisation) {
                Some(id) => id.to_string(),
                None => return Ok(None),
            },
            None => String::new(),
        };
        Ok(Some(proto::OfferFilter {
            area: self.area.unwrap_or_default(),
            kinds: self
                .kinds
                .into_iter()
                .flatten()
                .map(OfferKind::row)
                .collect(),
            organisation_id,
            price_max: self.price_max.map(Into::into),
            own: self.own.unwrap_or_default(),
            states: self
                .states
                .into_iter()
                .flatten()
                .map(OfferState::row)
                .collect(),
        }))
    }
}
