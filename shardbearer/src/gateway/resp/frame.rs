//! From bytes to commands: the request half of RESP, as arrays of bulk strings or as lines typed by hand.
//!
//! The parser keeps its place between calls, so that a command that arrives in a thousand pieces is looked
//! at once. A complete command is split off the read buffer and its arguments are slices of it: no value
//! is copied. Limits and error texts are those of Redis; a command that Redis would take and this server
//! would not is swallowed without being kept and comes out as [`Frame::TooLarge`], so that the connection
//! lives on.

use bytes::{Buf, Bytes, BytesMut};

use super::inline;

/// Longest line without its end: inline commands and the numbers in front of arrays and strings.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Most arguments of one command. The limit that Redis had for most of its life.
const ARGUMENTS_MAX: i64 = 1 << 20;

/// Longest argument that is not a violation of the protocol: `proto-max-bulk-len` of Redis.
const BULK_BYTES_MAX: i64 = 512 << 20;

/// Arguments for which memory is set aside before they arrive.
const ARGUMENTS_RESERVED: usize = 64;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A command: its name and its arguments; never empty.
    Command(Vec<Bytes>),
    /// A command with so many bytes of arguments that it was not kept.
    TooLarge {
        /// Bytes of all its arguments.
        bytes: u64,
    },
}

/// The client does not speak the protocol; nothing after this can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub String);

/// Reads one connection's commands.
#[derive(Debug)]
pub struct Parser {
    command_bytes_max: usize,
    /// How far the bytes in the buffer have been looked at.
    place: usize,
    /// Arguments still to come; 0 between commands.
    missing: usize,
    /// How much of the argument that is arriving is not taken yet, with its line end; known once its header is read.
    rest: Option<usize>,
    /// Where in the buffer the arguments are that have arrived.
    found: Vec<(usize, usize)>,
    /// Bytes of the arguments announced so far.
    bytes: usize,
}

impl Parser {
    /// A parser that keeps commands of at most so many bytes of arguments.
    pub fn new(command_bytes_max: usize) -> Parser {
        Parser { command_bytes_max, place: 0, missing: 0, rest: None, found: Vec::new(), bytes: 0 }
    }

    /// The next complete command, split off the buffer; `None` if more bytes must arrive first.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if self.missing == 0 {
                match buffer.first().copied() {
                    None => return Ok(None),
                    Some(b'*') if !self.header(buffer)? => return Ok(None),
                    Some(b'*') => {}
                    Some(_) => match self.line(buffer)? {
                        Line::Missing => return Ok(None),
                        Line::Empty => {}
                        Line::Command(arguments) => return Ok(Some(Frame::Command(arguments))),
                    },
                }
                continue;
            }
            while self.missing > 0 {
                if !self.argument(buffer)? {
                    return Ok(None);
                }
            }
            return Ok(Some(self.take(buffer)));
        }
    }

    /// How many bytes more the argument that is arriving needs, so that the buffer can grow once.
    pub fn wanted(&self, buffer: &BytesMut) -> usize {
        match self.rest {
            Some(rest) if !self.is_swallowing() => (self.place + rest).saturating_sub(buffer.len()),
            Some(_) | None => 0,
        }
    }

    /// Whether a command has begun and is not complete.
    pub fn is_amid(&self, buffer: &BytesMut) -> bool {
        self.missing > 0 || !buffer.is_empty()
    }

    fn is_swallowing(&self) -> bool {
        self.bytes > self.command_bytes_max
    }

    /// `*<count>\r\n`. Returns whether it was complete.
    fn header(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(count) = self.number(buffer, "too big mbulk count string")? else { return Ok(false) };
        match count {
            Some(..=0) => {
                // Redis answers nothing to an empty command.
                buffer.advance(self.place);
                self.place = 0;
            }
            Some(count @ 1..=ARGUMENTS_MAX) => {
                self.missing = usize::try_from(count).unwrap_or(0);
                self.found = Vec::with_capacity(self.missing.min(ARGUMENTS_RESERVED));
                self.bytes = 0;
            }
            Some(_) | None => return Err(error("invalid multibulk length")),
        }
        Ok(true)
    }

    /// `$<length>\r\n<bytes>\r\n`. Returns whether it was complete.
    fn argument(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let rest = match self.rest {
            Some(rest) => rest,
            None => match self.announced(buffer)? {
                Some(length) => {
                    self.bytes = self.bytes.saturating_add(length);
                    // What follows the bytes is skipped unseen, as Redis does.
                    length + 2
                }
                None => return Ok(false),
            },
        };
        let arrived = if self.is_swallowing() {
            // Nothing is kept: neither what came before nor what is coming.
            self.found = Vec::new();
            buffer.advance(self.place);
            self.place = 0;
            let gone = rest.min(buffer.len());
            buffer.advance(gone);
            self.rest = Some(rest - gone);
            gone == rest
        } else {
            self.rest = Some(rest);
            let arrived = buffer.len() >= self.place + rest;
            if arrived {
                self.found.push((self.place, self.place + rest - 2));
                self.place += rest;
            }
            arrived
        };
        if arrived {
            self.rest = None;
            self.missing -= 1;
        }
        Ok(arrived)
    }

    /// The length in front of an argument, if it is complete.
    fn announced(&mut self, buffer: &BytesMut) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.place) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => {
                let got = char::from(*other).escape_default();
                return Err(ProtocolError(format!("expected '$', got '{got}'")));
            }
        }
        match self.number(buffer, "too big bulk count string")? {
            None => Ok(None),
            Some(Some(length @ 0..=BULK_BYTES_MAX)) => Ok(usize::try_from(length).ok()),
            Some(_) => Err(error("invalid bulk length")),
        }
    }

    fn take(&mut self, buffer: &mut BytesMut) -> Frame {
        let frame = buffer.split_to(self.place).freeze();
        self.place = 0;
        if self.is_swallowing() {
            return Frame::TooLarge { bytes: self.bytes as u64 };
        }
        let found = std::mem::take(&mut self.found);
        Frame::Command(found.into_iter().map(|(from, to)| frame.slice(from..to)).collect())
    }

    /// The number of a header line, its first byte being at the present place; moves behind the line. The inner
    /// `None` is a line that is no number.
    fn number(&mut self, buffer: &BytesMut, too_long: &str) -> Result<Option<Option<i64>>, ProtocolError> {
        let line = &buffer[self.place + 1..];
        let end = line.iter().take(LINE_BYTES_MAX + 1).position(|byte| *byte == b'\r');
        match end {
            None if line.len() > LINE_BYTES_MAX => Err(error(too_long)),
            Some(end) if end + 2 <= line.len() => {
                let number = integer(&line[..end]);
                self.place += 1 + end + 2;
                Ok(Some(number))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// A line typed by hand.
    fn line(&mut self, buffer: &mut BytesMut) -> Result<Line, ProtocolError> {
        let from = self.place.min(buffer.len());
        let Some(end) = buffer[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) else {
            self.place = buffer.len();
            if buffer.len() > LINE_BYTES_MAX {
                return Err(error("too big inline request"));
            }
            return Ok(Line::Missing);
        };
        if end > LINE_BYTES_MAX {
            return Err(error("too big inline request"));
        }
        self.place = 0;
        let line = buffer.split_to(end + 1).freeze();
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line[..end]);
        let arguments = inline::split(text).ok_or_else(|| error("unbalanced quotes in request"))?;
        Ok(if arguments.is_empty() { Line::Empty } else { Line::Command(arguments) })
    }
}

/// What an inline line came to.
enum Line {
    Missing,
    Empty,
    Command(Vec<Bytes>),
}

fn error(why: &str) -> ProtocolError {
    ProtocolError(why.to_owned())
}

/// A decimal integer as Redis takes it: an optional minus, no plus, no leading zeros, no blanks.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
