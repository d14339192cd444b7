//! The rules of a configuration that no type can express.

use std::net::{SocketAddr, ToSocketAddrs};

use shardbearer_core::limits::GROWN_VALUE_BYTES_MAX;
use shardbearer_state::placement::Slots;

use super::{Config, OFF};
use crate::engine::Engines;
use crate::storage;

/// A broken rule.
pub(super) struct Broken {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) why: String,
}

fn broken(section: &'static str, key: &'static str, why: impl Into<String>) -> Result<(), Broken> {
    Err(Broken { section, key, why: why.into() })
}

/// The broken rules, the first of each kind.
pub(super) fn check(config: &Config, engines: &Engines) -> Vec<Broken> {
    let checks = [
        radiant(config),
        doors(config),
        bootstrap(config),
        consensus(config, engines),
        membership(config),
        rebalance(config),
        limits(config),
    ];
    checks.into_iter().filter_map(Result::err).collect()
}

fn radiant(config: &Config) -> Result<(), Broken> {
    let name = &config.radiant.name;
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
        return broken("radiant", "name", "must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    if config.radiant.data_dir.as_os_str().is_empty() {
        return broken("radiant", "data_dir", "must name a folder");
    }
    Ok(())
}

/// A door beyond loopback has to be wanted; an address that means "all" cannot be advertised.
fn doors(config: &Config) -> Result<(), Broken> {
    let listen = &config.listen;
    let advertise = &config.advertise;
    let doors = [
        ("grpc", &listen.grpc, &advertise.grpc),
        ("resp", &listen.resp, &advertise.resp),
        ("http", &listen.http, &advertise.http),
    ];
    for (door, address, advertised) in doors {
        if address == OFF {
            if door == "grpc" {
                return broken("listen", door, "cannot be off: the radiants speak through it");
            }
            continue;
        }
        let resolved: Vec<SocketAddr> = match address.to_socket_addrs() {
            Ok(resolved) => resolved.collect(),
            Err(error) => {
                let why = format!("\"{address}\" is no address to listen on ({error}); write host:port");
                return broken("listen", door, why);
            }
        };
        if !listen.allow_insecure && resolved.iter().any(|address| !address.ip().is_loopback()) {
            let why = format!(
                "{address} is reached from beyond this machine, and doors have neither TLS nor authentication yet: \
                 whoever reaches it could read and write everything. Listen on 127.0.0.1, or set allow_insecure = true \
                 beside it if the network is trusted"
            );
            return broken("listen", door, why);
        }
        let unspecified = resolved.iter().any(|address| address.ip().is_unspecified());
        if advertised.is_empty() && unspecified {
            let why = format!("has to be set, because nobody can connect to {address}; write host:port");
            return broken("advertise", door, why);
        }
        if !advertised.is_empty() && !is_host_and_port(advertised) {
            return broken("advertise", door, format!("\"{advertised}\" is no host:port"));
        }
    }
    Ok(())
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn bootstrap(config: &Config) -> Result<(), Broken> {
    let bootstrap = &config.bootstrap;
    if let Some(neighbor) = bootstrap.neighbors.iter().find(|neighbor| !is_host_and_port(neighbor)) {
        return broken("bootstrap", "neighbors", format!("\"{neighbor}\" is no host:port"));
    }
    if bootstrap.expect == 0 || bootstrap.expect > 64 {
        return broken("bootstrap", "expect", "must be between 1 and 64");
    }
    let myself = |neighbor: &&String| **neighbor == config.listen.grpc || **neighbor == config.advertise.grpc;
    let others = bootstrap.neighbors.iter().filter(|neighbor| !myself(neighbor)).count();
    if others > 0 && bootstrap.expect == 1 {
        let why = "must be set where there are neighbors: the number of radiants that found the cluster, the same in all files \
                   (alone, a radiant would found a cluster of its own when its neighbors are not up yet)";
        return broken("bootstrap", "expect", why);
    }
    if others == 0 && bootstrap.expect > 1 {
        let why = format!("must name at least one other radiant, because expect is {}", bootstrap.expect);
        return broken("bootstrap", "neighbors", why);
    }
    if bootstrap.replication == 0 || bootstrap.replication > 9 {
        return broken("bootstrap", "replication", "must be between 1 and 9");
    }
    if bootstrap.orders > 256 {
        return broken("bootstrap", "orders", "must be at most 256");
    }
    if Slots::new(bootstrap.shards).is_none() {
        return broken("bootstrap", "shards", "must be between 1 and 16384");
    }
    if bootstrap.window_ms < 1_000 {
        return broken("bootstrap", "window_ms", "must be at least 1000");
    }
    Ok(())
}

fn consensus(config: &Config, engines: &Engines) -> Result<(), Broken> {
    let consensus = &config.consensus;
    let all = consensus.engines.iter().map(|name| ("engines", name));
    for (key, name) in std::iter::once(("engine", &consensus.engine)).chain(all) {
        match engines.find(name) {
            Err(why) => return broken("consensus", key, why),
            Ok(factory) => {
                if let Some(why) = factory.refuses(config.bootstrap.expect as usize) {
                    return broken("consensus", key, why);
                }
            }
        }
    }
    if consensus.heartbeat_ms == 0 {
        return broken("consensus", "heartbeat_ms", "must be at least 1");
    }
    if consensus.heartbeat_ms > consensus.election_timeout_ms / 4 {
        let why = format!(
            "must be at most a quarter of election_timeout_ms ({}), or one lost heartbeat means an election",
            consensus.election_timeout_ms
        );
        return broken("consensus", "heartbeat_ms", why);
    }
    if consensus.election_timeout_ms > 60_000 {
        return broken("consensus", "election_timeout_ms", "must be at most 60000");
    }
    let engine = &config.storage.engine;
    if !storage::ENGINES.contains(&engine.as_str()) {
        let why =
            format!("there is no storage engine \"{engine}\"; there are {}", storage::ENGINES.join(", "));
        return broken("storage", "engine", why);
    }
    if config.storage.audit_seconds > 31_536_000 {
        return broken("storage", "audit_seconds", "must be at most 31536000, a year; 0 is never");
    }
    if !(8..=1_024).contains(&config.storage.log_segment_mib) {
        return broken("storage", "log_segment_mib", "must be between 8 and 1024");
    }
    for (key, value) in
        [("cache_mib", config.storage.cache_mib), ("log_cache_mib", config.storage.log_cache_mib)]
    {
        if !(1..=1 << 20).contains(&value) {
            return broken("storage", key, "must be between 1 and 1048576");
        }
    }
    Ok(())
}

fn membership(config: &Config) -> Result<(), Broken> {
    let membership = &config.membership;
    // Radiants say a few times a second that they live; and who stands for election is not to be left out for it.
    let least = (config.consensus.election_timeout_ms * 3 / 2).max(1_000);
    if membership.suspicion_ms < least {
        let why = format!("must be at least {least}: 1000, and one and a half times election_timeout_ms");
        return broken("membership", "suspicion_ms", why);
    }
    if membership.down_grace_ms < membership.suspicion_ms {
        let why = format!("must be at least suspicion_ms ({})", membership.suspicion_ms);
        return broken("membership", "down_grace_ms", why);
    }
    Ok(())
}

fn rebalance(config: &Config) -> Result<(), Broken> {
    if !(1..=100).contains(&config.rebalance.gain_min_percent) {
        return broken("rebalance", "gain_min_percent", "must be between 1 and 100");
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), Broken> {
    if !(1..=GROWN_VALUE_BYTES_MAX).contains(&config.limits.value_bytes_max) {
        return broken("limits", "value_bytes_max", format!("must be between 1 and {GROWN_VALUE_BYTES_MAX}"));
    }
    if config.limits.resp_connections_max == 0 {
        return broken(
            "limits",
            "resp_connections_max",
            "must be at least 1; to have none, set [listen] resp to \"off\"",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn rules_are_kept() {
        let cases = [
            ("[radiant]\nname = \"a b\"", "letters, digits"),
            ("[listen]\nresp = \"0.0.0.0:6400\"", "allow_insecure"),
            ("[listen]\nresp = \"0.0.0.0:6400\"\nallow_insecure = true", "[advertise] resp"),
            ("[listen]\ngrpc = \"off\"", "cannot be off"),
            ("[listen]\nhttp = \"nonsense\"", "host:port"),
            ("[bootstrap]\nneighbors = [\"127.0.0.1:7401\"]", "the number of radiants"),
            ("[bootstrap]\nexpect = 3", "at least one other"),
            ("[bootstrap]\nneighbors = [\"x\"]\nexpect = 3", "host:port"),
            ("[bootstrap]\nshards = 0", "between 1 and 16384"),
            ("[storage]\nengine = \"rocks\"", "fjall"),
            ("[storage]\naudit_seconds = 99999999999", "a year"),
            ("[consensus]\nengine = \"zab\"", "openraft"),
            ("[consensus]\nengines = [\"chain\", \"zab\"]", "openraft"),
            (
                "[consensus]\nengine = \"solo\"\n[bootstrap]\nexpect = 3\nneighbors = [\"b:1\"]",
                "one member, not 3",
            ),
            ("[membership]\nsuspicion_ms = 900", "at least 1000"),
            ("[membership]\nsuspicion_ms = 2000\n[consensus]\nelection_timeout_ms = 1500", "at least 2250"),
            ("[membership]\ndown_grace_ms = 1400", "at least suspicion_ms"),
            ("[rebalance]\ngain_min_percent = 0", "between 1 and 100"),
            ("[limits]\nvalue_bytes_max = 100000000", "between"),
        ];
        for (text, expected) in cases {
            let why = parse(text).expect_err(text).why;
            assert!(why.contains(expected), "{text}: {why}");
        }
        let fine = "[listen]\nresp = \"off\"\n[bootstrap]\nneighbors = [\"127.0.0.1:7400\", \"127.0.0.1:7401\"]\nexpect = 2";
        assert!(parse(fine).is_ok());
    }
}
