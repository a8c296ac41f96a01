//! The RPCs.

use acme_api::acme::orders::v1::{
    OrderPlaced, PlaceOrderRequest, PlaceOrderResponse, orders_service_server::OrdersService,
};
use platform::auth::Caller;
use platform::error::FieldErrors;
use platform::time::now;
use platform_db::{Begun, Db, error};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::store;

pub(crate) struct Orders {
    pub(crate) db: Db,
}

#[tonic::async_trait]
impl OrdersService for Orders {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let customer_id = caller.user()?.id;
        let mut fields = FieldErrors::default();
        let item = fields.slug("item", &request.item);
        fields.check()?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let id = Uuid::now_v7();
        let inserted = store::insert(&mut tx, id, customer_id, &item, now()).await;
        inserted.map_err(error::status)?;
        let event = OrderPlaced {
            order_id: id.to_string(),
            version: 1,
            customer_id: customer_id.to_string(),
            item,
        };
        let said = platform_events::publish(&mut tx, &event, &caller).await;
        said.map_err(|failed| error::status(failed.into()))?;
        let response = PlaceOrderResponse {
            order_id: id.to_string(),
        };
        tx.finish(&response).await?;
        Ok(Response::new(response))
    }
}
