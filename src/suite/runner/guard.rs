//! Ends a command if this program was killed and can no longer do it.
//!
//! A command may ignore the end of its standard input, and may have started others. The guard leads their process
//! group, waits for the end of a pipe, and then kills the group. It does not start the command.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What the terminal sends to the group is not for the guard.
const SCRIPT: &str = "trap '' HUP INT QUIT TERM TSTP TTIN TTOU; read -r line; kill -KILL 0";

pub struct Guard {
    child: Child,
    /// Nobody else has this end: it closes with this program.
    _alive: Option<ChildStdin>,
}

impl Guard {
    pub fn start() -> std::io::Result<Guard> {
        let mut guard = Command::new("sh");
        guard.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = guard.spawn()?;
        let alive = child.stdin.take();
        Ok(Guard { child, _alive: alive })
    }

    /// The process group to be in.
    pub fn group(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Guard {
    /// Ends the guard and nobody else: its pipe is open until it is gone.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
