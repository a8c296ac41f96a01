//! The variables that a service is given: those that it says it reads, and no others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{
    describe::{Description, Variable},
    plan::{Endpoint, Plan, kafka_ports, postgres_port, url},
};
use crate::os::secret;

/// Stands before the names of topics, consumer groups and keys; broker and Redis are this stack's
/// alone.
const RESOURCE_PREFIX: &str = "homeward.";

/// What a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Migrate,
    Serve,
}

enum Value {
    Plain(String),
    /// A file that holds the value.
    File(PathBuf),
}

/// The variables of one replica.
pub(crate) fn of(
    plan: &Plan,
    service: &Description,
    endpoint: &Endpoint,
    purpose: Purpose,
) -> anyhow::Result<BTreeMap<String, String>> {
    let known = known(plan, endpoint);
    let given = plan.environment.get(&service.name);
    let given = |name: &str| given.and_then(|given| given.get(name).cloned());
    let mut variables = BTreeMap::new();
    for variable in &service.config {
        if purpose == Purpose::Serve && variable.env == "MIGRATE_DATABASE_URL" {
            // Who serves has no right to change the schema.
            continue;
        }
        // What the stack does not decide can be set from outside, as in `LOG_LEVEL=debug`.
        let set = || given(&variable.env).or_else(|| std::env::var(&variable.env).ok());
        match known.get(variable.env.as_str()) {
            Some(Value::Plain(value)) => {
                variables.insert(variable.env.clone(), value.clone());
            }
            Some(Value::File(path)) => {
                let (name, value) = from_file(variable, path)?;
                variables.insert(name, value);
            }
            None => match set() {
                Some(value) => {
                    variables.insert(variable.env.clone(), value);
                }
                None if variable.required => bail!(
                    "{} needs {}, which the local stack does not know; set it for this command",
                    service.name,
                    variable.env
                ),
                None => {}
            },
        }
    }
    Ok(variables)
}

/// Refuses variables that would have no effect: nobody reads them, or the stack decides them.
pub(crate) fn check(plan: &Plan) -> anyhow::Result<()> {
    for (name, given) in &plan.environment {
        let service = plan.services.iter().find(|service| service.name == *name);
        let endpoint = plan.endpoints.iter().find(|one| one.service == *name);
        let (Some(service), Some(endpoint)) = (service, endpoint) else {
            bail!("there is no service {name:?}");
        };
        let known = known(plan, endpoint);
        for variable in given.keys() {
            if known.contains_key(variable) {
                bail!("{variable} of {name} is for the stack to decide");
            }
            if !service.config.iter().any(|read| read.env == *variable) {
                bail!("{name} reads no {variable}; `{name} --help` describes what it reads");
            }
        }
    }
    Ok(())
}

fn from_file(variable: &Variable, path: &Path) -> anyhow::Result<(String, String)> {
    if variable.secret {
        let path = path
            .to_str()
            .context("the path of the checkout is not UTF-8")?;
        return Ok((format!("{}_FILE", variable.env), path.to_owned()));
    }
    bail!(
        "{} must be a secret in its service, which can come from a file",
        variable.env
    )
}

fn known(plan: &Plan, endpoint: &Endpoint) -> BTreeMap<String, Value> {
    let address = |port: u16| Value::Plain(format!("127.0.0.1:{port}"));
    let file = |what: &str| Value::File(path(plan, &endpoint.service, what));
    let mut known = BTreeMap::from([
        (
            "ENVIRONMENT".to_owned(),
            Value::Plain("development".to_owned()),
        ),
        ("LISTEN_ADMIN".to_owned(), address(endpoint.admin)),
        ("ISSUER_URL".to_owned(), Value::Plain(plan.issuer())),
        (
            "JWKS_URL".to_owned(),
            Value::Plain(format!("{}/.well-known/jwks.json", plan.issuer())),
        ),
        (
            "KAFKA_BROKERS".to_owned(),
            address(kafka_ports(plan.port_base).0),
        ),
        (
            "RESOURCE_PREFIX".to_owned(),
            Value::Plain(RESOURCE_PREFIX.to_owned()),
        ),
        ("DATABASE_URL".to_owned(), file("database-url")),
        (
            "MIGRATE_DATABASE_URL".to_owned(),
            file("migrate-database-url"),
        ),
        ("REDIS_URL".to_owned(), file("redis-url")),
        ("SEAL_KEY".to_owned(), file("seal-key")),
        ("SERVICE_SECRET".to_owned(), file("service-secret")),
        ("SERVICE_SECRETS".to_owned(), file("service-secrets")),
    ]);
    if let Some(port) = endpoint.grpc {
        known.insert("LISTEN_GRPC".to_owned(), address(port));
    }
    if let Some(port) = endpoint.http {
        known.insert("LISTEN_HTTP".to_owned(), address(port));
        let public = if endpoint.service == "identity" {
            plan.issuer()
        } else {
            url(port)
        };
        known.insert("PUBLIC_URL".to_owned(), Value::Plain(public));
    }
    for service in &plan.services {
        let replicas = plan
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.service == service.name);
        let addresses: Vec<String> = replicas
            .filter_map(|replica| Some(url(replica.grpc?)))
            .collect();
        if !addresses.is_empty() {
            let name = format!("GRPC_{}", service.name.to_uppercase().replace('-', "_"));
            known.insert(name, Value::Plain(addresses.join(",")));
        }
    }
    known
}

fn path(plan: &Plan, service: &str, what: &str) -> PathBuf {
    plan.folder.secrets().join(format!("{service}.{what}"))
}

/// Writes the files that [`of`] names: made at the first start, kept later.
pub(crate) fn write_secrets(plan: &Plan) -> anyhow::Result<()> {
    let redis = plan.redis()?;
    let mut of_all = Vec::new();
    for service in &plan.services {
        let name = &service.name;
        let keep = |what| secret::keep(&path(plan, name, what));
        keep("seal-key")?;
        of_all.push(format!("{name}={}", keep("service-secret")?));
        if let Some(redis) = redis.as_ref().filter(|_| service.needs("redis")) {
            secret::write(&path(plan, name, "redis-url"), &redis.url())?;
        }
        if service.needs("postgres") {
            let (password, owner_password) = passwords(plan, name)?;
            let port = postgres_port(plan.port_base);
            let url = |role: &str, password: &str| {
                format!("postgres://{role}:{password}@127.0.0.1:{port}/{name}")
            };
            secret::write(&path(plan, name, "database-url"), &url(name, &password))?;
            let owner = format!("{name}_owner");
            let url = url(&owner, &owner_password);
            secret::write(&path(plan, name, "migrate-database-url"), &url)?;
        }
    }
    secret::write(
        &path(plan, "identity", "service-secrets"),
        &of_all.join(","),
    )
}

/// Of the role that serves, and of the one that owns the database.
pub(crate) fn passwords(plan: &Plan, service: &str) -> anyhow::Result<(String, String)> {
    let keep = |what| secret::keep(&path(plan, service, what));
    Ok((keep("database-password")?, keep("owner-password")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::plan::tests::plan;

    fn service(config: &str) -> Description {
        serde_json::from_str(&format!(r#"{{"name": "bff", "config": {config}}}"#)).unwrap()
    }

    #[test]
    fn a_service_gets_what_it_reads_and_nothing_else() {
        let plan = plan("catalog=2", &[]).unwrap();
        let bff = service(
            r#"[{"env": "LISTEN_HTTP"}, {"env": "GRPC_CATALOG"}, {"env": "KAFKA_BROKERS"}, {"env": "SEAL_KEY", "secret": true},
                {"env": "MIGRATE_DATABASE_URL", "secret": true}, {"env": "SOME_LIMIT"}]"#,
        );
        let variables = of(&plan, &bff, &plan.endpoints[0], Purpose::Serve).unwrap();
        let expected = [
            (
                "GRPC_CATALOG",
                "http://127.0.0.1:4631,http://127.0.0.1:4635",
            ),
            ("KAFKA_BROKERS", "127.0.0.1:4622"),
            ("LISTEN_HTTP", "127.0.0.1:4600"),
            (
                "SEAL_KEY_FILE",
                "/nowhere/.homeward/4600/secrets/bff.seal-key",
            ),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, BTreeMap::from(expected));
    }

    #[test]
    fn what_is_given_to_one_service_reaches_it_alone_if_it_is_its_own_to_decide() {
        let given = |name: &str| BTreeMap::from([(name.to_owned(), "7".to_owned())]);
        let mut plan = plan("bff=1", &[]).unwrap();
        let bff = service(r#"[{"env": "SOME_LIMIT"}, {"env": "LISTEN_HTTP"}]"#);
        plan.services[0] = bff.clone();
        let with = |plan: &mut Plan, service: &str, name| {
            plan.environment = BTreeMap::from([(service.to_owned(), given(name))]);
        };
        with(&mut plan, "bff", "SOME_LIMIT");
        check(&plan).unwrap();
        let variables = of(&plan, &bff, &plan.endpoints[0], Purpose::Serve).unwrap();
        assert_eq!(variables["SOME_LIMIT"], "7");
        with(&mut plan, "catalog", "SOME_LIMIT");
        let variables = of(&plan, &bff, &plan.endpoints[0], Purpose::Serve).unwrap();
        assert!(!variables.contains_key("SOME_LIMIT"));
        for (name, said) in [
            ("LISTEN_HTTP", "stack to decide"),
            ("OTHER", "reads no OTHER"),
        ] {
            with(&mut plan, "bff", name);
            let error = check(&plan).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_required_variable_that_nobody_knows_is_named() {
        let plan = plan("bff=1", &[]).unwrap();
        let bff = service(r#"[{"env": "PARTNER_URL_OF_A_TEST", "required": true}]"#);
        let error = of(&plan, &bff, &plan.endpoints[0], Purpose::Serve)
            .unwrap_err()
            .to_string();
        assert!(error.contains("PARTNER_URL_OF_A_TEST"), "{error}");
    }
}
