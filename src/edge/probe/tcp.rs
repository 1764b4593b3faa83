//! A TCP connection, and what is said on it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Prober;
use crate::{node::input::Finding, unit::spec::TcpCheck};

/// How much of an answer is looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Prober {
    pub(super) async fn talk(&self, check: &TcpCheck) -> Result<Finding, String> {
        let stream = self.connect(&check.address).await?;
        match &check.tls {
            Some(tls) => {
                let host = check.address.rsplit_once(':').map_or(&*check.address, |(host, _)| host);
                exchange(self.shield(stream, host, tls).await?, check).await
            }
            None => exchange(stream, check).await,
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, check: &TcpCheck) -> Result<Finding, String> {
    if let Some(text) = &check.send {
        let sent = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| format!("cannot send {text:?}: {error}"))?;
    }
    let Some(wanted) = check.expect.as_deref().filter(|wanted| !wanted.is_empty()) else { return Ok(Finding::Good) };
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await.map_err(|error| format!("cannot read the answer: {error}"))?;
        heard.extend_from_slice(piece.get(..count).unwrap_or_default());
        if heard.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
            return Ok(Finding::Good);
        }
        if count == 0 || heard.len() > ANSWER_BYTES_MAX {
            return Err(format!("{wanted:?} is not in the answer {:?}", String::from_utf8_lossy(&heard)));
        }
    }
}
