//! The sockets that clients come through: bound here, or handed over by systemd.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::net::listen;
use thiserror::Error;

use crate::cli::{Listen, Socket};

/// Members may use the UNIX socket.
const GROUP: &str = "netspy";
const GROUPS: &str = "/etc/group";
/// Clients that wait to be let in, as far as `net.core.somaxconn` allows. The standard library asks for 128: of a crowd that comes
/// at once many were dropped, and tried again a second later. On a socket that listens listen(2) changes just this.
const WAITING: i32 = 4_096;

/// Why a socket cannot be served on.
#[derive(Debug, Error)]
pub enum DoorError {
    /// Others could reach it, and nothing would hold them back.
    #[error(
        "--listen {0}: anybody who can reach that address could read this machine's connections; make a token \
         (netspy-server token NAME --file FILE) and pass --token-file FILE, or use 127.0.0.1:{port} and reach it \
         through ssh -L", port = .0.port()
    )]
    NeedsToken(SocketAddr),
    /// Somebody else has it.
    #[error(
        "{0} is in use: stop the other program, or choose another port with --port (0 for any that is free)"
    )]
    InUse(SocketAddr),
    /// Another server has it.
    #[error("{} is another server's: stop it, or choose another path with --socket, or --socket off", .0.display())]
    SocketInUse(PathBuf),
    /// The file is no socket, and not ours to remove.
    #[error("{} is no socket: remove it, or choose another path with --socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {place}: {error}; choose another place with --listen or --socket")]
    System { place: String, error: io::Error },
    /// Nothing is served.
    #[error("both --listen and --socket are off: nobody could ask; leave one of them")]
    None,
}

/// A listening socket.
#[derive(Debug)]
pub enum Door {
    /// For whoever reaches the address.
    Tcp(TcpListener),
    /// For whoever may open the file, which goes with the server if it was made by it.
    Unix(UnixListener, Option<SocketFile>),
}

impl Door {
    /// How a client names it.
    pub fn place(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Ok(format!("unix:{}", address.as_pathname().unwrap_or(Path::new("?")).display()))
            }
        }
    }

    /// Its address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

/// Removed when it is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens all. `is_wished`: somebody asked for this UNIX socket; one that is only usual may be missing.
pub fn doors(
    listen: Listen,
    socket: &Socket,
    is_wished: bool,
    has_tokens: bool,
) -> Result<Vec<Door>, DoorError> {
    let handed = handed_over(has_tokens)?;
    if !handed.is_empty() {
        return Ok(handed);
    }
    let mut doors = Vec::new();
    if let Listen::At(address) = listen {
        doors.push(Door::Tcp(bind(address, has_tokens)?));
    }
    if let Socket::At(path) = socket {
        match bind_file(path) {
            Ok((listener, file)) => doors.push(Door::Unix(listener, Some(file))),
            Err(error) if is_wished || doors.is_empty() => return Err(error),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    if doors.is_empty() { Err(DoorError::None) } else { Ok(doors) }
}

/// What systemd opened for this process (`sd_listen_fds(3)`); it then replaces what the settings say.
fn handed_over(has_tokens: bool) -> Result<Vec<Door>, DoorError> {
    let failed = |error| DoorError::System { place: "a socket that systemd opened".to_owned(), error };
    let mut all = ListenFd::from_env();
    let mut doors = Vec::new();
    for index in 0..all.len() {
        if let Ok(Some(listener)) = all.take_unix_listener(index) {
            doors.push(Door::Unix(listener, None));
        } else if let Some(listener) = all.take_tcp_listener(index).map_err(failed)? {
            check_reach(listener.local_addr().map_err(failed)?, has_tokens)?;
            doors.push(Door::Tcp(listener));
        }
    }
    Ok(doors)
}

fn check_reach(address: SocketAddr, has_tokens: bool) -> Result<(), DoorError> {
    if address.ip().is_loopback() || has_tokens { Ok(()) } else { Err(DoorError::NeedsToken(address)) }
}

fn bind(address: SocketAddr, has_tokens: bool) -> Result<TcpListener, DoorError> {
    check_reach(address, has_tokens)?;
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AddrInUse => DoorError::InUse(address),
        _ => DoorError::System { place: address.to_string(), error },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listen(&listener, WAITING).map_err(|error| failed(error.into()))?;
    Ok(listener)
}

/// A socket for root and the group: mode 0660.
fn bind_file(path: &Path) -> Result<(UnixListener, SocketFile), DoorError> {
    let failed = |error| DoorError::System { place: path.display().to_string(), error };
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    }
    make_room(path)?;
    // Between bind and chmod nobody else may get in.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let (listener, file) = (bound.map_err(failed)?, SocketFile(path.to_owned()));
    listen(&listener, WAITING).map_err(|error| failed(error.into()))?;
    if let Some(group) = group(&fs::read_to_string(GROUPS).unwrap_or_default(), GROUP) {
        // A user who is not in the group cannot give it the file: then it stays its own.
        if let Err(error) = chown(path, None, Some(group)) {
            tracing::debug!(%error, "the socket stays with this user's group");
        }
    }
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    Ok((listener, file))
}

/// Removes what a server that was killed has left behind.
fn make_room(path: &Path) -> Result<(), DoorError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(DoorError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| DoorError::System { place: path.display().to_string(), error }),
        _ => Err(DoorError::SocketInUse(path.to_owned())),
    }
}

/// The id of a group in the text of group(5).
fn group(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nnetspy2:x:7:\nnetspy:x:998:alice,bob\n";
        assert_eq!(group(text, "netspy"), Some(998));
        assert_eq!(group(text, "net"), None);
        assert_eq!(group("netspy:x\nnetspy:x:y:", "netspy"), None);
    }

    #[test]
    fn a_socket_that_a_dead_server_left_is_replaced_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/netspy.sock");
        let (listener, file) = bind_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_file(&path), Err(DoorError::SocketInUse(_))));
        std::mem::forget(file); // killed
        drop(listener);
        let (_, file) = bind_file(&path).unwrap();
        drop(file);
        assert!(!path.exists());
        fs::write(&path, "notes").unwrap();
        assert!(matches!(bind_file(&path), Err(DoorError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }

    #[test]
    fn a_crowd_that_comes_at_once_is_let_in_line() {
        const CROWD: usize = 400;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netspy.sock");
        let (_unix, _file) = bind_file(&path).unwrap();
        let tcp = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = tcp.local_addr().unwrap();
        let _kept: Vec<_> = (0..CROWD)
            .map(|_| {
                let by_file =
                    socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
                by_file.set_nonblocking(true).unwrap(); // or a full line is waited for
                by_file.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
                // A full line drops what comes, and nobody is let in meanwhile.
                (by_file, TcpStream::connect_timeout(&address, Duration::from_millis(900)).unwrap())
            })
            .collect();
    }

    #[test]
    fn other_addresses_need_tokens() {
        let outside: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let text = bind(outside, false).unwrap_err().to_string();
        assert!(text.contains("--token-file") && text.contains("ssh -L"), "{text}");
        assert!(bind(outside, true).is_ok());
        assert!(bind("[::1]:0".parse().unwrap(), false).is_ok());
        let text = doors(Listen::Off, &Socket::Off, false, false).unwrap_err().to_string();
        assert!(text.contains("--listen"), "{text}");
    }
}
