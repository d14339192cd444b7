//! Commands that concern the connection alone.

use bytes::Bytes;

use super::server::REDIS_VERSION;
use super::{ANY_TIME, Keys, Run, Spec, local};
use crate::gateway::resp::args;
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::frame;
use crate::gateway::resp::reply::{Version, Writer};
use crate::gateway::resp::session::Session;

pub(super) const TABLE: &[Spec] = &[
    local("ping", -1, ping),
    local("echo", 2, |_, args, writer| writer.value(&args[1])),
    Spec { queues: false, ..local("hello", -1, hello) },
    local("auth", -2, auth),
    local("select", 2, select),
    Spec {
        name: "asking",
        arity: 1,
        flags: ANY_TIME,
        keys: Keys::NONE,
        queues: true,
        run: Run::Local(|_, _, writer| writer.ok()),
    },
    local("readonly", 1, |session, _, writer| {
        session.read_anywhere = true;
        writer.ok();
    }),
    local("readwrite", 1, |session, _, writer| {
        session.read_anywhere = false;
        writer.ok();
    }),
];

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn ping(_: &mut Session, args: &[Bytes], writer: &mut Writer) {
    match args {
        [_] => writer.simple("PONG"),
        [_, message] => writer.value(message),
        _ => writer.failure(&Failure::arity("ping")),
    }
}

/// There is one user, `default`, who needs no password and may give any, as in Redis without a configured one.
fn may_enter(user: &[u8]) -> Result<(), Failure> {
    if user == b"default" { Ok(()) } else { Err(WRONG_PASSWORD.into()) }
}

fn auth(_: &mut Session, args: &[Bytes], writer: &mut Writer) {
    let entered = match args {
        [_, _] => Err("ERR AUTH <password> called without any password configured for the default user. \
                       Are you sure your configuration is correct?"
            .into()),
        [_, user, _] => may_enter(user),
        _ => Err(Failure::SYNTAX),
    };
    match entered {
        Ok(()) => writer.ok(),
        Err(failure) => writer.failure(&failure),
    }
}

fn select(_: &mut Session, args: &[Bytes], writer: &mut Writer) {
    match args::integer(&args[1]) {
        Ok(0) => writer.ok(),
        Ok(_) => writer.failure(&"ERR DB index is out of range".into()),
        Err(failure) => writer.failure(&failure),
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
fn hello(session: &mut Session, args: &[Bytes], writer: &mut Writer) {
    match hello_options(args, writer.version()) {
        Err(failure) => writer.failure(&failure),
        Ok((version, name)) => {
            writer.set_version(version);
            if let Some(name) = name {
                session.client.set_name(name);
            }
            introduce(session, version, writer);
        }
    }
}

fn hello_options(args: &[Bytes], present: Version) -> Result<(Version, Option<String>), Failure> {
    let Some(number) = args.get(1) else { return Ok((present, None)) };
    let number = frame::integer(number)
        .ok_or(Failure::from("ERR Protocol version is not an integer or out of range"))?;
    let version = match number {
        2 => Version::Resp2,
        3 => Version::Resp3,
        _ => return Err("NOPROTO unsupported protocol version".into()),
    };
    let mut name = None;
    let mut rest = &args[2..];
    while let [option, after @ ..] = rest {
        rest = match (args::one_of(option, &["AUTH", "SETNAME"]), after) {
            (Some("AUTH"), [user, _, after @ ..]) => {
                may_enter(user)?;
                after
            }
            (Some("SETNAME"), [text, after @ ..]) => {
                name = Some(super::client::name(text)?);
                after
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
            }
        };
    }
    Ok((version, name))
}

fn introduce(session: &Session, version: Version, writer: &mut Writer) {
    writer.map(7);
    for (field, text) in [("server", "redis"), ("version", REDIS_VERSION)] {
        writer.bulk(field.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"proto");
    writer.integer(version.number());
    writer.bulk(b"id");
    writer.count(session.client.id);
    for (field, text) in [("mode", "cluster"), ("role", "master")] {
        writer.bulk(field.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"modules");
    writer.array(0);
}
