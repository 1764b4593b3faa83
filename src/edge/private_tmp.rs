//! Directories that are one run's own /tmp and /var/tmp (systemd.exec(5), PrivateTmp=). They lie in the host's, where only
//! root may look into them, and go with the run.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::base::InvocationId;

/// Where they lie, as the run sees them and as the host has them.
const PLACES: [&str; 2] = ["/tmp", "/var/tmp"];
/// Digits of an invocation id.
const ID_DIGITS: usize = 32;
/// The directory in each that the run sees.
const INNER: &str = "tmp";

/// Makes them, or finds those that an earlier process of the run has, and gives where they lie on the host. `instance`
/// tells daemons on one host apart.
///
/// The name cannot be guessed before it is there: the id is random, and is given to nobody before its first process runs.
///
/// # Errors
/// When one cannot be made, or is not what we have made.
pub fn make(instance: &str, invocation: InvocationId, unit: &str) -> io::Result<[PathBuf; 2]> {
    let [tmp, var_tmp] = PLACES.map(|place| make_in(Path::new(place), &name(instance, invocation, unit)));
    Ok([tmp?, var_tmp?])
}

fn make_in(place: &Path, name: &str) -> io::Result<PathBuf> {
    let outer = place.join(name);
    match fs::DirBuilder::new().mode(0o700).create(&outer) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(&outer) => {}
        Err(error) => return Err(error),
    }
    let inner = shown(&outer);
    match fs::create_dir(&inner) {
        // The mode of the host's; our own mask would take from it.
        Ok(()) => fs::set_permissions(&inner, fs::Permissions::from_mode(0o1777))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(outer)
}

/// What the run sees of one of them as its /tmp or /var/tmp.
pub fn shown(outer: &Path) -> PathBuf {
    outer.join(INNER)
}

fn is_ours(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == own && meta.mode() & 0o777 == 0o700)
}

/// The unit's name is for people.
fn name(instance: &str, invocation: InvocationId, unit: &str) -> String {
    const UNIT_BYTES_MAX: usize = 100;
    let end = (0..=unit.len().min(UNIT_BYTES_MAX)).rev().find(|end| unit.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{invocation}-{}", prefix(instance), &unit[..end])
}

fn prefix(instance: &str) -> String {
    format!("roundsman-private-{instance}-")
}

/// All that there are of this instance, each with the run that it was made for.
pub fn all(instance: &str) -> Vec<(InvocationId, PathBuf)> {
    let prefix = prefix(instance);
    let entries = PLACES.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let ours = entries.map(|entry| entry.path()).filter(|path| is_ours(path));
    ours.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
        Some((InvocationId::parse(name.get(..ID_DIGITS)?)?, path))
    })
    .collect()
}

/// Removes one with everything in it. May take long.
///
/// # Errors
/// When something of it stays.
pub fn remove(outer: &Path) -> io::Result<()> {
    match fs::remove_dir_all(outer) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_its_own_and_all_of_them_are_found() {
        let instance = format!("test-{}", std::process::id());
        let (one, other) = (InvocationId([1; 16]), InvocationId([2; 16]));
        let made = make(&instance, one, "web").unwrap();
        assert_eq!(make(&instance, one, "web").unwrap(), made, "the next process of the run");
        for path in &made {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
            assert_eq!(fs::metadata(shown(path)).unwrap().mode() & 0o7777, 0o1777);
            fs::write(shown(path).join("file"), "x").unwrap();
        }
        make(&instance, other, &"x".repeat(255)).unwrap();
        assert_eq!(all("somebody-else"), []);
        let found = all(&instance);
        let of = |id| found.iter().filter(|(of, _)| *of == id).count();
        assert_eq!((of(one), of(other)), (2, 2), "{found:?}");
        found.iter().for_each(|(_, path)| remove(path).unwrap());
        assert_eq!(all(&instance), []);
        remove(&made[0]).unwrap();
    }

    #[test]
    fn what_somebody_else_put_there_is_not_taken() {
        let instance = format!("squat-{}", std::process::id());
        let id = InvocationId([3; 16]);
        let place = Path::new("/tmp").join(name(&instance, id, "web"));
        fs::DirBuilder::new().mode(0o777).create(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(make(&instance, id, "web").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir(&place).unwrap();
        // What was made beside it is found, as at the end of the run.
        let found = all(&instance);
        assert_eq!(found.len(), 1, "{found:?}");
        remove(&found[0].1).unwrap();
        assert_eq!(all(&instance), []);
    }
}
