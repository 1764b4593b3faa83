//! The command line of hmac-file-server: serve, check the settings, sign and verify URLs.

mod verify; // why a URL is refused

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    path::{BasePath, BasePathError, ObjectPath, PathError},
    run::{self, RunError},
    secret::{Secret, SecretError, read_secret},
    settings::{DEFAULT_PATH, Settings, SettingsError},
    token::{Scheme, Signed, sign},
};
use crate::base::Chain;
use verify::{Claim, UrlError};

/// Exit status when a URL does not verify.
const REFUSED: u8 = 1;
/// Exit status when something cannot be done. clap has 2 for a wrong command line, too.
const FAILED: u8 = 2;

/// Receives files that an XMPP server has signed (XEP-0363) and serves them.
#[derive(Debug, Parser)]
#[command(name = "hmac-file-server", version)]
struct Arguments {
    /// The settings file; a missing one means the defaults.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH, global = true)]
    config: PathBuf,
    /// Check settings and secrets, print nothing but problems, and end.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the URL that grants one upload.
    Sign(SignArguments),
    /// Say whether a URL grants an upload, and if not, which input differs.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
struct SecretArguments {
    /// Take the secret from this file rather than from the settings.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SignArguments {
    #[command(flatten)]
    secret: SecretArguments,
    /// The path below the base path, not encoded: SLOT/FILE.
    #[arg(long)]
    path: String,
    /// Length of the file in bytes.
    #[arg(long)]
    length: u64,
    /// Media type; part of what v2 signs.
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<String>,
    /// What is signed.
    #[arg(long, value_enum, default_value_t = SchemeArgument::V2)]
    scheme: SchemeArgument,
    /// Where the server is reached, with the base path; without it the path and query are printed.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    secret: SecretArguments,
    /// The whole PUT URL, or its path and query.
    #[arg(long)]
    url: String,
    /// Content-Length of the PUT.
    #[arg(long)]
    length: u64,
    /// Content-Type of the PUT, if it had one.
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<String>,
    /// The base path, if not that of the settings.
    #[arg(long, value_name = "PATH")]
    base_path: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemeArgument {
    /// Path and length.
    V,
    /// Path, length and media type.
    V2,
}

impl From<SchemeArgument> for Scheme {
    fn from(argument: SchemeArgument) -> Self {
        match argument {
            SchemeArgument::V => Self::V,
            SchemeArgument::V2 => Self::V2,
        }
    }
}

/// Why a command cannot be carried out.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Run(RunError),
    #[error(transparent)]
    Settings(SettingsError),
    #[error(transparent)]
    Secret(SecretError),
    #[error("cannot use {path:?}")]
    Path {
        path: String,
        #[source]
        source: PathError,
    },
    #[error("cannot use {path:?} as the base path")]
    BasePath {
        path: String,
        #[source]
        source: BasePathError,
    },
    #[error("cannot verify {url:?}")]
    Url {
        url: String,
        #[source]
        source: UrlError,
    },
    #[error("cannot print the answer")]
    Print(#[source] io::Error),
}

/// Carries out a command line, the program's name first. Errors go to stderr.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
        }
    };
    carry_out(&arguments).unwrap_or_else(|error| {
        let _closed = writeln!(io::stderr(), "hmac-file-server: {}", Chain(&error));
        ExitCode::from(FAILED)
    })
}

fn carry_out(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let config = &arguments.config;
    match &arguments.command {
        Some(Command::Sign(sign)) => print(&signed_url(config, sign)?).map(|()| ExitCode::SUCCESS),
        Some(Command::Verify(verify)) => {
            let (is_valid, text) = verified(config, verify)?;
            print(&text)?;
            Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
        }
        None if arguments.check => run::check(config).map(|_| ExitCode::SUCCESS).map_err(CommandError::Run),
        None => run::run(config).map(|()| ExitCode::SUCCESS).map_err(CommandError::Run),
    }
}

fn print(text: &str) -> Result<(), CommandError> {
    writeln!(io::stdout(), "{text}").map_err(CommandError::Print)
}

/// The secrets in question, and the base path of the settings where those are read.
fn secrets(config: &Path, arguments: &SecretArguments) -> Result<(Vec<Secret>, BasePath), CommandError> {
    if let Some(file) = &arguments.secret_file {
        return Ok((vec![read_secret(file).map_err(CommandError::Secret)?], BasePath::root()));
    }
    let settings = Settings::load(config).map_err(CommandError::Settings)?;
    let secrets = settings.secrets.load().map_err(CommandError::Secret)?;
    Ok((secrets, settings.server.base_path))
}

fn signed_url(config: &Path, arguments: &SignArguments) -> Result<String, CommandError> {
    let (secrets, base) = secrets(config, &arguments.secret)?;
    let path = ObjectPath::new(&arguments.path)
        .map_err(|source| CommandError::Path { path: arguments.path.clone(), source })?;
    let media_type = arguments.media_type.as_deref().map(str::as_bytes);
    let signed = Signed { path: path.as_str(), length: arguments.length, media_type };
    let scheme = Scheme::from(arguments.scheme);
    // The newest secret is the first.
    let secret = secrets.first().ok_or(CommandError::Secret(SecretError::None))?;
    let tag = sign(scheme, signed, secret).to_hex();
    let base = arguments.base_url.as_deref().unwrap_or(base.as_str());
    Ok(format!("{}/{}?{scheme}={tag}", base.trim_end_matches('/'), path.to_encoded()))
}

fn verified(config: &Path, arguments: &VerifyArguments) -> Result<(bool, String), CommandError> {
    let (secrets, base) = secrets(config, &arguments.secret)?;
    let base = match &arguments.base_path {
        None => base,
        Some(path) => BasePath::new(path).map_err(|source| CommandError::BasePath { path: path.clone(), source })?,
    };
    let claim = Claim {
        url: &arguments.url,
        base: &base,
        length: arguments.length,
        media_type: arguments.media_type.as_deref(),
    };
    let finding =
        claim.examine(&secrets).map_err(|source| CommandError::Url { url: without_query(&arguments.url), source })?;
    Ok((finding.is_valid(), finding.to_string()))
}

/// A URL as it may be shown: the query grants an upload.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_signed_url_is_what_verify_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "secret string\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = || SecretArguments { secret_file: Some(file.clone()) };
        let sign = |scheme, media_type: Option<&str>| SignArguments {
            secret: secret(),
            path: "foo/bar.jpg".to_owned(),
            length: 1_048_576,
            media_type: media_type.map(str::to_owned),
            scheme,
            base_url: Some("https://up.example/u/".to_owned()),
        };
        let nowhere = Path::new("/nonexistent");
        let v = signed_url(nowhere, &sign(SchemeArgument::V, None)).unwrap();
        let tag = "e6df55a04516617d6a86ad6ca23879819591085a1a8c0041f4da06824f5d2db7";
        assert_eq!(v, format!("https://up.example/u/foo/bar.jpg?v={tag}"));
        let v2 = signed_url(nowhere, &sign(SchemeArgument::V2, Some("image/jpeg"))).unwrap();
        let verify = |url: &str, media_type: &str| VerifyArguments {
            secret: secret(),
            url: url.to_owned(),
            length: 1_048_576,
            media_type: Some(media_type.to_owned()),
            base_path: Some("/u".to_owned()),
        };
        assert!(verified(nowhere, &verify(&v2, "image/jpeg")).unwrap().0);
        let (is_valid, text) = verified(nowhere, &verify(&v2, "image/png")).unwrap();
        assert!(!is_valid && !text.contains(&v2[v2.len() - 20..]), "{text}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
