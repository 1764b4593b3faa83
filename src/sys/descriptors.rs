use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Marks every descriptor from 3 on to be closed on exec: what our parent left open reaches no child of ours.
///
/// # Errors
/// As close_range(2).
pub fn close_inherited_on_exec() -> io::Result<()> {
    // SAFETY: takes numbers; closes nothing now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that our parent left open for us, closed on exec from now on.
///
/// # Errors
/// When there is none of that number, or it was taken before (then it is closed on exec, as all that we open is).
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for flags by number and owns nothing.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the descriptor was not inherited, or taken before"));
    }
    // SAFETY: all that this program opens closes on exec, so what does not was left by our parent and has no owner yet.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(owned)
}

/// Lets a descriptor live through the next exec of this process.
///
/// # Errors
/// As fcntl(2).
pub fn keep_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Undoes [`keep_on_exec`].
///
/// # Errors
/// As fcntl(2).
pub fn close_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// A pipe for the output of a service.
#[derive(Debug)]
pub struct LogPipe {
    /// The end that is read; it never blocks.
    pub reader: OwnedFd,
    /// The end that services write to; it blocks when the pipe is full. It can be read as well, so that whoever writes
    /// holds a reader: with us gone, a write waits for the next of us, where it would be SIGPIPE.
    pub writer: OwnedFd,
    /// Its size in bytes.
    pub bytes: u32,
}

/// Opens a pipe of `bytes`, or of as much as the kernel gives (pipe-max-size and pipe-user-pages-soft, pipe(7)).
///
/// # Errors
/// When no descriptor is left.
pub fn log_pipe(bytes: u32) -> io::Result<LogPipe> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // fifo(7): opened anew for both, a pipe neither waits nor fails. Without /proc the plain end has to do.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let both = File::options().read(true).write(true).open(path);
    let writer = both.map_or(writer, OwnedFd::from);
    let mut wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
    while wanted > PIPE_BYTES_MIN && fcntl(&writer, FcntlArg::F_SETPIPE_SZ(wanted)).is_err() {
        wanted /= 2;
    }
    let bytes = u32::try_from(fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0);
    Ok(LogPipe { reader, writer, bytes })
}

/// Whether it can be written to, as one end of a pipe can.
pub fn is_write_end(fd: impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE != OFlag::O_RDONLY)
}

/// A page: the least a pipe has.
const PIPE_BYTES_MIN: i32 = 4096;

/// A pipe that only tells when its last writer is gone.
///
/// # Errors
/// When no descriptor is left.
pub fn end_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// The number of a descriptor, to find it again after an exec.
pub fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// How many bytes wait in a pipe to be read.
///
/// # Errors
/// As ioctl(2).
pub fn waiting_in(pipe: impl AsFd) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: writes a number of this frame. No safe wrapper asks a pipe.
    let done = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_taken_once() {
        let file = File::open("/dev/null").unwrap();
        let copy = file.try_clone().unwrap();
        keep_on_exec(&copy).unwrap();
        let place = number(&copy);
        // Given up here, so that taking it over makes one owner of it.
        let given: RawFd = std::os::fd::IntoRawFd::into_raw_fd(copy);
        let taken = take_inherited(given).unwrap();
        assert_eq!(number(&taken), place);
        assert_eq!(take_inherited(place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(take_inherited(9999).is_err());
        keep_on_exec(&taken).unwrap();
        close_inherited_on_exec().unwrap();
        assert!(take_inherited(place).is_err());
    }

    #[test]
    fn what_waits_in_a_pipe_is_counted() {
        let (reader, writer) = end_pipe().unwrap();
        assert_eq!(waiting_in(&reader).unwrap(), 0);
        File::from(writer).write_all(b"abc").unwrap();
        assert_eq!(waiting_in(&reader).unwrap(), 3);
        assert!(waiting_in(File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_writer_that_is_left_alone_gets_no_sigpipe_and_what_it_writes_is_there_for_the_next_reader() {
        let pipe = log_pipe(0).unwrap();
        let mut writer = File::from(pipe.writer);
        drop(pipe.reader);
        writer.write_all(b"alone").unwrap();
        let mut next = File::open(format!("/proc/self/fd/{}", number(&writer))).unwrap();
        let mut read = [0; 5];
        next.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"alone");
    }

    #[test]
    fn a_log_pipe_has_the_size_that_can_be_had_and_its_reader_never_blocks() {
        for (asked, least) in [(1 << 20, 4096), (0, 4096), (u32::MAX, 4096)] {
            let pipe = log_pipe(asked).unwrap();
            assert!(pipe.bytes >= least, "{}", pipe.bytes);
            assert!(is_write_end(&pipe.writer) && !is_write_end(&pipe.reader));
            let (mut reader, mut writer) = (File::from(pipe.reader), File::from(pipe.writer));
            assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            writer.write_all(b"x").unwrap();
            assert_eq!(reader.read(&mut [0]).unwrap(), 1);
        }
    }
}
