//! What processes use, from `/proc`.

use std::fs;

use anyhow::Context;
use serde::Serialize;

/// Ticks a second in `/proc/PID/stat`. Part of Linux' interface to programs: 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What processes used while measuring.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Of user and system time.
    pub cpu_seconds: f64,
    /// The same per operation, in microseconds.
    pub cpu_us_per_op: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
}

impl Usage {
    pub(super) fn new(cpu_seconds: f64, rss_bytes: u64, ops: u64) -> Usage {
        Usage { cpu_seconds, cpu_us_per_op: cpu_seconds * 1e6 / ops.max(1) as f64, rss_bytes }
    }
}

/// CPU seconds of these processes so far.
pub(super) fn cpu(pids: &[u32]) -> anyhow::Result<f64> {
    let one = |pid: &u32| {
        let text = read(*pid, "stat")?;
        ticks(&text).with_context(|| format!("/proc/{pid}/stat is not understood"))
    };
    let ticks: u64 = pids.iter().map(one).sum::<anyhow::Result<_>>()?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Resident memory of these processes in bytes.
pub(super) fn rss(pids: &[u32]) -> anyhow::Result<u64> {
    let one = |pid: &u32| {
        let text = read(*pid, "status")?;
        resident(&text).with_context(|| format!("/proc/{pid}/status is not understood"))
    };
    pids.iter().map(one).sum()
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("there is no process {pid}"))
}

/// User and system time. The name in parentheses may hold anything, so counting starts behind it.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0 100 1000 50";
        assert_eq!(ticks(stat), Some(12));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert!(rss(&[std::process::id()]).expect("this process exists") > 0);
        assert!(cpu(&[u32::MAX]).is_err());
    }
}
