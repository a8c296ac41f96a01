//! One database per service, with a role that owns it and one that serves from it.

use super::{environment, plan::Plan, postgres::Postgres};

/// Makes what is missing, and sets the passwords to those in the stack's folder.
pub(crate) fn make(plan: &Plan, postgres: &Postgres) -> anyhow::Result<()> {
    let mut sql = String::new();
    for service in plan
        .services
        .iter()
        .filter(|service| service.needs("postgres"))
    {
        let (password, owner_password) = environment::passwords(plan, &service.name)?;
        sql += &statements(&service.name, &password, &owner_password);
    }
    postgres.sql("postgres", &sql)?;
    Ok(())
}

/// The owner's migrations grant the serving role what it needs, table by table.
fn statements(name: &str, password: &str, owner_password: &str) -> String {
    let role = |role: &str, password: &str| {
        format!(
            "SELECT 'CREATE ROLE \"{role}\" LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec\n\
             ALTER ROLE \"{role}\" PASSWORD '{password}';\n"
        )
    };
    let owner = format!("{name}_owner");
    let database = format!(
        "SELECT 'CREATE DATABASE \"{name}\" OWNER \"{owner}\"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n\
         REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC;\n\
         GRANT CONNECT ON DATABASE \"{name}\" TO \"{name}\";\n"
    );
    [role(&owner, owner_password), role(name, password), database].concat()
}
