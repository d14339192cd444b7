//! Whatever is not as it was written is found by reading it; `model` has it that nothing else is.

use shardbearer_core::kv::{Condition, Expiry};

use super::*;

/// A replica with three rows, and where they are.
fn written() -> (Replica, Space) {
    let mut replica = Replica::with_shard();
    for key in ["one", "two", "three"] {
        let put = Command::Put {
            key: key.into(),
            value: "a value".into(),
            condition: Condition::Always,
            expiry: Expiry::Never,
            previous: false,
        };
        assert!(matches!(replica.one(1, None, put), Reply::Written { .. }));
    }
    let meta = replica.meta(SHARD).expect("adopted");
    (replica, space(ORDER, SHARD, &meta))
}

fn found(replica: &Replica) -> Result<Audited, StorageError> {
    super::super::audit(&replica.stored, ORDER, SHARD, &|| true)
}

/// How many rows were written, and are stored; and the same of bytes.
fn altered(replica: &Replica) -> [u64; 4] {
    match found(replica) {
        Ok(Audited::Altered { written, stored }) => [written.rows, stored.rows, written.bytes, stored.bytes],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_that_is_gone_new_or_altered_is_found() {
    assert_eq!(found(&written().0), Ok(Audited::Sound));
    let row = keys::data(b"two");

    let (mut replica, space) = written();
    let rows = replica.stored.0.get_mut(&space).expect("there are rows");
    let value = rows.remove(&row).expect("it was written");
    assert_eq!(altered(&replica), [3, 2, 32, 22]);

    let rows = replica.stored.0.get_mut(&space).expect("there are rows");
    rows.insert(row.clone(), value.clone());
    assert_eq!(found(&replica), Ok(Audited::Sound), "it is back");

    // Each bit of what is stored counts, or the row makes no sense any more.
    for bit in 0..value.len() * 8 {
        let mut altered = value.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        let rows = replica.stored.0.get_mut(&space).expect("there are rows");
        rows.insert(row.clone(), altered.into());
        assert_ne!(found(&replica), Ok(Audited::Sound), "bit {bit}");
    }

    let (mut replica, space) = written();
    let rows = replica.stored.0.get_mut(&space).expect("there are rows");
    rows.insert(keys::data(b"four"), value);
    assert_eq!(altered(&replica)[..2], [3, 4]);
}

#[test]
fn of_what_is_not_there_or_not_read_to_its_end_nothing_is_said() {
    let (mut replica, space) = written();
    let nowhere = super::super::audit(&replica.stored, ORDER, ShardId(9), &|| true);
    assert_eq!(nowhere, Ok(Audited::Unknown));
    let rows = replica.stored.0.get_mut(&space).expect("there are rows");
    let value = rows[&keys::data(b"two")].clone();
    for number in 0..1_000u32 {
        rows.insert(keys::data(&number.to_be_bytes()), value.clone());
    }
    let left = super::super::audit(&replica.stored, ORDER, SHARD, &|| false);
    assert_eq!(left, Ok(Audited::Unknown));
}
