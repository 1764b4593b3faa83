//! `[alert.heartbeat]`: a URL is asked while all is well here, so that someone notices when nobody asks any more.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Engine, handle::Ask};
use crate::{alert::Heartbeat, edge::deliver};

/// How long the engine may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Takes what the settings say into use.
    pub(super) fn begin_heartbeat(&mut self) {
        if let Some(former) = self.heartbeat.take() {
            former.abort();
        }
        if let Some(heartbeat) = self.settings.alert.heartbeat.clone() {
            self.heartbeat = Some(self.runtime.spawn(beat(heartbeat, self.own_asks.clone())));
        }
    }

    /// Whether alerts would reach people: rows are written, and no route refuses them. Services that are down have alerts
    /// of their own.
    pub(super) fn is_well(&self) -> bool {
        self.counters().store_trouble.is_none() && self.deliveries.refusing().is_empty()
    }
}

/// The task; it ends with the engine.
pub(super) type Beating = JoinHandle<()>;

async fn beat(heartbeat: Heartbeat, asks: mpsc::Sender<Ask>) {
    let pause = heartbeat.interval.duration().unwrap_or(Duration::MAX);
    let mut turns = interval(pause);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        turns.tick().await;
        let (reply, answer) = oneshot::channel();
        if asks.send(Ask::Well { reply }).await.is_err() {
            return;
        }
        if !matches!(timeout(PATIENCE, answer).await, Ok(Ok(true))) {
            continue;
        }
        let sent = deliver::ask(&heartbeat.url).await;
        match sent {
            Ok(()) if failed => tracing::info!("the heartbeat is heard again"),
            Err(ref reason) if !failed => tracing::warn!(reason, "the heartbeat is not heard"),
            Ok(()) | Err(_) => {}
        }
        failed = sent.is_err();
    }
}
