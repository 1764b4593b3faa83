//! The unit directory: finds unit files and drop-ins and reads their texts. What they mean is `unit`'s business.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The largest unit file we read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One text of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Where it stands.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// Why a path cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory itself.
    #[error("cannot list {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is none (a fifo, a device), or one that is too long, or not UTF-8.
    #[error("cannot use {} as a unit file: {reason}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl ReadError {
    /// What cannot be read.
    pub fn path(&self) -> &Path {
        match self {
            Self::List { path, .. } | Self::Read { path, .. } | Self::Unfit { path, .. } => path,
        }
    }
}

/// Reads every `*.toml` of `dir` and of `NAME.toml.d/` beside it, unit files first, in order of name.
///
/// A directory that does not exist holds no units. All unreadable files are reported, not only the first.
pub fn read(dir: &Path) -> Result<Vec<Text>, Vec<ReadError>> {
    let mut texts = Vec::new();
    let mut errors = Vec::new();
    let (files, dropin_dirs) = match listed(dir) {
        Ok(lists) => lists,
        Err(error) => return Err(vec![error]),
    };
    for path in files {
        add(&path, &mut texts, &mut errors);
    }
    for folder in dropin_dirs {
        match listed(&folder) {
            Ok((files, _)) => files.iter().for_each(|path| add(path, &mut texts, &mut errors)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(texts) } else { Err(errors) }
}

/// The `*.toml` files and the `*.toml.d` folders of `dir`, each in order of name. Hidden files are none of ours.
fn listed(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ReadError> {
    let failed = |source| ReadError::List { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(failed(error)),
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if name.ends_with(".toml") {
            files.push(path);
        } else if name.ends_with(".toml.d") {
            folders.push(path);
        }
    }
    files.sort_unstable();
    folders.sort_unstable();
    Ok((files, folders))
}

fn add(path: &Path, texts: &mut Vec<Text>, errors: &mut Vec<ReadError>) {
    match read_text(path) {
        Ok(text) => texts.push(Text { path: path.to_owned(), text }),
        Err(error) => errors.push(error),
    }
}

/// Reads one file of text; never waits for a fifo or a device.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let failed = |source| ReadError::Read { path: path.to_owned(), source };
    let unfit = |reason| ReadError::Unfit { path: path.to_owned(), reason };
    // O_NONBLOCK: the open of a fifo would otherwise wait for a writer.
    let file =
        File::options().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(unfit("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(FILE_BYTES_MAX)).unwrap_or(0));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unfit("it is larger than 4 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| unfit("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_files_come_before_their_drop_ins() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("web.toml.d")).expect("mkdir");
        for (name, text) in [
            ("web.toml", "a"),
            ("web.toml.d/20-x.toml", "c"),
            ("web.toml.d/10-x.toml", "b"),
            (".#web.toml", "z"),
            ("README", ""),
        ] {
            fs::write(dir.path().join(name), text).expect("write");
        }
        let texts = read(dir.path()).expect("readable");
        let seen: Vec<_> = texts.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(seen, ["a", "b", "c"]);
    }

    #[test]
    fn a_fifo_or_a_directory_in_place_of_a_unit_file_is_named_and_waits_for_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        nix::unistd::mkfifo(&dir.path().join("a.toml"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        fs::create_dir(dir.path().join("b.toml")).expect("mkdir");
        let errors = read(dir.path()).expect_err("unfit");
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|e| matches!(e, ReadError::Unfit { .. })), "{errors:?}");
    }

    #[test]
    fn no_directory_means_no_units() {
        assert_eq!(read(Path::new("/no/such/directory")).expect("empty"), []);
    }
}
