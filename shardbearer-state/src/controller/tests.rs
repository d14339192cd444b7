//! The controller: one configuration per epoch, each reachable from the last by one recorded change; a name belongs to
//! one data directory; what is stored comes back, and rubbish is an error rather than a configuration.

use bytes::Bytes;
use proptest::prelude::*;
use shardbearer_core::control::Anew;
use shardbearer_core::ids::{ClusterId, ShardId, TableId};
use shardbearer_core::storage::Stored;
use shardbearer_core::topology::{Order, Shard, Table};

use super::*;

#[derive(Default)]
struct Replica {
    machine: ControlMachine,
    stored: Stored,
    index: u64,
}

impl Replica {
    fn founded() -> Replica {
        let mut replica = Replica::default();
        replica.change(Change::Found(cluster(7)));
        replica
    }

    fn change(&mut self, change: Change) -> ControlReply {
        self.index += 1;
        let command = ControlCommand { who: "tests".into(), why: "to see".into(), at_ms: self.index, change };
        let mut work = Workspace::new(&self.stored);
        let reply = self.machine.apply(LogPos { term: 1, index: self.index }, command, &mut work);
        self.stored.commit(work.finish().expect("memory does not fail"));
        reply
    }

    fn welcome(&mut self, name: &str, incarnation: u128, grpc: &str) -> ControlReply {
        let doors = Doors { grpc: grpc.into(), ..Doors::default() };
        self.change(Change::Welcome { name: name.into(), incarnation: Incarnation(incarnation), doors })
    }

    fn now(&self) -> Topology {
        topology(&self.stored).expect("readable").expect("founded")
    }
}

/// Two founders, "a" and "b".
fn cluster(id: u128) -> Topology {
    let radiant = |id: u64, name: &str| Radiant {
        id: RadiantId(id),
        name: name.into(),
        incarnation: Incarnation(u128::from(id)),
        doors: Doors { grpc: format!("{name}:1"), ..Doors::default() },
        ..Radiant::default()
    };
    let order = |id: u64| Order {
        id: OrderId(id),
        engine: "openraft".into(),
        members: vec![RadiantId(1), RadiantId(2)],
        preferred_herald: RadiantId(1),
        ..Order::default()
    };
    let shard = |id: u64| Shard { id: ShardId(id), order: OrderId(2) };
    Topology {
        cluster: ClusterId(id),
        epoch: Epoch(99), // the first epoch is 1, whatever the founder says
        radiants: vec![radiant(1, "a"), radiant(2, "b")],
        orders: vec![order(1), order(2)],
        tables: vec![Table {
            id: TableId::DEFAULT,
            name: "default".into(),
            scheme: "slots:16384/2".into(),
            shards: vec![shard(1), shard(2)],
        }],
        ..Topology::default()
    }
}

fn changed(epoch: u64, radiant: u64) -> ControlReply {
    ControlReply::Changed { epoch: Epoch(epoch), radiant: RadiantId(radiant) }
}

#[test]
fn where_the_highest_id_is_in_use_nobody_is_let_in() {
    let mut founding = cluster(7);
    founding.radiants[0].id = RadiantId(u64::MAX);
    let mut replica = Replica::default();
    replica.change(Change::Found(founding));
    let ControlReply::Refused(why) = replica.welcome("c", 3, "c:1") else { panic!("there is no id left") };
    assert!(why.contains("highest radiant id"), "{why}");
}

#[test]
fn only_the_first_founding_counts() {
    let mut replica = Replica::default();
    assert_eq!(topology(&replica.stored), Ok(None));
    assert_eq!(replica.change(Change::Found(cluster(7))), changed(1, 0));
    let first = replica.now();
    assert_eq!((first.cluster, first.epoch), (ClusterId(7), Epoch(1)));
    // Every founder proposes it; another cluster's late proposal must not take over either.
    assert_eq!(replica.change(Change::Found(cluster(7))), changed(1, 0));
    assert_eq!(replica.change(Change::Found(cluster(8))), changed(1, 0));
    assert_eq!(replica.now(), first);
    assert_eq!(epochs(&replica.stored).expect("readable").len(), 1);
}

#[test]
fn nobody_is_welcome_before_the_founding() {
    let mut replica = Replica::default();
    assert!(matches!(replica.welcome("c", 3, "c:1"), ControlReply::Refused(_)));
    assert_eq!(topology(&replica.stored), Ok(None));
}

#[test]
fn a_newcomer_becomes_a_spare_and_the_same_news_makes_no_epoch() {
    let mut replica = Replica::founded();
    assert_eq!(replica.welcome("c", 3, "c:1"), changed(2, 3));
    assert!(replica.now().is_spare(RadiantId(3)));
    assert_eq!(replica.welcome("c", 3, "c:1"), changed(2, 3), "as often as it likes");
    assert_eq!(replica.welcome("a", 1, "a:1"), changed(2, 1), "founders too");
    assert_eq!(replica.welcome("c", 3, "elsewhere:1"), changed(3, 3));
    assert_eq!(replica.now().radiant(RadiantId(3)).expect("known").doors.grpc, "elsewhere:1");
}

#[test]
fn a_name_belongs_to_one_data_directory() {
    let mut replica = Replica::founded();
    let before = replica.now();
    let ControlReply::Refused(why) = replica.welcome("b", 99, "b:1") else { panic!("taken over") };
    assert!(why.contains("another data directory"), "{why}");
    assert_eq!(replica.now(), before);
}

#[test]
fn members_change_only_on_the_epoch_on_which_it_was_decided() {
    let mut replica = Replica::founded();
    replica.welcome("c", 3, "c:1");
    let begin = MemberChange::Begin { order: OrderId(2), add: RadiantId(3), remove: RadiantId(1) };
    let members = |on: u64, change: MemberChange| Change::Members { on: Epoch(on), change };
    for stale in [0, 1, 3] {
        let ControlReply::Refused(why) = replica.change(members(stale, begin.clone())) else {
            panic!("stale")
        };
        assert!(why.contains("2 is in force"), "{why}");
    }
    assert_eq!(replica.change(members(2, begin.clone())), changed(3, 0));
    let order = replica.now().order(OrderId(2)).expect("known").clone();
    assert_eq!((order.roster.epoch, order.roster.previous), (Epoch(3), Epoch(1)));
    assert_eq!(order.seats().collect::<Vec<_>>(), [RadiantId(1), RadiantId(2), RadiantId(3)]);
    let ControlReply::Refused(why) = replica.change(members(3, begin)) else { panic!("two at a time") };
    assert!(why.contains("one change at a time"), "{why}");
    assert_eq!(replica.change(members(3, MemberChange::Finish { order: OrderId(2) })), changed(4, 0));
    assert_eq!(replica.now().order(OrderId(2)).expect("known").members, [RadiantId(2), RadiantId(3)]);
    let records = epochs(&replica.stored).expect("readable");
    let last = records.last().expect("there are some");
    assert_eq!((last.what.as_str(), last.who.as_str()), ("order 2 consists of b, c", "tests"));
}

#[test]
fn who_has_left_does_not_come_back_with_its_old_data() {
    let mut replica = Replica::founded();
    replica.welcome("c", 3, "c:1");
    let gone = MemberChange::Stand { radiant: RadiantId(3), standing: Standing::Gone };
    assert_eq!(replica.change(Change::Members { on: Epoch(2), change: gone }), changed(3, 0));
    let ControlReply::Refused(why) = replica.welcome("c", 3, "c:1") else { panic!("it came back") };
    assert!(why.contains("has left this cluster"), "{why}");
    assert_eq!(replica.welcome("c", 4, "c:1"), changed(4, 4), "with other data it is another radiant");
}

#[test]
fn a_stored_configuration_that_is_damaged_is_an_error() {
    let mut replica = Replica::founded();
    let row = stored::encode_topology(&replica.now());
    for bad in [row.slice(..row.len() - 1), [&row[..], b"x"].concat().into(), Bytes::new()] {
        replica.stored.0.entry(SPACE).or_default().insert(keys::topology(), bad);
        assert!(matches!(topology(&replica.stored), Err(StorageError::Corrupt(_))));
        assert!(replica.machine.load(&replica.stored).is_err(), "a replica does not start from it");
    }
}

proptest! {
    /// Arrivals in any order, with repetitions, changes of address and name clashes.
    #[test]
    fn one_configuration_per_epoch_for_ever(
        arrivals in prop::collection::vec((0..6u8, 0..8u128, 0..3u8), 0..30),
    ) {
        let (mut one, mut other) = (Replica::founded(), Replica::founded());
        let mut history = vec![one.now()];
        for (name, incarnation, door) in arrivals {
            let (name, door) = (format!("n{name}"), format!("door{door}"));
            let reply = one.welcome(&name, incarnation, &door);
            prop_assert_eq!(&reply, &other.welcome(&name, incarnation, &door));
            prop_assert_eq!(&one.stored, &other.stored, "replicas hold the same bytes");
            let now = one.now();
            let last = history.last().expect("the founding").clone();
            if now == last {
                continue;
            }
            prop_assert_eq!(now.epoch.0, last.epoch.0 + 1);
            prop_assert_eq!((&now.orders, &now.tables), (&last.orders, &last.tables), "data stay where they are");
            let ids: Vec<RadiantId> = now.radiants.iter().map(|radiant| radiant.id).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ascending and never reused: {ids:?}");
            history.push(now);
        }
        for topology in &history {
            let then = topology_at(&one.stored, topology.epoch).expect("readable");
            prop_assert_eq!(then.as_ref(), Some(topology), "old epochs still answer the same");
        }
        let records = epochs(&one.stored).expect("readable");
        let numbers: Vec<u64> = records.iter().map(|record| record.epoch.0).collect();
        prop_assert_eq!(numbers, (1..=history.len() as u64).collect::<Vec<u64>>());
        prop_assert!(records.iter().all(|record| !record.what.is_empty() && record.who == "tests"));
        prop_assert_eq!(topology_at(&one.stored, Epoch(history.len() as u64 + 1)), Ok(None));
    }

    #[test]
    fn rubbish_is_no_configuration(raw in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let mut row = raw;
        if let (true, Some(first)) = (version, row.first_mut()) {
            *first = 3;
        }
        let row = Bytes::from(row);
        // Only that they return is asked; what does decode must be what its own encoding says.
        if let Some(topology) = stored::decode_topology(&row) {
            prop_assert_eq!(stored::encode_topology(&topology), row.clone());
        }
        if let Some((record, topology)) = stored::decode_epoch(&row) {
            prop_assert_eq!(stored::encode_epoch(&record, &topology), row);
        }
    }
}

/// The control order begins anew from the newest that anybody knows, once, and says so in its history.
#[test]
fn a_control_order_that_was_reset_goes_on_from_the_newest_that_was_told() {
    let anew = |known: Topology, generation, survivor| {
        let (generation, survivor) = (Epoch(generation), RadiantId(survivor));
        Change::Anew(Box::new(Anew { known, migration: None, generation, survivor }))
    };
    let refused = |reply, expected: &str| {
        let ControlReply::Refused(why) = reply else { panic!("{expected}: {reply:?}") };
        assert!(why.contains(expected), "{why}");
    };
    let mut replica = Replica::founded();
    // The others decided one more epoch, which somebody was told of, and this log has another in its place.
    let mut others = Replica::founded();
    others.welcome("d", 4, "d:1");
    replica.welcome("c", 3, "c:1");
    let told = others.now();
    refused(replica.change(anew(cluster(8), 2_001, 1)), "this is cluster");
    refused(replica.change(anew(told.clone(), 2, 1)), "epoch 2 is over");
    refused(replica.change(anew(cluster(7), 2, 1)), "epoch 2 is over");
    refused(replica.change(anew(told.clone(), 2_009, 9)), "radiant 9 is no member of order 1");
    assert_eq!(replica.change(anew(told.clone(), 2_001, 1)), changed(2_001, 0));
    let now = replica.now();
    let order = now.order(OrderId::CONTROL).expect("it is there");
    assert_eq!((order.members.as_slice(), order.roster.size), ([RadiantId(1)].as_slice(), 2));
    assert_eq!((order.generation(), now.version()), (Epoch(2_001), (Epoch(2_001), Epoch(2_001))));
    assert!(now.radiants.iter().any(|radiant| radiant.name == "d"), "what was told goes on: {now:?}");
    let history = epochs(&replica.stored).expect("readable");
    let ids: Vec<u64> = history.iter().map(|record| record.epoch.0).collect();
    assert_eq!(ids, [1, 2, 2_001]);
    assert_eq!(topology_at(&replica.stored, Epoch(2)), Ok(Some(told.clone())));
    assert_eq!(history[2].what, "order 1 begins anew from what radiant a has of it");
    // After a crash in the middle, and then as ever.
    assert_eq!(replica.change(anew(told, 2_001, 1)), changed(2_001, 0));
    assert_eq!(epochs(&replica.stored).expect("readable").len(), 3);
    assert_eq!(replica.welcome("e", 5, "e:1"), changed(2_002, 4));

    // Where nobody was told of anything newer, all of the log counts.
    let mut replica = Replica::founded();
    let told = replica.now();
    replica.welcome("c", 3, "c:1");
    assert_eq!(replica.change(anew(told, 2_001, 1)), changed(2_001, 0));
    assert!(replica.now().radiants.iter().any(|radiant| radiant.name == "c"));
}

/// The newest record of a move is taken over too, and no older one.
#[test]
fn a_control_order_that_was_reset_knows_how_far_the_last_move_is() {
    for (told, expected) in [(7, 7), (3, 5)] {
        let mut replica = Replica::founded();
        replica.welcome("c", 3, "c:1");
        let record = |id| Migration { id: Epoch(id), shard: ShardId(1), ..Migration::default() };
        for (generation, id) in [(2_001, 5), (3_001, told)] {
            let (known, migration) = (replica.now(), Some(record(id)));
            let anew = Anew { known, migration, generation: Epoch(generation), survivor: RadiantId(1) };
            assert_eq!(replica.change(Change::Anew(anew.into())), changed(generation, 0));
        }
        let last = migration(&replica.stored).expect("readable").map(|record| record.id);
        assert_eq!(last, Some(Epoch(expected)));
    }
}

#[test]
fn the_history_is_told_in_pages() {
    let mut replica = Replica::founded();
    for id in 3..=9 {
        replica.welcome(&format!("r{id}"), id, "somewhere:1");
    }
    let all = epochs(&replica.stored).expect("readable");
    assert_eq!(all.len(), 8);
    let page = |from: u64, limit: usize, bytes: usize| {
        epochs_from(&replica.stored, Epoch(from), limit, bytes).expect("readable")
    };
    for (limit, bytes) in
        [(1, usize::MAX), (3, usize::MAX), (8, usize::MAX), (usize::MAX, 1), (usize::MAX, 200)]
    {
        let (mut told, mut from, mut pages) = (Vec::new(), 0, 0);
        loop {
            let Page { records, more } = page(from, limit, bytes);
            assert!(records.len() <= limit && !records.is_empty());
            told.extend(records);
            pages += 1;
            if !more {
                break;
            }
            from = told.last().expect("one at least").epoch.0 + 1;
        }
        assert_eq!(told, all, "by {limit} and {bytes}");
        assert_eq!(pages > 1, limit < 8 || bytes < usize::MAX);
    }
    assert_eq!(page(9, 5, usize::MAX), Page::default(), "there is no epoch 9");
    assert_eq!(page(7, 1, usize::MAX).records, all[6..7]);
}
