//! Whose request it is, by address: the socket's, and what trusted proxies say.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::HeaderMap;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Networks of proxies that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies(Vec<(u128, u32)>);

/// The text is no list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network like 10.0.0.0/8 or fd00::/8")]
pub struct ProxyMalformed(String);

impl FromStr for Proxies {
    type Err = ProxyMalformed;

    fn from_str(text: &str) -> Result<Proxies, ProxyMalformed> {
        let networks = text.split(',').map(str::trim);
        networks
            .map(|network| parse(network).ok_or_else(|| ProxyMalformed(network.to_owned())))
            .collect::<Result<_, _>>()
            .map(Proxies)
    }
}

impl Proxies {
    fn contain(&self, ip: IpAddr) -> bool {
        let bits = bits(ip);
        let shared = |network: &u128| (network ^ bits).leading_zeros();
        self.0
            .iter()
            .any(|(network, length)| shared(network) >= *length)
    }
}

/// A network, as the first bits of an IPv6 address.
fn parse(network: &str) -> Option<(u128, u32)> {
    let (ip, length) = match network.split_once('/') {
        Some((ip, length)) => (ip, Some(length.parse::<u32>().ok()?)),
        None => (network, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let widest = if ip.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(widest);
    (length <= widest).then(|| (bits(ip), 128 - widest + length))
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The client's address. `X-Forwarded-For` is read from the right, as far as those who wrote it
/// are believed; further left stands whatever the client has sent.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: Option<&Proxies>) -> IpAddr {
    let mut client = peer.to_canonical();
    let Some(proxies) = proxies else {
        return client;
    };
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for entry in lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')) {
        if !proxies.contain(client) {
            break;
        }
        let Some(before) = forwarded(entry.trim()) else {
            break;
        };
        client = before.to_canonical();
    }
    client
}

/// An address, with a port where a proxy adds one.
fn forwarded(entry: &str) -> Option<IpAddr> {
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let ported = || Some(entry.parse::<std::net::SocketAddr>().ok()?.ip());
    entry.parse().ok().or_else(ported).or_else(bare)
}

/// What is counted as one address: of IPv6 the half that one customer has whole.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], proxies: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let proxies = proxies.map(|list| list.parse().unwrap());
        client(peer.parse().unwrap(), &headers, proxies.as_ref()).to_string()
    }

    #[test]
    fn a_forged_header_changes_nothing() {
        let forged = ["1.1.1.1", "10.0.0.1, 1.1.1.1", "10.0.0.9"];
        assert_eq!(seen("9.9.9.9", &forged, None), "9.9.9.9");
        assert_eq!(seen("9.9.9.9", &forged, Some("10.0.0.0/8")), "9.9.9.9");
        // The proxy adds the address that it sees; what the client wrote stands left of it.
        let through = ["1.1.1.1", "10.0.0.1, 9.9.9.9"];
        assert_eq!(seen("10.0.0.7", &through, Some("10.0.0.0/8")), "9.9.9.9");
    }

    #[test]
    fn the_header_is_read_from_the_right_through_all_who_are_trusted() {
        let trusted = Some("10.0.0.0/8, 172.16.3.4");
        assert_eq!(
            seen("10.0.0.7", &["9.9.9.9, 172.16.3.4"], trusted),
            "9.9.9.9"
        );
        assert_eq!(
            seen("10.0.0.7", &["9.9.9.9", "10.1.1.1"], trusted),
            "9.9.9.9"
        );
        assert_eq!(seen("10.0.0.7", &["9.9.9.9:4711"], trusted), "9.9.9.9");
        assert_eq!(
            seen("10.0.0.7", &["[2001:db8::1]:80"], trusted),
            "2001:db8::1"
        );
        assert_eq!(seen("10.0.0.7", &[], trusted), "10.0.0.7");
        assert_eq!(
            seen("10.0.0.7", &["9.9.9.9, nonsense"], trusted),
            "10.0.0.7"
        );
        assert_eq!(seen("::ffff:10.0.0.7", &["9.9.9.9"], trusted), "9.9.9.9");
        assert_eq!(seen("11.0.0.7", &["9.9.9.9"], trusted), "11.0.0.7");
    }

    #[test]
    fn networks_are_as_wide_as_stated() {
        let proxies: Proxies = "10.0.0.0/30,fd00::/8,192.0.2.1".parse().unwrap();
        for (ip, within) in [
            ("10.0.0.3", true),
            ("10.0.0.4", false),
            ("fdff::1", true),
            ("fe00::1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(proxies.contain(ip.parse().unwrap()), within, "{ip}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Proxies>()
                .unwrap()
                .contain("8.8.8.8".parse().unwrap())
        );
        assert!(
            !"0.0.0.0/0"
                .parse::<Proxies>()
                .unwrap()
                .contain("fd00::1".parse().unwrap())
        );
        for bad in [
            "",
            "10.0.0.0/33",
            "host",
            "10.0.0.0/8,",
            "::/129",
            "10.0.0/8",
            "1.1.1.1/-1",
        ] {
            assert!(bad.parse::<Proxies>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_customer_of_ipv6_is_one_address() {
        let of = |ip: &str| network(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_ne!(of("9.9.9.9"), of("9.9.9.8"));
    }
}
