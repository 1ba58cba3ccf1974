//! The server as a process: started at a free port, watched, and ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The longest that a server may take to end.
const END: Duration = Duration::from_secs(120);

/// What stands in the line that the server prints before its address.
const LISTENING: &str = "listening on http://";

/// How servers are started.
pub struct Launch {
    pub program: PathBuf,
    pub model: PathBuf,
    pub device: Option<String>,
    /// Where the logs of all servers go.
    pub log: PathBuf,
}

impl Launch {
    /// Makes the log empty.
    pub fn clear_log(&self) -> Result<()> {
        Ok(fs_err::write(&self.log, [])?)
    }

    /// Counts the lines of the log that tell of a panic.
    pub fn panics(&self) -> Result<usize> {
        let log = fs_err::read(&self.log)?;
        Ok(String::from_utf8_lossy(&log).matches("panicked at").count())
    }
}

/// A running server, which is killed when it is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `mm serve` at a free port and waits until it listens.
    pub fn start(launch: &Launch) -> Result<Self> {
        let Launch { program, model, device, log } = launch;
        let log = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
        let device = device.iter().flat_map(|device| ["--device", device]);
        let mut child = Command::new(program)
            .arg("serve")
            .arg(model)
            .args(["--port", "0"])
            .args(device)
            .stdout(Stdio::piped())
            .stderr(log.into_parts().0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("the output of the server is not there")?;
        let mut lines = BufReader::new(out).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| address_in(&line));
        let Some(address) = address else {
            let _ = child.kill();
            let status = child.wait()?;
            bail!(
                "the server ended with {status} and never said `{LISTENING}…`; its log is {}",
                launch.log.display()
            );
        };
        // Whatever else it prints is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { child, address })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its resident memory in MiB, or NaN where the system does not say.
    pub fn memory_mib(&self) -> f64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.child.id()));
        status.ok().and_then(|status| resident_mib(&status)).unwrap_or(f64::NAN)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status()?;
        anyhow::ensure!(status.success(), "`kill -TERM {id}` ended with {status}");
        Ok(())
    }

    /// Waits for the end; returns the exit code, or none of a process that a signal ended.
    pub fn wait(mut self) -> Result<Option<i32>> {
        let start = Instant::now();
        while start.elapsed() < END {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not end within {} s after SIGTERM", END.as_secs())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn end(self) -> Result<Option<i32>> {
        self.terminate()?;
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the address out of a line of the server.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(LISTENING)?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '/' || c == '\x1b');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Reads the resident memory out of `/proc/PID/status`.
fn resident_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Names the processor, and the threads that it runs at once.
pub fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or("a processor without a name", |(_, name)| name.trim());
    format!("{name}, {threads} threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_of_the_server() {
        let found = |line: &str| address_in(line).map(|address| address.port());
        assert_eq!(found("listening on http://127.0.0.1:8080 (Ctrl-C ends it)"), Some(8080));
        assert_eq!(found("  listening on http://127.0.0.1:81/"), Some(81));
        assert_eq!(found("loading glyphs"), None);
    }

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tmm\nVmPeak:\t  9000 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(resident_mib(status), Some(2.0));
        assert_eq!(resident_mib(""), None);
    }
}
