//! Arbitrary domain values: every variant of everything that travels, with the restrictions that the conversions
//! document (sessions are not zero, numbers count from 1, batches do not nest, "nobody" is 0).

pub(super) mod migration;
mod rebalancing;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shardbearer_core::control::{Anew, Change, ControlCommand, ControlReply, EpochRecord};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, Epoch, Incarnation, OrderId, RadiantId, SessionId, ShardId};
use shardbearer_core::kv::{
    Command, Condition, Entry, ExpireWhen, Expiry, Item, Record, RecordInfo, Refusal, Reply, RequestId, Row,
    Scan,
};
use shardbearer_core::membership::{MemberChange, Reset, Roster, Standing};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..8).prop_map(String::from_iter)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(Condition::Revision),
        bytes().prop_map(Condition::Value),
        bytes().prop_map(Condition::NotValue),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![Just(Expiry::Never), Just(Expiry::Keep), any::<u64>().prop_map(Expiry::At)]
}

fn when() -> impl Strategy<Value = ExpireWhen> {
    prop::sample::select(vec![
        ExpireWhen::Always,
        ExpireWhen::HasNone,
        ExpireWhen::HasOne,
        ExpireWhen::Later,
        ExpireWhen::Earlier,
        ExpireWhen::HasOneAndEarlier,
    ])
}

fn scan() -> impl Strategy<Value = Scan> {
    (bytes(), bytes(), any::<u32>(), any::<u64>(), any::<bool>())
        .prop_map(|(start, end, limit, bytes, keys_only)| Scan { start, end, limit, bytes, keys_only })
}

fn single_command() -> impl Strategy<Value = Command> {
    let put = (bytes(), bytes(), condition(), expiry(), any::<bool>()).prop_map(
        |(key, value, condition, expiry, previous)| Command::Put { key, value, condition, expiry, previous },
    );
    prop_oneof![
        bytes().prop_map(|key| Command::Get { key }),
        bytes().prop_map(|key| Command::Inspect { key }),
        put,
        (bytes(), condition(), any::<bool>()).prop_map(|(key, condition, previous)| Command::Delete {
            key,
            condition,
            previous
        }),
        (bytes(), any::<i64>()).prop_map(|(key, by)| Command::Increment { key, by }),
        // Not a number equals nothing, not even itself.
        (bytes(), any::<f64>().prop_filter("comparable", |by| !by.is_nan()))
            .prop_map(|(key, by)| Command::IncrementFloat { key, by }),
        (bytes(), bytes()).prop_map(|(key, value)| Command::Append { key, value }),
        (bytes(), any::<u64>(), bytes()).prop_map(|(key, offset, value)| Command::SetRange {
            key,
            offset,
            value
        }),
        (bytes(), option::of(any::<u64>()), when()).prop_map(|(key, at_ms, when)| Command::Expire {
            key,
            at_ms,
            when
        }),
        (bytes(), condition()).prop_map(|(key, condition)| Command::Check { key, condition }),
        scan().prop_map(Command::Scan),
        Just(Command::Count),
        Just(Command::Clear),
        any::<u64>().prop_map(|epoch| Command::Adopt { epoch }),
        any::<u32>().prop_map(|limit| Command::Sweep { limit }),
    ]
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        9 => single_command(),
        1 => (vec(single_command(), 0..5), any::<bool>())
            .prop_map(|(commands, all_or_nothing)| Command::Batch { commands, all_or_nothing }),
        1 => migration::migrate().prop_map(Command::Migrate),
    ]
}

fn request_id() -> impl Strategy<Value = RequestId> {
    (1..=u128::MAX, 1..=u64::MAX, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(session, number, below, retry)| {
            let unanswered_from = number - below.index(usize::try_from(number).unwrap_or(usize::MAX)) as u64;
            RequestId { session: SessionId(session), number, unanswered_from, retry }
        },
    )
}

pub(super) fn entry() -> impl Strategy<Value = Entry> {
    let item = (any::<u64>(), option::of(request_id()), migration::slot(), command());
    let item =
        item.prop_map(|(shard, id, until, command)| Item { shard: ShardId(shard), id, until, command });
    (any::<u64>(), vec(item, 0..5)).prop_map(|(time_ms, items)| Entry { time_ms, items })
}

fn record() -> impl Strategy<Value = Record> {
    (bytes(), any::<u64>(), option::of(any::<u64>())).prop_map(|(value, revision, expires_at_ms)| Record {
        value,
        revision,
        expires_at_ms,
    })
}

fn info() -> impl Strategy<Value = RecordInfo> {
    (any::<u64>(), any::<u64>(), option::of(any::<u64>()))
        .prop_map(|(length, revision, expires_at_ms)| RecordInfo { length, revision, expires_at_ms })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NotAnInteger),
        Just(Refusal::NotANumber),
        Just(Refusal::Overflow),
        any::<u64>().prop_map(|limit| Refusal::TooLarge { limit }),
        Just(Refusal::WrongOrder),
        Just(Refusal::SessionExpired),
        Just(Refusal::SessionsFull),
        text().prop_map(Refusal::Malformed),
    ]
}

fn single_reply() -> impl Strategy<Value = Reply> {
    let row = (bytes(), record()).prop_map(|(key, record)| Row { key, record });
    prop_oneof![
        option::of(record()).prop_map(Reply::Record),
        option::of(info()).prop_map(Reply::Info),
        (any::<u64>(), option::of(record()))
            .prop_map(|(revision, previous)| Reply::Written { revision, previous }),
        (any::<bool>(), option::of(record()))
            .prop_map(|(existed, previous)| Reply::Deleted { existed, previous }),
        option::of(record()).prop_map(|current| Reply::ConditionFailed { current }),
        (any::<i64>(), any::<u64>()).prop_map(|(value, revision)| Reply::Number { value, revision }),
        (bytes(), any::<u64>()).prop_map(|(value, revision)| Reply::Decimal { value, revision }),
        (any::<u64>(), any::<u64>()).prop_map(|(length, revision)| Reply::Length { length, revision }),
        any::<bool>().prop_map(|changed| Reply::Touched { changed }),
        (vec(row, 0..4), any::<bool>()).prop_map(|(rows, more)| Reply::Page { rows, more }),
        (any::<u64>(), any::<u64>()).prop_map(|(rows, bytes)| Reply::Count { rows, bytes }),
        (any::<u32>(), any::<bool>()).prop_map(|(removed, more)| Reply::Swept { removed, more }),
        refusal().prop_map(Reply::Refused),
    ]
}

pub(super) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        9 => single_reply(),
        1 => (any::<bool>(), vec(single_reply(), 0..5))
            .prop_map(|(applied, replies)| Reply::Batch { applied, replies }),
        1 => migration::migrated().prop_map(Reply::Migrated),
    ]
}

fn request_error() -> impl Strategy<Value = RequestError> {
    let refused = prop_oneof![
        (any::<u64>(), option::of(1..=u64::MAX)).prop_map(|(order, hint)| Refused::NotHerald {
            order: OrderId(order),
            hint: hint.map(RadiantId)
        }),
        any::<u64>().prop_map(|epoch| Refused::WrongOrder { epoch: Epoch(epoch) }),
        text().prop_map(Refused::Busy),
        text().prop_map(Refused::DiskFull),
        text().prop_map(Refused::Unavailable),
        text().prop_map(Refused::Invalid),
        Just(Refused::Closed),
    ];
    prop_oneof![
        1 => text().prop_map(RequestError::Unknown),
        7 => refused.prop_map(RequestError::Refused),
    ]
}

pub(super) fn result() -> impl Strategy<Value = Result<Reply, RequestError>> {
    prop_oneof![reply().prop_map(Ok), request_error().prop_map(Err)]
}

fn doors() -> impl Strategy<Value = Doors> {
    (text(), text(), text()).prop_map(|(grpc, resp, http)| Doors { grpc, resp, http })
}

fn radiant() -> impl Strategy<Value = Radiant> {
    (any::<u64>(), text(), any::<u128>(), doors(), standing()).prop_map(
        |(id, name, incarnation, doors, standing)| Radiant {
            id: RadiantId(id),
            name,
            incarnation: Incarnation(incarnation),
            doors,
            standing,
        },
    )
}

fn standing() -> impl Strategy<Value = Standing> {
    (0..5_u8, any::<u64>().prop_map(RadiantId)).prop_map(|(kind, to)| match kind {
        0 => Standing::Active,
        1 => Standing::Spare,
        2 => Standing::Draining { to },
        3 => Standing::Leaving { to },
        _ => Standing::Gone,
    })
}

fn radiants() -> impl Strategy<Value = Vec<RadiantId>> {
    vec(any::<u64>().prop_map(RadiantId), 0..4)
}

fn roster() -> impl Strategy<Value = Roster> {
    let reset = proptest::option::of((1..=u64::MAX, any::<u64>())).prop_map(|reset| {
        reset.map(|(epoch, survivor)| Reset { epoch: Epoch(epoch), survivor: RadiantId(survivor) })
    });
    (any::<u64>(), any::<u64>(), radiants(), radiants(), any::<u32>(), reset).prop_map(
        |(epoch, previous, learners, leaving, size, reset)| Roster {
            epoch: Epoch(epoch),
            previous: Epoch(previous),
            learners,
            leaving,
            size,
            reset,
        },
    )
}

fn member_change() -> impl Strategy<Value = Change> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let change = (0..6_u8, numbers, radiants(), radiants(), standing()).prop_map(
        |(kind, (order, a, b), members, learners, standing)| {
            let (order, radiant) = (OrderId(order), RadiantId(a));
            match kind {
                0 => MemberChange::Begin { order, add: radiant, remove: RadiantId(b) },
                1 => MemberChange::Finish { order },
                2 => MemberChange::Abandon { order },
                3 => MemberChange::List { order, members, learners },
                4 => MemberChange::Reset { order, survivor: radiant },
                _ => MemberChange::Stand { radiant, standing },
            }
        },
    );
    (any::<u64>(), change).prop_map(|(on, change)| Change::Members { on: Epoch(on), change })
}

fn order() -> impl Strategy<Value = Order> {
    (any::<u64>(), text(), radiants(), any::<u64>(), roster()).prop_map(
        |(id, engine, members, preferred, roster)| Order {
            id: OrderId(id),
            engine,
            members,
            preferred_herald: RadiantId(preferred),
            roster,
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    let shard =
        (any::<u64>(), any::<u64>()).prop_map(|(id, order)| Shard { id: ShardId(id), order: OrderId(order) });
    (any::<u64>(), text(), text(), vec(shard, 0..5)).prop_map(|(id, name, scheme, shards)| Table {
        id: id.into(),
        name,
        scheme,
        shards,
    })
}

pub(super) fn topology() -> impl Strategy<Value = Topology> {
    (
        any::<u128>(),
        any::<u64>(),
        vec(radiant(), 0..4),
        vec(order(), 0..4),
        vec(table(), 0..3),
        rebalancing::policy(),
    )
        .prop_map(|(cluster, epoch, radiants, orders, tables, policy)| Topology {
            cluster: ClusterId(cluster),
            epoch: Epoch(epoch),
            radiants,
            orders,
            tables,
            policy,
        })
}

pub(super) fn control_command() -> impl Strategy<Value = ControlCommand> {
    let change = prop_oneof![
        topology().prop_map(Change::Found),
        (text(), any::<u128>(), doors()).prop_map(|(name, incarnation, doors)| Change::Welcome {
            name,
            incarnation: Incarnation(incarnation),
            doors
        }),
        migration::change().prop_map(Change::Migration),
        rebalancing::change().prop_map(Change::Rebalance),
        member_change(),
        (topology(), option::of(migration::migration()), any::<u64>(), any::<u64>()).prop_map(
            |(known, migration, generation, survivor)| Change::Anew(Box::new(Anew {
                known,
                migration,
                generation: generation.into(),
                survivor: survivor.into(),
            }))
        ),
    ];
    (text(), text(), any::<u64>(), change).prop_map(|(who, why, at_ms, change)| ControlCommand {
        who,
        why,
        at_ms,
        change,
    })
}

pub(super) fn control_reply() -> impl Strategy<Value = ControlReply> {
    prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, radiant)| ControlReply::Changed {
            epoch: Epoch(epoch),
            radiant: RadiantId(radiant)
        }),
        text().prop_map(ControlReply::Refused),
    ]
}

pub(super) fn epoch_record() -> impl Strategy<Value = EpochRecord> {
    (any::<u64>(), any::<u64>(), text(), text(), text())
        .prop_map(|(epoch, at_ms, who, why, what)| EpochRecord { epoch: Epoch(epoch), at_ms, who, why, what })
}
