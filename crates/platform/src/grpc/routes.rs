//! Which paths there are. What is not in the table does not exist.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use platform_contract::{Method, Service};
use prost::Message;
use prost_types::FileDescriptorSet;

use super::Server;

/// Services beside the contract, that anybody may call: their paths, one by one.
pub(super) const HEALTH: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];
pub(super) const REFLECTION: &[&str] =
    &["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"];

/// One method and who serves it.
#[derive(Clone)]
pub(super) struct Route {
    /// The method as telemetry names it: without the first slash.
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    pub(super) server: Server,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A method of a contract.
    Contract {
        service: &'static Service,
        method: &'static Method,
        /// The request is one message, not a stream.
        one_message: bool,
    },
    /// Health and reflection: outside of limits, deadlines and access.
    Open {
        /// The request is one message, not a stream.
        one_message: bool,
    },
}

#[derive(Default)]
pub(super) struct Routes(HashMap<&'static str, Arc<Route>>);

impl Routes {
    pub(super) fn add_contract(&mut self, service: &'static Service, server: Server) {
        let streaming = client_streaming(service);
        for method in service.methods {
            let one_message = !streaming.contains(method.name);
            let kind = Kind::Contract {
                service,
                method,
                one_message,
            };
            self.insert(method.path, kind, server.clone());
        }
    }

    pub(super) fn add_open(&mut self, paths: &[&'static str], one_message: bool, server: Server) {
        for path in paths {
            self.insert(path, Kind::Open { one_message }, server.clone());
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<Route>> {
        self.0.get(path).cloned()
    }

    fn insert(&mut self, path: &'static str, kind: Kind, server: Server) {
        let label = path.trim_start_matches('/');
        self.0.insert(
            path,
            Arc::new(Route {
                label,
                kind,
                server,
            }),
        );
    }
}

/// The methods of a service that take a stream, by name.
fn client_streaming(service: &Service) -> HashSet<String> {
    let Ok(set) = FileDescriptorSet::decode(service.descriptors) else {
        return HashSet::new();
    };
    set.file
        .into_iter()
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service
                .into_iter()
                .map(move |service| (format!("{package}.{}", service.name()), service))
        })
        .filter(|(name, _)| name == service.full_name)
        .flat_map(|(_, service)| service.method)
        .filter(|method| method.client_streaming())
        .map(|method| method.name().to_owned())
        .collect()
}
