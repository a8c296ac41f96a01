//! The schema twice over: once to execute without checking again, once to check without executing.

use std::sync::{Arc, OnceLock};

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::futures_util::FutureExt;
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::registry::Registry;
use async_graphql::{
    ObjectType, Request, Response, Schema, SchemaBuilder, SchemaEnv, ServerError, SubscriptionType,
    ValidationMode, ValidationResult, async_trait,
};

/// What the schema tells about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// `__schema` and `__type` are answered.
    pub introspection: bool,
    /// Errors may name parts of the schema that the client did not send. Without, they repeat the
    /// client's own words only.
    pub suggestions: bool,
}

impl Open {
    /// Tells everything, for development.
    pub const ALL: Open = Open {
        introspection: true,
        suggestions: true,
    };
    /// Tells nothing, for production.
    pub const NOTHING: Open = Open {
        introspection: false,
        suggestions: false,
    };
}

/// The schema that executes, and the one that checks, both from the recipe `build`.
///
/// The first does not validate: it must be given only what [`crate::Documents`] has prepared.
pub fn schemas<Q, M, S>(
    open: Open,
    build: impl Fn() -> SchemaBuilder<Q, M, S>,
) -> (Schema<Q, M, S>, Checker)
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    // The depth has been checked by then, by a limit of ours.
    let builder = || build().limit_recursive_depth(usize::MAX);
    let executing = builder().validation_mode(ValidationMode::Fast).finish();
    (executing, Checker::new(open, builder()))
}

type Validate = Box<dyn Fn(Request) -> Response + Send + Sync>;

/// Validates documents by the rules of the library, and knows the types of the schema.
pub struct Checker {
    validate: Validate,
    env: SchemaEnv,
    open: Open,
}

impl Checker {
    fn new<Q, M, S>(open: Open, builder: SchemaBuilder<Q, M, S>) -> Checker
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let env = Arc::new(OnceLock::new());
        let builder = builder
            .validation_mode(ValidationMode::Strict)
            .extension(ValidateOnly(env.clone()));
        let builder = if open.suggestions {
            builder
        } else {
            builder.disable_suggestions()
        };
        let schema = builder.finish();
        let validate: Validate = Box::new(move |request| {
            let answer = schema.execute(request).now_or_never();
            answer.expect("validation waits for nothing")
        });
        validate(Request::new("{ __typename }"));
        let env = env.get().cloned().expect("a document was validated");
        Checker {
            validate,
            env,
            open,
        }
    }

    /// The rules of the library.
    pub(super) fn validate(&self, document: ExecutableDocument) -> Vec<ServerError> {
        let mut request = Request::new(String::new());
        request.set_parsed_query(document);
        (self.validate)(request).errors
    }

    /// The types, their fields and the validity of scalars.
    pub(crate) fn registry(&self) -> &Registry {
        &self.env.registry
    }

    /// What may be told.
    pub(crate) fn open(&self) -> Open {
        self.open
    }
}

/// Ends each request after its validation: without errors if the document is valid. Keeps the
/// parts of the schema, which the library shows to extensions only.
struct ValidateOnly(Arc<OnceLock<SchemaEnv>>);

impl ExtensionFactory for ValidateOnly {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(ValidateOnly(self.0.clone()))
    }
}

#[async_trait::async_trait]
impl Extension for ValidateOnly {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        self.0.get_or_init(|| ctx.schema_env.clone());
        next.run(ctx).await?;
        Err(Vec::new())
    }
}
