//! What Redis clients send; see [`crate::fuzzing`].

use bytes::{Bytes, BytesMut};
use shardbearer_core::kv::Command;
use shardbearer_proto::convert;

use super::commands::{self, Run};
use super::frame::{Frame, Parser, ProtocolError};
use super::glob;
use crate::fuzzing::Source;

/// Small, so that commands that are too large come up.
const COMMAND_BYTES_MAX: usize = 200;

/// A moment like any other.
const NOW_MS: u64 = 1_700_000_000_000;

/// A stream of commands, cut into pieces as the first two bytes say.
pub fn resp(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let (least, more) = (usize::from(source.byte() % 32) + 1, usize::from(source.byte()));
    let stream = source.rest();
    let (frames, error) = parse([stream]);
    let mut pieces = Vec::new();
    let (mut rest, mut length) = (stream, least);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
        // A few different lengths, so that cuts fall everywhere.
        length = least + (length * 7 + more) % 61;
    }
    assert_eq!(parse(pieces), (frames.clone(), error.clone()), "pieces are not the whole");
    if let Some(ProtocolError(why)) = error {
        assert!(!why.is_empty() && !why.contains(['\r', '\n']), "{why:?} is no line");
    }
    for frame in frames {
        match frame {
            Frame::Command(words) => {
                assert!(!words.is_empty(), "a command without a name");
                again(&words);
                translated(&words);
                if let [pattern, text, ..] = words.as_slice() {
                    glob::matches(pattern, text);
                }
            }
            Frame::TooLarge { bytes } => assert!(bytes > COMMAND_BYTES_MAX as u64),
        }
    }
}

/// Feeds the pieces one after the other, taking out all that is complete after each.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<ProtocolError>) {
    let (mut parser, mut buffer, mut frames) = (Parser::new(COMMAND_BYTES_MAX), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(parser.wanted(&buffer) <= COMMAND_BYTES_MAX + 2, "room is wanted for what is not kept");
    }
    (frames, None)
}

/// The command as a client writes it is understood as the same.
fn again(words: &[Bytes]) {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
    let kept: usize = words.iter().map(Bytes::len).sum();
    let expect = match kept > COMMAND_BYTES_MAX {
        true => Frame::TooLarge { bytes: kept as u64 },
        false => Frame::Command(words.to_vec()),
    };
    assert_eq!(parse([out.as_slice()]), (vec![expect], None));
}

/// What the command comes to: asks only for keys that it names, and can be sent on.
fn translated(words: &[Bytes]) {
    let Some(spec) = commands::find(&words[0]) else {
        let failure = commands::unknown(words);
        return assert!(failure.text().starts_with("ERR unknown command"));
    };
    let Run::Data(translate) = spec.run else { return };
    if !spec.takes(words.len()) {
        return;
    }
    match translate(words, NOW_MS) {
        Err(failure) => assert!(!failure.text().is_empty()),
        Ok(plan) => {
            let named: Vec<&Bytes> = spec.keys.of(words).collect();
            assert!(!plan.commands().is_empty(), "{words:?} asks nothing");
            let writes = plan.commands().iter().any(Command::is_write);
            // A write that changes nothing may come to a read.
            assert!(!writes || !spec.is_read(), "{words:?} is not what the table says");
            for command in plan.commands() {
                let key = command.key().expect("commands on keys have one");
                assert!(named.contains(&key), "{words:?} asks for a key that it does not name");
                sent(command);
            }
        }
    }
}

fn sent(command: &Command) {
    use prost::Message;
    let bytes = convert::command_to_bytes(command);
    let wire = shardbearer_proto::pb::Command::decode(bytes.clone()).expect("just encoded");
    let back = Command::try_from(wire).expect("just encoded");
    assert_eq!(convert::command_to_bytes(&back), bytes, "another command arrives");
}
