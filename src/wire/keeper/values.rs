//! How the words of `base` are written.
use std::time::Duration;

use super::codec::{DecodeError, Reader, Wire, Writer, wire_enum, wire_struct};
use crate::base::{
    ExitStatus, Generation, InvocationId, Mono, Now, Pid, ProcessKey, Role, RunId, Signal, SpawnFailure, SpawnStep,
    UnitName, Usage, Wall,
};

impl Wire for UnitName {
    fn put(&self, writer: &mut Writer) {
        writer.counted(self.as_str().as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = str::from_utf8(reader.counted()?).map_err(|_| DecodeError::Text("UTF-8"))?;
        let name = Self::new(text).map_err(|_| DecodeError::Text("a unit name"))?;
        // One meaning, one encoding: `web.service` would be read as `web` and written back shorter.
        if name.as_str() == text { Ok(name) } else { Err(DecodeError::Text("a unit name without its suffix")) }
    }
}

impl Wire for Generation {
    fn put(&self, writer: &mut Writer) {
        self.0.put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::take(reader).map(Self)
    }
}

impl Wire for InvocationId {
    fn put(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut id = Self::default();
        id.0.copy_from_slice(reader.raw(16)?);
        Ok(id)
    }
}

impl Wire for Pid {
    fn put(&self, writer: &mut Writer) {
        self.raw().put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let raw = i32::take(reader)?;
        Self::new(raw).ok_or_else(|| DecodeError::Value { what: "pid", number: u64::from(raw.cast_unsigned()) })
    }
}

impl Wire for Signal {
    fn put(&self, writer: &mut Writer) {
        self.raw().put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let raw = i32::take(reader)?;
        Self::new(raw).ok_or_else(|| DecodeError::Value { what: "signal", number: u64::from(raw.cast_unsigned()) })
    }
}

impl Wire for Now {
    fn put(&self, writer: &mut Writer) {
        self.mono.0.put(writer);
        self.wall.0.put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { mono: Mono(u64::take(reader)?), wall: Wall(i64::take(reader)?) })
    }
}

impl Wire for Duration {
    fn put(&self, writer: &mut Writer) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::take(reader).map(Self::from_nanos)
    }
}

wire_struct!(RunId { unit, generation });
wire_struct!(ProcessKey { run, role });
wire_struct!(Usage { user, system, max_rss_kib });
wire_struct!(SpawnFailure { step, errno });
wire_enum!(Role { 0 Main, 1 Control(number), 2 Probe(number), 3 Named(number) });
wire_enum!(ExitStatus { 0 Exited(code), 1 Signaled { signal, core }, 2 Unknown });
wire_enum!(SpawnStep {
    0 Prepare, 1 Clone, 2 Session, 3 Stdin, 4 Descriptors, 5 OomScore, 6 Nice, 7 Limits, 8 Groups, 9 Group,
    10 User, 11 Chdir, 12 NoNewPrivileges, 13 Signals, 14 Exec, 15 Stdout, 16 Stderr, 17 SetScheduler,
    18 CpuAffinity, 19 IoPriority, 20 TimerSlack, 21 Personality, 22 RuntimeDirectory, 23 StateDirectory,
    24 CacheDirectory, 25 LogsDirectory, 26 ConfigurationDirectory, 27 Credentials, 28 Chroot, 29 Capabilities,
    30 Keyring, 31 SecureBits, 32 Network, 33 Namespace, 34 BoundingSet, 35 Seccomp,
    48 Cgroup,
});
