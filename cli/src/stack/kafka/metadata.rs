//! The one question that is asked of Kafka: whether it serves.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Metadata, version 1, correlation 1, no client id, no topics; behind the length of all that.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
/// Length, correlation, number of brokers.
const HEAD: usize = 12;

/// How many brokers the one on this port knows to be at work: 0 while it is starting.
pub(crate) fn brokers(port: u16, timeout: Duration) -> io::Result<u32> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(&REQUEST)?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head)?;
    Ok(u32::from_be_bytes([head[8], head[9], head[10], head[11]]))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn answer(brokers: u8) -> io::Result<u32> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(usize::from(request[3]), REQUEST.len() - 4);
            let head = [0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, brokers];
            stream.write_all(&head).unwrap();
        });
        let answer = super::brokers(port, Duration::from_secs(5));
        server.join().unwrap();
        answer
    }

    #[test]
    fn a_broker_serves_once_it_knows_of_itself() {
        assert_eq!(answer(0).unwrap(), 0);
        assert_eq!(answer(1).unwrap(), 1);
    }
}
