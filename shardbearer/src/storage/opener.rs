//! Opening data that may be damaged. fjall answers most damage with an error, and some with a panic, even with another one while it
//! unwinds, which would end the process in the words of a programmer. So it is opened on a thread of its own,
//! of which [`speak_for_it`] knows where its panics come from.

use std::cell::RefCell;
use std::path::Path;

use shardbearer_core::storage::StorageError;

thread_local! {
    /// What is opened here, in words.
    static OPENING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What an operator can do about damaged data.
pub(super) const REBUILD: &str =
    "this radiant's data can be rebuilt from its orders: stop it, set the folder aside, replace the radiant";

/// Runs `open` on a thread of its own; a panic there is damage in `dir`.
pub(super) fn opened<T: Send>(
    dir: &Path,
    open: impl FnOnce() -> Result<T, StorageError> + Send,
) -> Result<T, StorageError> {
    let named = || {
        OPENING.with_borrow_mut(|opening| *opening = Some(dir.display().to_string()));
        open()
    };
    #[allow(clippy::disallowed_methods)] // it ends here
    let joined = std::thread::scope(|scope| {
        let opener = std::thread::Builder::new().name("data-opener".into()).spawn_scoped(scope, named);
        let opener = opener.map_err(|error| StorageError::Io(format!("cannot start a thread: {error}")))?;
        Ok(opener.join())
    });
    joined?.unwrap_or_else(|panic| Err(damaged(&dir.display().to_string(), said(panic.as_ref()))))
}

fn damaged(dir: &str, why: &str) -> StorageError {
    // What an assertion says has three lines.
    let why: Vec<&str> = why.lines().map(str::trim).collect();
    StorageError::Corrupt(format!("{dir}: {}; {REBUILD}", why.join(", ")))
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(text) => text,
        None => panic.downcast_ref::<&str>().copied().unwrap_or("it cannot be read"),
    }
}

/// Has the process end with a sentence and exit code 1 where data that are opened make fjall panic. For binaries: where others
/// live in the same process, a panic is an error of [`opened`] as long as it can be caught.
pub fn speak_for_it() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Gone only where the thread is about to end.
        let opening = OPENING.try_with(|opening| opening.borrow().clone()).unwrap_or_default();
        let Some(dir) = opening else { return usual(info) };
        let place = info.location().map(|place| {
            let file = place.file().rsplit('/').next().unwrap_or_default();
            format!(" ({file}:{})", place.line())
        });
        let why = format!("{}{}", said(info.payload()), place.unwrap_or_default());
        let error = damaged(&dir, &why);
        eprintln!("shardbearer: {error}");
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_data_are_opened_is_damage_of_that_folder() {
        let dir = Path::new("some/data");
        let failed = opened(dir, || -> Result<(), _> { panic!("the hash is\n  {}", 0) });
        let Err(StorageError::Corrupt(why)) = failed else { panic!("{failed:?}") };
        assert!(why.starts_with("some/data: the hash is, 0; ") && why.ends_with(REBUILD), "{why}");
        assert_eq!(opened(dir, || Ok(7)), Ok(7));
    }
}
