//! How the words of `base::confinement` are written.
use super::codec::{DecodeError, Reader, Wire, Writer, wire_enum, wire_struct};
use crate::base::confinement::{Confinement, Instruction, MountStep, Network};

impl Wire for Box<Confinement> {
    fn put(&self, writer: &mut Writer) {
        self.as_ref().put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Confinement::take(reader).map(Self::new)
    }
}

wire_struct!(Confinement { network, namespaces, mounts, drop_capabilities, filter });
wire_struct!(Instruction { code, jump_true, jump_false, operand });
wire_enum!(Network { 0 Shared, 1 Private, 2 Joined(path) });
wire_enum!(MountStep {
    0 Propagate(flags),
    1 Hold { place, path, recursive, may_miss },
    2 Put { place, path, may_miss },
    3 Mount { kind, path, flags, options, may_miss },
    4 MakeDirectory { path },
    5 MakeFile { path },
    6 MakeLink { path, to },
    7 Restrict { path, attributes, recursive, may_miss },
    8 EnterRoot { path },
});
