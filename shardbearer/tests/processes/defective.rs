//! Radiants with an engine that breaks a promise: what the oracle must notice of processes.
//!
//! The program of these tests is also the program of such a radiant: started with [`ARGUMENTS`] set it is the
//! `shardbearer` command, with one of its engines replaced.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::engine::Engines;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, EngineStatus,
};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::Configuration;
use shardbearer_proto::convert;

/// Arguments of the command, one in a line.
const ARGUMENTS: &str = "DEFECTIVE_ARGUMENTS";
/// What is wrong with the engine, by its number.
const DEFECT: &str = "DEFECTIVE_BY";

/// What is wrong with the engine of the data; the control order's is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Whoever was the herald believes that it still is, and answers reads without asking.
    Hasty,
    /// It proposes without the ids of requests, so that a repeated one is done again.
    Forgetful,
}

impl Defect {
    const ALL: [Defect; 2] = [Defect::Hasty, Defect::Forgetful];

    /// A process with this defect.
    pub fn program(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "defective::the_program_of_the_tests_can_be_a_radiant", "--nocapture"]);
        command.env(ARGUMENTS, arguments.join("\n")).env(DEFECT, (self as usize).to_string());
        command
    }
}

/// In the life of a radiant it is the radiant; else it looks whether it can be.
#[test]
fn the_program_of_the_tests_can_be_a_radiant() -> ExitCode {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        let output = Defect::Hasty.program(&["--version"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("shardbearer {}", env!("CARGO_PKG_VERSION"))), "{output:?}");
        return ExitCode::SUCCESS;
    };
    let number: usize = std::env::var(DEFECT).unwrap().parse().unwrap();
    let mut engines = Engines::default();
    let sound: Vec<_> = engines.all().cloned().collect();
    for inner in sound {
        engines.register(Arc::new(Factory { defect: Defect::ALL[number], inner }));
    }
    let program = OsString::from("shardbearer");
    shardbearer::cli::main_of(engines, [program].into_iter().chain(arguments.lines().map(OsString::from)))
}

struct Factory {
    defect: Defect,
    inner: Arc<dyn EngineFactory>,
}

#[async_trait]
impl EngineFactory for Factory {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn refuses(&self, members: usize) -> Option<String> {
        self.inner.refuses(members)
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let (me, control) = (context.me, context.order.is_control());
        let inner = self.inner.open(context).await?;
        Ok(if control { inner } else { Arc::new(Defective { defect: self.defect, me, inner }) })
    }
}

struct Defective {
    defect: Defect,
    me: RadiantId,
    inner: Arc<dyn ConsensusEngine>,
}

impl Defective {
    fn believe(&self, status: EngineStatus) -> EngineStatus {
        let believes = self.defect == Defect::Hasty && status.herald == Some(self.me) && !status.closed;
        EngineStatus { leading: status.leading || believes, ..status }
    }
}

#[async_trait]
impl ConsensusEngine for Defective {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        if self.defect != Defect::Forgetful {
            return self.inner.propose(entry).await;
        }
        let mut entry = convert::entry_from_bytes(entry).expect("the order's own");
        entry.items.iter_mut().for_each(|item| item.id = None);
        self.inner.propose(convert::entry_to_bytes(&entry)).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.defect {
            Defect::Hasty => Ok(LogPos::default()),
            Defect::Forgetful => self.inner.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.inner.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.inner.reconfigure(members).await
    }

    async fn configure(&self, configuration: Configuration) -> Result<(), RequestError> {
        self.inner.configure(configuration).await
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.inner.hand_over(to).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.inner.campaign().await
    }

    fn status(&self) -> EngineStatus {
        self.believe(self.inner.status())
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.believe(self.inner.changed(since).await)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
