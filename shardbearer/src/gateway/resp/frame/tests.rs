//! Whatever arrives in whatever pieces: the same commands come out, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const COMMAND_BYTES_MAX: usize = 1000;

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
    }
    (frames, None)
}

fn command(words: &[&[u8]]) -> Frame {
    Frame::Command(words.iter().map(|word| Bytes::copy_from_slice(word)).collect())
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
    out
}

#[test]
fn commands_come_out_as_they_were_sent() {
    let check = |bytes: &[u8], expect: &[Frame]| {
        assert_eq!(parse([bytes]), (expect.to_vec(), None), "{:?}", bytes.escape_ascii().to_string());
    };
    check(b"*1\r\n$4\r\nPING\r\n", &[command(&[b"PING"])]);
    check(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[command(&[b"GET", b""])]);
    check(b"PING\r\nECHO \"a b\"\n", &[command(&[b"PING"]), command(&[b"ECHO", b"a b"])]);
    check(b"\r\n*0\r\n*-1\r\nPING\r\n", &[command(&[b"PING"])]);
    check(b"*2\r\n$3\r\nGET\r\n$5\r\nab", &[]);
}

#[test]
fn what_is_not_the_protocol_is_said_in_the_words_of_redis() {
    let check = |bytes: &[u8], expect: &str| {
        assert_eq!(parse([bytes]).1, Some(error(expect)), "{}", bytes.escape_ascii());
    };
    check(b"*x\r\n", "invalid multibulk length");
    check(b"*1048577\r\n", "invalid multibulk length");
    check(b"*1\r\n+OK\r\n", "expected '$', got '+'");
    check(b"*1\r\n$-1\r\n", "invalid bulk length");
    check(b"*1\r\n$536870913\r\n", "invalid bulk length");
    check(b"*1\r\n$x\r\n", "invalid bulk length");
    check(b"GET \"a\r\n", "unbalanced quotes in request");
    check(&[b'a'; LINE_BYTES_MAX + 1], "too big inline request");
    check(&[b"*".as_slice(), &[b'1'; LINE_BYTES_MAX + 1]].concat(), "too big mbulk count string");
    check(&[b"*1\r\n$".as_slice(), &[b'1'; LINE_BYTES_MAX + 1]].concat(), "too big bulk count string");
}

#[test]
fn a_command_that_is_too_large_is_swallowed_and_the_next_one_is_served() {
    let large = encode(&[b"SET".to_vec(), b"k".to_vec(), vec![b'x'; COMMAND_BYTES_MAX], b"NX".to_vec()]);
    let bytes = [large, encode(&[b"PING".to_vec()])].concat();
    let expect = [Frame::TooLarge { bytes: 3 + 1 + 1000 + 2 }, command(&[b"PING"])];
    assert_eq!(parse([bytes.as_slice()]).0, expect);
    assert_eq!(parse(bytes.chunks(1)).0, expect, "byte by byte");
}

proptest! {
    #[test]
    fn splitting_the_input_anywhere_changes_nothing(
        commands in vec(vec(vec(any::<u8>(), 0..600), 1..5), 1..5),
        cuts in vec(1usize..200, 1..40),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let whole = parse([bytes.as_slice()]);
        prop_assert_eq!(whole.0.len(), commands.len());
        prop_assert_eq!(parse(pieces), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(pieces in vec(vec(any::<u8>(), 0..40), 0..10)) {
        parse(pieces.iter().map(Vec::as_slice));
    }

    #[test]
    fn near_misses_never_panic(pieces in vec("(\\*|\\$|-|[0-3]|\r\n|\r|\n|a|\"|'|\\\\x){0,12}", 0..8)) {
        let bytes: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
        let whole = bytes.concat();
        prop_assert_eq!(parse(bytes), parse([whole.as_slice()]));
    }
}
