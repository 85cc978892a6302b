//! Processes that are gone before anybody can look them up: this test binary again, told by plain words what to
//! do. None reports; what they were told is what netspy must say of them.

use std::{
    ffi::CString,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::Command,
};

/// What the first word says; the rest are its arguments.
pub fn act(words: &[String]) {
    match words {
        [what, to, ..] if what == "brief-connect" => connect(to),
        [what, to] if what == "brief-fork" => wait(child(0, || connect(to))),
        [what, to, other, then] if what == "brief-exec" => {
            connect(to);
            panic!("{}", Command::new(other).args(["brief-connect", then]).exec());
        }
        [what, pid, other, first, second, third] if what == "brief-reuse" => {
            let pid = pid.parse().unwrap();
            wait(child(pid, || execute(other, first)));
            wait(child(pid, || execute("/proc/self/exe", second)));
            wait(child(pid, || connect(third)));
        }
        _ => panic!("no such part: {words:?}"),
    }
}

/// Nobody listens there: the destination only tells one connection from another.
fn connect(to: &str) {
    let refused = TcpStream::connect(to.parse::<SocketAddr>().unwrap()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED), "{to}");
}

fn execute(program: &str, to: &str) {
    let words = [program, "brief-connect", to].map(|word| CString::new(word).unwrap());
    let [program, ..] = &words;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: strings and an array that end as execv wants, alive until it returns.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    panic!("{}", std::io::Error::last_os_error());
}

/// A child that does `work`, with the process id `pid` (0: any).
fn child(pid: libc::pid_t, work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: zeroes ask for nothing.
    let mut wishes: libc::clone_args = unsafe { std::mem::zeroed() };
    wishes.exit_signal = libc::SIGCHLD as u64;
    if pid != 0 {
        (wishes.set_tid, wishes.set_tid_size) = (&raw const pid as u64, 1);
    }
    // SAFETY: like fork; this process has one thread.
    let made = unsafe { libc::syscall(libc::SYS_clone3, &raw const wishes, size_of_val(&wishes)) };
    if made == 0 {
        work();
        // SAFETY: ends the child without what the parent wants done at its end.
        unsafe { libc::_exit(0) };
    }
    assert!(made > 0, "pid {pid}: {}", std::io::Error::last_os_error());
    made.try_into().unwrap()
}

fn wait(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: a place for the status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}
