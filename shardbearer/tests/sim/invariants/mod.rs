//! What must hold of a cluster at every moment. One file each; each was seen to fail on a broken double
//! (`doubles.rs`). What must hold of the answers of clients is judged at the end, see `run.rs`; what must hold at the moment of
//! an acknowledgement is asked by the observer of engines, see [`durable`], and so is what must hold of what is applied, see
//! [`applied`]. Of a cluster that
//! is well again it is asked now and then whether it is without its control order, too, see [`without_control`].

mod activated;
pub mod applied;
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

/// All of them, but for the one that compares the rows of replicas if nobody is to look at those.
pub fn all(unwatched: bool) -> Vec<Box<dyn Invariant>> {
    let rows: Option<Box<dyn Invariant>> = (!unwatched).then(|| Box::new(same_rows::SameRows) as _);
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(radiants::RadiantsStay),
        Box::new(one_cluster::OneCluster::default()),
        Box::new(one_configuration::OneConfiguration::default()),
        Box::new(history::History::default()),
        Box::new(one_herald::OneHerald::default()),
        Box::new(complete::Complete::default()),
        Box::new(logs::Logs::default()),
        Box::new(purged::Purged),
        Box::new(held::HeldTheSame),
    ];
    all.extend(rows);
    all
}
