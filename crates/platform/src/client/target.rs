use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

/// More replicas than one client is ever told by hand.
const ENDPOINTS_MAX: usize = 64;

/// Where a service is: `http://a:8081,http://b:8081`. An option of this type is called `GRPC_<SERVICE>`.
#[derive(Clone, PartialEq, Eq)]
pub struct GrpcTarget {
    pub(super) authorities: Vec<Authority>,
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetMalformed {
    /// There is no address, or an empty one between commas.
    #[error("an address is missing")]
    Missing,
    /// More addresses than allowed.
    #[error("more than {ENDPOINTS_MAX} addresses")]
    TooMany,
    /// Not a URL with a host.
    #[error("`{0}` is not a URL like http://host:8081")]
    NotUrl(String),
    /// TLS is the mesh's.
    #[error("`{0}` does not begin with http://")]
    NotHttp(String),
    /// A user, path or query.
    #[error("`{0}` has more than a host and a port")]
    TooLong(String),
    /// The same address twice.
    #[error("`{0}` stands there twice")]
    Twice(String),
}

impl GrpcTarget {
    /// The addresses in their order.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        self.authorities
            .iter()
            .map(|authority| format!("http://{authority}"))
    }
}

impl FromStr for GrpcTarget {
    type Err = TargetMalformed;

    fn from_str(text: &str) -> Result<GrpcTarget, TargetMalformed> {
        let authorities = text
            .split(',')
            .map(|part| authority(part.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        if authorities.len() > ENDPOINTS_MAX {
            return Err(TargetMalformed::TooMany);
        }
        let mut seen = HashSet::new();
        match authorities
            .iter()
            .find(|authority| !seen.insert(authority.as_str()))
        {
            Some(twice) => Err(TargetMalformed::Twice(twice.to_string())),
            None => Ok(GrpcTarget { authorities }),
        }
    }
}

fn authority(text: &str) -> Result<Authority, TargetMalformed> {
    if text.is_empty() {
        return Err(TargetMalformed::Missing);
    }
    let uri: Uri = text
        .parse()
        .map_err(|_| TargetMalformed::NotUrl(text.to_owned()))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(TargetMalformed::NotHttp(text.to_owned()));
    }
    let authority = uri
        .authority()
        .filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| TargetMalformed::NotUrl(text.to_owned()))?;
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return Err(TargetMalformed::TooLong(text.to_owned()));
    }
    Ok(authority.clone())
}

impl fmt::Display for GrpcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.urls().collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for GrpcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_list_of_addresses() {
        let target: GrpcTarget = "http://127.0.0.1:8081, http://catalog:8081/,http://[::1]"
            .parse()
            .unwrap();
        assert_eq!(
            target.to_string(),
            "http://127.0.0.1:8081,http://catalog:8081,http://[::1]"
        );
    }

    #[test]
    fn what_is_no_address_is_named() {
        use TargetMalformed::*;
        let many = (0..=ENDPOINTS_MAX)
            .map(|n| format!("http://h{n}"))
            .collect::<Vec<_>>()
            .join(",");
        for (text, expected) in [
            ("", Missing),
            ("http://a,", Missing),
            ("not a url", NotUrl("not a url".into())),
            ("http://", NotUrl("http://".into())),
            ("catalog:8081", NotHttp("catalog:8081".into())),
            ("https://a", NotHttp("https://a".into())),
            ("http://a/path", TooLong("http://a/path".into())),
            ("http://a?x", TooLong("http://a?x".into())),
            ("http://u:p@a", TooLong("http://u:p@a".into())),
            ("http://a,http://a/", Twice("a".into())),
            (&many, TooMany),
        ] {
            assert_eq!(text.parse::<GrpcTarget>(), Err(expected), "{text}");
        }
    }
}
