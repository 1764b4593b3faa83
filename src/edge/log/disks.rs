//! Which thread writes for a unit: one for each disk that units' folders lie on, so that a slow disk holds up no output
//! that goes elsewhere. With all of them on one disk, which is how it comes, there is one thread that writes, and this one,
//! which writes nothing: a disk that hangs holds up no pipe that comes meanwhile and goes elsewhere.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    iter,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{
    flow::Flow,
    pump::{Common, Order, PumpError, Report, Writer},
    rules::Rules,
};
use crate::{
    base::{Chain, UnitName},
    sys,
    wire::keeper::Stream,
};

/// How long whoever drops the handle waits for what is still in the pipes.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A handle on the threads; they empty the pipes once more and end when the handle is dropped.
#[derive(Debug)]
pub struct Pump {
    orders: mpsc::Sender<Order>,
    /// Hangs up when the threads have ended.
    ended: mpsc::Receiver<()>,
}

impl Pump {
    /// Starts the first threads. Segments go below `dir`.
    pub fn start(
        dir: PathBuf,
        flow: Arc<Flow>,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Self, PumpError> {
        let own = sys::device_of(&dir).map_err(PumpError)?;
        let common = Arc::new(Common::new(dir, flow, report));
        let first = Writer::begin("log".to_owned(), Arc::clone(&common))?;
        let (orders, inbox) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let disks = Disks { common, own, first, others: BTreeMap::new() };
        let begun = thread::Builder::new().name("logs".into()).stack_size(256 << 10).spawn(move || {
            disks.run(&inbox);
            drop(end);
        });
        begun.map_err(PumpError)?;
        Ok(Self { orders, ended })
    }

    /// Takes over the read end of a unit's pipe, in place of an earlier one of that stream.
    pub fn add(&self, unit: UnitName, stream: Stream, pipe: OwnedFd, rules: Rules) {
        self.send(Order::Add { unit, stream, pipe, rules: Arc::new(rules) });
    }

    /// Other rules hold for a unit from now on.
    pub fn rule(&self, unit: UnitName, rules: Rules) {
        self.send(Order::Rule { unit, rules: Arc::new(rules) });
    }

    fn send(&self, order: Order) {
        // The thread lives as long as this handle, unless it panicked.
        if self.orders.send(order).is_err() {
            tracing::error!("the thread of the logs is gone; output waits in its pipes");
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        // The last words of services that were stopped with us; a disk that hangs keeps nobody from going.
        self.ended.recv_timeout(END_WITHIN).ok();
    }
}

/// The disks, and who writes to each.
struct Disks {
    common: Arc<Common>,
    /// That of the folder in which units have theirs.
    own: u64,
    first: Writer,
    others: BTreeMap<u64, Writer>,
}

impl Disks {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Add { unit, stream, pipe, rules } => {
                    let writer = self.writer(&unit);
                    writer.send(Order::Add { unit, stream, pipe, rules });
                }
                Order::Rule { unit, rules } => {
                    for writer in iter::once(&self.first).chain(self.others.values()) {
                        writer.send(Order::Rule { unit: unit.clone(), rules: Arc::clone(&rules) });
                    }
                }
            }
        }
        let ends: Vec<_> = iter::once(self.first).chain(self.others.into_values()).map(Writer::end).collect();
        // Whoever waits for us does not wait for ever.
        ends.iter().for_each(|end| end.recv().unwrap_or_default());
    }

    /// Who writes for a unit.
    fn writer(&mut self, unit: &UnitName) -> &Writer {
        // A folder that is not there will be made here.
        let device = sys::device_of(&self.common.folder(unit)).unwrap_or(self.own);
        if device == self.own {
            return &self.first;
        }
        match self.others.entry(device) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                match Writer::begin(format!("log {}", sys::device_name(device)), Arc::clone(&self.common)) {
                    Ok(writer) => place.insert(writer),
                    Err(error) => {
                        tracing::error!(unit = %unit, error = %Chain(&error), "its disk shares the log thread of others");
                        &self.first
                    }
                }
            }
        }
    }
}
