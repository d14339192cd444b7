//! Threads for which, as a rule, nobody waits: who does, waits for the disk anyway.

/// How much less of a processor they get than others, where there is not enough for all.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// From now on this thread, and those that it starts, let others go first. What answers clients shares the processors with
/// what only moves data on, which has a second to spare and would take its turns in long stretches.
pub(super) fn stand_back() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a thread in the background has the priority of others");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    #[allow(clippy::disallowed_methods)] // the thread is what is tested
    fn only_the_thread_itself_stands_back() {
        let own = || rustix::process::getpriority_process(None).expect("told");
        let before = own();
        let behind = std::thread::spawn(move || {
            super::stand_back();
            own()
        });
        assert_eq!(behind.join().expect("ended"), before + super::NICE);
        assert_eq!(own(), before);
    }
}
