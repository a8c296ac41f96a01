//! The access table of each service.

use std::fmt::Write as _;

use heck::ToSnakeCase;
use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::options::{Access, Class, Idempotency};

/// The tables of one package, and the impls that tie them to the servers.
pub(crate) fn emit(contracts: &Loaded, package: &str, code: &mut String) {
    for service in contracts
        .services()
        .filter(|service| service.package_name() == package)
    {
        table(contracts, &service, code);
        served(&service, code);
    }
}

fn table(contracts: &Loaded, service: &ServiceDescriptor, code: &mut String) {
    let name = names::deployable(service.package_name());
    let roles = contracts.options.role_mappings(service);
    let roles: String = roles
        .iter()
        .map(|line| format!("({:?}, {:?}), ", line.global, line.role))
        .collect();
    let methods: String = service
        .methods()
        .map(|line| method(contracts, &line))
        .collect();
    let _ = write!(
        code,
        r#"
/// `{full_name}` as its proto states it.
pub static {constant}: ::platform_contract::Service = ::platform_contract::Service {{
    name: {name:?},
    full_name: {full_name:?},
    domain: "{name}.{brand}",
    roles: &[{roles}],
    methods: &[
{methods}    ],
    descriptors: include_bytes!(concat!(env!("OUT_DIR"), "/{package}.bin")),
}};
"#,
        full_name = service.full_name(),
        constant = names::constant(service.name()),
        brand = contracts.brand,
        package = service.package_name(),
    );
}

fn method(contracts: &Loaded, method: &MethodDescriptor) -> String {
    let access = contracts.options.access(method).unwrap_or_default();
    let idempotency = match contracts.options.idempotency(method) {
        Some(Idempotency::RequestId) => "RequestId",
        Some(Idempotency::Natural) => "Natural",
        Some(Idempotency::None) | None => "None",
    };
    let class = match Class::of(method) {
        Class::Mutation => "Mutation",
        Class::Read => "Read",
        Class::List => "List",
    };
    format!(
        "        ::platform_contract::Method {{
            name: {name:?},
            path: {path:?},
            input: {input:?},
            output: {output:?},
            access: ::platform_contract::Access::{access},
            idempotency: ::platform_contract::Idempotency::{idempotency},
            class: ::platform_contract::Class::{class},
        }},
",
        name = method.name(),
        path = super::messages::path(method),
        input = method.input().full_name(),
        output = method.output().full_name(),
        access = allowed(&access),
    )
}

fn allowed(access: &Access) -> String {
    match access {
        Access { public: true, .. } => "Public".to_owned(),
        Access {
            authenticated: true,
            ..
        } => "Authenticated".to_owned(),
        // The debug form of a list of strings is a slice literal.
        Access {
            roles,
            services,
            delegation,
            ..
        } => {
            format!(
                "Allowed {{ roles: &{roles:?}, services: &{services:?}, delegation: {delegation} }}"
            )
        }
    }
}

fn served(service: &ServiceDescriptor, code: &mut String) {
    let _ = write!(
        code,
        "
impl<T> ::platform_contract::Served for {module}_server::{name}Server<T> {{
    const SERVICE: &'static ::platform_contract::Service = &{constant};
}}
",
        module = service.name().to_snake_case(),
        name = service.name(),
        constant = names::constant(service.name()),
    );
}

/// The list of all services and the descriptors of everything, for the root of the crate.
pub(crate) fn lists(contracts: &Loaded, code: &mut String) {
    let mut services = String::new();
    for service in contracts.services() {
        let modules: Vec<_> = service
            .package_name()
            .split('.')
            .map(names::module)
            .collect();
        let _ = writeln!(
            services,
            "    &{}::{},",
            modules.join("::"),
            names::constant(service.name())
        );
    }
    let _ = write!(
        code,
        r#"
/// Every service, in the order of the protos.
pub static SERVICES: &[&::platform_contract::Service] = &[
{services}];

/// Every file and what it imports, as an encoded `FileDescriptorSet` with all options.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contracts.bin"));
"#
    );
}
