//! HTTP/1.1 to this machine's own ports: one request per connection, no TLS.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// Answers are small; what is longer is not ours.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) fn get(port: u16, path: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    exchange(port, &head, "", timeout)
}

/// Posts JSON, with a bearer token if there is one.
pub(crate) fn post(
    port: u16,
    path: &str,
    token: Option<&str>,
    json: &str,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n{}\r\n",
        json.len(),
        authorization.unwrap_or_default()
    );
    exchange(port, &head, json, timeout)
}

fn exchange(port: u16, head: &str, body: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut bytes = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("no whole HTTP answer")?;
    let head = std::str::from_utf8(&bytes[..end]).context("the HTTP head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_ascii_lowercase())
        })
    };
    let rest = &bytes[end + 4..];
    let body = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        unchunk(rest)?
    } else {
        let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
        if length.is_some_and(|length| rest.len() < length) {
            bail!("the connection ended within the HTTP answer");
        }
        rest.to_vec()
    };
    Ok(Answer {
        status: status.context("no HTTP status")?,
        body: String::from_utf8(body).context("the HTTP body is not text")?,
    })
}

fn unchunk(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest
            .windows(2)
            .position(|two| two == b"\r\n")
            .context("a chunk without length")?;
        let length = std::str::from_utf8(&rest[..line])?
            .split(';')
            .next()
            .unwrap_or_default();
        let length = usize::from_str_radix(length.trim(), 16).context("a chunk without length")?;
        if length == 0 {
            return Ok(body);
        }
        let start = line + 2;
        let end = start
            .checked_add(length)
            .context("a chunk that is too long")?;
        body.extend(
            rest.get(start..end)
                .context("the connection ended within a chunk")?,
        );
        rest = rest
            .get(end + 2..)
            .context("the connection ended after a chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.to_owned(),
        }
    }

    #[test]
    fn bodies_come_whole_or_in_chunks() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(parse(whole).unwrap(), answer(200, "ok"));
        let chunked = b"HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), answer(503, "abcd"));
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for cut in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert!(parse(cut).is_err(), "{cut:?}");
        }
    }
}
