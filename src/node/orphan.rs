//! The definition of a unit whose file was removed while no manager ran: enough to stop what is left of it.

use crate::{
    base::UnitName,
    unit::{
        UnitDef,
        spec::{Command, Privilege, Restart},
    },
};

/// systemd's defaults, and a command that is never run: nothing starts this unit again.
pub(super) fn def(name: &UnitName) -> UnitDef {
    let mut def = UnitDef::new(name.clone());
    def.description = "its file is gone".into();
    def.enabled = false;
    def.service.restart.when = Restart::No;
    def.service.exec_start = [Command {
        program: "/bin/false".into(),
        argv: ["false".into()].into(),
        ignore_failure: false,
        literal: true,
        privilege: Privilege::Unit,
    }]
    .into();
    def
}
