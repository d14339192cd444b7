//! What must hold of a cluster at every moment. One file each; each was seen to fail on a broken double
//! (`doubles.rs`). What must hold of the answers of clients is judged at the end, see `run.rs`; what must hold at the moment of
//! an acknowledgement is asked by the observer of engines, see [`durable`], and so is what must hold of what is applied, see
//! [`applied`]. Of a cluster that
//! is well again it is asked now and then whether it is without its control order, too, see [`without_control`].

mod activated;
pub mod applied;
mod audited;
mod complete;
mod dropped;
pub mod durable;
mod held;
mod history;
mod logs;
mod members;
mod one_cluster;
mod one_configuration;
mod one_herald;
mod one_owner;
mod purged;
mod radiants;
mod same_rows;
mod stale;
mod stored;
pub mod without_control;

pub use self::same_rows::positions;
pub use self::stored::Stored;
use super::cluster::Cluster;

/// Something that must hold, with a memory of what was seen before.
pub trait Invariant: Send {
    /// Looks at the cluster; an error says what is broken.
    fn look(&mut self, cluster: &Cluster) -> Result<(), String>;
}

/// Who looks at the rows of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Watched {
    /// They are compared from outside at each moment; and the radiants.
    #[default]
    FromOutside,
    /// Only the radiants, by each other's digests.
    ByEachOther,
    /// Only each radiant by itself.
    ByThemselves,
}

/// All of them, but for those that compare the rows of replicas if nobody is to look at those.
pub fn all(watched: Watched) -> Vec<Box<dyn Invariant>> {
    let rows: [(_, Box<dyn Invariant>); 3] = [
        (Watched::FromOutside, Box::new(same_rows::SameRows)),
        (Watched::ByEachOther, Box::new(held::HeldTheSame)),
        (Watched::ByThemselves, Box::new(audited::StoredAsWritten)),
    ];
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(radiants::RadiantsStay),
        Box::new(one_cluster::OneCluster::default()),
        Box::new(one_configuration::OneConfiguration::default()),
        Box::new(history::History::default()),
        Box::new(one_herald::OneHerald::default()),
        Box::new(complete::Complete::default()),
        Box::new(logs::Logs::default()),
        Box::new(purged::Purged),
    ];
    all.extend(
        rows.into_iter()
            .filter(|(by, _)| watched == Watched::FromOutside || watched == *by)
            .map(|(_, invariant)| invariant),
    );
    all
}
