//! Images that were damaged on their way, or in the file in which they wait.

use super::*;
use crate::order::received::ImageWriter;

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

/// A bit that turns after the image was looked at: the replica stops, and what is half an image is read by nobody.
#[tokio::test]
async fn an_image_that_is_damaged_while_it_waits_stops_the_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filled(&folder.path().join("source"), "new", 12).await;
    let target = filled(&folder.path().join("target"), "old", 5).await;
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer: Box<dyn shardbearer_core::engine::SnapshotWriter> =
        Box::new(ImageWriter::create(&folder.path().join("target/images")).expect("a folder"));
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("writable");
    }
    let received = writer.finish().expect("whole");
    let mut image = std::fs::read(&received.place).expect("there");
    let last = image.len() - 1;
    image[last] ^= 1;
    std::fs::write(&received.place, image).expect("writable");
    let installed = target.install(received).await;
    assert!(matches!(&installed, Err(StorageError::Corrupt(_))), "{installed:?}");
    let asked = target.look(|view| Ok(rows(view).len()));
    assert!(!matches!(asked, Ok(Some(_))), "half an image is read: {asked:?}");
    let more = target.apply(vec![entry(5, None, put(9, "more"))]).await;
    assert!(more.is_err(), "it goes on with half an image");
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
