//! A Redis server: whether it answers, what it is, and how far behind.

use std::{collections::BTreeMap, path::Path, time::Duration};

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisError};
use tokio::time::timeout;

use super::{Prober, RedisTrouble, short};
use crate::{
    edge::{secret, tls},
    node::input::Finding,
    unit::spec::{RedisCheck, RedisRole},
};

/// The deadline of the probe is the one that counts.
const WAIT: Duration = Duration::from_secs(300);

impl Prober {
    /// Asks a server once, for whoever has to say what to do about it.
    pub async fn examine_redis(&self, check: &RedisCheck, within: Duration) -> Result<Finding, RedisTrouble> {
        let late = |_| RedisTrouble::Unreached(format!("no answer within {} s", within.as_secs()));
        timeout(within, self.ask_redis(check)).await.map_err(late)?.map_err(|trouble| match trouble {
            RedisTrouble::Unreached(reason) => RedisTrouble::Unreached(short(&reason)),
            RedisTrouble::Link(reason) => RedisTrouble::Link(short(&reason)),
            RedisTrouble::Role(wanted) => RedisTrouble::Role(wanted),
        })
    }

    pub(super) async fn ask_redis(&self, check: &RedisCheck) -> Result<Finding, RedisTrouble> {
        tls::provide();
        let mut info = (&*check.url).into_connection_info().map_err(|error| said_by(&error))?;
        if let Some(file) = check.password_file.clone() {
            let password = self.beside(file.to_path_buf(), move || password(&file)).await?;
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(WAIT)).set_response_timeout(Some(WAIT));
        let failed = |error: RedisError| said_by(&error);
        let address = info.addr().clone();
        let client = Client::open(info).map_err(failed)?;
        let connected = client.get_multiplexed_async_connection_with_config(&limits).await;
        let mut connection = connected.map_err(|error| unreached(&address, &error))?;
        let answer: String = redis::cmd("PING").query_async(&mut connection).await.map_err(failed)?;
        if answer != "PONG" {
            return Err(format!("it answers PING by {answer:?}").into());
        }
        if check.role.is_none() && check.max_lag.is_none() {
            return Ok(Finding::Good);
        }
        let said: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await.map_err(failed)?;
        judge(check, &said)
    }
}

/// Of a server's own word, as it has said it: `NOAUTH Authentication required.`
fn said_by(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => tls::worded(error.to_string()),
    }
}

/// A server that says nothing is named by its address; of one that refuses us its word is enough.
fn unreached(address: &ConnectionAddr, error: &RedisError) -> String {
    let said = said_by(error);
    if error.code().is_some() { said } else { format!("cannot connect to {address}: {said}") }
}

fn password(file: &Path) -> Result<String, String> {
    let text = String::from_utf8(secret::read(file)?).map_err(|_| format!("{} is no text", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What `INFO replication` says.
fn judge(check: &RedisCheck, said: &str) -> Result<Finding, RedisTrouble> {
    let facts: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name: &str| facts.get(name).copied().unwrap_or_default();
    let role = if fact("role") == "slave" { RedisRole::Replica } else { RedisRole::Primary };
    if let Some(wanted) = check.role.filter(|wanted| *wanted != role) {
        return Err(RedisTrouble::Role(wanted));
    }
    if role == RedisRole::Primary {
        return Ok(Finding::Good);
    }
    if fact("master_link_status") != "up" {
        let primary = address(fact("master_host"), fact("master_port"));
        // -1 where it was never up.
        let reason = match fact("master_link_down_since_seconds").parse::<u64>() {
            Ok(since) => format!("its link to the primary {primary} has been down for {since} s"),
            Err(_) => format!("its link to the primary {primary} has not been up yet"),
        };
        return Err(RedisTrouble::Link(reason));
    }
    let Some(max_lag) = check.max_lag.and_then(|span| span.duration()) else { return Ok(Finding::Good) };
    match fact("master_last_io_seconds_ago").parse() {
        Ok(lag) if Duration::from_secs(lag) > max_lag => {
            Ok(Finding::Degraded(format!("it heard its primary {lag} s ago, more than {} s", max_lag.as_secs())))
        }
        Ok(_) => Ok(Finding::Good),
        Err(_) => Err(RedisTrouble::Link("it does not say when it heard its primary".to_owned())),
    }
}

fn address(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimeSpan;

    #[tokio::test]
    async fn what_a_server_refuses_is_told_in_its_own_words() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            while stream.read(&mut asked).await.is_ok_and(|length| length > 0) {
                // One answer for each command, whose names are bulk strings.
                let count = String::from_utf8_lossy(&asked).matches("*").count();
                asked = [0; 1024];
                stream.write_all("-NOAUTH Authentication required.\r\n".repeat(count).as_bytes()).await.unwrap();
            }
        });
        let client = Client::open(url).unwrap();
        let failed = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await
        };
        assert_eq!(said_by(&failed.await.unwrap_err()), "NOAUTH Authentication required.");
        server.abort();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let check = RedisCheck { url: "redis://127.0.0.1:1".into(), password_file: None, role: None, max_lag: None };
        let said = Prober::default().ask_redis(&check).await.unwrap_err().reason();
        assert!(said.starts_with("cannot connect to 127.0.0.1:1: "), "{said}");
    }

    #[test]
    fn when_a_servers_certificate_expired_is_told_as_a_date() {
        let said = "invalid peer certificate: certificate expired: verification time 1767225600 (UNIX), but certificate is not \
                    valid after 1764547200 (2678400 seconds ago)";
        let said = said_by(&RedisError::from(std::io::Error::other(said)));
        assert!(said.ends_with("certificate expired at 2025-12-01T00:00:00Z"), "{said}");
    }

    #[test]
    fn a_replica_is_judged_by_its_link_and_its_lag() {
        let check = |role, max_lag: Option<u64>| RedisCheck {
            url: "redis://localhost".into(),
            password_file: None,
            role,
            max_lag: max_lag.map(TimeSpan::from_secs),
        };
        let replica = |link, ago| {
            format!(
                "# Replication\r\nrole:slave\r\nmaster_host:db1\r\nmaster_link_status:{link}\r\nmaster_last_io_seconds_ago:{ago}\r\n"
            )
        };
        let wanted = Some(RedisRole::Replica);
        assert_eq!(judge(&check(wanted, Some(10)), &replica("up", 3)), Ok(Finding::Good));
        assert_eq!(judge(&check(wanted, None), &replica("up", 300)), Ok(Finding::Good));
        let late = judge(&check(None, Some(10)), &replica("up", 11)).unwrap();
        assert_eq!(late.reason(), Some("it heard its primary 11 s ago, more than 10 s"));
        let down = judge(&check(wanted, Some(10)), &replica("down", 11)).unwrap_err();
        assert!(matches!(down, RedisTrouble::Link(reason) if reason.contains("has not been up yet")));
        let down_since = |host, since| {
            let text = format!(
                "role:slave\r\nmaster_host:{host}\r\nmaster_port:6380\r\nmaster_link_status:down\r\n\
                 master_link_down_since_seconds:{since}\r\n"
            );
            judge(&check(wanted, None), &text).unwrap_err().reason()
        };
        assert_eq!(down_since("db1", 7), "its link to the primary db1:6380 has been down for 7 s");
        assert_eq!(down_since("::1", -1), "its link to the primary [::1]:6380 has not been up yet");
        let other = judge(&check(Some(RedisRole::Primary), None), &replica("up", 0));
        assert_eq!(other.unwrap_err().reason(), "it is a replica, expected a primary");
        assert_eq!(judge(&check(Some(RedisRole::Primary), None), "role:master\r\n"), Ok(Finding::Good));
    }
}
