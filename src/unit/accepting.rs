//! The last look at a unit that accepts connections (systemd.socket(5), Accept=yes).

use super::{
    check::Clean,
    diag::Report,
    draft::Draft,
    listening::At,
    spec::{Accept, Listen, Restart, SocketKind},
};

/// systemd's default of TriggerLimitBurst= where each connection is a start.
const TRIGGER_BURST: u32 = 200;
/// Longest name of a template: what stands behind the @ of an instance has up to 112 bytes, a name 255.
const TEMPLATE_BYTES_MAX: usize = 140;

/// Who takes the connections of the unit in `draft`, which is a template read for itself or for one of its instances.
pub(super) fn finish(draft: &mut Draft, at: At<'_>, report: &mut Report<'_>) -> Accept {
    if !draft.sockets.accept {
        for key in ["max_connections", "max_connections_per_source"] {
            if let Some(place) = at.places.find("socket", key) {
                report.warning(place, format!("{key:?} has no effect without \"accept\""), None);
            }
        }
        return Accept::Service;
    }
    let name = &draft.def.name;
    if !name.is_template() && name.template().is_none() {
        let help = Some(format!("call the file {name}@.toml: each connection makes an instance of it"));
        report.error(at.key("accept"), "only a template can accept: a connection is an instance of it", help);
        return Accept::Each(draft.sockets.limits);
    }
    if at.places.find("socket", "trigger_limit_burst").is_none() {
        draft.def.sockets.trigger_limit.burst = TRIGGER_BURST;
    }
    if at.clean == Clean::Yes {
        meaning(draft, at, report);
    }
    if draft.def.name.is_template() { Accept::Each(draft.sockets.limits) } else { Accept::Connection }
}

fn meaning(draft: &Draft, at: At<'_>, report: &mut Report<'_>) {
    let (sockets, name) = (&draft.sockets, &draft.def.name);
    if sockets.listen.is_empty() {
        let help = Some("add listen_stream, for example".to_owned());
        report.error(at.key("accept"), "nothing to accept connections of", help);
    }
    for (listen, place) in &sockets.listen {
        match listen {
            Listen::Socket(SocketKind::Stream | SocketKind::SequentialPacket, _) => {}
            Listen::Socket(SocketKind::Datagram, _) | Listen::Fifo(_) => {
                let message = format!("a {} has no connections to accept: {listen}", listen.kind());
                report.error(*place, message, Some("give it a unit of its own without \"accept\"".to_owned()));
            }
        }
    }
    if name.is_template() && name.as_str().len() > TEMPLATE_BYTES_MAX {
        let message = format!("the name of a template that accepts has at most {TEMPLATE_BYTES_MAX} bytes");
        report.error(at.begin, message, None);
    }
    // systemd starts it again, but without its connection.
    if draft.def.service.restart.when != Restart::No {
        let place = at.places.find("service", "restart").unwrap_or(at.begin);
        let help = Some("remove \"restart\"".to_owned());
        report.error(place, "what serves a connection cannot be restarted: the connection is gone with it", help);
    }
    if let Some(timer) = &draft.timer {
        report.error(timer.place, "a template that accepts has no timer: connections make its instances", None);
    }
    for (instance, place) in &draft.instances {
        let message = format!("the instance {instance:?} cannot be there from the start: connections make instances");
        report.error(*place, message, None);
    }
    let idle = [
        ("lazy", "it always listens, and what runs are its instances"),
        ("file_descriptor_name", "a connection is called \"connection\""),
        ("flush_pending", "connections are taken as they come"),
    ];
    for (key, why) in idle {
        if let Some(place) = at.places.find("socket", key) {
            report.warning(place, format!("{key:?} has no effect with \"accept\": {why}"), None);
        }
    }
}
