use api::homeward::recommendations::v1::{ErrorReason, GetOfferOfTheDayRequest};
use async_graphql::{Context, Object};
use platform::error::Details;
use platform_graphql::hot::Hot;
use tonic::Status;

use crate::clients::Services;
use crate::model::Offer;

#[derive(Default)]
pub(crate) struct RecommendationQuery;

#[Object]
impl RecommendationQuery {
    /// The offer of today in an area, the same for everybody until the day ends in UTC; null if
    /// the area has none.
    async fn offer_of_the_day(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A slug: `berlin-mitte`.")] area: String,
    ) -> Option<Result<Hot<Offer>, Status>> {
        offer_of_the_day(Services::of(ctx), area).await.transpose()
    }
}

async fn offer_of_the_day(
    services: Services<'_>,
    area: String,
) -> Result<Option<Hot<Offer>>, Status> {
    let request = GetOfferOfTheDayRequest { area };
    let mut recommendations = services.recommendations();
    match recommendations.get_offer_of_the_day(request).await {
        Ok(answer) => Offer::get(services, answer.into_inner().offer_id).await,
        Err(status) if Details::is(&status, ErrorReason::AreaWithoutOffers) => Ok(None),
        Err(status) => Err(status),
    }
}
