//! Units for tests.

use crate::{
    base::{Severity, TimeSpan, UnitName},
    unit::{
        UnitDef,
        spec::{
            Accept, Address, Command, ConnectionLimits, ExternalManager, ExternalSpec, KillMode, Listen, NotifyAccess,
            OnUnhealthy, Privilege, ProbeCheck, ProbeSpec, Restart, ServiceKind, SocketKind, SocketSpec, TcpCheck,
        },
    },
};

pub(super) fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// A simple service without restart (and without a pause when a test gives it one), `start_limit` as systemd's default,
/// deadlines of 90 seconds.
pub(super) fn service(text: &str) -> UnitDef {
    let mut def = super::super::orphan::def(&name(text));
    def.description = format!("the {text} service").into();
    def.enabled = true;
    def.service.exec_start = [command(text)].into();
    def.service.restart.delay = TimeSpan::ZERO;
    def
}

pub(super) fn with(text: &str, change: impl FnOnce(&mut UnitDef)) -> UnitDef {
    let mut def = service(text);
    change(&mut def);
    def
}

/// One that listens on a port until there is traffic.
pub(super) fn lazy(text: &str) -> UnitDef {
    with(text, |def| {
        let address = Address::Inet(([127, 0, 0, 1], 80).into());
        def.sockets.list = [SocketSpec::new(Listen::Socket(SocketKind::Stream, address), text)].into();
        def.sockets.lazy = true;
    })
}

/// A template whose instances are made by connections.
pub(super) fn acceptor(text: &str, limits: ConnectionLimits) -> UnitDef {
    let mut def = lazy(text);
    def.sockets.lazy = false;
    def.sockets.accept = Accept::Each(limits);
    def.sockets.trigger_limit.burst = 200;
    def
}

/// The instance for a connection.
pub(super) fn connection(text: &str) -> UnitDef {
    with(text, |def| {
        def.sockets.accept = Accept::Connection;
        def.enabled = false;
    })
}

/// Restarted always, at once, without limit.
pub(super) fn eager(text: &str) -> UnitDef {
    with(text, |def| {
        def.service.restart.when = Restart::Always;
        def.start_limit.interval = TimeSpan::ZERO;
    })
}

pub(super) fn notifying(text: &str) -> UnitDef {
    with(text, |def| {
        def.service.kind = ServiceKind::Notify;
        def.service.notify_access = NotifyAccess::Main;
    })
}

pub(super) fn command(text: &str) -> Command {
    Command {
        program: format!("/bin/{text}").into(),
        argv: [text.into()].into(),
        ignore_failure: false,
        literal: false,
        privilege: Privilege::Unit,
    }
}

pub(super) fn probe(text: &str, on_unhealthy: OnUnhealthy) -> ProbeSpec {
    ProbeSpec {
        name: text.into(),
        check: Box::new(ProbeCheck::Tcp(TcpCheck { address: "127.0.0.1:80".into(), ..TcpCheck::default() })),
        interval: TimeSpan::from_secs(10),
        timeout: TimeSpan::from_secs(2),
        initial_delay: TimeSpan::ZERO,
        startup_grace: TimeSpan::ZERO,
        jitter: TimeSpan::ZERO,
        backoff_max: TimeSpan::ZERO,
        unhealthy_after: 3,
        unhealthy_window: 3,
        healthy_after: 2,
        depends_on: [].into(),
        on_unhealthy,
        severity: Severity::Critical,
    }
}

/// One that systemd keeps, looked at every five seconds.
pub(super) fn external(text: &str) -> UnitDef {
    with(text, |def| {
        def.service.kind = ServiceKind::Oneshot;
        def.service.remain_after_exit = true;
        def.service.exec_stop = [command("stop")].into();
        def.service.exec_reload = [command("reload")].into();
        def.service.kill.mode = KillMode::Process;
        def.external = Some(Box::new(ExternalSpec {
            manager: ExternalManager::Systemd(def.name.full().into()),
            poll_interval: TimeSpan::from_secs(5),
            restart: [command("restart")].into(),
        }));
    })
}
