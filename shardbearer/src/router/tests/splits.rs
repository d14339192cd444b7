//! A router that knows an old configuration, and two orders between which a shard is divided: what it asks of whom, and what
//! they take.

use async_trait::async_trait;
use parking_lot::Mutex;
use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::{Entry, Import, Migrate, Migrated, Progress, Step};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::migration::{Migration, Phase, Split};
use shardbearer_core::slots::slot_of;
use shardbearer_core::storage::Stored;
use shardbearer_core::topology::{Shard, Table, Topology};
use shardbearer_state::shard::ShardMachine;

use super::*;
use crate::leads::Lead;

const PARENT: ShardId = ShardId(1);
const NEW: ShardId = ShardId(2);
const ORDERS: [OrderId; 2] = [OrderId(2), OrderId(3)];

/// "k" has slot 7629 and crosses, and so does what has its tag; "hello" has slot 866.
const CROSSES: &str = "k";
const CROSSES_TOO: &str = "{k}2";
const STAYS: &str = "hello";

fn at() -> u16 {
    slot_of(CROSSES.as_bytes())
}

/// Two orders that others lead, and what they were asked.
#[derive(Default)]
struct Others {
    orders: Mutex<[Stored; 2]>,
    asked: Mutex<Vec<(OrderId, ShardId)>>,
    /// The first call gets no answer, and meanwhile this comes to be known.
    news: Mutex<Option<(Arc<Map>, Topology)>>,
}

impl Others {
    fn apply(&self, order: OrderId, items: Vec<Item>) -> Vec<Reply> {
        let mut orders = self.orders.lock();
        let stored = &mut orders[usize::from(order == ORDERS[1])];
        let mut machine = ShardMachine::new(order);
        machine.load(stored).expect("its own rows are readable");
        let mut work = Workspace::new(stored);
        let replies = machine.apply(LogPos { term: 1, index: 1 }, Entry { time_ms: 1, items }, &mut work);
        let batch = work.finish().expect("memory does not fail");
        stored.commit(batch);
        replies
    }

    fn step(&self, order: usize, shard: ShardId, step: Step) -> Migrated {
        let command = Command::Migrate(Migrate { migration: Epoch(6), step });
        match self.apply(ORDERS[order], vec![Item::of(shard, command)]).pop() {
            Some(Reply::Migrated(migrated)) => migrated,
            other => panic!("{other:?}"),
        }
    }

    /// What the source answers to a question.
    fn question(&self, step: Step) -> Migrated {
        let item = Item::of(PARENT, Command::Migrate(Migrate { migration: Epoch(6), step }));
        match shardbearer_state::shard::query(&self.orders.lock()[0], ORDERS[0], &item, 1).expect("readable")
        {
            shardbearer_state::shard::QueryOutcome::Reply(Reply::Migrated(migrated)) => migrated,
            other => panic!("{other:?}"),
        }
    }

    /// The first order has the parent; the second, if it is divided, what came of it.
    fn new(divided: bool) -> Others {
        let others = Others::default();
        others.apply(ORDERS[0], vec![Item::of(PARENT, Command::Adopt { epoch: 1 })]);
        if !divided {
            return others;
        }
        for _ in 0..2 {
            others.step(0, PARENT, Step::Watch { at: at() });
        }
        others.step(0, PARENT, Step::Freeze);
        let changes = others.question(Step::Changes { after: 0, bytes: 1 });
        let Migrated::Changes { seal, through, .. } = changes else { panic!("{changes:?}") };
        assert!(seal.is_some(), "nothing is on its way");
        others.step(1, NEW, Step::Begin);
        let to = Progress { complete: true, through, ..Progress::default() };
        let import = Import { to, seen: through, seal, ..Import::default() };
        others.step(1, NEW, Step::Import(Box::new(import)));
        others.step(1, NEW, Step::Activate { epoch: Epoch(7) });
        for _ in 0..4 {
            others.step(0, PARENT, Step::Collect { epoch: Epoch(7), until: at() });
        }
        others
    }

    fn asked(&self) -> Vec<(OrderId, ShardId)> {
        std::mem::take(&mut *self.asked.lock())
    }
}

#[async_trait]
impl Transport for Others {
    fn send(&self, _: RadiantId, _: Frame) {}

    async fn call(&self, to: RadiantId, frame: Frame, _: Duration) -> Result<Bytes, CallError> {
        if let Some((map, news)) = self.news.lock().take() {
            assert_eq!(map.advance(news), Ok(true));
            return Err(CallError::Unreachable { to, why: "it has just gone".into() });
        }
        let request = pb::ForwardRequest::decode(frame.body).expect("a router's");
        let order = OrderId(request.order);
        let items = request.items.into_iter().map(|item| Item::try_from(item).expect("a router's"));
        let items: Vec<Item> = items.collect();
        self.asked.lock().extend(items.iter().map(|item| (order, item.shard)));
        let results: Vec<CallResult> = self.apply(order, items).into_iter().map(Ok).collect();
        Ok(results_to_bytes(&results))
    }
}

fn topology(epoch: u64, divided: bool) -> Topology {
    let shard = |id, order| Shard { id, order };
    let (scheme, shards) = match divided {
        false => ("slots:16384/1".to_owned(), vec![shard(PARENT, ORDERS[0])]),
        true => {
            let scheme = format!("slots:16384/1+{}", at());
            (scheme, vec![shard(PARENT, ORDERS[0]), shard(NEW, ORDERS[1])])
        }
    };
    let table = Table { name: "default".into(), scheme, shards, ..Table::default() };
    Topology { epoch: Epoch(epoch), tables: vec![table], ..Topology::default() }
}

fn record(phase: Phase, until: u16) -> Migration {
    Migration {
        id: Epoch(6),
        version: 1,
        shard: NEW,
        split: Some(Split { parent: PARENT, at: at() }),
        until,
        from: ORDERS[0],
        to: ORDERS[1],
        phase,
        ended: if phase == Phase::Serving { Epoch(7) } else { Epoch::NONE },
        ..Migration::default()
    }
}

/// A router that is a member of neither order.
fn router(others: &Arc<Others>, split: Option<Migration>) -> Router {
    let map = Arc::new(Map::new(topology(5, false)).expect("known"));
    let leads = Arc::new(Leads::default());
    for (order, herald) in ORDERS.into_iter().zip([RadiantId(8), RadiantId(9)]) {
        leads.learn(Lead { order, herald, term: 1 });
    }
    let migrations = Arc::new(Known::default());
    if let Some(record) = split {
        assert!(migrations.learn(record));
    }
    let transport: Arc<dyn Transport> = others.clone();
    Router::new(RadiantId(1), map, leads, Arc::default(), migrations, transport)
}

fn append(key: &'static str) -> Command {
    Command::Append { key: key.into(), value: "v".into() }
}

fn batch(keys: [&'static str; 2]) -> Item {
    let commands = keys.map(append).into();
    Item::of(PARENT, Command::Batch { commands, all_or_nothing: true })
}

async fn ask(router: &Router, item: Item) -> CallResult {
    router.execute(vec![item], Duration::from_millis(100)).await.remove(0)
}

fn length(result: &CallResult) -> Option<u64> {
    match result {
        Ok(Reply::Length { length, .. }) => Some(*length),
        _ => None,
    }
}

/// The first key says nothing of the second, whichever that is; the new shard would not take it either.
#[tokio::test(start_paused = true)]
async fn a_batch_of_both_parts_is_carried_out_by_neither() {
    let others = Arc::new(Others::new(true));
    let router = router(&others, Some(record(Phase::Serving, 16_384)));
    for keys in [[CROSSES, STAYS], [STAYS, CROSSES]] {
        let result = ask(&router, batch(keys)).await;
        assert!(
            matches!(result, Err(RequestError::Refused(Refused::WrongOrder { .. }))),
            "{keys:?}: {result:?}"
        );
        assert!(others.asked().iter().all(|asked| *asked == (ORDERS[0], PARENT)), "{keys:?}");
        // Who takes it for one of the new shard all the same is refused there.
        let mislead = Item { shard: NEW, ..batch(keys) };
        assert_eq!(others.apply(ORDERS[1], vec![mislead]), [Reply::Refused(Refusal::WrongOrder)]);
    }
    let applied = ask(&router, batch([CROSSES, CROSSES_TOO])).await;
    assert!(matches!(applied, Ok(Reply::Batch { applied: true, .. })), "{applied:?}");
    assert_eq!(others.asked(), [(ORDERS[1], NEW)], "where it is decided to be");
    assert_eq!(
        length(&ask(&router, Item::of(PARENT, append(STAYS))).await),
        Some(1),
        "it was never appended to"
    );

    // Once the configuration is known, it is said why.
    assert_eq!(router.map.advance(topology(7, true)), Ok(true));
    for keys in [[CROSSES, STAYS], [STAYS, CROSSES]] {
        let result = ask(&router, batch(keys)).await;
        assert!(matches!(result, Err(RequestError::Refused(Refused::Invalid(_)))), "{keys:?}: {result:?}");
    }
    let again = [CROSSES, STAYS].map(|key| Item::of(PARENT, append(key)));
    let lengths = router.execute(again.into(), Duration::from_millis(100)).await;
    assert_eq!(lengths.iter().map(length).collect::<Vec<_>>(), [Some(2), Some(2)], "each once more");
}

/// What lies behind the end of the parent is not the new shard's, whatever an old configuration says.
#[test]
fn a_detour_leads_to_what_is_between_its_ends() {
    let known = Known::default();
    let leads_to = |known: &Known, item: &Item| known.detour().is_some_and(|detour| detour.concerns(item));
    let get = |key: &'static str| Item::of(PARENT, Command::Get { key: key.into() });
    assert!(known.learn(record(Phase::Frozen, 16_384)));
    assert!(leads_to(&known, &get(CROSSES)) && !leads_to(&known, &get(STAYS)));
    assert!(leads_to(&known, &batch([CROSSES, CROSSES_TOO])));
    for keys in [[CROSSES, STAYS], [STAYS, CROSSES], [STAYS, STAYS]] {
        assert!(!leads_to(&known, &batch(keys)), "{keys:?}");
    }
    let whole = Item::of(PARENT, Command::Count);
    let empty = Item::of(PARENT, Command::Batch { commands: Vec::new(), all_or_nothing: true });
    assert!(!leads_to(&known, &whole) && !leads_to(&known, &empty));

    let split = Split { parent: PARENT, at: 500 };
    let narrow = Migration { id: Epoch(8), split: Some(split), ..record(Phase::Frozen, at()) };
    assert!(known.learn(narrow));
    assert!(leads_to(&known, &get(STAYS)) && !leads_to(&known, &get(CROSSES)), "that is another shard's");
}

/// Nobody has refused it: the first order gave no answer. What is known since says that the key is another's.
#[tokio::test(start_paused = true)]
async fn a_newer_configuration_is_looked_at_before_the_next_attempt() {
    let others = Arc::new(Others::new(true));
    let router = router(&others, None);
    *others.news.lock() = Some((router.map.clone(), topology(7, true)));
    let result = ask(&router, Item::of(PARENT, append(CROSSES))).await;
    assert_eq!(length(&result), Some(1), "{result:?}");
    assert_eq!(others.asked(), [(ORDERS[1], NEW)]);
}

/// An order that serves the whole shard is asked for all of it while nothing is decided.
#[tokio::test(start_paused = true)]
async fn before_it_is_divided_a_batch_of_both_parts_is_one_of_one_shard() {
    let others = Arc::new(Others::new(false));
    let router = router(&others, Some(record(Phase::Copying, 16_384)));
    for keys in [[CROSSES, STAYS], [STAYS, CROSSES]] {
        let result = ask(&router, batch(keys)).await;
        assert!(matches!(result, Ok(Reply::Batch { applied: true, .. })), "{keys:?}: {result:?}");
    }
}
