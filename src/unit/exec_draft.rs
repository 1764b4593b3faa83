//! What the files say of systemd.exec(5) while they are read, and what it comes to together.

use std::path::Path;

use super::{
    check::Check,
    connection,
    diag::Report,
    spec::{
        Accept, At, Capabilities, CpuPolicy, Credential, CredentialSource, DirectoryKind, DirectoryName, ExecSpec,
        Input, NotifyAccess, Output, ServiceSpec, Sockets, Switch, Terminal, UnitDef, Value,
    },
};

/// Lists of keys that are added to, and values whose default depends on others.
#[derive(Debug, Default)]
pub(super) struct ExecDraft {
    pub stdin: Option<InputDraft>,
    pub stdin_data: Vec<u8>,
    pub stdout: Option<Output>,
    pub search_path: Vec<Box<Path>>,
    pub pass_environment: Vec<Box<str>>,
    pub unset_environment: Vec<Box<str>>,
    pub cpu_affinity: Vec<u16>,
    /// One list for each [`DirectoryKind`], in its order: path and link.
    pub directories: [Vec<NamedDirectory>; 5],
    pub load_credentials: Vec<(Box<str>, CredentialSource)>,
    pub set_credentials: Vec<(Box<str>, Value)>,
    pub mount_api_vfs: Option<bool>,
}

/// The path of a directory, and of a link to it.
pub(super) type NamedDirectory = (Box<str>, Option<Box<str>>);

/// `standard_input` before its data is known.
#[derive(Debug, Clone)]
pub(super) enum InputDraft {
    Data,
    Other(Input),
}

impl ExecDraft {
    pub(super) fn directories(&mut self, kind: DirectoryKind) -> &mut Vec<NamedDirectory> {
        let [runtime, state, cache, logs, configuration] = &mut self.directories;
        match kind {
            DirectoryKind::Runtime => runtime,
            DirectoryKind::State => state,
            DirectoryKind::Cache => cache,
            DirectoryKind::Logs => logs,
            DirectoryKind::Configuration => configuration,
        }
    }

    /// Moves everything into the definition, of which the rest is known.
    pub(super) fn finish(mut self, service: &mut ServiceSpec) {
        let exec = &mut *service.exec;
        let data_is_given = !self.stdin_data.is_empty();
        exec.stdin = match self.stdin.take() {
            Some(InputDraft::Other(input)) => input,
            None if !data_is_given => Input::Null,
            Some(InputDraft::Data) | None => Input::Data(std::mem::take(&mut self.stdin_data).into()),
        };
        let output_default = match exec.stdin {
            Input::Terminal(_) | Input::Socket | Input::Fd(_) => Output::Inherit,
            Input::Null | Input::File(_) | Input::Data(_) => Output::Log,
        };
        exec.stdout = self.stdout.take().unwrap_or(output_default);
        exec.search_path = std::mem::take(&mut self.search_path).into();
        exec.pass_environment = std::mem::take(&mut self.pass_environment).into();
        exec.unset_environment = std::mem::take(&mut self.unset_environment).into();
        self.cpu_affinity.sort_unstable();
        self.cpu_affinity.dedup();
        exec.scheduling.cpu_affinity = std::mem::take(&mut self.cpu_affinity).into();
        for kind in DirectoryKind::ALL {
            exec.directories.of_mut(kind).names = names(std::mem::take(self.directories(kind))).into();
        }
        exec.credentials = credentials(self.load_credentials, self.set_credentials).into();
        let notifies = service.notify_access != NotifyAccess::None;
        finish_root(exec, self.mount_api_vfs, notifies);
    }
}

/// Below a root there is the kernel's unless the unit says otherwise. What else is shown there has to be mounted as well.
fn finish_root(exec: &mut ExecSpec, mount_api_vfs: Option<bool>, notifies: bool) {
    exec.root_directory.take_if(|root| root.parent().is_none());
    let has_root = exec.root_directory.is_some();
    let has_directories = DirectoryKind::ALL.iter().any(|kind| !exec.directories.of(*kind).names.is_empty());
    let api = mount_api_vfs.unwrap_or(has_root);
    if api || has_root && (has_directories || notifies || !exec.credentials.is_empty()) {
        exec.sandbox.get_or_insert_default().on.set(Switch::MountApiVfs, api);
    }
}

/// Each directory once, with all its links.
fn names(entries: Vec<NamedDirectory>) -> Vec<DirectoryName> {
    let mut names: Vec<(Box<str>, Vec<Box<str>>)> = Vec::new();
    for (path, link) in entries {
        let at = names.iter().position(|(known, _)| *known == path).unwrap_or_else(|| {
            names.push((path, Vec::new()));
            names.len() - 1
        });
        if let Some((_, links)) = names.get_mut(at) {
            links.extend(link);
        }
    }
    names.into_iter().map(|(path, links)| DirectoryName { path, links: links.into() }).collect()
}

/// Each id once; the last that was given counts.
fn credentials(load: Vec<(Box<str>, CredentialSource)>, set: Vec<(Box<str>, Value)>) -> Vec<Credential> {
    let mut all: Vec<Credential> = Vec::new();
    let mut entry = |id: Box<str>, change: &mut dyn FnMut(&mut Credential)| {
        let at = all.iter().position(|known| known.id == id).unwrap_or_else(|| {
            all.push(Credential { id, source: None, value: None });
            all.len() - 1
        });
        if let Some(found) = all.get_mut(at) {
            change(found);
        }
    };
    for (id, source) in load {
        entry(id, &mut |found| found.source = Some(source.clone()));
    }
    for (id, value) in set {
        entry(id, &mut |found| found.value = Some(value.clone()));
    }
    all
}

impl Check<'_> {
    /// Values of systemd.exec(5) that do not go together.
    pub(super) fn exec(&self, unit: &UnitDef, report: &mut Report<'_>) {
        let exec = &*unit.service.exec;
        if exec.working_directory.at == At::Home && exec.user.is_none() {
            let help = Some("set user, or write the path".to_owned());
            let place = self.service_at("working_directory");
            report.error(place, "\"~\" is the home directory of a user, and no user is set", help);
        }
        self.priorities(exec, report);
        self.capabilities(exec, report);
        self.sockets_as_stdio(exec, &unit.sockets, report);
        self.root(exec, report);
    }

    /// Paths are the host's unless they say otherwise, and most who write one mean the service's.
    fn root(&self, exec: &ExecSpec, report: &mut Report<'_>) {
        let (Some(root), Some(sandbox)) = (exec.root_directory.as_deref(), exec.sandbox.as_deref()) else { return };
        let lists = [
            ("read_only_paths", &sandbox.read_only_paths),
            ("read_write_paths", &sandbox.read_write_paths),
            ("inaccessible_paths", &sandbox.inaccessible_paths),
            ("exec_paths", &sandbox.exec_paths),
            ("no_exec_paths", &sandbox.no_exec_paths),
        ];
        for (key, list) in lists {
            for path in list.iter().filter(|path| path.within(Some(root)).is_none()) {
                let path = path.path.display();
                let help = Some(format!("write \"+{path}\" for what the service sees there"));
                let message =
                    format!("{path} changes nothing: it is the host's, and lies outside of \"root_directory\"");
                report.warning(self.service_at(key), message, help);
            }
        }
    }

    fn priorities(&self, exec: &ExecSpec, report: &mut Report<'_>) {
        let scheduling = &exec.scheduling;
        let real_time = scheduling.cpu_policy.is_some_and(CpuPolicy::is_real_time);
        let place = self.service_at("cpu_scheduling_priority");
        match scheduling.cpu_priority {
            Some(0) if real_time => {
                report.error(place, "the priority of a real-time policy is a number from 1 to 99", None);
            }
            Some(priority) if priority > 0 && !real_time => {
                let help = Some("set cpu_scheduling_policy to fifo or rr, or use nice".to_owned());
                report.error(place, "only the real-time policies have priorities", help);
            }
            Some(_) | None => {}
        }
    }

    fn capabilities(&self, exec: &ExecSpec, report: &mut Report<'_>) {
        let Some(bounding) = exec.capability_bounding_set else { return };
        let outside = Capabilities(exec.ambient_capabilities.0 & !bounding.0);
        if outside != Capabilities::default() {
            let place = self.service_at("ambient_capabilities");
            let message = format!("{outside} cannot be ambient: \"capability_bounding_set\" excludes it");
            report.error(place, message, None);
        }
    }

    fn sockets_as_stdio(&self, exec: &ExecSpec, sockets: &Sockets, report: &mut Report<'_>) {
        let stderr = exec.stderr.as_ref();
        let outputs = [("standard_output", Some(&exec.stdout)), ("standard_error", stderr)];
        let mut wanted: Vec<(&str, Option<&str>)> = Vec::new();
        match &exec.stdin {
            Input::Socket => wanted.push(("standard_input", None)),
            Input::Fd(name) => wanted.push(("standard_input", Some(name))),
            Input::Null | Input::File(_) | Input::Data(_) | Input::Terminal(_) => {}
        }
        for (key, output) in outputs {
            match output {
                Some(Output::Socket) => wanted.push((key, None)),
                Some(Output::Fd(name)) => wanted.push((key, Some(name))),
                Some(Output::Log | Output::Null | Output::Inherit | Output::File(..) | Output::Terminal) | None => {}
            }
        }
        for (key, name) in wanted {
            let place = self.service_at(key);
            if sockets.accept != Accept::Service {
                if name.is_some_and(|name| name != connection::DESCRIPTOR) {
                    let message = format!("{key:?} can only be \"socket\" or \"fd:{}\" here", connection::DESCRIPTOR);
                    report.error(place, message, None);
                }
                continue;
            }
            let sockets = &sockets.list;
            match name {
                None if sockets.len() != 1 => {
                    let message = format!("{key:?} can be \"socket\" only with one socket; here are {}", sockets.len());
                    report.error(place, message, Some("name one of them: fd:NAME".to_owned()));
                }
                Some(name) if !sockets.iter().any(|socket| *socket.name == *name) => {
                    let help = Some("give a socket this file_descriptor_name".to_owned());
                    report.error(place, format!("{key:?} names a socket {name:?} that the unit does not have"), help);
                }
                None | Some(_) => {}
            }
        }
        let reads_terminal = matches!(exec.stdin, Input::Terminal(Terminal::Wait));
        if reads_terminal && exec.tty_path.is_none() {
            let place = self.service_at("standard_input");
            let help = Some("set tty_path, or use tty-fail".to_owned());
            report.warning(place, "the service waits for /dev/console while another session has it", help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(root: &str, mount_api_vfs: Option<bool>, notify_access: NotifyAccess, state: &str) -> ExecSpec {
        let mut service = ServiceSpec { notify_access, ..ServiceSpec::default() };
        service.exec.root_directory = (!root.is_empty()).then(|| Path::new(root).into());
        let mut draft = ExecDraft { mount_api_vfs, ..ExecDraft::default() };
        if !state.is_empty() {
            draft.directories(DirectoryKind::State).push((state.into(), None));
        }
        draft.finish(&mut service);
        (*service.exec).clone()
    }

    /// MountAPIVFS= is on under systemd 252 wherever there is another root, unless it says otherwise.
    #[test]
    fn a_root_is_mounted_in_unless_there_is_nothing_to_mount() {
        let api = |exec: &ExecSpec| exec.sandbox.as_ref().map(|sandbox| sandbox.on.has(Switch::MountApiVfs));
        let none = NotifyAccess::None;
        assert_eq!(api(&finished("/srv/jail", None, none, "")), Some(true));
        assert_eq!(api(&finished("/srv/jail", Some(false), none, "")), None, "a plain chroot");
        assert_eq!(api(&finished("/srv/jail", Some(false), none, "own")), Some(false));
        assert_eq!(api(&finished("/srv/jail", Some(false), NotifyAccess::Main, "")), Some(false));
        assert_eq!(api(&finished("", None, NotifyAccess::Main, "own")), None);
        let host = finished("/", None, none, "");
        assert_eq!((api(&host), host.root_directory), (None, None), "the host's own root is none");
    }
}
