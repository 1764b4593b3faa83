use std::path::Path;

/// The largest value that is read.
const VALUE_BYTES_MAX: usize = 256;

/// An extended attribute of a file, xattr(7); `None` when there is none, or none that we may read.
pub fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; VALUE_BYTES_MAX];
    let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_read_as_it_was_written() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert_eq!(attribute(file.path(), "user.delegate"), None);
        rustix::fs::setxattr(file.path(), "user.delegate", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(attribute(file.path(), "user.delegate").as_deref(), Some(b"1".as_slice()));
    }
}
