//! Options of a temporary file system, as mount(8) has them.

/// Options, parted into what mount(2) takes as flags and what tmpfs(5) reads itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::unit) struct Options {
    pub read_only: bool,
    pub flags: u32,
    pub data: String,
}

/// Reads options over the defaults `nodev,strictatime,mode=0755` and the sizes that systemd gives; the option that is none
/// otherwise.
pub(in crate::unit) fn tmpfs(text: &str) -> Result<Options, &str> {
    let mut options = Options { read_only: false, flags: NO_DEVICES | STRICT_ATIME, data: String::new() };
    let mut sizes = vec![("mode", "0755"), ("size", "10%"), ("nr_inodes", "400k")];
    for option in text.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => options.read_only = true,
            "rw" => options.read_only = false,
            other => match FLAGS.iter().find(|(name, ..)| *name == other) {
                Some((_, flag, true)) => options.flags |= flag,
                Some((_, flag, false)) => options.flags &= !flag,
                None => {
                    let (name, _) = other.split_once('=').filter(|(name, _)| DATA.contains(name)).ok_or(option)?;
                    sizes.retain(|(known, _)| *known != name);
                    sizes.extend(other.split_once('='));
                }
            },
        }
    }
    let data: Vec<String> = sizes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    options.data = data.join(",");
    Ok(options)
}

/// mount(2).
pub(super) const NO_SUID: u32 = 2;
pub(super) const NO_DEVICES: u32 = 4;
pub(super) const NO_EXEC: u32 = 8;
pub(super) const STRICT_ATIME: u32 = 1 << 24;

const FLAGS: [(&str, u32, bool); 14] = [
    ("nosuid", NO_SUID, true),
    ("suid", NO_SUID, false),
    ("nodev", NO_DEVICES, true),
    ("dev", NO_DEVICES, false),
    ("noexec", NO_EXEC, true),
    ("exec", NO_EXEC, false),
    ("noatime", 1 << 10, true),
    ("atime", 1 << 10, false),
    ("nodiratime", 1 << 11, true),
    ("diratime", 1 << 11, false),
    ("relatime", 1 << 21, true),
    ("norelatime", 1 << 21, false),
    ("strictatime", STRICT_ATIME, true),
    ("nostrictatime", STRICT_ATIME, false),
];
const DATA: [&str; 9] = ["mode", "size", "nr_inodes", "nr_blocks", "uid", "gid", "huge", "mpol", "noswap"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_overrides_the_defaults() {
        let plain = tmpfs("").unwrap();
        assert_eq!((plain.read_only, plain.flags), (false, NO_DEVICES | STRICT_ATIME));
        assert_eq!(plain.data, "mode=0755,size=10%,nr_inodes=400k");
        let other = tmpfs("ro,dev,nosuid,mode=0700,size=1M,nostrictatime").unwrap();
        assert_eq!((other.read_only, other.flags), (true, NO_SUID));
        assert_eq!(other.data, "nr_inodes=400k,mode=0700,size=1M");
        assert_eq!(tmpfs("ro,colour=red"), Err("colour=red"));
    }
}
