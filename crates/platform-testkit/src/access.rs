//! The access matrix: every method, as everybody.
//!
//! The expected outcomes stand beside the service in `access.tsv`, written by hand: a row for
//! each method, a column for each principal, in the cell `OK`, the word of the reason, or the
//! name of the gRPC code. Nothing passes by silence: a method without a row fails, and so do a
//! row without a method, a row in which nobody succeeds, and a cell that is no outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use platform::error::Details;
use platform_contract::{Method, Service};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// As whom a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Without a token.
    Nobody,
    /// A user whose roles the method does not ask for.
    WrongRole,
    /// As `RightRole`, but acting for another organisation.
    OtherOrganisation,
    /// As `RightRole`, but the token is over.
    Expired,
    /// A user for whom the method is meant.
    RightRole,
    /// A service.
    System,
}

impl Principal {
    /// In the order of the columns.
    pub const ALL: [Principal; 6] = [
        Principal::Nobody,
        Principal::WrongRole,
        Principal::OtherOrganisation,
        Principal::Expired,
        Principal::RightRole,
        Principal::System,
    ];

    /// The head of its column.
    pub fn column(self) -> &'static str {
        match self {
            Principal::Nobody => "nobody",
            Principal::WrongRole => "wrong_role",
            Principal::OtherOrganisation => "other_organisation",
            Principal::Expired => "expired",
            Principal::RightRole => "right_role",
            Principal::System => "system",
        }
    }
}

/// The expected outcomes.
pub struct Table {
    rows: BTreeMap<String, [String; 6]>,
}

impl Table {
    /// Reads tab-separated lines; `#` begins a comment. Panics with the line that is wrong.
    pub fn parse(text: &str) -> Table {
        let mut lines = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
        let columns = Principal::ALL.map(Principal::column);
        let head: Vec<&str> = lines.next().map_or(Vec::new(), |(line, _)| cells(line));
        assert!(
            head.split_first() == Some((&"method", &columns)),
            "the table begins with the columns method, {}",
            columns.join(", ")
        );
        let mut rows = BTreeMap::new();
        for (line, number) in lines {
            let cells = cells(line);
            let Some((method, outcomes)) = cells.split_first() else {
                continue;
            };
            let outcomes: [&str; 6] = outcomes
                .try_into()
                .unwrap_or_else(|_| panic!("line {number} has not 7 cells: {line}"));
            for outcome in outcomes {
                assert!(
                    is_outcome(outcome),
                    "line {number}: {outcome:?} is no outcome"
                );
            }
            assert!(
                outcomes.contains(&"OK"),
                "line {number}: {method} succeeds for nobody, so nothing is shown"
            );
            let before = rows.insert((*method).to_owned(), outcomes.map(str::to_owned));
            assert!(before.is_none(), "line {number}: a second row for {method}");
        }
        assert!(!rows.is_empty(), "the table has no row");
        Table { rows }
    }

    /// Calls every one of `methods` as every principal and compares; panics with all that differs.
    pub async fn check<'a>(
        &self,
        methods: impl IntoIterator<Item = &'a str>,
        mut call: impl AsyncFnMut(&'a str, Principal) -> Vec<String>,
    ) {
        let methods = Vec::from_iter(methods);
        let mut names = BTreeSet::new();
        let mut wrong = Vec::new();
        for &method in &methods {
            assert!(names.insert(method), "{method} exists twice");
            if !self.rows.contains_key(method) {
                wrong.push(format!("{method} has no row"));
            }
        }
        for row in self.rows.keys() {
            if !names.contains(row.as_str()) {
                wrong.push(format!("the row {row} has no method"));
            }
        }
        for method in methods {
            let Some(row) = self.rows.get(method) else {
                continue;
            };
            for (principal, expected) in Principal::ALL.into_iter().zip(row) {
                let outcome = call(method, principal).await;
                assert!(!outcome.is_empty(), "{method}: a call has an outcome");
                if !outcome.contains(expected) {
                    wrong.push(format!(
                        "{method} as {}: expected {expected}, got {}",
                        principal.column(),
                        outcome.join(" / ")
                    ));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "access differs:\n  {}",
            wrong.join("\n  ")
        );
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.split('\t').map(str::trim).collect()
}

fn is_outcome(cell: &str) -> bool {
    cell.len() > 1 && cell.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// One call of the matrix.
pub struct Call {
    token: Option<String>,
    message: Vec<u8>,
}

impl Call {
    /// With a valid request for the method.
    pub fn new(message: &impl Message) -> Call {
        Call {
            token: None,
            message: message.encode_to_vec(),
        }
    }

    /// With an access token.
    #[must_use]
    pub fn token(mut self, token: impl Into<Option<String>>) -> Call {
        self.token = token.into();
        self
    }
}

/// Calls every method of the services, alternating between the replicas, and compares with the
/// table. Its rows are called as the methods: `CastVote`.
///
/// `valid` makes a request that is right in all but its caller, with what it needs to exist.
pub async fn check_grpc(
    table: &str,
    services: &[&'static Service],
    replicas: &[SocketAddr],
    mut valid: impl AsyncFnMut(&'static Method, Principal) -> Call,
) {
    assert!(replicas.len() >= 2, "one replica is never evidence");
    let channels: Vec<Channel> = replicas.iter().map(|addr| channel(*addr)).collect();
    let mut channels = channels.into_iter().cycle();
    let methods: BTreeMap<&str, (&'static Method, DescriptorPool)> = services
        .iter()
        .flat_map(|service| {
            let pool = DescriptorPool::decode(service.descriptors)
                .expect("the service carries its descriptors");
            service
                .methods
                .iter()
                .map(move |method| (method.name, (method, pool.clone())))
        })
        .collect();
    let names = services.iter().flat_map(|service| service.methods);

    Table::parse(table)
        .check(names.map(|method| method.name), async |name, principal| {
            let (method, pool) = &methods[name];
            let call = valid(method, principal).await;
            assert_fits(method, pool, &call);
            let channel = channels.next().expect("a cycle has no end");
            outcome(send(channel, method, call).await)
        })
        .await;
}

/// A request of another method would be refused for the wrong reason.
fn assert_fits(method: &Method, pool: &DescriptorPool, call: &Call) {
    let input = pool
        .get_message_by_name(method.input)
        .unwrap_or_else(|| panic!("{} is not among the descriptors", method.input));
    let fits = DynamicMessage::decode(input, call.message.as_slice())
        .is_ok_and(|message| message.unknown_fields().next().is_none());
    assert!(fits, "the call of {} is no {}", method.name, method.input);
}

fn channel(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}"))
        .expect("an address makes a URL")
        .connect_lazy()
}

async fn send(channel: Channel, method: &Method, call: Call) -> Result<(), Status> {
    let mut request = Request::new(Bytes::from(call.message));
    if let Some(token) = call.token {
        let value = format!("Bearer {token}").parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(channel);
    client.ready().await.expect("the replica answers");
    let path = PathAndQuery::from_static(method.path);
    client.unary(request, path, Raw).await.map(drop)
}

/// What a cell may say of the answer: the word of its reason, the name of its code.
fn outcome(answer: Result<(), Status>) -> Vec<String> {
    match answer {
        Ok(()) => vec!["OK".to_owned()],
        Err(status) => Details::of(&status)
            .reason
            .into_iter()
            .chain([code_name(status.code()).to_owned()])
            .collect(),
    }
}

/// The name of a code as gRPC spells it: `NOT_FOUND`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Messages as they are on the wire.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "method\tnobody\twrong_role\tother_organisation\texpired\tright_role\tsystem";

    async fn check(rows: &str, methods: &[&'static str]) {
        let table = Table::parse(&format!("{HEAD}\n{rows}\n"));
        table
            .check(
                methods.iter().copied(),
                async |_, principal| match principal {
                    Principal::RightRole => vec!["OK".to_owned()],
                    _ => vec!["TOKEN_MISSING".to_owned(), "UNAUTHENTICATED".to_owned()],
                },
            )
            .await;
    }

    const READ: &str =
        "Read\tTOKEN_MISSING\tUNAUTHENTICATED\tTOKEN_MISSING\tTOKEN_MISSING\tOK\tTOKEN_MISSING";

    #[tokio::test]
    async fn a_true_table_passes_by_reason_or_by_code() {
        check(READ, &["Read"]).await;
    }

    #[tokio::test]
    #[should_panic(expected = "Write has no row")]
    async fn a_method_without_a_row_fails() {
        check(READ, &["Read", "Write"]).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the row Read has no method")]
    async fn a_row_without_a_method_fails() {
        check(READ, &[]).await;
    }

    #[tokio::test]
    #[should_panic(expected = "Read as nobody: expected OK, got TOKEN_MISSING / UNAUTHENTICATED")]
    async fn a_wrong_cell_fails() {
        check("Read\tOK\tOK\tOK\tOK\tOK\tOK", &["Read"]).await;
    }

    #[tokio::test]
    #[should_panic(expected = "Read succeeds for nobody")]
    async fn a_row_without_success_fails() {
        let cell = "\tTOKEN_MISSING".repeat(6);
        check(&format!("Read{cell}"), &["Read"]).await;
    }

    #[tokio::test]
    #[should_panic(expected = "\"\" is no outcome")]
    async fn an_empty_cell_fails() {
        check("Read\t\tOK\tOK\tOK\tOK\tOK", &["Read"]).await;
    }
}
