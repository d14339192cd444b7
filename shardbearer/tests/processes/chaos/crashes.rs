//! A radiant is killed at a point that has a name: right before or right after it writes, fsyncs, renames, cuts or creates a file
//! of its log, its data, an image, or its identity. Half the time the power fails with it. Afterwards all replicas are compared.

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use super::super::disk::Loss;
use super::super::harness::PATIENCE;
use super::super::replicas::same_everywhere;
use super::faults::Scene;
use super::images;
use super::shim::{AFTER, BEFORE, Call, Class, Rule};

/// How long to wait until a radiant comes by.
const REACHED_MAX: Duration = Duration::from_secs(4);
/// The same of an image.
const COMES_MAX: Duration = Duration::from_secs(10);

/// A point at which a radiant may be killed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Point {
    when: i64,
    call: Call,
    class: Class,
}

impl Point {
    fn name(self) -> String {
        let when = if self.when == BEFORE { "before" } else { "after" };
        format!("crash: {when} {:?} of {:?}", self.call, self.class)
    }

    /// All points that radiants come by: what they were seen to do, and what they do where an image comes.
    fn all(scene: &Scene<'_>) -> Vec<Point> {
        let images = [Call::Write, Call::Sync, Call::Rename, Call::Create];
        let calls = Call::ALL.iter().flat_map(|call| Class::ALL.map(|class| (*call, class)));
        let real = calls.filter(|(call, class)| {
            let seen = scene.stage.all().any(|one| scene.stage.control(one).seen(*call, *class) > 0);
            seen || *class == Class::Images && images.contains(call)
        });
        real.flat_map(|(call, class)| [BEFORE, AFTER].map(|when| Point { when, call, class })).collect()
    }
}

/// Of all points one at which fewer crashes were tried than at others.
fn least_tried(scene: &mut Scene<'_>) -> Point {
    let tried = |scene: &Scene<'_>, point: &Point| {
        let prefix = format!("{}: ", point.name());
        let notes = scene.tally.notes.iter().filter(|(note, _)| note.starts_with(&prefix));
        notes.map(|(_, count)| *count).sum::<u64>()
    };
    let all = Point::all(scene);
    let least = all.iter().map(|point| tried(scene, point)).min().expect("radiants under load write");
    let least: Vec<Point> = all.into_iter().filter(|point| tried(scene, point) == least).collect();
    super::one_of(scene.dice, &least)
}

/// One crash, and a look at all replicas when the radiant is back.
pub async fn at_a_point(scene: &mut Scene<'_>, one: usize) {
    scene.pulse.avoided.lock().insert(one);
    let point = least_tried(scene);
    // What happens once in a life is not waited for a second time.
    let once = matches!(
        (point.call, point.class),
        (Call::Create | Call::Rename, Class::Images) | (_, Class::Papers)
    );
    let skip = if once { 0 } else { super::one_of(scene.dice, &[0, 0, 2, 9]) };
    let rule = Rule { call: point.call, class: point.class, errno: point.when, skip, times: 1 };
    let image = point.class == Class::Images;
    if image {
        scene.stage.kill(one);
        images::go_ahead(&scene.stage.cluster.radiants[(one + 1) % 3].resp).await;
    }
    let starting = image || scene.dice.random_bool(0.4);
    if starting && !image {
        scene.stage.kill(one);
    }
    scene.stage.control(one).fail(rule);
    if starting {
        scene.stage.start(one);
    }
    let asked = Instant::now();
    let patience = if image { COMES_MAX } else { REACHED_MAX };
    while scene.stage.cluster.radiants[one].runs() && asked.elapsed() < patience {
        sleep(Duration::from_millis(5)).await;
    }
    scene.stage.control(one).heal();
    // Whoever has not come by is killed wherever it is.
    let ended = scene.stage.cluster.radiants[one].kill_if_it_runs();
    assert!(ended.is_none(), "{}: it ended by itself: {ended:?}", point.name());
    let came_by = scene.stage.control(one).failed() > 0;
    scene.stage.follow(one);
    let seed = scene.dice.random();
    let loss = super::one_of(scene.dice, &[None, None, Some(Loss::All), Some(Loss::Torn(seed))]);
    if let Some(loss) = loss {
        scene.stage.cut_power(one, loss);
    }
    scene.stage.start(one);
    scene.stage.cluster.ready_within(4 * PATIENCE).await;
    same_everywhere(&scene.stage.cluster).await;
    scene.tally.note(format!("{}: {}", point.name(), if came_by { "hit" } else { "not reached" }));
}

#[test]
fn points_have_names() {
    let point = Point { when: AFTER, call: Call::Sync, class: Class::Data };
    assert_eq!(point.name(), "crash: after Sync of Data");
}
