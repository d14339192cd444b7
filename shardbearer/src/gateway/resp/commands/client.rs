//! `CLIENT` and its subcommands.

use bytes::Bytes;

use super::{Spec, local, subcommand_arity, unknown_subcommand};
use crate::gateway::resp::args;
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::frame;
use crate::gateway::resp::reply::Writer;
use crate::gateway::resp::session::{Replies, Session};

pub(super) const TABLE: &[Spec] = &[local("client", -2, client)];

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME, SETNAME <name>",
    "    The name of the current connection.",
    "ID, INFO, LIST [ID <id> ...]",
    "    Who is connected.",
    "KILL <ip:port> | ID <id> | ADDR <ip:port>",
    "    Close connections.",
    "REPLY (ON|OFF|SKIP)",
    "    Whether the current connection gets replies.",
    "SETINFO (LIB-NAME|LIB-VER) <text>, NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)",
    "    Accepted.",
];

fn client(session: &mut Session, args: &[Bytes], writer: &mut Writer) {
    if let Err(failure) = subcommand(session, args, writer) {
        writer.failure(&failure);
    }
}

fn subcommand(session: &mut Session, args: &[Bytes], writer: &mut Writer) -> Result<(), Failure> {
    let name = args::lower(&args[1]);
    let arity = || Err(subcommand_arity("client", &name));
    match (name.as_str(), &args[2..]) {
        ("id", []) => writer.count(session.client.id),
        ("getname", []) => {
            let name = session.client.name();
            if name.is_empty() { writer.null() } else { writer.bulk(name.as_bytes()) }
        }
        ("setname", [text]) => {
            session.client.set_name(self::name(text)?);
            writer.ok();
        }
        ("setinfo", [field, text]) => {
            set_info(session, field, text)?;
            writer.ok();
        }
        ("info", []) => writer.text(&describe(session, &session.client, writer)),
        ("list", options) => list(session, options, writer)?,
        ("reply", [mode]) => reply(session, mode, writer)?,
        ("no-evict" | "no-touch", [mode]) => {
            args::one_of(mode, &["ON", "OFF"]).ok_or(Failure::SYNTAX)?;
            writer.ok();
        }
        ("kill", []) => return arity(),
        ("kill", options) => kill(session, options, writer)?,
        ("help", []) => {
            writer.array(HELP.len());
            HELP.iter().for_each(|line| writer.simple(line));
        }
        (
            "id" | "getname" | "setname" | "setinfo" | "info" | "reply" | "no-evict" | "no-touch" | "help",
            _,
        ) => {
            return arity();
        }
        _ => return Err(unknown_subcommand("client", &args[1])),
    }
    Ok(())
}

/// A name without blanks and control characters, so that it fits a line of `CLIENT LIST`.
pub(super) fn name(text: &[u8]) -> Result<String, Failure> {
    printable(text).ok_or("ERR Client names cannot contain spaces, newlines or special characters.".into())
}

fn printable(text: &[u8]) -> Option<String> {
    text.iter().all(u8::is_ascii_graphic).then(|| String::from_utf8_lossy(text).into_owned())
}

fn set_info(session: &Session, field: &[u8], text: &[u8]) -> Result<(), Failure> {
    let Some(field) = args::one_of(field, &["lib-name", "lib-ver"]) else {
        let field = String::from_utf8_lossy(field);
        return Err(format!("ERR Unrecognized option '{field}'").into());
    };
    let text = printable(text).ok_or_else(|| {
        Failure::from(format!("ERR {field} cannot contain spaces, newlines or special characters."))
    })?;
    session.client.set_library(text, field == "lib-ver");
    Ok(())
}

fn describe(session: &Session, client: &super::super::clients::Client, writer: &Writer) -> String {
    client.describe(session.gateway.now_ms(), writer.version().number())
}

fn list(session: &Session, options: &[Bytes], writer: &mut Writer) -> Result<(), Failure> {
    let wanted: Option<Vec<i64>> = match options {
        [] => None,
        [option, kind] if args::is(option, "TYPE") => {
            // There are no replicas and no subscribers.
            let normal = args::is(kind, "normal");
            if !normal && args::one_of(kind, &["master", "replica", "slave", "pubsub"]).is_none() {
                let kind = String::from_utf8_lossy(kind);
                return Err(format!("ERR Unknown client type '{kind}'").into());
            }
            if normal { None } else { Some(Vec::new()) }
        }
        [option, ids @ ..] if args::is(option, "ID") && !ids.is_empty() => {
            let invalid = || Failure::from("ERR Invalid client ID");
            Some(ids.iter().map(|id| frame::integer(id).ok_or_else(invalid)).collect::<Result<_, _>>()?)
        }
        _ => return Err(Failure::SYNTAX),
    };
    let mut text = String::new();
    for client in session.gateway.clients.all() {
        let id = i64::try_from(client.id).unwrap_or(i64::MAX);
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&id)) {
            text.push_str(&describe(session, &client, writer));
        }
    }
    writer.text(&text);
    Ok(())
}

fn reply(session: &mut Session, mode: &[u8], writer: &mut Writer) -> Result<(), Failure> {
    match args::one_of(mode, &["ON", "OFF", "SKIP"]).ok_or(Failure::SYNTAX)? {
        "ON" => {
            session.replies = Replies::On;
            writer.set_muted(false);
            writer.ok();
        }
        "OFF" => session.replies = Replies::Off,
        // Once off, there is nothing to skip.
        _ if session.replies == Replies::On => session.replies = Replies::SkipNext,
        _ => {}
    }
    Ok(())
}

/// `KILL ip:port`, or with filters, which must all hold.
fn kill(session: &Session, options: &[Bytes], writer: &mut Writer) -> Result<(), Failure> {
    let clients = session.gateway.clients.all();
    if let [address] = options {
        let found = clients.iter().find(|client| client.address.to_string().as_bytes() == &address[..]);
        found.ok_or(Failure::from("ERR No such client"))?.end.cancel();
        writer.ok();
        return Ok(());
    }
    let (filters, rest) = options.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::SYNTAX);
    }
    let (mut id, mut address, mut skip_me) = (None, None, true);
    for [option, text] in filters {
        match args::one_of(option, &["ID", "ADDR", "SKIPME"]) {
            Some("ID") => {
                let number = frame::integer(text).filter(|id| *id > 0);
                id = Some(number.ok_or(Failure::from("ERR client-id should be greater than 0"))?);
            }
            Some("ADDR") => address = Some(text),
            Some(_) => {
                skip_me = args::one_of(text, &["YES", "NO"]).ok_or(Failure::SYNTAX)? == "YES";
            }
            None => return Err(Failure::SYNTAX),
        }
    }
    let mut killed = 0;
    for client in clients {
        let fits = id.is_none_or(|id| i64::try_from(client.id) == Ok(id))
            && address.is_none_or(|address| client.address.to_string().as_bytes() == &address[..])
            && !(skip_me && client.id == session.client.id);
        if fits {
            client.end.cancel();
            killed += 1;
        }
    }
    writer.integer(killed);
    Ok(())
}
