//! Every value comes back from the wire as it went, and no bytes whatever make a decoder panic.

mod arbitrary;

use proptest::prelude::*;
use shardbearer_core::error::RequestError;

use super::*;

/// What becomes of a result on its way to a client.
fn result_over_the_wire(
    result: &Result<Reply, RequestError>,
) -> Result<Result<Reply, RequestError>, ConvertError> {
    let bytes = pb::Result::from(result).encode_to_vec();
    result_from_wire(pb::Result::decode(&bytes[..])?)
}

/// Feeds every decoder.
fn decode_all(raw: &Bytes) {
    // Only that they return is asked of them.
    let _ = entry_from_bytes(raw.clone());
    let _ = replies_from_bytes(raw.clone());
    let _ = topology_from_bytes(raw.clone());
    let _ = control_command_from_bytes(raw.clone());
    let _ = control_reply_from_bytes(raw.clone());
    let _ = pb::Result::decode(raw.clone()).map(result_from_wire);
    let _ = pb::Command::decode(raw.clone()).map(|wire| {
        Command::try_from(wire).map(|command| (client_may_send(&command, 1 << 20), command.weight()))
    });
    let _ = bootstrap::request_from_bytes(raw.clone());
    let _ = bootstrap::response_from_bytes(raw.clone());
    let _ = bootstrap::vote_from_bytes(raw.clone());
    let _ = bootstrap::identity_from_bytes(raw.clone());
    let _ = bootstrap::cluster_from_bytes(raw.clone());
}

proptest! {
    #[test]
    fn entries_come_back(entry in arbitrary::entry()) {
        prop_assert_eq!(entry_from_bytes(entry_to_bytes(&entry)), Ok(entry));
    }

    #[test]
    fn commands_come_back(command in arbitrary::command()) {
        let wire = pb::Command::decode(command_to_bytes(&command)).expect("just encoded");
        prop_assert_eq!(Command::try_from(wire), Ok(command));
    }

    #[test]
    fn replies_come_back(replies in prop::collection::vec(arbitrary::reply(), 0..4)) {
        prop_assert_eq!(replies_from_bytes(replies_to_bytes(&replies)), Ok(replies));
    }

    #[test]
    fn migrations_come_back(migration in arbitrary::migration::migration()) {
        let wire = pb::Migration::from(&migration).encode_to_vec();
        let wire = pb::Migration::decode(&wire[..]).expect("just encoded");
        prop_assert_eq!(shardbearer_core::migration::Migration::try_from(wire), Ok(migration));
    }

    #[test]
    fn results_come_back(result in arbitrary::result()) {
        prop_assert_eq!(result_over_the_wire(&result), Ok(result));
    }

    #[test]
    fn topologies_come_back(topology in arbitrary::topology()) {
        prop_assert_eq!(topology_from_bytes(topology_to_bytes(&topology)), Ok(topology));
    }

    #[test]
    fn control_commands_come_back(command in arbitrary::control_command()) {
        prop_assert_eq!(control_command_from_bytes(control_command_to_bytes(&command)), Ok(command));
    }

    #[test]
    fn control_replies_come_back(reply in arbitrary::control_reply()) {
        prop_assert_eq!(control_reply_from_bytes(control_reply_to_bytes(&reply)), Ok(reply));
    }

    #[test]
    fn epoch_records_come_back(record in arbitrary::epoch_record()) {
        let bytes = pb::EpochRecord::from(&record).encode_to_vec();
        let wire = pb::EpochRecord::decode(&bytes[..]).expect("just encoded");
        prop_assert_eq!(shardbearer_core::control::EpochRecord::from(wire), record);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&raw.into());
    }

    /// Random bytes seldom get far; spoilt messages do.
    #[test]
    fn spoilt_messages_are_a_value_or_an_error(
        entry in arbitrary::entry(),
        result in arbitrary::result(),
        command in arbitrary::control_command(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let results = pb::Result::from(&result).encode_to_vec().into();
        for message in [entry_to_bytes(&entry), results, control_command_to_bytes(&command)] {
            let mut raw = message.to_vec();
            for (at, value) in spoils.iter().filter(|_| !message.is_empty()) {
                raw[at.index(message.len())] = *value;
            }
            decode_all(&raw.clone().into());
            raw.truncate(cut.index(message.len() + 1));
            decode_all(&raw.into());
        }
    }
}

#[test]
fn keys_and_values_are_slices_of_the_frame() {
    let command = Command::Append { key: Bytes::from_static(b"k"), value: Bytes::from(vec![7; 1_000]) };
    let raw = entry_to_bytes(&Entry { time_ms: 1, items: vec![Item::of(1.into(), command)] });
    let frame = raw.as_ptr_range();
    let entry = entry_from_bytes(raw.clone()).expect("just encoded");
    let Command::Append { value, .. } = &entry.items[0].command else { panic!("{entry:?}") };
    assert!(frame.contains(&value.as_ptr()), "the value was copied");
}

#[test]
fn what_makes_no_sense_is_refused_by_field() {
    let id = |session: &[u8], number, unanswered_from| pb::RequestId {
        session: Bytes::copy_from_slice(session),
        number,
        unanswered_from,
        retry: false,
    };
    let convert = |id: pb::RequestId| shardbearer_core::kv::RequestId::try_from(id).err();
    assert_eq!(convert(id(&[1; 16], 3, 3)), None);
    for bad in [id(&[1; 15], 3, 3), id(&[0; 16], 3, 3), id(&[1; 16], 0, 0), id(&[1; 16], 3, 4)] {
        assert!(matches!(convert(bad.clone()), Some(ConvertError::Field { .. })), "{bad:?}");
    }

    let batch = |commands| pb::Command {
        kind: Some(pb::command::Kind::Batch(pb::Batch { commands, all_or_nothing: false })),
    };
    let nested = Command::try_from(batch(vec![batch(Vec::new())]));
    assert!(matches!(nested, Err(ConvertError::Field { field: "Batch.commands", .. })), "{nested:?}");
    let many = vec![pb::Command::from(&Command::Count); shardbearer_core::limits::BATCH_COMMANDS_MAX + 1];
    let many = Command::try_from(batch(many));
    assert!(matches!(many, Err(ConvertError::Field { field: "Batch.commands", .. })), "{many:?}");
    let empty = Command::try_from(pb::Command { kind: None });
    assert!(matches!(empty, Err(ConvertError::Field { field: "Command.kind", .. })), "{empty:?}");
}
