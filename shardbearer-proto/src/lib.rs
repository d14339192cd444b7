//! Generated wire code, and the only place where wire and domain values meet: [`convert`].

pub mod convert;

/// The generated messages and services of `shardbearer.v1`.
#[allow(missing_docs, clippy::all)] // generated; the .proto files are the documentation
pub mod pb {
    tonic::include_proto!("shardbearer.v1");
}

/// The encoded descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shardbearer.bin"));
