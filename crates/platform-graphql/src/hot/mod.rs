//! Objects and lists that write themselves from the bytes that a service answered.
//!
//! A field of an ordinary object is a boxed future and a value in a map; for a list of a hundred rows that
//! is most of the work. A hot type is a table instead, and an object of it is the bytes of its message: what
//! is selected is compiled into a plan, which is kept with the document, and the plan is followed through
//! the bytes to JSON. What other services know of the rows is fetched by one call for all rows.
//!
//! Null propagation and the paths of errors are made here, as in the specification. Guards of fields do not
//! run: access is decided before.

mod call;
mod check;
mod join;
mod place;
mod plan;
mod plans;
mod project;
mod scalar;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use async_graphql::parser::types::Field as Asked;
use async_graphql::registry::Registry;
use async_graphql::{
    ContextSelectionSet, Error, OutputType, Positioned, ServerError, ServerResult, Value,
};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

pub use call::unary;
pub use join::{Fetch, Fetching, Join};
pub use plans::Plans;
pub use table::{Field, Interface, Kind, Null, Type, Words};

use crate::connection::{Connection, Page};
use crate::context::Context;
use join::Batch;
use plan::Shape;
use project::Of;

/// Names the table of a hot type, so that resolvers have a type to answer.
pub trait Model: Send + Sync + 'static {
    /// The table.
    const TYPE: &'static Type;
}

/// One object of a hot type.
#[derive(Debug)]
pub struct Hot<M> {
    batch: Arc<Batch>,
    row: usize,
    model: PhantomData<M>,
}

/// A page of objects of a hot type.
#[derive(Debug)]
pub struct List<M> {
    batch: Arc<Batch>,
    has_previous: bool,
    model: PhantomData<M>,
}

// Not derived: that would ask for a model that can be cloned.
impl<M> Clone for Hot<M> {
    fn clone(&self) -> Hot<M> {
        Hot {
            batch: self.batch.clone(),
            row: self.row,
            model: PhantomData,
        }
    }
}

impl<M: Model> Hot<M> {
    /// From a message that was read already.
    pub fn of(message: &impl Message) -> Hot<M> {
        Hot {
            batch: Arc::new(Batch::one(message.encode_to_vec().into())),
            row: 0,
            model: PhantomData,
        }
    }

    /// The rows in field 1 of an answer, in its order. They share the calls for what they lead to.
    pub fn rows(answer: &Bytes) -> Result<Vec<Hot<M>>, Status> {
        let batch = Arc::new(Batch::of(answer).map_err(platform::error::internal)?);
        let hot = |row| Hot {
            batch: batch.clone(),
            row,
            model: PhantomData,
        };
        Ok((0..batch.rows.len()).map(hot).collect())
    }

    /// The service's id of the object; `None` if the message has none.
    pub fn id(&self) -> Option<&str> {
        let id = join::id(M::TYPE, &self.batch.rows[self.row])?;
        std::str::from_utf8(id).ok()
    }
}

impl<M: Model> List<M> {
    /// From the answer for `page`, with rows in field 1 and the token of the next page in field 2.
    pub fn new(page: &Page, answer: &Bytes) -> Result<List<M>, Status> {
        let batch = Batch::of(answer).map_err(platform::error::internal)?;
        Ok(List {
            batch: Arc::new(batch),
            has_previous: !page.token.is_empty(),
            model: PhantomData,
        })
    }

    /// A page without rows.
    pub fn empty(page: &Page) -> List<M> {
        List {
            batch: Arc::default(),
            has_previous: !page.token.is_empty(),
            model: PhantomData,
        }
    }
}

impl<M: Model> OutputType for Hot<M> {
    fn type_name() -> Cow<'static, str> {
        M::TYPE.name.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        M::TYPE.register(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Asked>,
    ) -> ServerResult<Value> {
        resolve(
            Shape::Object(M::TYPE),
            &self.batch,
            Of::Row(self.row),
            ctx,
            field,
        )
        .await
    }
}

impl<M: Model> OutputType for List<M> {
    fn type_name() -> Cow<'static, str> {
        Connection::<Hot<M>>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Connection::<Hot<M>>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Asked>,
    ) -> ServerResult<Value> {
        let of = Of::Page {
            has_previous: self.has_previous,
        };
        resolve(Shape::Connection(M::TYPE), &self.batch, of, ctx, field).await
    }
}

async fn resolve(
    shape: Shape,
    batch: &Batch,
    of: Of,
    ctx: &ContextSelectionSet<'_>,
    field: &Positioned<Asked>,
) -> ServerResult<Value> {
    let plan = match ctx.data_opt::<Context>().map(Context::document) {
        Some(document) => document.plans.get(document, shape, ctx, field),
        None => plans::compile(shape, ctx, field).map(Arc::new),
    };
    let Some(root) = plan else {
        // The earlier selection of the same key answers for this one, and this value is dropped.
        return Ok(Value::Null);
    };
    let fetched = batch.join(&root, &ctx.with_field(field)).await;
    let projected = project::project(&root, batch, of, &fetched, field.pos);
    drop(fetched);
    let error = |fault: project::Fault| -> ServerError {
        let mut error = ctx.set_error_path(Error::from(fault.status).into_server_error(fault.pos));
        error.path.extend(fault.path);
        error
    };
    for fault in projected.faults {
        ctx.add_error(error(fault));
    }
    projected
        .json
        .map(|json| Value::Binary(json.into()))
        .map_err(error)
}
