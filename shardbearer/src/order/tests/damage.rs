//! Images that were damaged on their way, or in the file in which they wait.

use super::*;
use shardbearer_core::engine::{InstallError, ReceivedSnapshot};
use shardbearer_core::storage::{Batch, Durability};

use crate::order::applier::{INSTALLING, seal};

fn put(key: u64, value: &'static str) -> Command {
    let (condition, expiry) = (Condition::Always, Expiry::Never);
    Command::Put { key: key.to_string().into(), value: value.into(), condition, expiry, previous: false }
}

/// A replica with some rows.
async fn filled(folder: &Path, value: &'static str, count: u64) -> Arc<MachineApplier<ShardMachine>> {
    let replica = replica(folder);
    apply(replica.as_ref(), 1, None, Command::Adopt { epoch: 1 }).await;
    for index in 2..count {
        apply(replica.as_ref(), index, None, put(index, value)).await;
    }
    replica
}

/// Wherever a bit turns, the image is not taken, nothing of it is left behind, and the next one is taken.
#[tokio::test]
async fn a_damaged_image_leaves_everything_as_it_was_and_the_next_one_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filled(&folder.path().join("source"), "new", 12).await;
    let target = filled(&folder.path().join("target"), "old", 5).await;
    let (before, applied) = (rows(target.view().as_ref()), target.applied());
    let mut reader = source.snapshot().await.expect("readable");
    let mut image = Vec::new();
    while let Some(chunk) = reader.next().expect("readable") {
        image.extend(chunk);
    }
    let images = folder.path().join("target/images");
    for at in 0..image.len() {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at % 8);
        let mut writer = target.receive_snapshot().await.expect("a folder");
        damaged.chunks(100).for_each(|chunk| writer.write(chunk).expect("writable"));
        let refused = writer.finish();
        assert!(matches!(&refused, Err(StorageError::Corrupt(_))), "a bit of byte {at}: {refused:?}");
        assert_eq!(std::fs::read_dir(&images).expect("there").count(), 0, "it is gone");
    }
    assert_eq!((rows(target.view().as_ref()), target.applied()), (before, applied));
    let mut writer = target.receive_snapshot().await.expect("a folder");
    writer.write(&image).expect("writable");
    target.install(writer.finish().expect("whole")).await.expect("sound");
    assert_eq!(rows(target.view().as_ref()), rows(source.view().as_ref()));
}

/// An image that waits, and one bit of it that turns meanwhile.
async fn rotten(
    target: &MachineApplier<ShardMachine>,
    source: &MachineApplier<ShardMachine>,
) -> ReceivedSnapshot {
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer = target.receive_snapshot().await.expect("a folder");
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("writable");
    }
    let received = writer.finish().expect("whole");
    let mut image = std::fs::read(&received.place).expect("there");
    let last = image.len() - 1;
    image[last] ^= 1;
    std::fs::write(&received.place, image).expect("writable");
    received
}

/// A bit that turns after the image was looked at: nothing of it is taken, the replica goes on with what it had, and the next
/// image is taken.
#[tokio::test]
async fn an_image_that_is_damaged_while_it_waits_is_refused_and_the_next_one_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filled(&folder.path().join("source"), "new", 12).await;
    let target = filled(&folder.path().join("target"), "old", 5).await;
    let (before, applied) = (rows(target.view().as_ref()), target.applied());
    let received = rotten(&target, &source).await;
    let refused = target.install(received).await;
    assert!(matches!(&refused, Err(InstallError::Refused(StorageError::Corrupt(_)))), "{refused:?}");
    assert_eq!((rows(target.view().as_ref()), target.applied()), (before, applied));
    assert_eq!(std::fs::read_dir(folder.path().join("target/images")).expect("there").count(), 0);
    apply(target.as_ref(), 5, None, put(9, "more")).await;
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer = target.receive_snapshot().await.expect("a folder");
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("writable");
    }
    target.install(writer.finish().expect("whole")).await.expect("it is sound");
    assert_eq!(rows(target.view().as_ref()), rows(source.view().as_ref()));
}

/// A bit that turns when the install has begun, after which a crash leaves rows of two states: nothing is read of them, and
/// the replica does not start.
#[tokio::test]
async fn an_image_that_is_damaged_while_it_is_installed_stops_the_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filled(&folder.path().join("source"), "new", 12).await;
    let target = filled(&folder.path().join("target"), "old", 5).await;
    let received = rotten(&target, &source).await;
    let mut begun = Batch::default();
    begun.put(Space::Order(target.order), INSTALLING, seal(received.place.as_bytes()));
    target.storage().commit(begun, Durability::Synced).expect("there is room");
    let finished = crate::order::install::finish(
        target.storage().as_ref(),
        target.order,
        &folder.path().join("target/images"),
    );
    assert!(matches!(&finished, Err(StorageError::Corrupt(_))), "{finished:?}");
}

/// Were two under one name, the end of the first's install would take the second away, and that replica would never start again.
#[tokio::test]
async fn an_image_that_waits_keeps_its_name_until_it_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filled(&folder.path().join("source"), "new", 12).await;
    let target = filled(&folder.path().join("target"), "old", 5).await;
    let mut images = Vec::new();
    for more in [0, 1] {
        if more == 1 {
            apply(source.as_ref(), 12, None, put(99, "more")).await;
        }
        let mut reader = source.snapshot().await.expect("readable");
        let mut writer = target.receive_snapshot().await.expect("a folder");
        while let Some(chunk) = reader.next().expect("readable") {
            writer.write(&chunk).expect("writable");
        }
        images.push(writer.finish().expect("whole"));
    }
    assert_ne!(images[0].place, images[1].place);
    for image in images {
        target.install(image).await.expect("it is there");
    }
    assert_eq!(rows(target.view().as_ref()), rows(source.view().as_ref()));
    assert_eq!(std::fs::read_dir(folder.path().join("target/images")).expect("there").count(), 0);
}
