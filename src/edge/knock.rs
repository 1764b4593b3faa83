//! Whether a machine answers at all: a connection, and nothing is said.

use std::time::Duration;

use tokio::{net::TcpStream, time::timeout};

use crate::base::address::split_host_port;

/// Where machines are asked whose address has no port: ssh.
const PORT: u16 = 22;

/// Whether `HOST`, or `HOST:PORT`, takes a connection in time. One that refuses it has not answered.
pub async fn answers(address: &str, within: Duration) -> bool {
    let (host, port) = split_host_port(address).unwrap_or((address, PORT));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(timeout(within, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_answers_where_it_takes_a_connection() {
        let second = Duration::from_secs(1);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert!(answers(&there.to_string(), second).await);
        assert!(answers(&format!("localhost:{}", there.port()), second).await);
        drop(listener);
        assert!(!answers(&there.to_string(), second).await, "nobody is there any more");
        assert!(!answers("no-such-host.invalid", second).await);
        if let Ok(listener) = std::net::TcpListener::bind("[::1]:0") {
            assert!(answers(&listener.local_addr().unwrap().to_string(), second).await);
        }
    }
}
