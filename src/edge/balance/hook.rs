//! A load balancer behind a command of the operator's. `status` is added to its words, and it prints a line for each server, `NAME up` or
//! `NAME drained`; or `drain NAME`, which ends when the server has no connections any more, or `undrain NAME`. Exit code 0 is done.

use std::time::Duration;

use super::{BalanceError, Machine, Servers};
use crate::{
    edge::errand::last_line,
    fleet::{Argv, Pool, PoolName},
};

/// How long it may take to say which servers there are, or to give one its requests back.
const PATIENCE: Duration = Duration::from_secs(30);

async fn run(
    machine: &impl Machine,
    pool: &PoolName,
    command: &Argv,
    (verb, server): (&'static str, Option<&str>),
    within: Duration,
) -> Result<String, BalanceError> {
    let words = command.iter().cloned().chain([verb.into()]).chain(server.map(Box::from));
    let name = command.first().map_or("", |name| name);
    match machine.run((pool, verb), words.collect(), within).await {
        Ok((true, said)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok((false, said)) => {
            let said = last_line(&said).unwrap_or_else(|| "it says nothing".to_owned());
            Err(BalanceError::Refused { pool: pool.clone(), said })
        }
        Err(reason) => Err(BalanceError::Unreached(format!("{name} {verb} of pool {pool}: {reason}"))),
    }
}

pub(super) async fn servers(machine: &impl Machine, pool: &PoolName, command: &Argv) -> Result<Servers, BalanceError> {
    let said = run(machine, pool, command, ("status", None), PATIENCE).await?;
    read(&said).map_err(|line| BalanceError::Refused {
        pool: pool.clone(),
        said: format!("its status says {line:?}, which is neither NAME up nor NAME drained"),
    })
}

/// The servers, or the line that is none.
fn read(said: &str) -> Result<Servers, String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let server = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "up"] => Ok((name.into(), true)),
        [name, "drained"] => Ok((name.into(), false)),
        _ => Err(line.chars().take(80).collect()),
    };
    lines.map(server).collect()
}

pub(super) async fn drain(
    machine: &impl Machine,
    name: &PoolName,
    command: &Argv,
    (pool, server): (&Pool, &str),
    patience: Duration,
) -> Result<(), BalanceError> {
    let all = servers(machine, name, command).await?;
    let takes = super::find(name, &all, server)?;
    super::leaves_enough(name, &all, (server, takes), pool.min_active)?;
    run(machine, name, command, ("drain", Some(server)), patience).await.map(drop)
}

pub(super) async fn undrain(
    machine: &impl Machine,
    name: &PoolName,
    command: &Argv,
    server: &str,
) -> Result<(), BalanceError> {
    super::find(name, &servers(machine, name, command).await?, server)?;
    run(machine, name, command, ("undrain", Some(server)), PATIENCE).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_line_for_each_server() {
        let servers = Servers::from([("vm4".into(), true), ("vm5".into(), false)]);
        assert_eq!(read("vm4 up\n\n  vm5   drained \n"), Ok(servers));
        for bad in ["vm4", "vm4 down", "vm4 up now"] {
            assert_eq!(read(bad), Err(bad.to_owned()));
        }
    }
}
