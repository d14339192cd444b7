//! A radiant that is so far behind that it is sent an image, and is killed, or its sender is, at any moment of that; or
//! what it receives is damaged.

use std::path::PathBuf;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use super::super::harness::PATIENCE;
use super::super::resp::{Connection, Reply};
use super::faults::Scene;
use super::flips::Flip;
use super::stage::files_of;

/// Of one order: more than its log keeps for a member that is away.
const AHEAD_BYTES: usize = 96 << 20;
const VALUE_BYTES: usize = 256 << 10;
/// Rows that the image has of it.
const ROWS: usize = 40;
/// How long to wait for an image to come.
const COMES_MAX: Duration = Duration::from_secs(8);
const KILLS: usize = 5;
const TURNED: usize = 3;

/// Kills one, lets the others go far ahead, and then does not let it catch up in peace.
pub async fn interrupted(scene: &mut Scene<'_>, one: usize) {
    scene.pulse.avoided.lock().insert(one);
    scene.stage.kill(one);
    go_ahead(&scene.stage.cluster.radiants[(one + 1) % 3].resp).await;
    scene.stage.start(one);
    for _ in 0..KILLS {
        let came = image_comes(scene, one).await;
        let most = if scene.dice.random_bool(0.5) { 30 } else { 400 };
        sleep(Duration::from_millis(scene.dice.random_range(0..most))).await;
        let sender = came && scene.dice.random_ratio(1, 4);
        let victim = if sender { (one + scene.dice.random_range(1..3)) % 3 } else { one };
        if !scene.stage.cluster.radiants[victim].runs() {
            let last = scene.ended(victim).await;
            scene.tally.note(format!("image: a radiant ended: {last}"));
        } else {
            scene.stage.kill(victim);
        }
        scene.tally.note(match (came, sender) {
            (false, _) => "image: killed while none came",
            (true, false) => "image: receiver killed while one came",
            (true, true) => "image: another member killed while one came",
        });
        scene.stage.start(victim);
        if sender {
            scene.stage.cluster.ready().await;
        }
    }
}

/// Kills one, lets the others go far ahead, and turns a bit in what it has received of an image, several times: each is
/// noticed before anything is installed, and another image comes.
pub async fn damaged(scene: &mut Scene<'_>, one: usize) {
    scene.pulse.avoided.lock().insert(one);
    scene.stage.kill(one);
    go_ahead(&scene.stage.cluster.radiants[(one + 1) % 3].resp).await;
    scene.stage.start(one);
    for _ in 0..TURNED {
        let refused = refusals(scene, one);
        let Some(flip) = bit_turns(scene, one).await else {
            scene.tally.note("image-flip: none came");
            return;
        };
        let start = Instant::now();
        let what = loop {
            if refusals(scene, one) > refused {
                break "image-flip: noticed, the place is named";
            }
            if !scene.stage.cluster.radiants[one].runs() {
                let last = scene.ended(one).await;
                scene.tally.note(format!("image-flip: noticed while it was installed: {last}"));
                flip.turn_back();
                scene.stage.start(one);
                return;
            }
            if flip.is_gone() && start.elapsed() > COMES_MAX {
                break "image-flip: the image was given up half-way";
            }
            if start.elapsed() > PATIENCE {
                scene.tally.falls_short("image-flip: neither noticed nor given up");
                return;
            }
            sleep(Duration::from_millis(2)).await;
        };
        scene.tally.note(what);
    }
}

/// How often a radiant has said that it does not take an image.
fn refusals(scene: &Scene<'_>, one: usize) -> usize {
    scene.stage.cluster.radiants[one].log().matches("a received image is not taken").count()
}

/// Turns a bit in what there is of an image, while nobody writes on.
async fn bit_turns(scene: &mut Scene<'_>, one: usize) -> Option<Flip> {
    let folder = scene.stage.cluster.radiants[one].folder.join("images");
    let start = Instant::now();
    while start.elapsed() < COMES_MAX {
        let incomplete = |path: &PathBuf| {
            path.extension().is_some_and(|suffix| suffix == "partial")
                && path.metadata().is_ok_and(|found| found.len() > 0)
        };
        if files_of(&folder).iter().any(incomplete) {
            scene.stage.signal(one, "-STOP");
            let files: Vec<PathBuf> = files_of(&folder).into_iter().filter(incomplete).collect();
            let flip = (!files.is_empty()).then(|| Flip::any(&files, scene.dice));
            scene.stage.signal(one, "-CONT");
            if flip.is_some() {
                return flip;
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Fills one order's log.
pub async fn go_ahead(door: &str) {
    let value = "a large value   ".repeat(VALUE_BYTES / 16);
    let (mut written, start) = (0, Instant::now());
    while written < AHEAD_BYTES {
        assert!(start.elapsed() < 3 * PATIENCE, "two of three do not take {AHEAD_BYTES} bytes");
        let Ok(mut connection) = Connection::open(door).await else { continue };
        while written < AHEAD_BYTES {
            let key = format!("{{image}}-{}", written / VALUE_BYTES % ROWS);
            let set = connection.call_within(&["SET", &key, &value], PATIENCE).await;
            let Ok(Reply::Simple(_)) = set else { break };
            written += VALUE_BYTES;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a part of an image is there.
async fn image_comes(scene: &Scene<'_>, one: usize) -> bool {
    let folder = scene.stage.cluster.radiants[one].folder.join("images");
    let start = Instant::now();
    while start.elapsed() < COMES_MAX {
        // A folder for each order.
        if folder.is_dir() && !files_of(&folder).is_empty() {
            return true;
        }
        sleep(Duration::from_millis(2)).await;
    }
    false
}
