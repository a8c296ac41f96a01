//! HTTP/1.1 to this machine's own ports: one request per connection, no TLS.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;

/// Answers are small; what is longer is not ours.
const BYTES_MAX: u64 = 4 << 20;
/// Longest line of a head, and of what stands before a chunk.
const LINE_BYTES_MAX: u64 = 16 << 10;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) fn get(port: u16, path: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    exchange(port, &head, "", timeout)?.whole()
}

/// Posts JSON, with a bearer token if there is one.
pub(crate) fn post(
    port: u16,
    path: &str,
    token: Option<&str>,
    json: &str,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let head = post_head(port, path, token, JSON, json.len());
    exchange(port, &head, json, timeout)?.whole()
}

/// Posts JSON and answers what comes back bit by bit: events, if the other side agrees.
/// A silence longer than `patience` is an error.
pub(crate) fn events(
    port: u16,
    path: &str,
    json: &str,
    patience: Duration,
) -> anyhow::Result<Response<BufReader<TcpStream>>> {
    let head = post_head(port, path, None, EVENTS, json.len());
    exchange(port, &head, json, patience)
}

fn post_head(port: u16, path: &str, token: Option<&str>, accept: &str, length: usize) -> String {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-type: {JSON}\r\naccept: {accept}\r\ncontent-length: {length}\r\n{}\r\n",
        authorization.unwrap_or_default()
    )
}

fn exchange(
    port: u16,
    head: &str,
    body: &str,
    timeout: Duration,
) -> anyhow::Result<Response<BufReader<TcpStream>>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    Response::begin(BufReader::new(stream))
}

/// An answer of which the head is here; its body is read from it.
pub(crate) struct Response<R> {
    pub(crate) status: u16,
    content_type: String,
    framing: Framing,
    from: R,
}

/// How the end of a body is known.
#[derive(Clone, Copy)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// So many bytes of this chunk are to come.
    Chunk(u64),
    /// Chunks come, of which none was read yet.
    Chunks,
    /// The connection ends.
    Close,
}

impl<R: BufRead> Response<R> {
    fn begin(mut from: R) -> anyhow::Result<Self> {
        let status = line(&mut from)?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.context("no HTTP status")?;
        let (mut content_type, mut framing) = (String::new(), Framing::Close);
        loop {
            let header = line(&mut from)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            let value = value.trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "content-type" => content_type = value,
                "transfer-encoding" if value.contains("chunked") => framing = Framing::Chunks,
                "content-length" if !matches!(framing, Framing::Chunks) => {
                    framing = Framing::Length(value.parse().context("no HTTP length")?);
                }
                _ => {}
            }
        }
        Ok(Self {
            status,
            content_type,
            framing,
            from,
        })
    }

    /// Whether the body is events.
    pub(crate) fn is_events(&self) -> bool {
        self.content_type.starts_with(EVENTS)
    }

    /// Waits for all of the body.
    pub(crate) fn whole(self) -> anyhow::Result<Answer> {
        let status = self.status;
        let mut body = Vec::new();
        self.take(BYTES_MAX).read_to_end(&mut body)?;
        Ok(Answer {
            status,
            body: String::from_utf8(body).context("the HTTP body is not text")?,
        })
    }

    fn next_chunk(&mut self, follows: bool) -> io::Result<u64> {
        if follows {
            line(&mut self.from)?;
        }
        let line = line(&mut self.from)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "a chunk without length"))?;
        Ok(length)
    }
}

impl<R: BufRead> Read for Response<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.framing {
            Framing::Close => return self.from.read(buffer),
            Framing::Length(left) => left,
            Framing::Chunk(left) if left > 0 => left,
            framing => {
                let length = self.next_chunk(matches!(framing, Framing::Chunk(_)))?;
                // The last chunk is empty; what may follow it is of no interest.
                self.framing = match length {
                    0 => Framing::Length(0),
                    length => Framing::Chunk(length),
                };
                length
            }
        };
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 {
            let cut = "the connection ended within the HTTP answer";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, cut));
        }
        let left = left - read as u64;
        self.framing = match self.framing {
            Framing::Chunk(_) => Framing::Chunk(left),
            _ => Framing::Length(left),
        };
        Ok(read)
    }
}

/// A line without its end.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(LINE_BYTES_MAX).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
        None => Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            "no whole HTTP answer",
        )),
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

    fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
        Response::begin(bytes)?.whole()
    }

    #[test]
    fn bodies_come_whole_or_in_chunks() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(parse(whole).unwrap(), answer(200, "ok"));
        let chunked = b"HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), answer(503, "abcd"));
    }

    #[test]
    fn a_body_is_read_as_it_comes() {
        let said = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
            transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n";
        let mut response = Response::begin(&said[..]).unwrap();
        assert!(response.is_events());
        for expected in ["first", "second"] {
            let mut buffer = [0; 16];
            let read = response.read(&mut buffer).unwrap();
            assert_eq!(&buffer[..read], expected.as_bytes());
        }
        // The last chunk is missing, so this is not its end.
        assert!(response.read(&mut [0; 16]).is_err());
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
