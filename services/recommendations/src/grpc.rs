//! The RPCs.

use api::homeward::recommendations::v1::{
    ErrorReason, GetOfferOfTheDayRequest, GetOfferOfTheDayResponse,
    recommendations_service_server::RecommendationsService,
};
use chrono::NaiveDate;
use platform::error::{FieldErrors, Refusal};
use platform::time::now;
use platform_db::Db;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::domain::{self, Error, OfferId};
use crate::store::choice;

pub(crate) struct Recommendations {
    pub(crate) db: Db,
}

#[tonic::async_trait]
impl RecommendationsService for Recommendations {
    async fn get_offer_of_the_day(
        &self,
        request: Request<GetOfferOfTheDayRequest>,
    ) -> Result<Response<GetOfferOfTheDayResponse>, Status> {
        let mut fields = FieldErrors::default();
        let area = fields.slug("area", &request.get_ref().area);
        fields.check()?;

        let day = domain::day(now());
        let offer = self.offer_of_the_day(&area, day).await?;
        Ok(Response::new(GetOfferOfTheDayResponse {
            offer_id: offer.0.to_string(),
            area,
            day: day.to_string(),
        }))
    }
}

impl Recommendations {
    /// On the writer, since a read replica may not have the choice of a moment ago yet, and the
    /// answer would differ from that of others.
    async fn offer_of_the_day(&self, area: &str, day: NaiveDate) -> Result<OfferId, Error> {
        // Comes round only if another has chosen meanwhile, and then finds that choice.
        loop {
            let mut tx = self.db.begin().await?;
            let retired = match choice::find(&mut tx, area, day).await? {
                Some(chosen) if chosen.published => return Ok(chosen.id),
                chosen => chosen.map(|chosen| chosen.id),
            };
            let best = choice::best(&mut tx, area).await?;
            let best = best.ok_or(Error::AreaWithoutOffers)?;
            if choice::choose(&mut tx, area, day, best, retired, now()).await? {
                tx.commit().await?;
                info!(offer.id = %best.0, "chose offer {} for {area} on {day}", best.0);
                return Ok(best);
            }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::AreaWithoutOffers => {
                Refusal::new(ErrorReason::AreaWithoutOffers, message).into()
            }
            Error::Db(error) => platform_db::error::status(error),
        }
    }
}
