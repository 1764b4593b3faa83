use super::{at, call};
use crate::{
    base::SpawnStep,
    sys::spawn::{plan::Plan, program::Keyring},
};

/// More capabilities than there will be in a set of 64 bits.
const CAPABILITIES: usize = 64;
/// _LINUX_CAPABILITY_VERSION_3 of capset(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

// Numbers of keyctl(2).
const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
const KEYCTL_LINK: usize = 8;
const SESSION_KEYRING: usize = -3_isize as usize;
const USER_KEYRING: usize = -4_isize as usize;

pub(super) fn join_groups(plan: &Plan) -> Result<(), i32> {
    let Some((_, gid)) = plan.user else { return Ok(()) };
    let gid = gid as usize;
    at(plan, SpawnStep::Groups);
    call(libc::SYS_setgroups, [plan.groups_count, plan.groups.addr(), 0, 0, 0, 0])?;
    at(plan, SpawnStep::Group);
    call(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0])?;
    Ok(())
}

pub(super) fn change_root(plan: &Plan) -> Result<(), i32> {
    if plan.root.is_null() {
        return Ok(());
    }
    at(plan, SpawnStep::Chroot);
    call(libc::SYS_chroot, [plan.root.addr(), 0, 0, 0, 0, 0])?;
    // A directory outside of the new root would be a way out of it.
    call(libc::SYS_chdir, [c"/".as_ptr().addr(), 0, 0, 0, 0, 0])?;
    Ok(())
}

/// What leaves the bounding set leaves the inheritable set as well; exec takes it from the others.
pub(super) fn drop_bounding(plan: &Plan) -> Result<(), i32> {
    let Some(bounding) = plan.privileges.bounding else { return Ok(()) };
    at(plan, SpawnStep::BoundingSet);
    for capability in 0..CAPABILITIES {
        let held = match call(libc::SYS_prctl, [libc::PR_CAPBSET_READ as usize, capability, 0, 0, 0, 0]) {
            // The end of what the kernel knows. Any other error would leave them to the program.
            Err(libc::EINVAL) => break,
            held => held?,
        };
        if held == 1 && bounding & (1 << capability) == 0 {
            call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability, 0, 0, 0, 0])?;
        }
    }
    let mut sets = Sets::read()?;
    if sets.inheritable() & !bounding != 0 {
        sets.set_inheritable(sets.inheritable() & bounding);
        sets.write()?;
    }
    Ok(())
}

/// Ambient capabilities and the right to set secure bits have to outlive the change of the user.
pub(super) fn become_user(plan: &Plan) -> Result<(), i32> {
    let privileges = &plan.privileges;
    let keeps = privileges.ambient != 0 || privileges.secure_bits != 0;
    if let Some((uid, _)) = plan.user {
        let uid = uid as usize;
        if keeps {
            at(plan, SpawnStep::Capabilities);
            call(libc::SYS_prctl, [libc::PR_SET_KEEPCAPS as usize, 1, 0, 0, 0, 0])?;
        }
        at(plan, SpawnStep::User);
        call(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0])?;
    }
    if keeps {
        at(plan, SpawnStep::Capabilities);
        let mut sets = Sets::read()?;
        sets.make_effective();
        sets.set_inheritable(sets.inheritable() | privileges.ambient);
        sets.write()?;
    }
    for capability in (0..CAPABILITIES).filter(|capability| privileges.ambient & (1 << capability) != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
        call(libc::SYS_prctl, [libc::PR_CAP_AMBIENT as usize, raise, capability, 0, 0, 0])?;
    }
    Ok(())
}

/// As the user, to whom it then belongs. Where keys are not to be had, systemd goes on without as well.
pub(super) fn join_keyring(plan: &Plan) -> Result<(), i32> {
    if plan.privileges.keyring == Keyring::Inherit {
        return Ok(());
    }
    at(plan, SpawnStep::Keyring);
    let joined = call(libc::SYS_keyctl, [KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0, 0]);
    if let Err(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EDQUOT) = joined {
        return Ok(());
    }
    joined?;
    if plan.privileges.keyring == Keyring::Shared {
        call(libc::SYS_keyctl, [KEYCTL_LINK, USER_KEYRING, SESSION_KEYRING, 0, 0, 0])?;
    }
    Ok(())
}

pub(super) fn secure_bits(plan: &Plan) -> Result<(), i32> {
    let bits = plan.privileges.secure_bits as usize;
    if bits != 0 {
        at(plan, SpawnStep::SecureBits);
        call(libc::SYS_prctl, [libc::PR_SET_SECUREBITS as usize, bits, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Capability sets as capset(2) takes them: effective, permitted and inheritable, the low half of each and then the high.
struct Sets([u32; 6]);

impl Sets {
    fn read() -> Result<Self, i32> {
        let mut sets = Self([0; 6]);
        let head = [CAPABILITY_VERSION, 0];
        call(libc::SYS_capget, [head.as_ptr().addr(), sets.0.as_mut_ptr().addr(), 0, 0, 0, 0])?;
        Ok(sets)
    }

    fn write(&self) -> Result<(), i32> {
        let head = [CAPABILITY_VERSION, 0];
        call(libc::SYS_capset, [head.as_ptr().addr(), self.0.as_ptr().addr(), 0, 0, 0, 0])?;
        Ok(())
    }

    const fn inheritable(&self) -> u64 {
        let [_, _, low, _, _, high] = self.0;
        (high as u64) << 32 | low as u64
    }

    const fn set_inheritable(&mut self, to: u64) {
        let [_, _, low, _, _, high] = &mut self.0;
        (*low, *high) = (to as u32, (to >> 32) as u32);
    }

    /// All that is permitted.
    const fn make_effective(&mut self) {
        let [low, low_permitted, _, high, high_permitted, _] = &mut self.0;
        (*low, *high) = (*low_permitted, *high_permitted);
    }
}
