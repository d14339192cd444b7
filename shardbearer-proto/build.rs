//! Compiles `proto/` with protox, so that building needs no protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Inside the workspace the files are beside the crate; a published crate carries its own copy.
    let root = ["../proto", "proto"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_dir())
        .ok_or("no proto/ folder")?;
    let files = ["types", "kv", "admin", "story", "peer", "bootstrap"]
        .map(|name| root.join(format!("shardbearer/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(out.join("shardbearer.bin"))
        .compile_fds(descriptors.clone())?;
    std::fs::write(out.join("shardbearer.bin"), prost::Message::encode_to_vec(&descriptors))?;
    Ok(())
}
