//! An order's words as the child's set-up takes them.
use std::{
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use super::{
    holdings::{Unit, Units},
    spawn::{NO_LOG_PIPE, NOT_STORED, prepare},
};
use crate::{
    base::{SpawnFailure, UnitName},
    sys::spawn as sys,
    wire::keeper::{Control, Directory, Input, Keyring, Output, Owner, Privileges, Schedule, Secret, Secrets},
};

/// What stands in the place of a standard descriptor, and what the child opens instead, where it does.
type Standard<'a> = (BorrowedFd<'a>, sys::Open<'a>);

pub(super) fn input<'a>(input: &'a Input, unit: &'a Unit, null: BorrowedFd<'a>) -> Result<Standard<'a>, SpawnFailure> {
    let open = match input {
        Input::Null => sys::Open::Given,
        Input::File { path, flags } => sys::Open::File { path, flags: *flags },
        Input::Data(bytes) => sys::Open::Data(bytes),
        Input::Terminal { path, control } => sys::Open::Terminal { path, control: terminal(*control) },
        Input::Stored(name) => return Ok((stored(unit, name)?, sys::Open::Given)),
        // It did not come along.
        Input::Passed => return Err(prepare(NOT_STORED)),
    };
    Ok((null, open))
}

pub(super) fn output<'a>(
    output: &'a Output,
    (units, name): (&'a Units, &UnitName),
    null: BorrowedFd<'a>,
    own: BorrowedFd<'a>,
) -> Result<Standard<'a>, SpawnFailure> {
    let open = match output {
        Output::Null => sys::Open::Given,
        Output::Inherit => return Ok((own, sys::Open::Given)),
        Output::Log(stream) => {
            let log = units.log(name, *stream).ok_or_else(|| prepare(NO_LOG_PIPE))?;
            return Ok((log.writer.as_fd(), sys::Open::Given));
        }
        Output::File { path, flags } => sys::Open::File { path, flags: *flags },
        Output::Terminal { path } => sys::Open::Terminal { path, control: sys::Control::No },
        Output::Stored(stored_as) => {
            let unit = units.get(name).ok_or_else(|| prepare(NOT_STORED))?;
            return Ok((stored(unit, stored_as)?, sys::Open::Given));
        }
        Output::Stdin => sys::Open::Same(0),
        Output::Stdout => sys::Open::Same(1),
        // It did not come along.
        Output::Passed => return Err(prepare(NOT_STORED)),
    };
    Ok((null, open))
}

fn stored<'a>(unit: &'a Unit, name: &str) -> Result<BorrowedFd<'a>, SpawnFailure> {
    let found = unit.stored.iter().find(|stored| stored.name == name);
    found.map(|stored| Rc::as_ref(&stored.fd).as_fd()).ok_or_else(|| prepare(NOT_STORED))
}

const fn terminal(control: Control) -> sys::Control {
    match control {
        Control::Wait => sys::Control::Wait,
        Control::Force => sys::Control::Force,
        Control::Fail => sys::Control::Fail,
    }
}

pub(super) fn schedule(schedule: &Schedule) -> sys::Schedule<'_> {
    let Schedule { cpu, affinity, io_priority, timer_slack, personality } = schedule;
    let cpu = cpu.map(|cpu| sys::CpuScheduling { policy: cpu.policy, priority: cpu.priority });
    let (io_priority, timer_slack, personality) = (*io_priority, *timer_slack, *personality);
    sys::Schedule { cpu, affinity, io_priority, timer_slack, personality }
}

pub(super) const fn privileges(privileges: Privileges) -> sys::Privileges {
    let Privileges { bounding, ambient, secure_bits, keyring } = privileges;
    let keyring = match keyring {
        Keyring::Inherit => sys::Keyring::Inherit,
        Keyring::Private => sys::Keyring::Private,
        Keyring::Shared => sys::Keyring::Shared,
    };
    sys::Privileges { bounding, ambient, secure_bits, keyring }
}

pub(super) fn directory(directory: &Directory) -> sys::Directory<'_> {
    let Directory { step, path, mode, owner: of, keep, links } = directory;
    let links = links.iter().map(|link| (link.path.as_c_str(), link.target.as_c_str())).collect();
    sys::Directory { step: *step, path, mode: *mode, owner: owner(*of), keep: *keep, links }
}

pub(super) fn secrets(secrets: &Secrets) -> sys::Secrets<'_> {
    let Secrets { path, fresh, owner: of, list } = secrets;
    sys::Secrets { path, fresh: *fresh, owner: owner(*of), list: list.iter().map(secret).collect() }
}

fn secret(secret: &Secret) -> sys::Secret<'_> {
    sys::Secret { id: &secret.id, files: &secret.files, value: secret.value.as_deref() }
}

fn owner(owner: Option<Owner>) -> Option<sys::Owner> {
    owner.map(|owner| sys::Owner { uid: owner.uid, gid: owner.gid })
}
