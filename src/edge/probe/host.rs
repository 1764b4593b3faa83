//! What the machine itself has: room on a disk, a file, a certificate. Read beside everything else: a disk may hang.

use std::{
    fs, io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use nix::sys::statvfs::statvfs;
use x509_cert::{Certificate, der::Decode};

use super::Prober;
use crate::{
    base::{ByteSize, Wall},
    edge::{clock, disk, tls},
    node::input::Finding,
    unit::spec::{CertificateCheck, CertificatePlace, DiskCheck, FileCheck},
};

/// Largest certificate file that is read.
const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Prober {
    pub(super) async fn look_at_certificate(&self, check: &CertificateCheck) -> Result<Finding, String> {
        let der = match &check.of {
            CertificatePlace::File(file) => {
                let file = file.clone();
                self.beside(file.to_path_buf(), move || certificate_of(&file)).await?
            }
            CertificatePlace::Presented(address, name) => {
                let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
                let stream = self.connect(address).await?;
                tls::shown_certificate(stream, name.as_deref().unwrap_or(host)).await?
            }
        };
        judge_validity(validity(&der)?, wall(), check.days)
    }
}

/// Of a certificate that is valid from and to these moments.
fn judge_validity((begins, ends): (Duration, Duration), now: Duration, days_min: u32) -> Result<Finding, String> {
    if now < begins {
        return Err(format!("the certificate is not valid before {}", date(begins)));
    }
    let days = |span: Duration| span.as_secs() / DAY.as_secs();
    let Some(left) = ends.checked_sub(now) else {
        return Err(format!("the certificate expired on {}, {} days ago", date(ends), days(now - ends)));
    };
    if left < DAY * days_min {
        let (days, date) = (days(left), date(ends));
        return Ok(Finding::Degraded(format!(
            "the certificate expires on {date}, in {days} days, less than {days_min}"
        )));
    }
    Ok(Finding::Good)
}

/// The day of a moment since 1970, UTC.
fn date(at: Duration) -> String {
    let at = clock::rfc3339(Wall(i64::try_from(at.as_micros()).unwrap_or(i64::MAX)));
    at.split('T').next().unwrap_or_default().to_owned()
}

fn certificate_of(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
    if fs::metadata(file).map_err(|error| failed(&error))?.len() > CERTIFICATE_BYTES_MAX {
        return Err(failed(&format!("it is longer than {}", ByteSize(CERTIFICATE_BYTES_MAX))));
    }
    tls::first_of_pem(&fs::read(file).map_err(|error| failed(&error))?).map_err(|error| failed(&error))
}

/// Now, since 1970.
fn wall() -> Duration {
    Duration::from_micros(u64::try_from(clock::now().wall.0).unwrap_or(0))
}

/// From when and until when a certificate is valid, since 1970.
fn validity(der: &[u8]) -> Result<(Duration, Duration), String> {
    let certificate = Certificate::from_der(der).map_err(|error| format!("cannot read the certificate: {error}"))?;
    let validity = certificate.tbs_certificate().validity();
    Ok((validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration()))
}

/// Room on a file system, by the smaller of the two.
pub(super) fn look_at_disk(check: &DiskCheck) -> Result<Finding, String> {
    let place = check.path.display();
    let space = statvfs(&*check.path).map_err(|errno| format!("cannot look at {place}: {errno}"))?;
    let bytes = space.blocks_available().saturating_mul(space.fragment_size());
    let by_bytes = check.min_free_bytes.map(|least| {
        let (has, wants) = (ByteSize(bytes).rounded(), least.rounded());
        (bytes, least.0, format!("{has} free at {place}, less than {wants}"))
    });
    // A file system without a fixed number of inodes says 0 of 0.
    let counts = space.files() > 0;
    let inodes = space.files_available();
    let by_inodes = check
        .min_free_inodes
        .filter(|_| counts)
        .map(|least| (inodes, least, format!("{inodes} inodes free at {place}, less than {least}")));
    let short: Vec<_> = by_bytes.into_iter().chain(by_inodes).filter(|(has, least, _)| has < least).collect();
    let is_bad = short.iter().any(|(has, least, _)| disk::is_bad(*has, *least));
    if short.is_empty() {
        return Ok(Finding::Good);
    }
    let reason = short.into_iter().map(|(_, _, reason)| reason).collect::<Vec<_>>().join(", ");
    if is_bad { Err(reason) } else { Ok(Finding::Degraded(reason)) }
}

/// A file that is there, not too old and not too short.
pub(super) fn look_at_file(check: &FileCheck) -> Result<Finding, String> {
    let place = check.path.display();
    let failed = |error: io::Error| format!("cannot look at {place}: {error}");
    let meta = fs::metadata(&check.path).map_err(failed)?;
    if let Some(least) = check.min_size.filter(|least| meta.len() < least.0) {
        return Err(format!("{place} has {}, less than {}", ByteSize(meta.len()).rounded(), least.rounded()));
    }
    let Some(max_age) = check.max_age else { return Ok(Finding::Good) };
    // One that is written in the future is as new as can be.
    let written = meta.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = wall().saturating_sub(written);
    if max_age.duration().is_some_and(|max_age| age > max_age) {
        return Err(format!("{place} was written {} s ago, more than {max_age}", age.as_secs()));
    }
    Ok(Finding::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_certificate_is_valid_is_told_by_dates() {
        let day = |days: u32| DAY * days;
        // 2026-03-01 is day 20,513 since 1970.
        let of = |now, days_min| judge_validity((day(20_500), day(20_513)), day(now), days_min);
        assert_eq!(of(20_510, 1), Ok(Finding::Good));
        assert_eq!(of(20_499, 1), Err("the certificate is not valid before 2026-02-16".to_owned()));
        assert_eq!(of(20_515, 1), Err("the certificate expired on 2026-03-01, 2 days ago".to_owned()));
        let short = Finding::Degraded("the certificate expires on 2026-03-01, in 3 days, less than 30".into());
        assert_eq!(of(20_510, 30), Ok(short));
    }
}
